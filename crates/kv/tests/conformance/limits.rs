//! Limits are error values, and the same everywhere.

use cairn_kv::{
    AccessError, Durability, Kv, LimitError, MAX_KEY_BYTES, MAX_TXN_BYTES, MAX_TXN_WRITES,
    MAX_VALUE_BYTES, Read, TransactError, Txn,
};

use crate::support::contents;

async fn limit_of(
    kv: &Kv,
    f: impl FnMut(&mut Txn<'_>) -> Result<(), AccessError> + Send + 'static,
) -> LimitError {
    match kv.transact(Durability::Buffered, f).await {
        Err(TransactError::Rejected(AccessError::Limit(limit))) => limit,
        other => panic!("not stopped by a limit: {other:?}"),
    }
}

fn incompressible(len: usize) -> Vec<u8> {
    let entropy = cairn_runtime::Entropy::seeded(7);
    let mut bytes = vec![0; len];
    entropy.fill(&mut bytes);
    bytes
}

pub(crate) async fn keys_and_values_up_to_the_limit_are_stored(kv: Kv) {
    // Nothing that an index could compress.
    let key = incompressible(MAX_KEY_BYTES);
    let put = {
        let key = key.clone();
        move |txn: &mut Txn<'_>| txn.put(key.clone(), vec![8; MAX_VALUE_BYTES])
    };
    kv.transact(Durability::Synced, put).await.unwrap();
    let stored = kv.view(move |snapshot| snapshot.get(&key)).await.unwrap();
    assert_eq!(stored.unwrap(), vec![8; MAX_VALUE_BYTES]);
}

pub(crate) async fn a_key_or_value_over_the_limit_is_an_error_value(kv: Kv) {
    let long_key = || vec![7; MAX_KEY_BYTES + 1];
    let key_too_long = LimitError::KeyTooLong { len: MAX_KEY_BYTES + 1 };
    assert_eq!(limit_of(&kv, move |txn| txn.put(long_key(), "")).await, key_too_long);
    assert_eq!(limit_of(&kv, move |txn| txn.delete(long_key())).await, key_too_long);
    assert_eq!(
        limit_of(&kv, |txn| txn.put("a", vec![8; MAX_VALUE_BYTES + 1])).await,
        LimitError::ValueTooLong { len: MAX_VALUE_BYTES + 1 },
    );
    assert!(contents(&kv).await.is_empty());
    let absent = kv.view(move |snapshot| snapshot.get(&long_key())).await.unwrap();
    assert_eq!(absent, None);
}

pub(crate) async fn a_transaction_with_too_many_writes_is_told_so(kv: Kv) {
    let limit = limit_of(&kv, |txn| {
        for number in 0..MAX_TXN_WRITES {
            txn.put(number.to_string(), "")?;
        }
        txn.put("0", "a key that is written already").expect("takes no more room");
        txn.put("one more", "")
    });
    assert_eq!(limit.await, LimitError::TooManyWrites);
    assert!(contents(&kv).await.is_empty());
}

pub(crate) async fn a_transaction_with_too_many_bytes_is_told_so(kv: Kv) {
    let limit = limit_of(&kv, |txn| {
        let fitting = MAX_TXN_BYTES / (MAX_VALUE_BYTES + 2);
        for number in 0..fitting {
            txn.put(format!("{number:02}"), vec![8; MAX_VALUE_BYTES]).expect("fits");
        }
        txn.put("00", vec![9; MAX_VALUE_BYTES]).expect("replaces its own write");
        txn.put("one more", vec![8; MAX_VALUE_BYTES])
    });
    assert_eq!(limit.await, LimitError::TooManyBytes);
}

pub(crate) async fn a_transaction_may_stop_at_a_limit_and_keep_what_fitted(kv: Kv) {
    kv.transact(Durability::Buffered, |txn| {
        txn.put("a", "fits")?;
        let refused = txn.put("b", vec![8; MAX_VALUE_BYTES + 1]);
        assert!(matches!(refused, Err(AccessError::Limit(_))));
        Ok::<_, AccessError>(())
    })
    .await
    .unwrap();
    assert_eq!(contents(&kv).await.len(), 1);
}
