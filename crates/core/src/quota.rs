//! Quota arithmetic: what a scope may hold, holds, and has promised.
//!
//! ```text
//!              reserve            settle(exact)
//!   free ───────────────► reserved ───────────► used ── condemn ──► condemned ── purge ──► gone
//!     ▲                      │                   ▲                      │
//!     └────── release ───────┘                   └────── restore ───────┘
//! ```
//!
//! `used + reserved <= limit` holds after every step that adds; condemned amounts are shown apart and do
//! not count. A limit that is lowered below what is held refuses new reservations and takes nothing away.

use std::fmt;

/// Logical bytes (not times copies) and objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Bytes of file content.
    pub bytes: u64,
    /// Number of objects.
    pub objects: u64,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self { bytes: 0, objects: 0 };

    /// One object of `bytes`.
    pub const fn object(bytes: u64) -> Self {
        Self { bytes, objects: 1 }
    }

    /// Bytes alone.
    pub const fn bytes(bytes: u64) -> Self {
        Self { bytes, objects: 0 }
    }

    fn checked_sub(self, other: Self) -> Option<Self> {
        Some(Self {
            bytes: self.bytes.checked_sub(other.bytes)?,
            objects: self.objects.checked_sub(other.objects)?,
        })
    }

    fn saturating_add(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            objects: self.objects.saturating_add(other.objects),
        }
    }
}

/// The most a scope may hold. `None` is unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes.
    pub bytes: Option<u64>,
    /// Most objects.
    pub objects: Option<u64>,
}

/// Whose quota: each upload is charged to all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScopeKind {
    /// Everything of a tenant.
    Tenant,
    /// Everything a user has written.
    User,
    /// Everything in a bucket.
    Bucket,
}

impl fmt::Display for ScopeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tenant => "tenant",
            Self::User => "user",
            Self::Bucket => "bucket",
        })
    }
}

/// Which measure a limit is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Bytes of content.
    Bytes,
    /// Number of objects.
    Objects,
}

/// A reservation would go over a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{measure:?} limit {limit}: {used} used and {reserved} reserved, {wanted} more wanted")]
pub struct Exceeded {
    /// Which limit.
    pub measure: Measure,
    /// The limit.
    pub limit: u64,
    /// Held by files.
    pub used: u64,
    /// Held by open uploads.
    pub reserved: u64,
    /// What was asked for.
    pub wanted: u64,
}

impl Exceeded {
    /// True when it would fit if open uploads gave back what they hold: worth a short wait.
    pub fn blocked_by_reservations(&self) -> bool {
        self.used.saturating_add(self.wanted) <= self.limit
    }
}

/// The books do not agree: less is held than is to be given back. Never seen unless records are damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("quota account holds {held:?} {pot}, {taken:?} was to be taken from it")]
pub struct AccountMismatch {
    /// Which pot: `used`, `reserved` or `condemned`.
    pub pot: &'static str,
    /// What the pot holds.
    pub held: Amount,
    /// What was to be taken.
    pub taken: Amount,
}

/// The account of one scope.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// The most it may hold.
    pub limits: Limits,
    /// Held by committed versions.
    pub used: Amount,
    /// Held by open uploads.
    pub reserved: Amount,
    /// Held by condemned data; not counted against the limits.
    pub condemned: Amount,
}

fn check(
    measure: Measure,
    limit: Option<u64>,
    used: u64,
    reserved: u64,
    wanted: u64,
) -> Result<(), Exceeded> {
    match limit {
        // Nothing more is wanted of this measure: a limit lowered since is not this request's affair.
        _ if wanted == 0 => Ok(()),
        Some(limit) if used.saturating_add(reserved).saturating_add(wanted) > limit => {
            Err(Exceeded { measure, limit, used, reserved, wanted })
        }
        _ => Ok(()),
    }
}

fn take(pot: &'static str, held: &mut Amount, taken: Amount) -> Result<(), AccountMismatch> {
    *held = held.checked_sub(taken).ok_or(AccountMismatch { pot, held: *held, taken })?;
    Ok(())
}

impl Account {
    /// Bytes that can still be reserved; `u64::MAX` without a limit.
    pub fn free_bytes(&self) -> u64 {
        let held = self.used.bytes.saturating_add(self.reserved.bytes);
        self.limits.bytes.map_or(u64::MAX, |limit| limit.saturating_sub(held))
    }

    /// Checks whether `amount` can be reserved.
    ///
    /// # Errors
    /// [`Exceeded`] with the numbers.
    pub fn admits(&self, amount: Amount) -> Result<(), Exceeded> {
        let Self { limits, used, reserved, .. } = self;
        check(Measure::Bytes, limits.bytes, used.bytes, reserved.bytes, amount.bytes)?;
        check(Measure::Objects, limits.objects, used.objects, reserved.objects, amount.objects)
    }

    /// Free → reserved.
    ///
    /// # Errors
    /// [`Exceeded`]; the account is as before.
    pub fn reserve(&mut self, amount: Amount) -> Result<(), Exceeded> {
        self.admits(amount)?;
        self.reserved = self.reserved.saturating_add(amount);
        Ok(())
    }

