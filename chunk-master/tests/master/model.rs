//! Random calls against a small model: the accounts equal the model after every step, and no limit is
//! ever passed by a byte.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::{
    Just, ProptestConfig, Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::test_runner::TestCaseError;

use cairn_chunk_master::Config;
use cairn_proto::{Reason, v1};

use crate::cluster::{Cluster, Upload, config};

const LIMIT: u64 = 20_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60 + 1);

#[derive(Debug, Clone)]
enum Step {
    Begin { bucket: bool, key: u8, length: u64, known: bool },
    Allocate { upload: usize, received: u64 },
    Write { upload: usize },
    Commit { upload: usize },
    Abort { upload: usize },
    Repeat { upload: usize },
    Delete { bucket: bool, key: u8 },
    Create,
    Remove { contents: bool },
    Expire,
    Purge,
    Sweep,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let upload = || 0_usize..12;
    let step = prop_oneof![
        6 => (prop::bool::ANY, 0_u8..3, 0_u64..9000, prop::bool::ANY)
            .prop_map(|(bucket, key, length, known)| Step::Begin { bucket, key, length, known }),
        2 => (upload(), 0_u64..9000)
            .prop_map(|(upload, received)| Step::Allocate { upload, received }),
        4 => upload().prop_map(|upload| Step::Write { upload }),
        4 => upload().prop_map(|upload| Step::Commit { upload }),
        2 => upload().prop_map(|upload| Step::Abort { upload }),
        1 => upload().prop_map(|upload| Step::Repeat { upload }),
        2 => (prop::bool::ANY, 0_u8..3).prop_map(|(bucket, key)| Step::Delete { bucket, key }),
        2 => Just(Step::Create),
        1 => prop::bool::ANY.prop_map(|contents| Step::Remove { contents }),
        1 => Just(Step::Expire),
        1 => Just(Step::Purge),
        1 => Just(Step::Sweep),
    ];
    prop::collection::vec(step, 1..40)
}

/// What the accounts should hold.
#[derive(Debug, Default)]
struct Model {
    /// All uploads that began; `None` once they are over.
    open: Vec<(Upload, Option<OpenModel>)>,
    /// By bucket and key.
    live: BTreeMap<(String, String), u64>,
    /// Buckets and lengths.
    condemned: Vec<(String, u64)>,
    /// Whether the second bucket is there, and whether it is being deleted.
    other: Other,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Other {
    #[default]
    Absent,
    Live,
    Deleting,
}

const OTHER: &str = "other";

fn name(other: bool) -> String {
    if other { OTHER.to_owned() } else { "default".to_owned() }
}

#[derive(Debug, Clone)]
struct OpenModel {
    bucket: String,
    key: String,
    length: u64,
    known: bool,
    reserved: u64,
    written: bool,
}

impl Model {
    fn at(&mut self, n: usize) -> Option<&mut (Upload, Option<OpenModel>)> {
        let count = self.open.len();
        if count == 0 { None } else { self.open.get_mut(n % count) }
    }

    fn check(&self, account: &v1::Account) -> Result<(), TestCaseError> {
        let scope = account.scope.clone().unwrap_or_default();
        let own = |bucket: &str| scope.kind() != v1::ScopeKind::Bucket || scope.name == bucket;
        let open: Vec<_> = self.open.iter().filter_map(|(_, open)| open.as_ref()).collect();
        let open: Vec<_> = open.iter().filter(|open| own(&open.bucket)).collect();
        let live = self.live.iter().filter(|((bucket, _), _)| own(bucket));
        let condemned = self.condemned.iter().filter(|(bucket, _)| own(bucket));
        let expected = [
            (live.clone().map(|(_, length)| length).sum::<u64>(), live.count()),
            (open.iter().map(|open| open.reserved).sum::<u64>(), open.len()),
            (condemned.clone().map(|(_, length)| length).sum::<u64>(), condemned.count()),
        ];
        let found = [
            (account.used_bytes, account.used_objects as usize),
            (account.reserved_bytes, account.reserved_objects as usize),
            (account.condemned_bytes, account.condemned_objects as usize),
        ];
        prop_assert!(found == expected, "{:?}: {found:?}, not {expected:?}", account.scope);
        prop_assert!(account.used_bytes + account.reserved_bytes <= LIMIT, "overshoot");
        Ok(())
    }

    fn expire(&mut self) {
        self.open.iter_mut().for_each(|(_, open)| *open = None);
    }

    fn can_be_used(&self, bucket: &str) -> bool {
        bucket != OTHER || self.other == Other::Live
    }

    fn holds_something(&self) -> bool {
        let other = |bucket: &str| bucket == OTHER;
        self.live.keys().any(|(bucket, _)| other(bucket))
            || self.condemned.iter().any(|(bucket, _)| other(bucket))
            || self.open.iter().any(|(_, o)| o.as_ref().is_some_and(|o| other(&o.bucket)))
    }

