//! The chunk master as gateways, nodes and operators see it: over its services, with nodes in memory.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is to do")]

mod bucket_deletion;
mod buckets;
mod cluster;
mod listing;
mod locating;
mod model;
mod nodes;
mod placing;
mod quotas;
mod several;
mod sweeping;
mod tenants;
mod undeleting;
mod uploads;
mod wrong_input;