    /// Reserved → free.
    ///
    /// # Errors
    /// [`AccountMismatch`] when less is reserved; the account is as before.
    pub fn release(&mut self, amount: Amount) -> Result<(), AccountMismatch> {
        take("reserved", &mut self.reserved, amount)
    }

    /// Gives a whole reservation back and takes what the version really holds.
    ///
    /// # Errors
    /// [`AccountMismatch`] when less is reserved; the account is as before.
    pub fn settle(&mut self, reserved: Amount, exact: Amount) -> Result<(), AccountMismatch> {
        take("reserved", &mut self.reserved, reserved)?;
        self.used = self.used.saturating_add(exact);
        Ok(())
    }

    /// Used → condemned.
    ///
    /// # Errors
    /// [`AccountMismatch`] when less is used; the account is as before.
    pub fn condemn(&mut self, amount: Amount) -> Result<(), AccountMismatch> {
        take("used", &mut self.used, amount)?;
        self.condemned = self.condemned.saturating_add(amount);
        Ok(())
    }

    /// Condemned → gone.
    ///
    /// # Errors
    /// [`AccountMismatch`] when less is condemned; the account is as before.
    pub fn purge(&mut self, amount: Amount) -> Result<(), AccountMismatch> {
        take("condemned", &mut self.condemned, amount)
    }

    /// How many bytes to reserve for an upload that has `need` in hand and would like `wish`: ahead
    /// while much is free, exactly what is needed near the limit, so that nobody is refused for
    /// bytes that another upload only might write.
    pub fn ahead(&self, need: u64, wish: u64) -> u64 {
        /// Reserve ahead only while this many such wishes would still fit.
        const ROOM_FOR_WISHES: u64 = 64;
        let wish = wish.max(need);
        if self.free_bytes() / ROOM_FOR_WISHES >= wish { wish } else { need }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn limited(bytes: u64) -> Account {
        Account { limits: Limits { bytes: Some(bytes), objects: None }, ..Account::default() }
    }

    #[test]
    fn a_quota_is_filled_to_the_byte_and_not_over() {
        let mut account = limited(10);
        assert_eq!(account.reserve(Amount::object(10)), Ok(()));
        let refused = account.reserve(Amount::object(1)).expect_err("over");
        assert!(refused.blocked_by_reservations());
        account.settle(Amount::object(10), Amount::object(10)).expect("reserved");
        let refused = account.reserve(Amount::object(1)).expect_err("over");
        assert!(!refused.blocked_by_reservations());
        assert_eq!(account.reserve(Amount::object(0)), Ok(()), "an empty file needs no bytes");
    }

    #[test]
    fn nothing_is_given_back_twice() {
        let mut account = limited(10);
        account.reserve(Amount::object(4)).expect("fits");
        account.release(Amount::object(4)).expect("first");
        assert!(account.release(Amount::object(4)).is_err());
    }

    #[test]
    fn near_the_limit_only_the_bytes_in_hand_are_reserved() {
        assert_eq!(limited(1000).ahead(1, 10), 10);
        assert_eq!(limited(100).ahead(1, 10), 1);
        assert_eq!(Account::default().ahead(1, 10), 10);
    }

    #[test]
    fn a_lowered_limit_refuses_more_and_takes_nothing() {
        let mut account = limited(10);
        account.reserve(Amount::object(8)).expect("fits");
        account.limits.bytes = Some(5);
        assert!(account.reserve(Amount::object(1)).is_err());
        assert_eq!(account.free_bytes(), 0);
        assert_eq!(account.settle(Amount::object(8), Amount::object(8)), Ok(()));
    }

    proptest! {
        #[test]
        fn the_account_never_goes_over_and_ends_at_zero(
            limit in 0_u64..100, steps in prop::collection::vec((0_u8..5, 0_u64..40), 0..60),
        ) {
            let mut account = limited(limit);
            let (mut open, mut live, mut condemned) = (Vec::new(), Vec::new(), Vec::new());
            for (step, bytes) in steps {
                match step {
                    0 if account.reserve(Amount::object(bytes)).is_ok() => open.push(bytes),
                    1 => if let Some(bytes) = open.pop() {
                        account.settle(Amount::object(bytes), Amount::object(bytes / 2))?;
                        live.push(bytes / 2);
                    },
                    2 => if let Some(bytes) = open.pop() {
                        account.release(Amount::object(bytes))?;
                    },
                    3 => if let Some(bytes) = live.pop() {
                        account.condemn(Amount::object(bytes))?;
                        condemned.push(bytes);
                    },
                    4 => if let Some(bytes) = condemned.pop() {
                        account.purge(Amount::object(bytes))?;
                    },
                    _ => {}
                }
                prop_assert!(account.used.bytes + account.reserved.bytes <= limit);
                prop_assert_eq!(account.reserved.bytes, open.iter().sum::<u64>());
                prop_assert_eq!(account.used.bytes, live.iter().sum::<u64>());
                prop_assert_eq!(account.condemned.bytes, condemned.iter().sum::<u64>());
            }
        }
    }
}
