//! What the tests share.

use std::time::Duration;

use cairn_kv::{AccessError, Durability, Kv, PostgresConfig, Read, Txn};
use cairn_runtime::{Clock, Entropy};
use tokio::runtime::Builder;

pub(crate) use crate::calls::{Answer, HeldWriter, keys, put, until_waiting};

pub(crate) fn config(url: &str) -> PostgresConfig {
    PostgresConfig::new(url, None).unwrap()
}

pub(crate) fn open(config: PostgresConfig) -> Kv {
    Kv::postgres(config, Clock::system(), Entropy::from_system().unwrap()).unwrap()
}

/// Patient enough for a server that starts again on a busy machine.
pub(crate) fn patient(url: &str) -> PostgresConfig {
    with(config(url), |config| config.retry_for = Duration::from_secs(60))
}

pub(crate) fn with(
    mut config: PostgresConfig,
    change: impl FnOnce(&mut PostgresConfig),
) -> PostgresConfig {
    change(&mut config);
    config
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// Adds one to the counter `key`.
pub(crate) async fn increment(kv: &Kv, durability: Durability, key: &'static str) -> Answer<u64> {
    let increment = move |txn: &mut Txn<'_>| {
        let next = number(txn, key)? + 1;
        txn.put(key, next.to_string())?;
        Ok(next)
    };
    kv.transact(durability, increment).await
}

pub(crate) fn number(reader: &impl Read, key: &str) -> Result<u64, AccessError> {
    let digits = reader.get(key.as_bytes())?;
    Ok(digits.map_or(0, |digits| String::from_utf8_lossy(&digits).parse().unwrap()))
}

pub(crate) async fn counted(kv: &Kv, key: &'static str) -> u64 {
    kv.view(move |snapshot| number(snapshot, key)).await.unwrap()
}
