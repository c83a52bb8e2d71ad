//! Processes die while they work.

pub(crate) mod all_killed;
pub(crate) mod disk;
mod disks;
pub(crate) mod download;
pub(crate) mod fsck;
pub(crate) mod garbage;
pub(crate) mod machines;
pub(crate) mod master_killed;
pub(crate) mod master_lost;
mod membership;
pub(crate) mod node_folder;
pub(crate) mod node_killed;
mod repair;
mod scrub;
