//! The chunk master as gateways, nodes and operators see it: over its services, with nodes in memory.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is to do")]
#![allow(clippy::print_stdout, reason = "what was reached is said, and shown when a test fails")]

mod bucket_deletion;
mod buckets;
mod cluster;
mod crashes;
mod durability;
mod early_purge;
mod fsck;
mod jobs;
mod judging;
mod listing;
mod locating;
mod membership;
mod model;
mod nodes;
mod placing;
mod quota_race;
mod quotas;
mod repairing;
mod several;
mod sweeping;
mod tenants;
mod undeleting;
mod uploads;
mod wrong_input;
