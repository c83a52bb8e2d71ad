//! A read of a key whose upload is open waits for the end of it.
//!
//! The gateway looks again and again rather than have the master keep it waiting: masters come and go, and whoever has begun
//! a wait and leaves must leave nothing behind.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use cairn_core::ids::UploadId;
use cairn_core::names::{BucketName, ObjectKey};
use cairn_proto::v1::master_client::MasterClient;
use cairn_proto::{Reason, WireError, convert, v1};
use cairn_runtime::{Backoff, Clock, Entropy, PeerChannel};

use super::{DownloadError, Located};
use crate::master::{CallContext, Master};

/// Longest wait, in seconds.
pub const MAX_WAIT_SECONDS: u32 = 60;
/// Reads of a gateway that may wait; one more is answered with 503.
pub(super) const MAX_WAITING: usize = 1024;
/// First pause between looks.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Longest pause between looks: what a wait may end too late.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// For how long, and for what a read waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// At most this long.
    pub time: Duration,
    /// Also when the file exists: until the uploads are over that are open when the wait begins.
    pub replaced: bool,
}

/// A wait that nobody may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "use a number of seconds from 1 to {MAX_WAIT_SECONDS}, and `; replaced` behind it to wait for a replacement too"
)]
pub struct InvalidWait;

impl Wait {
    /// A wait of that many seconds.
    ///
    /// # Errors
    /// [`InvalidWait`] for more than [`MAX_WAIT_SECONDS`], and for none.
    pub fn new(seconds: u32, replaced: bool) -> Result<Self, InvalidWait> {
        let fits = (1..=MAX_WAIT_SECONDS).contains(&seconds);
        let time = Duration::from_secs(seconds.into());
        if fits { Ok(Self { time, replaced }) } else { Err(InvalidWait) }
    }
}

impl FromStr for Wait {
    type Err = InvalidWait;

    /// The form of the header `Cairn-Wait`.
    fn from_str(text: &str) -> Result<Self, InvalidWait> {
        let (seconds, replaced) = match text.split_once(';') {
            None => (text, false),
            Some((seconds, word)) if word.trim() == "replaced" => (seconds, true),
            Some(_) => return Err(InvalidWait),
        };
        Self::new(seconds.trim().parse().map_err(|_| InvalidWait)?, replaced)
    }
}

/// Looks with `locate` until there is an answer that is worth giving.
pub(super) async fn until_over<P, L>(
    wait: Wait,
    (clock, entropy): (&Clock, &Entropy),
    pending: impl Fn() -> P,
    locate: impl Fn() -> L,
) -> Result<Located, DownloadError>
where
    P: Future<Output = Result<BTreeSet<UploadId>, DownloadError>>,
    L: Future<Output = Result<Located, DownloadError>>,
{
    let ends = clock.monotonic() + wait.time;
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut at_first = None;
    loop {
        // In this order: what is committed between the two is found.
        let open = pending().await?;
        let at_first: &BTreeSet<_> = at_first.get_or_insert_with(|| open.clone());
        let located = locate().await;
        let to_come = match &located {
            Ok(_) => wait.replaced && !at_first.is_disjoint(&open),
            Err(error) => error.reason() == Reason::ObjectNotFound && !open.is_empty(),
        };
        let left = ends.saturating_sub(clock.monotonic());
        if !to_come || left.is_zero() {
            return located;
        }
        clock.sleep(backoff.next(entropy).min(left)).await;
    }
}

