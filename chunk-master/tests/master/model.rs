//! Random calls against a small model: the accounts equal the model after every step, and no limit is
//! ever passed by a byte.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::{Just, ProptestConfig, Strategy, prop, prop_assert, prop_oneof, proptest};
use proptest::test_runner::TestCaseError;

use cairn_chunk_master::Config;
use cairn_proto::v1;

use crate::cluster::{Cluster, Upload, config};

const LIMIT: u64 = 20_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60 + 1);

#[derive(Debug, Clone)]
enum Step {
    Begin { key: u8, length: u64, known: bool },
    Allocate { upload: usize, received: u64 },
    Write { upload: usize },
    Commit { upload: usize },
    Abort { upload: usize },
    Repeat { upload: usize },
    Delete { key: u8 },
    Expire,
    Purge,
    Sweep,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let upload = || 0_usize..12;
    let step = prop_oneof![
        4 => (0_u8..3, 0_u64..9000, prop::bool::ANY)
            .prop_map(|(key, length, known)| Step::Begin { key, length, known }),
        2 => (upload(), 0_u64..9000)
            .prop_map(|(upload, received)| Step::Allocate { upload, received }),
        4 => upload().prop_map(|upload| Step::Write { upload }),
        4 => upload().prop_map(|upload| Step::Commit { upload }),
        2 => upload().prop_map(|upload| Step::Abort { upload }),
        1 => upload().prop_map(|upload| Step::Repeat { upload }),
        2 => (0_u8..3).prop_map(|key| Step::Delete { key }),
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
    live: BTreeMap<String, u64>,
    condemned: Vec<u64>,
}

#[derive(Debug, Clone)]
struct OpenModel {
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
        let open: Vec<_> = self.open.iter().filter_map(|(_, open)| open.as_ref()).collect();
        let expected = [
            (self.live.values().sum(), self.live.len()),
            (open.iter().map(|open| open.reserved).sum::<u64>(), open.len()),
            (self.condemned.iter().sum(), self.condemned.len()),
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
}

async fn begin(cluster: &mut Cluster, model: &mut Model, key: String, length: u64, known: bool) {
    let mut request = cluster.begin_request(&key, known.then_some(length));
    request.received = if known { 0 } else { length / 2 };
    if let Ok(upload) = cluster.begin_with(request).await {
        let reserved = upload.reserved;
        let open = OpenModel { key, length, known, reserved, written: false };
        model.open.push((upload, Some(open)));
    }
}

async fn commit(cluster: &mut Cluster, model: &mut Model, n: usize) -> Result<(), TestCaseError> {
    let Some((upload, open)) = model.at(n) else { return Ok(()) };
    let Some(now) = open.clone() else {
        let _answer_of_a_finished_one = cluster.commit(upload, 0).await;
        return Ok(());
    };
    let complete = now.written || now.length == 0;
    let fits = now.known || now.length <= now.reserved;
    let done = cluster.commit(upload, now.length).await;
    prop_assert!(done.is_ok() == (complete && fits), "{done:?} for {now:?}");
    if done.is_ok() {
        *open = None;
        let replaced = model.live.insert(now.key, now.length);
        model.condemned.extend(replaced);
    }
    Ok(())
}

async fn play(cluster: &mut Cluster, model: &mut Model, step: Step) -> Result<(), TestCaseError> {
    match step {
        Step::Begin { key, length, known } => {
            begin(cluster, model, format!("k{key}"), length, known).await;
        }
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
                let same = open.as_ref().is_some_and(|open| open.key == "k0" && !open.known);
                prop_assert!(cluster.begin_with(request).await.is_ok() == same);
            }
        }
        Step::Delete { key } => {
            let key = format!("k{key}");
            let deleted = cluster.delete(&key).await;
            prop_assert!(deleted.is_ok() == model.live.contains_key(&key));
            model.condemned.extend(model.live.remove(&key));
        }
        Step::Expire => {
            cluster.pass_time(Duration::from_secs(61)).await;
            cluster.sweep().await;
            model.expire();
        }
        Step::Purge => {
            cluster.pass_time(DAY).await;
            cluster.sweep().await;
            model.expire();
            model.condemned.clear();
            model.open.clear();
        }
        Step::Sweep => drop(cluster.sweep().await),
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
    }
    cluster.pass_time(DAY).await;
    for key in model.live.keys() {
        cluster.delete(key).await.unwrap();
    }
    cluster.pass_time(DAY).await;
    cluster.sweep().await;
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
async fn the_model_finds_the_seeded_bug() {
    let seeded_bug = Some(cairn_chunk_master::SeededBug::SkipRelease);
    let begin = Step::Begin { key: 0, length: 10, known: true };
    let steps = vec![begin, Step::Abort { upload: 0 }];
    assert!(run(Config { seeded_bug, ..config() }, steps.clone()).await.is_err());
    assert!(run(config(), steps).await.is_ok());
}
