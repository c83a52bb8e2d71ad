//! Several masters on one PostgreSQL.

use cairn_kv::{Durability, Kv, Read, TransactError, Txn};
use cairn_runtime::Entropy;
use cairn_test_postgres::Server;
use tokio::task::JoinSet;

use crate::support::{Answer, block_on, config, counted, increment, number, open};

#[test]
fn increments_of_three_masters_are_never_lost_and_no_client_sees_a_conflict() {
    let Some(server) = Server::shared() else { return };
    let url = server.new_database();
    block_on(async {
        let masters: Vec<Kv> = (0..3).map(|_| open(config(&url))).collect();
        let mut tasks = JoinSet::new();
        for task in 0..24 {
            let kv = masters[task % 3].clone();
            tasks.spawn(async move {
                for round in 0..20 {
                    let durability =
                        if round % 2 == 0 { Durability::Synced } else { Durability::Buffered };
                    increment(&kv, durability, "counter").await.unwrap();
                }
            });
        }
        tasks.join_all().await;
        for master in &masters {
            assert_eq!(counted(master, "counter").await, 24 * 20);
        }
        let conflicts: u64 = masters.iter().map(|master| master.stats().conflicts).sum();
        assert!(conflicts > 0, "the masters never met");
    });
}

/// Why a reservation is refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("no room")]
    NoRoom,
    #[error("aborted")]
    Aborted,
    #[error(transparent)]
    Access(#[from] cairn_kv::AccessError),
}

const LIMIT: u64 = 100;

/// Takes one unit of a quota and makes an object of it, or aborts half way.
fn reserve(txn: &mut Txn<'_>, object: &str, aborts: bool) -> Result<(), Refused> {
    let used = number(txn, "used")?;
    if used >= LIMIT {
        return Err(Refused::NoRoom);
    }
    txn.put("used", (used + 1).to_string())?;
    txn.put(format!("object/{object}"), "")?;
    if aborts { Err(Refused::Aborted) } else { Ok(()) }
}

#[test]
fn a_quota_shared_by_two_masters_is_neither_overshot_nor_leaked() {
    let Some(server) = Server::shared() else { return };
    let url = server.new_database();
    block_on(async {
        let masters = [open(config(&url)), open(config(&url))];
        let mut tasks = JoinSet::new();
        for task in 0..64_usize {
            let kv = masters[task % 2].clone();
            let entropy = Entropy::seeded(task as u64);
            tasks.spawn(async move {
                let mut kept = 0;
                for round in 0..6 {
                    let (object, aborts) = (format!("{task}-{round}"), entropy.below(2) == 0);
                    let closure = move |txn: &mut Txn<'_>| reserve(txn, &object, aborts);
                    match kv.transact(Durability::Synced, closure).await {
                        Ok(()) => kept += 1,
                        Err(TransactError::Rejected(Refused::NoRoom | Refused::Aborted)) => {}
                        Err(other) => panic!("a client saw {other}"),
                    }
                }
                kept
            });
        }
        let kept: u64 = tasks.join_all().await.into_iter().sum();
        let objects = masters[0].view(|snapshot| {
            let range = cairn_kv::KeyRange::prefix("object/");
            snapshot.scan(&range, usize::MAX, cairn_kv::Direction::Forward)
        });
        let objects = objects.await.unwrap().len() as u64;
        assert_eq!((kept, objects, counted(&masters[1], "used").await), (LIMIT, LIMIT, LIMIT));
    });
}

#[test]
fn what_one_master_has_answered_the_other_sees() {
    let Some(server) = Server::shared() else { return };
    let url = server.new_database();
    block_on(async {
        let masters = [open(config(&url)), open(config(&url))];
        for round in 0..40_u64 {
            let (writer, reader) = (&masters[round as usize % 2], &masters[1 - round as usize % 2]);
            let answer: Answer<u64> = increment(writer, Durability::Buffered, "counter").await;
            assert_eq!(answer.unwrap(), round + 1);
            assert_eq!(counted(reader, "counter").await, round + 1);
        }
    });
}
