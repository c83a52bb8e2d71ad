//! The audit of quotas: what every account should hold, summed up from versions and uploads alone.
//!
//! The counters are kept by [`crate::accounts`], step by step. This adds up from nothing, and shares no arithmetic with
//! them, so that a step that is wrong or missing shows as a difference.

use std::collections::BTreeMap;
use std::fmt;

use cairn_core::names::{BucketName, Principal};
use cairn_core::quota::{Account, Amount};
use cairn_kv::Read;

use crate::catalog::{Scope, Upload, Version, VersionState, record};
use crate::error::CatalogError;

/// Most differences that are told one by one.
pub(crate) const MAX_DIFFERENCES: usize = 1000;

/// Which number of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pot {
    Used,
    Reserved,
    Condemned,
}

/// A number that is not what the records add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) scope: Scope,
    pub(crate) pot: Pot,
    pub(crate) counted: Amount,
    pub(crate) summed: Amount,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, pot, counted, summed } = self;
        write!(
            f,
            "the account of {scope} holds {counted:?} as {pot:?}, its records add up to {summed:?}"
        )
    }
}

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Audit {
    pub(crate) accounts: u64,
    pub(crate) versions: u64,
    pub(crate) uploads: u64,
    /// The first [`MAX_DIFFERENCES`], by tenant, kind and name.
    pub(crate) differences: Vec<Difference>,
    pub(crate) more_differences: u64,
}

/// What the records of one account add up to.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    used: Amount,
    reserved: Amount,
    condemned: Amount,
}

/// Sums by tenant, kind of account and name: the order of the account records.
type Books = BTreeMap<(String, u8, String), (Scope, Sums)>;

/// Adds everything up, in one state of the catalog. Takes memory by the number of accounts, not of files.
pub(crate) fn audit(read: &impl Read) -> Result<Audit, CatalogError> {
    let mut found = Audit::default();
    let mut books = Books::new();
    record::each::<Version>(read, |_, version| {
        found.versions += 1;
        count_version(&mut books, &version);
    })?;
    record::each::<Upload>(read, |_, upload| {
        found.uploads += 1;
        count_upload(&mut books, &upload);
    })?;
    record::each::<Account>(read, |scope, account| {
        found.accounts += 1;
        let (_, sums) = books.remove(&place(&scope)).unwrap_or((scope.clone(), Sums::default()));
        compare(&mut found, &scope, &account, sums);
    })?;
    for (scope, sums) in books.into_values() {
        compare(&mut found, &scope, &Account::default(), sums);
    }
    Ok(found)
}

/// Most versions of a tenant, and most open uploads, that one transaction adds up.
pub(crate) const MAX_RECOUNTED: usize = 10_000;

/// What the records of one account add up to, limits as they are; absent when there are too many for one transaction.
pub(crate) fn recount(read: &impl Read, scope: &Scope) -> Result<Option<Account>, CatalogError> {
    let of_tenant = record::prefixed::<Version>(|parts| {
        parts.text(scope.tenant().as_str());
    });
    let versions = record::scan::<Version>(read, &of_tenant, MAX_RECOUNTED + 1)?;
    let uploads = record::scan::<Upload>(read, &record::all::<Upload>(), MAX_RECOUNTED + 1)?;
    if versions.len().max(uploads.len()) > MAX_RECOUNTED {
        return Ok(None);
    }
    let mut books = Books::new();
    for (_, version) in &versions {
        count_version(&mut books, version);
    }
    for (_, upload) in &uploads {
        count_upload(&mut books, upload);
    }
    let (_, sums) = books.remove(&place(scope)).unwrap_or((scope.clone(), Sums::default()));
    let Account { limits, .. } = record::get(read, scope)?.unwrap_or_default();
    let Sums { used, reserved, condemned } = sums;
    Ok(Some(Account { limits, used, reserved, condemned }))
}

fn count_version(books: &mut Books, version: &Version) {
    let (bytes, bucket) = (version.info.length, &version.info.bucket);
    add(books, &version.principal, bucket, |sums| match version.state {
        VersionState::Current => grow(&mut sums.used, bytes),
        VersionState::Condemned { .. } => grow(&mut sums.condemned, bytes),
    });
}

fn count_upload(books: &mut Books, upload: &Upload) {
    add(books, &upload.principal, &upload.bucket, |sums| {
        grow(&mut sums.reserved, upload.reserved);
    });
}

fn grow(pot: &mut Amount, bytes: u64) {
    pot.bytes = pot.bytes.saturating_add(bytes);
    pot.objects = pot.objects.saturating_add(1);
}

/// Every upload and version counts in three accounts.
fn add(books: &mut Books, principal: &Principal, bucket: &BucketName, grow: impl Fn(&mut Sums)) {
    let tenant = &principal.tenant;
    for scope in [
        Scope::Tenant(tenant.clone()),
        Scope::User(tenant.clone(), principal.user.clone()),
        Scope::Bucket(tenant.clone(), bucket.clone()),
    ] {
        let (_, sums) = books.entry(place(&scope)).or_insert((scope, Sums::default()));
        grow(sums);
    }
}

fn place(scope: &Scope) -> (String, u8, String) {
    (scope.tenant().to_string(), scope.kind() as u8, scope.name().to_owned())
}

fn compare(found: &mut Audit, scope: &Scope, account: &Account, sums: Sums) {
    for (pot, counted, summed) in [
        (Pot::Used, account.used, sums.used),
        (Pot::Reserved, account.reserved, sums.reserved),
        (Pot::Condemned, account.condemned, sums.condemned),
    ] {
        if counted == summed {
            continue;
        }
        if found.differences.len() < MAX_DIFFERENCES {
            found.differences.push(Difference { scope: scope.clone(), pot, counted, summed });
        } else {
            found.more_differences += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_core::names::TenantId;
    use cairn_kv::{Durability, Kv, Txn};

    use super::*;
    use crate::accounts::Accounts;

    async fn audited(change: impl Fn(&mut Txn<'_>) + Send + Sync + 'static) -> Audit {
        let kv = Kv::memory();
        let filled = kv.transact(Durability::Buffered, move |txn| {
            let (principal, bucket) = (Principal::standard(), BucketName::standard());
            let accounts = Accounts::load(txn, &principal, &bucket)?;
            accounts.store(txn)?;
            change(txn);
            Ok::<_, CatalogError>(())
        });
        filled.await.expect("written");
        kv.view(|view| audit(view)).await.expect("an audit")
    }

    #[tokio::test]
    async fn an_empty_catalog_adds_up() {
        let found = audited(|_| {}).await;
        assert_eq!(found, Audit { accounts: 3, ..Audit::default() });
    }

    #[tokio::test]
    async fn a_counter_without_a_file_behind_it_is_told() {
        let scope = Scope::Tenant(TenantId::standard());
        let wrong = scope.clone();
        let found = audited(move |txn| {
            let account = Account { used: Amount::object(7), ..Account::default() };
            record::put(txn, &wrong, &account).expect("written");
        })
        .await;
        let (counted, summed) = (Amount::object(7), Amount::ZERO);
        assert_eq!(found.differences, [Difference { scope, pot: Pot::Used, counted, summed }]);
    }
}
