//! Black box: the real binary, real sockets, real folders. The titles read as a specification.
//!
//! ```text
//! harness   processes, clients, reproducible content, what the catalog and the nodes hold
//! themes    files · buckets · table · races · gateways · quota · cuts · faults · wrong_input · mutations ·
//!           placement · start_up · strategies · hedging · tiers ·
//!           postgres · python · openapi · operations
//! large     gigabytes and hundreds of faults, on request: `cargo xtask show`
//! ```

#![allow(
    clippy::disallowed_methods,
    reason = "a test drives real processes in real time; no clock is passed in from anywhere"
)]
#![allow(clippy::print_stderr, reason = "a failed test shows what its processes said")]

mod buckets;
mod cuts;
mod faults;
mod files;
mod gateways;
mod harness;
mod hedging;
mod large;
mod masters;
mod mutations;
mod openapi;
mod operations;
mod placement;
mod postgres;
mod python;
mod quota;
mod races;
mod start_up;
mod strategies;
mod table;
mod tiers;
mod wrong_input;
