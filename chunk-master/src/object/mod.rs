//! Objects: finding, listing, locating and deleting versions.

pub(crate) mod condemn;
pub(crate) mod delete;
pub(crate) mod head;
pub(crate) mod list;
pub(crate) mod locate;
pub(crate) mod reads;
pub(crate) mod report;
pub(crate) mod undelete;
