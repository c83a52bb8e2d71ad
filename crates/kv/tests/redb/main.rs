//! What only the redb engine has to show: files, groups, crashes and storage errors.

#![allow(clippy::unwrap_used, reason = "these are tests, helpers included")]

#[path = "../shared/calls.rs"]
mod calls;
mod disk;
mod durability;
mod faults;
mod format;
mod groups;
mod journal;
mod support;
