//! The whole cluster, simulated
