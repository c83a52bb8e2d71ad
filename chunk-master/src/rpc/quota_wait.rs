//! Waiting for quota: a refusal that is only due to what other uploads have reserved is tried again when
//! one of them gives something back, for a short while.

use std::time::Duration;

use cairn_kv::TransactError;
use cairn_proto::WireError;
use tokio::sync::watch;

use crate::error::QuotaExceeded;
use crate::master::Master;

/// How long at most until the next try where other masters may give back: nobody tells of it.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// An operation's error that may be a refusal by quota.
pub(super) trait MaybeQuota: WireError {
    /// The refusal, when it is one.
    fn quota(&self) -> Option<&QuotaExceeded>;
}

/// The wait of one call.
pub(super) struct QuotaWait<'a> {
    master: &'a Master,
    freed: watch::Receiver<u64>,
    ends: Duration,
}

impl<'a> QuotaWait<'a> {
    /// Begins before the first try, so that nothing that is given back meanwhile is missed.
    pub(super) fn begin(master: &'a Master) -> Self {
        Self {
            master,
            freed: master.freed.subscribe(),
            ends: master.clock.monotonic() + master.config.quota_wait,
        }
    }

    /// Waits when that can help; true when the call is to try again.
    pub(super) async fn before_retry<E: MaybeQuota>(&mut self, error: &TransactError<E>) -> bool {
        let TransactError::Rejected(refused) = error else {
            return false;
        };
        let Some(quota) = refused.quota() else {
            return false;
        };
        let left = self.ends.saturating_sub(self.master.clock.monotonic());
        if quota.worth_waiting() && !left.is_zero() {
            let shared = self.master.kv.is_shared();
            let wait = if shared { left.min(LOOK_AGAIN) } else { left };
            match self.master.clock.timeout(wait, self.freed.changed()).await {
                Ok(Ok(())) => return true,
                Err(_elapsed) if shared => return true,
                Err(_) | Ok(Err(_)) => {}
            }
        }
        self.master.metrics.quota_refused.inc();
        false
    }
}
