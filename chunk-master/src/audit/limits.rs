//! Limits: what accounts hold is within what they may.

use cairn_core::quota::Account;
use cairn_kv::Read;

use crate::catalog::record;
use crate::error::CatalogError;

pub(super) fn over_limit(read: &impl Read) -> Result<Vec<String>, CatalogError> {
    let over = |limit: Option<u64>, used: u64, reserved: u64| {
        limit.is_some_and(|limit| used.saturating_add(reserved) > limit)
    };
    let mut told = Vec::new();
    record::each::<Account>(read, |scope, account| {
        let Account { limits, used, reserved, .. } = account;
        if over(limits.bytes, used.bytes, reserved.bytes)
            || over(limits.objects, used.objects, reserved.objects)
        {
            told.push(format!("{scope} is over its limit: {account:?}"));
        }
    })?;
    Ok(told)
}
