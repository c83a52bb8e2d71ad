//! What only the PostgreSQL engine has to show: batches over a network, several masters, servers that
//! die, connections that break in the middle of a COMMIT.

#![allow(clippy::unwrap_used, reason = "these are tests, helpers included")]

mod batches;
#[path = "../shared/calls.rs"]
mod calls;
mod commits;
mod crashes;
mod masters;
mod migrations;
mod support;
mod tls;
