//! What the cases share: the engines, a runtime, and a business error.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use cairn_kv::simulated::SimulatedStore;
use cairn_kv::{
    AccessError, Direction, Durability, KeyRange, Kv, PostgresConfig, Read, RedbConfig,
};
use cairn_runtime::{Clock, Entropy};
use cairn_test_postgres::Server;
use redb::backends::InMemoryBackend;
use tokio::runtime::Builder;

/// An engine under test.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Engine {
    Memory,
    Redb,
    Postgres,
    Simulated,
}

impl Engine {
    /// An empty store; none, said loudly, where the engine cannot run.
    pub(crate) fn open(self) -> Option<Kv> {
        match self {
            Engine::Memory => Some(Kv::memory()),
            // No faults, and no pauses either: nothing is chosen.
            Engine::Simulated => Some(SimulatedStore::new(|_| 0).open()),
            Engine::Redb => {
                Some(Kv::redb_on(|| Ok(InMemoryBackend::new()), RedbConfig::default()).unwrap())
            }
            Engine::Postgres => Some(postgres(Server::shared()?)),
        }
    }
}

/// A store in a schema of its own.
fn postgres(server: &Server) -> Kv {
    static DATABASE: OnceLock<String> = OnceLock::new();
    static STORES: AtomicU32 = AtomicU32::new(0);
    let url = DATABASE.get_or_init(|| server.new_database());
    let mut config = PostgresConfig::new(url, None).unwrap();
    config.schema = format!("store{}", STORES.fetch_add(1, Ordering::Relaxed));
    Kv::postgres(config, Clock::system(), Entropy::from_system().unwrap()).unwrap()
}

/// Why a closure of these tests says no.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum No {
    #[error("no")]
    OnPrinciple,
    #[error(transparent)]
    Access(#[from] AccessError),
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    Builder::new_multi_thread().worker_threads(2).build().unwrap().block_on(future)
}

/// Writes entries in one transaction.
pub(crate) async fn put_all<const N: usize>(kv: &Kv, entries: [(&'static str, &'static str); N]) {
    kv.transact(Durability::Buffered, move |txn| {
        entries.iter().try_for_each(|(key, value)| txn.put(*key, *value))
    })
    .await
    .unwrap();
}

/// Everything in the store.
pub(crate) async fn contents(kv: &Kv) -> Vec<(String, String)> {
    kv.view(|snapshot| texts(snapshot, &KeyRange::all(), usize::MAX, Direction::Forward))
        .await
        .unwrap()
}

/// A scan, readable.
pub(crate) fn texts(
    reader: &impl Read,
    range: &KeyRange,
    limit: usize,
    direction: Direction,
) -> Result<Vec<(String, String)>, AccessError> {
    let entries = reader.scan(range, limit, direction)?;
    Ok(entries.into_iter().map(|(key, value)| (text(&key), text(&value))).collect())
}

/// The keys of a scan, one after the other.
pub(crate) fn keys(
    reader: &impl Read,
    range: &KeyRange,
    limit: usize,
    direction: Direction,
) -> Result<String, AccessError> {
    let entries = reader.scan(range, limit, direction)?;
    Ok(entries.iter().map(|(key, _)| text(key)).collect::<Vec<_>>().join(" "))
}

pub(crate) fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `contents` as an expectation.
pub(crate) fn entries<const N: usize>(entries: [(&str, &str); N]) -> Vec<(String, String)> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
