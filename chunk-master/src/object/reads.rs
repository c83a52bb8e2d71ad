//! Read leases: what is being read is not purged under its reader.
//!
//! ```text
//! the version has a name    nothing is written: condemned, it waits for longer than a lease lasts
//! it is condemned           a record, which the purge reads in the transaction in which it purges
//! ```
//!
//! So leases hold whichever master gave them, and cost a write only where somebody reads what is condemned.

use cairn_kv::{Read, Txn};

use super::head::LookupError;
use super::locate::{Locate, LocatedPage, locate};
use crate::catalog::{ReadLease, VersionKey, record};
use crate::error::CatalogError;

/// The moment of a call that takes a lease.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lasts {
    /// Steady time.
    pub(crate) now_ms: u64,
    pub(crate) lease_ms: u64,
}

impl Lasts {
    /// What is left of a lease that lasts for so long that it need not be written again: half of its time.
    fn enough(&self, lease: &ReadLease) -> Option<u64> {
        let left_ms = lease.until_ms.saturating_sub(self.now_ms);
        (left_ms >= self.lease_ms / 2).then_some(left_ms)
    }
}

/// Looks a condemned version up once more and takes a lease on it, or shares one that lasts still; how long it lasts.
pub(crate) fn hold(
    txn: &mut Txn<'_>,
    request: &Locate,
    lasts: Lasts,
) -> Result<(LocatedPage, u64), LookupError> {
    let page = locate(txn, request)?;
    let key = VersionKey { tenant: request.bucket.tenant.clone(), version: page.object.version };
    let lease = record::get::<ReadLease>(txn, &key)?;
    if let Some(left_ms) = lease.and_then(|lease| lasts.enough(&lease)) {
        return Ok((page, left_ms));
    }
    let until_ms = lasts.now_ms.saturating_add(lasts.lease_ms);
    record::put(txn, &key, &ReadLease { until_ms })?;
    Ok((page, lasts.lease_ms))
}

/// Whether somebody may be reading a condemned version at `now_ms`, in steady time.
pub(crate) fn is_read(
    read: &impl Read,
    key: &VersionKey,
    now_ms: u64,
) -> Result<bool, CatalogError> {
    let lease = record::get::<ReadLease>(read, key)?;
    Ok(lease.is_some_and(|lease| lease.until_ms > now_ms))
}
