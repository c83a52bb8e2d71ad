//! The command line as people and scripts use it: the real binary against a real `cairn up`. The titles read as a
//! specification of `docs/cli.md`.
//!
//! ```text
//! command ─► proxy (some tests: stalls, flips a byte) ─► cairn up
//! ```

#![allow(
    clippy::disallowed_methods,
    reason = "a test drives real processes in real time; no clock is passed in from anywhere"
)]
#![allow(clippy::print_stderr, reason = "a failed test shows what its processes said")]

mod admin;
mod buckets;
mod files;
mod harness;
mod interrupted;
mod meta;
mod proxy;
mod refusals;
