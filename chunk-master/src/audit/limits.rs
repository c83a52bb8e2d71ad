//! Limits: what accounts hold is within what they may.

use cairn_core::quota::Account;

use super::Records;

pub(super) fn over_limit(records: &Records) -> Vec<String> {
    let over = |limit: Option<u64>, used: u64, reserved: u64| {
        limit.is_some_and(|limit| used.saturating_add(reserved) > limit)
    };
    let accounts = records.accounts.iter().filter(|(_, Account { limits, used, reserved, .. })| {
        over(limits.bytes, used.bytes, reserved.bytes)
            || over(limits.objects, used.objects, reserved.objects)
    });
    accounts.map(|(scope, account)| format!("{scope} is over its limit: {account:?}")).collect()
}