/// The uploads of a key that are open.
pub(super) async fn pending(
    master: &Master,
    context: &CallContext,
    bucket: &BucketName,
    key: &ObjectKey,
) -> Result<BTreeSet<UploadId>, DownloadError> {
    let request = v1::PendingUploadsRequest {
        principal: Some(context.principal()),
        bucket: bucket.to_string(),
        key: key.to_string(),
    };
    let call = |mut client: MasterClient<PeerChannel>, request| async move {
        client.pending_uploads(request).await
    };
    let answer = master.call(context, request, call).await?;
    let each = answer.upload_ids.iter().map(|id| convert::upload_id(id));
    Ok(each.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use cairn_core::object::{ObjectInfo, VersionId};
    use cairn_proto::RemoteError;
    use cairn_proto::error::refuse;
    use uuid::Uuid;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn absent() -> DownloadError {
        RemoteError::from(refuse(Reason::ObjectNotFound, false, "")).into()
    }

    fn there(version: u128) -> Located {
        let object = ObjectInfo {
            bucket: BucketName::standard(),
            key: ObjectKey::new("k").expect("a key"),
            version: VersionId::from_uuid(Uuid::from_u128(version)),
            length: 0,
            committed_ms: 0,
            etag: String::new(),
            sha256: None,
            root: cairn_core::digest::FileRoot([0; 32]),
            chunks: None,
            meta: Default::default(),
        };
        let (chunks, lease) = (Vec::new(), Duration::ZERO);
        Located { object, chunks, next_offset: None, lease, read: None }
    }

    /// Uploads 1 … n are open from one time to another; a version is there from a time on.
    struct Key {
        clock: Clock,
        uploads: Vec<(Duration, Duration)>,
        versions: Vec<Duration>,
        looks: Cell<usize>,
    }

    impl Key {
        fn new(uploads: &[(u64, u64)], versions: &[u64]) -> Self {
            Self {
                clock: Clock::system(),
                uploads: uploads.iter().map(|(from, to)| (MS(*from), MS(*to))).collect(),
                versions: versions.iter().map(|at| MS(*at)).collect(),
                looks: Cell::new(0),
            }
        }

        async fn read(&self, wait: Wait) -> (Option<u128>, Duration) {
            let now = || self.clock.monotonic();
            let pending = || {
                self.looks.set(self.looks.get() + 1);
                let open = |(_, (from, to)): &(usize, &(Duration, Duration))| {
                    (*from..*to).contains(&now())
                };
                let id = |(n, _)| UploadId::from_uuid(Uuid::from_u128(n as u128));
                std::future::ready(Ok(self
                    .uploads
                    .iter()
                    .enumerate()
                    .filter(open)
                    .map(id)
                    .collect()))
            };
            let locate = || {
                let versions = self.versions.iter().filter(|at| **at <= now()).count();
                std::future::ready(match versions {
                    0 => Err(absent()),
                    nth => Ok(there(nth as u128)),
                })
            };
            let entropy = Entropy::seeded(1);
            let located = until_over(wait, (&self.clock, &entropy), pending, locate).await;
            let version = located.ok().map(|located| located.object.version);
            (version.map(|version| u128::from_be_bytes(*version.as_bytes())), now())
        }
    }

    fn wait(seconds: u32) -> Wait {
        Wait::new(seconds, false).expect("not long")
    }

    /// Ends soon after `at`.
    fn soon_after(ended: Duration, at: u64) -> bool {
        (MS(at)..=MS(at) + LONGEST_PAUSE).contains(&ended)
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_waits_for_the_commit() {
        let key = Key::new(&[(0, 3000)], &[3000]);
        let (version, ended) = key.read(wait(30)).await;
        assert_eq!(version, Some(1));
        assert!(soon_after(ended, 3000), "{ended:?}");
        assert!(key.looks.get() < 20, "{} looks", key.looks.get());
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_waits_for_the_abort_and_for_the_upload_behind_it() {
        let (version, ended) = Key::new(&[(0, 3000)], &[]).read(wait(30)).await;
        assert_eq!(version, None);
        assert!(soon_after(ended, 3000), "{ended:?}");
        let (version, ended) = Key::new(&[(0, 3000), (2000, 5000)], &[5000]).read(wait(30)).await;
        assert_eq!(version, Some(1));
        assert!(soon_after(ended, 5000), "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_its_time_and_without_an_upload_there_is_none() {
        let (version, ended) = Key::new(&[(0, 90_000)], &[]).read(wait(2)).await;
        assert_eq!((version, ended), (None, MS(2000)));
        let key = Key::new(&[], &[]);
        assert_eq!(key.read(wait(2)).await, (None, MS(0)));
        assert_eq!(key.looks.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_there_is_waited_for_only_where_that_was_asked() {
        let key = || Key::new(&[(0, 3000), (1000, 90_000)], &[0, 3000]);
        assert_eq!(key().read(wait(30)).await, (Some(1), MS(0)));
        let (version, ended) = key().read(Wait { replaced: true, ..wait(30) }).await;
        assert_eq!(version, Some(2));
        assert!(soon_after(ended, 3000), "what began later is not waited for: {ended:?}");
    }

    #[test]
    fn a_wait_has_a_bound_and_one_word() {
        assert_eq!("30".parse(), Ok(wait(30)));
        assert_eq!("60; replaced".parse(), Ok(Wait { replaced: true, ..wait(60) }));
        for wrong in ["", "0", "61", "30s", "-1", "30;", "30; any", "replaced", "1e1"] {
            assert_eq!(wrong.parse::<Wait>(), Err(InvalidWait), "{wrong}");
        }
    }
}
