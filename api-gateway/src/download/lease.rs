//! Keeps the read lease of a download that lasts.

use std::time::Duration;

use cairn_core::object::ObjectInfo;
use cairn_core::range::ByteRange;
use cairn_runtime::{Clock, Owned, Spawner};

use super::locate::{What, locate};
use crate::master::{CallContext, Master};

/// A master that gives shorter leases than this is not taken at its word.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);

/// Asks again where the version lies, a few times within each lease, until it is dropped.
#[derive(Debug)]
pub(super) struct Lease(#[expect(dead_code, reason = "held for its drop")] Owned<()>);

impl Lease {
    pub(super) fn keep(
        spawner: &Spawner,
        clock: Clock,
        master: Master,
        context: CallContext,
        object: ObjectInfo,
        lease: Duration,
    ) -> Self {
        let pause = lease.max(SHORTEST_LEASE) / 3;
        Self(Owned::new(spawner.spawn(async move {
            loop {
                clock.sleep(pause).await;
                let (bucket, key) = (&object.bucket, &object.key);
                let what = What { bucket, key, version: Some(object.version) };
                let one_byte = ByteRange { offset: 0, length: 1 };
                if let Err(error) = locate(&master, &context, what, one_byte).await {
                    tracing::warn!(version = %object.version, %error, "read lease not renewed");
                }
            }
        })))
    }
}
