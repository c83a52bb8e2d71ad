//! The chunk master as gateways, nodes and operators see it: over its services, with nodes in memory.

mod cluster;
mod listing;
mod locating;
mod model;
mod placing;
mod quotas;
mod sweeping;
mod uploads;
mod wrong_input;
