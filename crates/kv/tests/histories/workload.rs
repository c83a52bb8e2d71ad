//! Random transactions on few keys, from several tasks at once, written down as they saw it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use cairn_kv::{AccessError, Durability, Kv, Read};
use cairn_runtime::Entropy;
use tokio::task::JoinSet;

use crate::checker::{Done, Key, Version};

/// How many keys there are: few, so that transactions meet.
const KEYS: u64 = 4;

/// Who writes what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writers {
    /// Everyone may write everything.
    Mixed,
    /// Each store handle writes keys of its own and reads all: nothing is ever replaced by both.
    Apart,
}

#[derive(Debug, Default)]
struct Counters {
    transactions: AtomicU32,
    ticks: AtomicU64,
}

/// What one transaction will do.
#[derive(Clone, Debug)]
struct Plan {
    number: u32,
    reads: Vec<Key>,
    writes: Vec<Key>,
    durability: Durability,
    is_view: bool,
}

/// Runs `tasks` tasks with `rounds` transactions each, in turns on the stores, which are handles of
/// the same one. Every transaction must succeed.
pub(crate) async fn run(
    stores: &[Kv],
    seed: u64,
    tasks: u64,
    rounds: u32,
    writers: Writers,
) -> Vec<Done> {
    let counters = Arc::new(Counters::default());
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let place = usize::try_from(task).unwrap() % stores.len();
        let (store, counters) = (stores[place].clone(), counters.clone());
        let entropy = Entropy::seeded(seed.wrapping_mul(1000) + task);
        running.spawn(async move {
            let mut done = Vec::new();
            for _ in 0..rounds {
                let number = counters.transactions.fetch_add(1, Ordering::Relaxed) + 1;
                let plan = plan(&entropy, number, writers, place);
                done.push(carry_out(&store, &counters, plan).await);
            }
            done
        });
    }
    running.join_all().await.into_iter().flatten().collect()
}

fn plan(entropy: &Entropy, number: u32, writers: Writers, place: usize) -> Plan {
    let some = || {
        let bits = entropy.below(1 << KEYS);
        (0..KEYS).filter(move |key| bits & (1 << key) != 0).map(|key| u8::try_from(key).unwrap())
    };
    let may_write = |key: &Key| writers == Writers::Mixed || usize::from(*key) % 2 == place;
    let is_view = entropy.below(4) == 0;
    let mut writes: Vec<Key> = some().filter(may_write).collect();
    if is_view {
        writes.clear();
    }
    let durability = if entropy.below(2) == 0 { Durability::Synced } else { Durability::Buffered };
    Plan { number, reads: some().collect(), writes, durability, is_view }
}

async fn carry_out(store: &Kv, counters: &Counters, plan: Plan) -> Done {
    let mut done = Done { number: plan.number, writes: plan.writes.clone(), ..Done::default() };
    done.asked = counters.ticks.fetch_add(1, Ordering::SeqCst);
    done.reads = if plan.is_view {
        store.view(move |snapshot| read(snapshot, &plan)).await.expect("a view")
    } else {
        let durability = plan.durability;
        let transaction = move |txn: &mut cairn_kv::Txn<'_>| {
            let seen = read(txn, &plan)?;
            for key in &plan.writes {
                txn.put(vec![*key], plan.number.to_string())?;
            }
            Ok::<_, AccessError>(seen)
        };
        store.transact(durability, transaction).await.expect("a transaction")
    };
    done.answered = counters.ticks.fetch_add(1, Ordering::SeqCst);
    done
}

/// Reads one key after the other, those that will be written included.
fn read(reader: &impl Read, plan: &Plan) -> Result<BTreeMap<Key, Version>, AccessError> {
    let mut seen = BTreeMap::new();
    for key in plan.reads.iter().chain(&plan.writes) {
        let value = reader.get(&[*key])?;
        seen.insert(*key, value.map(|digits| String::from_utf8_lossy(&digits).parse().unwrap()));
    }
    Ok(seen)
}
