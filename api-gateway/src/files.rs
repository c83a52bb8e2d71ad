//! What REST and gRPC are two faces of.

use crate::buckets::Buckets;
use crate::download::Downloads;
use crate::namespace::Namespace;
use crate::upload::Uploads;

/// What handlers work with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Files {
    /// Stores files.
    pub uploads: Uploads,
    /// Reads files.
    pub downloads: Downloads,
    /// Lists and deletes files.
    pub namespace: Namespace,
    /// Creates, shows, changes and deletes buckets.
    pub buckets: Buckets,
}
