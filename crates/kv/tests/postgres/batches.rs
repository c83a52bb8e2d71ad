//! Transactions that wait together share one SQL transaction, and do not disturb each other.

use cairn_kv::{Durability, Read, TransactError, Txn};
use cairn_test_postgres::Server;
use tokio::task::JoinSet;

use crate::support::{
    Answer, HeldWriter, block_on, config, counted, increment, keys, open, put, until_waiting, with,
};

#[test]
fn transactions_that_wait_together_share_one_commit_and_see_each_other() {
    let Some(server) = Server::shared() else { return };
    let url = server.new_database();
    block_on(async {
        let kv = open(config(&url));
        let held = HeldWriter::new(&kv).await;
        let mut tasks = JoinSet::new();
        for _ in 0..64 {
            let kv = kv.clone();
            tasks
                .spawn(async move { increment(&kv, Durability::Synced, "counter").await.unwrap() });
        }
        until_waiting(&kv, 64).await;
        held.release().await.unwrap();
        let mut seen = tasks.join_all().await;
        seen.sort_unstable();
        assert_eq!(seen, (1..=64).collect::<Vec<_>>());
        // One for the transaction that held the writer, one for all behind it.
        let stats = kv.stats();
        assert_eq!((stats.transactions, stats.commits, stats.synced_commits), (65, 2, 1));
        assert_eq!(counted(&kv, "counter").await, 64);
    });
}

#[test]
fn a_batch_is_bounded() {
    let Some(server) = Server::shared() else { return };
    let url = server.new_database();
    block_on(async {
        let kv = open(config(&url));
        let held = HeldWriter::new(&kv).await;
        let mut tasks = JoinSet::new();
        for number in 0..300 {
            let kv = kv.clone();
            let key = number.to_string();
            tasks.spawn(async move { put(&kv, Durability::Synced, key, "").await.unwrap() });
        }
        until_waiting(&kv, 300).await;
        held.release().await.unwrap();
        tasks.join_all().await;
        assert_eq!(kv.stats().commits, 3);
        assert_eq!(keys(&kv).await.len(), 301);
    });
}

#[test]
fn a_batch_that_grows_too_large_is_cut_and_loses_nothing() {
    let Some(server) = Server::shared() else { return };
    let url = server.new_database();
    block_on(async {
        let kv = open(config(&url));
        let held = HeldWriter::new(&kv).await;
        let mut tasks = JoinSet::new();
        for number in 0..8 {
            let kv = kv.clone();
            tasks.spawn(async move {
                let large = move |txn: &mut Txn<'_>| {
                    // Reads something, so that the batch goes through rounds as well.
                    txn.get(format!("{number}/0").as_bytes())?;
                    for part in 0..6 {
                        txn.put(format!("{number}/{part}"), vec![number; 1 << 20])?;
                    }
                    Ok(())
                };
                let answer: Answer = kv.transact(Durability::Synced, large).await;
                answer.unwrap();
            });
        }
        until_waiting(&kv, 8).await;
        held.release().await.unwrap();
        tasks.join_all().await;
        assert_eq!(keys(&kv).await.len(), 1 + 8 * 6);
        let commits = kv.stats().commits;
        assert!((3..=9).contains(&commits), "{commits}");
    });
}

#[test]
fn a_panic_and_a_rejection_leave_the_neighbours_of_their_batch_alone() {
    let Some(server) = Server::shared() else { return };
    let url = server.new_database();
    block_on(async {
        let kv = open(config(&url));
        let held = HeldWriter::new(&kv).await;
        let mut tasks = JoinSet::new();
        for number in 0..30 {
            let kv = kv.clone();
            tasks.spawn(async move {
                let act = move |txn: &mut Txn<'_>| {
                    let seen = txn.get(b"good")?.map_or(0, |value| value.len());
                    txn.put("good", vec![b'x'; seen + 1])?;
                    txn.put(number.to_string(), "")?;
                    match number % 3 {
                        0 => Ok(()),
                        // A refusal of the test's own: the key is too long.
                        1 => txn.put(vec![0; cairn_kv::MAX_KEY_BYTES + 1], ""),
                        _ => panic!("deliberate"),
                    }
                };
                let answer: Answer = kv.transact(Durability::Synced, act).await;
                match number % 3 {
                    0 => answer.unwrap(),
                    1 => assert!(matches!(answer, Err(TransactError::Rejected(_)))),
                    _ => assert!(matches!(answer, Err(TransactError::Panicked { .. }))),
                }
            });
        }
        until_waiting(&kv, 30).await;
        held.release().await.unwrap();
        tasks.join_all().await;
        let good = kv.view(|snapshot| snapshot.get(b"good")).await.unwrap().unwrap();
        assert_eq!(good.len(), 10);
        assert_eq!(keys(&kv).await.len(), 1 + 10 + 1);
        assert_eq!(kv.stats().commits, 2);
    });
}

#[test]
fn a_full_queue_answers_busy_at_once_and_a_closing_store_finishes_what_waits() {
    let Some(server) = Server::shared() else { return };
    let url = server.new_database();
    block_on(async {
        let kv = open(with(config(&url), |config| config.queue_len = 1));
        let held = HeldWriter::new(&kv).await;
        let mut tasks = JoinSet::new();
        let waiting = kv.clone();
        tasks.spawn(async move { put(&waiting, Durability::Buffered, "a", "").await });
        until_waiting(&kv, 1).await;
        let refused = put(&kv, Durability::Buffered, "b", "").await;
        assert!(matches!(refused, Err(TransactError::Busy { queue: "transaction" })));
        let mut closing = JoinSet::new();
        let closer = kv.clone();
        closing.spawn(async move { closer.close().await });
        held.release().await.unwrap();
        assert!(tasks.join_all().await.iter().all(Result::is_ok));
        assert!(closing.join_all().await.iter().all(Result::is_ok));
        assert_eq!(keys(&open(config(&url))).await, ["a", "held"]);
    });
}

#[test]
fn pages_longer_than_one_fetch_are_read_whole_both_ways() {
    let Some(server) = Server::shared() else { return };
    let url = server.new_database();
    block_on(async {
        let kv = open(config(&url));
        for from in [0, 2000] {
            let fill = move |txn: &mut Txn<'_>| {
                (from..from + 2000).try_for_each(|number| txn.put(format!("{number:05}"), ""))
            };
            kv.transact(Durability::Buffered, fill).await.unwrap();
        }
        let scan = |snapshot: &cairn_kv::Snapshot<'_>| {
            let all = cairn_kv::KeyRange::all();
            let up = snapshot.scan(&all, usize::MAX, cairn_kv::Direction::Forward)?;
            let mut down = snapshot.scan(&all, 3000, cairn_kv::Direction::Backward)?;
            down.reverse();
            Ok::<_, cairn_kv::AccessError>((up, down))
        };
        let (up, down) = kv.view(scan).await.unwrap();
        assert_eq!((up.len(), down.len()), (4000, 3000));
        assert!(up.iter().is_sorted());
        assert_eq!(up[1000..], down);
    });
}
