//! Scans: order, limits, ranges, and the overlay of their transaction.

use std::ops::Bound;

use cairn_kv::{AccessError, Direction, Durability, KeyRange, Kv, Read, Txn};

use crate::support::{entries, keys, put_all, text, texts};

async fn in_transaction<T: Send + 'static>(
    kv: &Kv,
    f: impl FnMut(&mut Txn<'_>) -> Result<T, AccessError> + Send + 'static,
) -> T {
    kv.transact(Durability::Buffered, f).await.unwrap()
}

pub(crate) async fn a_scan_meets_keys_in_byte_order_both_ways(kv: Kv) {
    put_all(&kv, [("b", "2"), ("a/b", "1"), ("a", "0"), ("é", "4"), ("c", "3")]).await;
    let (up, down) = kv
        .view(|snapshot| {
            let up = keys(snapshot, &KeyRange::all(), 9, Direction::Forward)?;
            Ok::<_, AccessError>((up, keys(snapshot, &KeyRange::all(), 9, Direction::Backward)?))
        })
        .await
        .unwrap();
    assert_eq!(up, "a a/b b c é");
    assert_eq!(down, "é c b a/b a");
}

pub(crate) async fn a_scan_ends_at_its_limit_and_goes_on_from_there(kv: Kv) {
    put_all(&kv, [("p1", ""), ("p2", ""), ("p3", ""), ("p4", ""), ("q", "")]).await;
    let pages = kv
        .view(|snapshot| {
            let mut pages = Vec::new();
            let mut range = KeyRange::prefix("p");
            loop {
                let page = snapshot.scan(&range, 3, Direction::Forward)?;
                let Some((last, _)) = page.last() else { break };
                range = range.after(last.clone());
                pages.push(page.iter().map(|(key, _)| text(key)).collect::<String>());
            }
            Ok::<_, AccessError>(pages)
        })
        .await
        .unwrap();
    assert_eq!(pages, ["p1p2p3", "p4"]);
    let none = kv.view(|s| s.scan(&KeyRange::all(), 0, Direction::Forward)).await.unwrap();
    assert!(none.is_empty());
}

pub(crate) async fn a_scan_keeps_to_its_range(kv: Kv) {
    put_all(&kv, [("a", ""), ("b", ""), ("ba", ""), ("c", "")]).await;
    let cases = [
        (KeyRange::prefix("b"), "b ba"),
        (KeyRange::prefix(""), "a b ba c"),
        (KeyRange::new(Bound::Included("b"), Bound::Excluded("c")), "b ba"),
        (KeyRange::new(Bound::Excluded("b"), Bound::Included("c")), "ba c"),
        (KeyRange::new(Bound::<&str>::Unbounded, Bound::Excluded("b")), "a"),
        (KeyRange::all().after("ba"), "c"),
        (KeyRange::all().before("b"), "a"),
    ];
    for (range, expected) in cases {
        let in_view = range.clone();
        let seen = kv.view(move |s| keys(s, &in_view, 9, Direction::Forward)).await.unwrap();
        assert_eq!(seen, expected, "{range:?}");
    }
}

pub(crate) async fn a_range_that_ends_before_it_starts_is_empty(kv: Kv) {
    put_all(&kv, [("a", ""), ("b", ""), ("c", "")]).await;
    let ranges = [
        KeyRange::new(Bound::Included("c"), Bound::Included("a")),
        KeyRange::new(Bound::Excluded("b"), Bound::Excluded("b")),
        KeyRange::new(Bound::Included("b"), Bound::Excluded("b")),
    ];
    for range in ranges {
        let seen = in_transaction(&kv, move |txn| {
            txn.put("b", "again")?;
            keys(txn, &range, 9, Direction::Backward)
        });
        assert_eq!(seen.await, "");
    }
}

pub(crate) async fn a_scan_merges_puts_and_deletes_of_its_transaction(kv: Kv) {
    put_all(&kv, [("b", "old"), ("d", "old"), ("f", "old")]).await;
    let (up, down) = in_transaction(&kv, |txn| {
        txn.put("a", "new")?;
        txn.delete("b")?;
        txn.put("c", "new")?;
        txn.put("d", "new")?;
        txn.delete("e")?;
        txn.put("g", "new")?;
        let up = texts(txn, &KeyRange::all(), 9, Direction::Forward)?;
        Ok((up, texts(txn, &KeyRange::all(), 9, Direction::Backward)?))
    })
    .await;
    let mut expected =
        entries([("a", "new"), ("c", "new"), ("d", "new"), ("f", "old"), ("g", "new")]);
    assert_eq!(up, expected);
    expected.reverse();
    assert_eq!(down, expected);
}

pub(crate) async fn deletes_in_the_transaction_do_not_use_up_the_limit(kv: Kv) {
    put_all(&kv, [("a", ""), ("b", ""), ("c", ""), ("d", "")]).await;
    let (up, down) = in_transaction(&kv, |txn| {
        txn.delete("a")?;
        txn.delete("b")?;
        txn.delete("d")?;
        txn.put("e", "")?;
        let up = keys(txn, &KeyRange::all(), 1, Direction::Forward)?;
        Ok((up, keys(txn, &KeyRange::all(), 2, Direction::Backward)?))
    })
    .await;
    assert_eq!(up, "c");
    assert_eq!(down, "e c");
}