    /// A sweep gives up what is in a bucket that is being deleted: all is condemned, or gone.
    fn swept(&mut self) {
        if self.other != Other::Deleting {
            return;
        }
        for (_, open) in &mut self.open {
            open.take_if(|open| open.bucket == OTHER);
        }
        let condemned = &mut self.condemned;
        self.live.retain(|(bucket, _), length| {
            let stays = bucket != OTHER;
            if !stays {
                condemned.push((OTHER.to_owned(), *length));
            }
            stays
        });
    }
}

async fn create(cluster: &mut Cluster, model: &mut Model) -> Result<(), TestCaseError> {
    let settings = v1::BucketSettings { quota_bytes: Some(LIMIT), ..Default::default() };
    let made = cluster.make_bucket(OTHER, settings).await;
    prop_assert!(made.is_ok() == (model.other == Other::Absent), "{made:?}");
    if made.is_ok() {
        model.other = Other::Live;
    }
    Ok(())
}

async fn remove(
    cluster: &mut Cluster,
    model: &mut Model,
    contents: bool,
) -> Result<(), TestCaseError> {
    let removed = cluster.remove_bucket(OTHER, contents).await.map_err(|error| error.reason);
    let (expected, then) = match model.other {
        Other::Absent => (Err(Reason::BucketNotFound), Other::Absent),
        Other::Deleting => (Ok(false), Other::Deleting),
        Other::Live if !model.holds_something() => (Ok(true), Other::Absent),
        Other::Live if contents => (Ok(false), Other::Deleting),
        Other::Live => (Err(Reason::BucketNotEmpty), Other::Live),
    };
    prop_assert_eq!(removed, expected);
    model.other = then;
    Ok(())
}

/// Sweeps, and sees whether a bucket that was being deleted is gone by now.
async fn sweep(cluster: &mut Cluster, model: &mut Model) -> Result<(), TestCaseError> {
    let report = cluster.sweep().await;
    model.swept();
    // What was condemned longer than a second ago is purged; the clock stands still but for the steps that move it.
    let shown = cluster.stat_bucket(OTHER).await;
    if report.versions_purged > 0 && model.other == Other::Deleting {
        model.condemned.retain(|(bucket, _)| bucket != OTHER);
    }
    if report.buckets_removed > 0 {
        prop_assert!(model.other == Other::Deleting && !model.holds_something(), "{model:?}");
        model.other = Other::Absent;
    }
    prop_assert_eq!(shown.is_ok(), model.other != Other::Absent);
    Ok(())
}

async fn begin(
    cluster: &mut Cluster,
    model: &mut Model,
    (bucket, key): (String, String),
    length: u64,
    known: bool,
) -> Result<(), TestCaseError> {
    let mut request = cluster.begin_request(&key, known.then_some(length));
    request.received = if known { 0 } else { length / 2 };
    request.bucket.clone_from(&bucket);
    match cluster.begin_with(request).await {
        Ok(upload) => {
            prop_assert!(model.can_be_used(&bucket), "begun in {bucket}");
            let reserved = upload.reserved;
            let open = OpenModel { bucket, key, length, known, reserved, written: false };
            model.open.push((upload, Some(open)));
        }
        Err(error) => {
            let not_there = error.reason == Reason::BucketNotFound;
            prop_assert_eq!(not_there, !model.can_be_used(&bucket), "{}", error);
        }
    }
    Ok(())
}

async fn commit(cluster: &mut Cluster, model: &mut Model, n: usize) -> Result<(), TestCaseError> {
    let Some((upload, open)) = model.at(n).map(|(upload, open)| (upload.clone(), open.clone()))
    else {
        return Ok(());
    };
    let Some(now) = open else {
        let _answer_of_a_finished_one = cluster.commit(&upload, 0).await;
        return Ok(());
    };
    let complete = now.written || now.length == 0;
    let fits = now.known || now.length <= now.reserved;
    let done = cluster.commit(&upload, now.length).await;
    let there = model.can_be_used(&now.bucket);
    prop_assert!(done.is_ok() == (complete && fits && there), "{done:?} for {now:?}");
    if done.is_ok() {
        if let Some((_, open)) = model.at(n) {
            *open = None;
        }
        let OpenModel { bucket, key, length, .. } = now;
        let replaced = model.live.insert((bucket.clone(), key), length);
        model.condemned.extend(replaced.map(|length| (bucket, length)));
    }
    Ok(())
}

async fn play(cluster: &mut Cluster, model: &mut Model, step: Step) -> Result<(), TestCaseError> {
    match step {
        Step::Begin { bucket, key, length, known } => {
            let place = (name(bucket), format!("k{key}"));
            begin(cluster, model, place, length, known).await?;
        }
        Step::Create => create(cluster, model).await?,
        Step::Remove { contents } => remove(cluster, model, contents).await?,
        Step::Allocate { upload, received } => {
            if let Some((upload, open)) = model.at(upload) {
                let answer = cluster.allocate(upload, received, &[0]).await;
                if let (Ok(answer), Some(open)) = (answer, open) {
                    prop_assert!(answer.reserved >= received.max(open.reserved) || open.known);
                    open.reserved = answer.reserved;
                }
            }
        }
        Step::Write { upload } => {
            if let Some((upload, Some(open))) = model.at(upload) {
                let receipts = cluster.write(upload, open.length).await;
                prop_assert!(receipts.is_ok(), "{receipts:?}");
                open.written = true;
            }
        }
        Step::Commit { upload } => commit(cluster, model, upload).await?,
        Step::Abort { upload } => {
            if let Some((upload, open)) = model.at(upload) {
                let _refused_when_committed = cluster.abort(upload).await;
                *open = None;
            }
        }
        Step::Repeat { upload } => {
            if let Some((upload, open)) = model.at(upload) {
                let mut request = cluster.begin_request("k0", None);
                request.upload_id = upload.id.clone();
                let same = open.as_ref().is_some_and(|open| {
                    open.bucket == "default" && open.key == "k0" && !open.known
                });
                prop_assert!(cluster.begin_with(request).await.is_ok() == same);
            }
        }
        Step::Delete { bucket, key } => {
            let (bucket, key) = (name(bucket), format!("k{key}"));
            let deleted = cluster.delete_in(&bucket, &key).await;
            let there = model.can_be_used(&bucket);
            let place = (bucket.clone(), key);
            prop_assert!(deleted.is_ok() == (there && model.live.contains_key(&place)));
            if there {
                let length = model.live.remove(&place);
                model.condemned.extend(length.map(|length| (bucket, length)));
            }
        }
        Step::Expire => {
            cluster.pass_time(Duration::from_secs(61)).await;
            model.expire();
            sweep(cluster, model).await?;
        }
        Step::Purge => {
            cluster.pass_time(DAY).await;
            model.expire();
            model.condemned.clear();
            model.open.clear();
            sweep(cluster, model).await?;
        }
        Step::Sweep => sweep(cluster, model).await?,
    }
    Ok(())
}

async fn run(config: Config, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut cluster = Cluster::with(config, &["a", "b"]).await;
    for kind in [v1::ScopeKind::Tenant, v1::ScopeKind::User, v1::ScopeKind::Bucket] {
        cluster.limit(kind, LIMIT, None).await;
    }
    let mut model = Model::default();
    for step in steps {
        play(&mut cluster, &mut model, step.clone()).await?;
        for account in cluster.usage().await {
            model.check(&account).map_err(|e| TestCaseError::fail(format!("{step:?}: {e}")))?;
        }
        let audit = cluster.audit().await;
        prop_assert!(audit.differences.is_empty(), "{step:?}: {:?}", audit.differences);
        prop_assert_eq!(audit.versions as usize, model.live.len() + model.condemned.len());
    }
    cluster.pass_time(DAY).await;
    for (bucket, key) in model.live.keys().filter(|(bucket, _)| model.can_be_used(bucket)) {
        cluster.delete_in(bucket, key).await.unwrap();
    }
    for _ in 0..3 {
        cluster.pass_time(DAY).await;
        cluster.sweep().await;
    }
    let chunks: usize = cluster.nodes.iter().map(|n| n.state.lock().unwrap().chunks.len()).sum();
    prop_assert!(chunks == 0, "{chunks} chunks are left of nothing");
    let empty = |a: &v1::Account| a.used_bytes + a.reserved_bytes + a.condemned_bytes == 0;
    prop_assert!(cluster.usage().await.iter().all(empty), "the accounts end at zero");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_accounts_equal_the_model_after_every_step(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(run(config(), steps))?;
    }
}

#[cfg(feature = "seeded-bugs")]
#[tokio::test(start_paused = true)]
async fn the_audit_finds_what_a_step_forgot_to_give_back() {
    let seeded_bug = Some(cairn_chunk_master::SeededBug::SkipRelease);
    let mut cluster = Cluster::with(Config { seeded_bug, ..config() }, &["a", "b"]).await;
    let upload = cluster.begin("a", Some(10)).await.unwrap();
    assert_eq!(cluster.audit().await.differences, []);
    cluster.abort(&upload).await.unwrap();
    let [difference] = &cluster.audit().await.differences[..] else { panic!("one difference") };
    assert_eq!(difference.pot(), v1::UsagePot::Reserved);
    assert_eq!((difference.counted_bytes, difference.summed_bytes), (10, 0));
    let scope = difference.scope.as_ref().map(v1::Scope::kind);
    assert_eq!(scope, Some(v1::ScopeKind::Bucket), "the account that was forgotten");
}

#[cfg(feature = "seeded-bugs")]
#[tokio::test(start_paused = true)]
async fn the_model_finds_the_seeded_bug() {
    let seeded_bug = Some(cairn_chunk_master::SeededBug::SkipRelease);
    let begin = Step::Begin { bucket: false, key: 0, length: 10, known: true };
    let steps = vec![begin, Step::Abort { upload: 0 }];
    assert!(run(Config { seeded_bug, ..config() }, steps.clone()).await.is_err());
    assert!(run(config(), steps).await.is_ok());
}
