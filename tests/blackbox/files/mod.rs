//! Files in, files out, over REST.

mod chunking;
mod conditions;
mod digests;
mod listing;
mod memory;
mod meta;
mod names;
mod ranges;
mod resume;
mod sizes;
