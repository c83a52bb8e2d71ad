//! The three accounts that every upload and version is charged to, changed as one.

use cairn_core::names::{BucketName, Principal};
use cairn_core::quota::{Account, AccountMismatch, Amount, Measure};
use cairn_kv::{Read, Txn};

use crate::catalog::{Scope, record};
use crate::error::{CatalogError, QuotaExceeded, operation_error};

operation_error! {
    /// Why condemned data does not count again.
    RestoreError {
        Catalog(CatalogError),
        Quota(QuotaExceeded),
    }
}

/// The accounts of a tenant, a user and a bucket, loaded in a transaction.
#[derive(Debug)]
pub(crate) struct Accounts([(Scope, Account); 3]);

impl Accounts {
    /// Loads the accounts that `principal` is charged on in `bucket`.
    pub(crate) fn load(
        read: &impl Read,
        principal: &Principal,
        bucket: &BucketName,
    ) -> Result<Self, CatalogError> {
        let tenant = &principal.tenant;
        let load = |scope: Scope| -> Result<_, CatalogError> {
            let account = record::get(read, &scope)?.unwrap_or_default();
            Ok((scope, account))
        };
        Ok(Self([
            load(Scope::Tenant(tenant.clone()))?,
            load(Scope::User(tenant.clone(), principal.user.clone()))?,
            load(Scope::Bucket(tenant.clone(), bucket.clone()))?,
        ]))
    }

    /// Writes them back.
    pub(crate) fn store(&self, txn: &mut Txn<'_>) -> Result<(), CatalogError> {
        for (scope, account) in &self.0 {
            record::put(txn, scope, account)?;
        }
        Ok(())
    }

    /// How many bytes to reserve for an upload that needs `need` more and would like `wish`.
    pub(crate) fn ahead(&self, need: u64, wish: u64) -> u64 {
        let each = self.0.iter().map(|(_, account)| account.ahead(need, wish));
        each.min().unwrap_or(need)
    }

    /// Free → reserved, in all or none. `own` is what the asking upload holds already.
    pub(crate) fn reserve(&mut self, amount: Amount, own: Amount) -> Result<(), QuotaExceeded> {
        let refusal = |scope: &Scope, account: &Account| {
            let exceeded = account.admits(amount).err()?;
            let own = match exceeded.measure {
                Measure::Bytes => own.bytes,
                Measure::Objects => own.objects,
            };
            let scope = scope.clone();
            Some(QuotaExceeded { scope, exceeded, own })
        };
        let refusals = self.0.iter().filter_map(|(scope, a)| refusal(scope, a));
        // One that no waiting can lift speaks for all.
        if let Some(refused) = refusals.min_by_key(QuotaExceeded::worth_waiting) {
            return Err(refused);
        }
        for (scope, account) in &mut self.0 {
            account.reserve(amount).map_err(|exceeded| QuotaExceeded {
                scope: scope.clone(),
                exceeded,
                own: 0,
            })?;
        }
        Ok(())
    }

    /// Reserved → free.
    pub(crate) fn release(&mut self, amount: Amount) -> Result<(), CatalogError> {
        self.each(|account| account.release(amount))
    }

    /// As [`Self::release`], but forgets the bucket: a bug on purpose, which the simulation must find.
    pub(crate) fn release_without_bucket(&mut self, amount: Amount) -> Result<(), CatalogError> {
        for (_, account) in &mut self.0[..2] {
            account.release(amount)?;
        }
        Ok(())
    }

    /// Reserved → used, exactly.
    pub(crate) fn settle(&mut self, reserved: Amount, exact: Amount) -> Result<(), CatalogError> {
        self.each(|account| account.settle(reserved, exact))
    }

    /// Used → condemned.
    pub(crate) fn condemn(&mut self, amount: Amount) -> Result<(), CatalogError> {
        self.each(|account| account.condemn(amount))
    }

    /// Condemned → used, in all or none.
    pub(crate) fn restore(&mut self, amount: Amount) -> Result<(), RestoreError> {
        self.reserve(amount, Amount::ZERO)?;
        self.each(|account| account.purge(amount))?;
        Ok(self.settle(amount, amount)?)
    }

    /// Condemned → gone.
    pub(crate) fn purge(&mut self, amount: Amount) -> Result<(), CatalogError> {
        self.each(|account| account.purge(amount))
    }

    fn each(
        &mut self,
        step: impl Fn(&mut Account) -> Result<(), AccountMismatch>,
    ) -> Result<(), CatalogError> {
        for (_, account) in &mut self.0 {
            step(account)?;
        }
        Ok(())
    }
}
