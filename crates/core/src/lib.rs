//! Pure rules of Cairn: ids and names, chunking, digests, quota arithmetic, placement, lifecycles.
//!
//! Nothing here does I/O, spawns, reads a clock or draws randomness: facts come in as values and
//! decisions go out as values, so that the simulation and production share every rule.
//!
//! The words follow the glossary in `ARCHITECTURE.md`: tenant › user › bucket › object › version ›
//! blob › chunk › copy.

pub mod backup;
pub mod bucket;
pub mod chunking;
pub mod copies;
pub mod digest;
pub mod doubt;
pub mod ids;
pub mod journal;
pub mod lengths;
pub mod lifecycle;
pub mod liveness;
pub mod mend;
pub mod names;
pub mod object;
pub mod placement;
pub mod quota;
pub mod range;
pub mod room;
pub mod sealed;
pub mod strategy;
