//! Storage nodes: who they are, how they are, and how they are called.

mod peers;
mod registry;

pub(crate) use peers::{Peers, Unreached};
pub(crate) use registry::{
    Directory, DiskView, Fullness, NodeView, Placed, Placement, Registry, Report, Spread, TierView,
    places,
};
