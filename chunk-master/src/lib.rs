//! The chunk master: catalog, quotas, placement, sweep
