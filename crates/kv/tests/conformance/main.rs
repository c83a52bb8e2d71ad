//! What every engine does, in one suite that runs on all of them.
//!
//! An engine joins by a line in [`Engine`] and in the list at the end.

#![allow(clippy::unwrap_used, reason = "these are tests, helpers included")]

mod atomicity;
mod isolation;
mod limits;
mod model;
mod scans;
mod support;

use support::Engine;

/// Makes a test of every case for one engine.
macro_rules! suite {
    ($engine:ident: $($module:ident :: { $($case:ident),* $(,)? })*) => {
        $(
            mod $module {
                $(
                    #[test]
                    fn $case() {
                        let Some(store) = $crate::Engine::$engine.open() else { return };
                        crate::support::block_on(crate::$module::$case(store));
                    }
                )*
            }
        )*

        #[test]
        fn agrees_with_the_model_on_random_histories() {
            crate::model::agrees_with_the_model_on_random_histories($crate::Engine::$engine);
        }
    };
}

/// The list of cases, once.
macro_rules! every_case_on {
    ($engine:ident) => {
        suite! { $engine:
            atomicity::{
                an_accepted_transaction_is_written_as_a_whole,
                a_rejected_transaction_leaves_nothing_behind,
                a_panic_is_contained_and_leaves_nothing_behind,
                a_transaction_reads_its_own_writes,
                a_delete_of_a_missing_key_is_no_error,
                an_empty_key_and_an_empty_value_can_be_stored,
                a_closed_store_takes_nothing_and_can_be_closed_again,
                stats_count_what_was_answered,
            }
            isolation::{
                concurrent_increments_are_never_lost,
                a_transaction_sees_every_transaction_before_it,
                a_view_sees_buffered_and_synced_transactions_before_it,
                a_view_can_reject_and_can_panic,
            }
            scans::{
                a_scan_meets_keys_in_byte_order_both_ways,
                a_scan_ends_at_its_limit_and_goes_on_from_there,
                a_scan_keeps_to_its_range,
                a_range_that_ends_before_it_starts_is_empty,
                a_scan_merges_puts_and_deletes_of_its_transaction,
                deletes_in_the_transaction_do_not_use_up_the_limit,
            }
            limits::{
                keys_and_values_up_to_the_limit_are_stored,
                a_key_or_value_over_the_limit_is_an_error_value,
                a_transaction_with_too_many_writes_is_told_so,
                a_transaction_with_too_many_bytes_is_told_so,
                a_transaction_may_stop_at_a_limit_and_keep_what_fitted,
            }
        }
    };
}

mod memory {
    every_case_on!(Memory);
}

mod redb {
    every_case_on!(Redb);
}

mod postgres {
    every_case_on!(Postgres);
}

mod simulated {
    every_case_on!(Simulated);
}
