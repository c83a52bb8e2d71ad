//! Storage nodes: who they are, how they are, and how they are called.

mod membership;
mod peers;
mod registry;

pub(crate) use membership::{Left, MembershipError, is_empty, left, pages_of, remove, set};
pub(crate) use peers::{Deleted, Peers, Unreached};
pub(crate) use registry::{
    Directory, DiskView, Fullness, NodeView, Placed, Placement, Registry, Report, Spread, TierView,
    places,
};
