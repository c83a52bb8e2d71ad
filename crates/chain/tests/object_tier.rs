//! The store in a bucket keeps the contract: on a bucket in memory, and on a real server that speaks S3.

use std::sync::Arc;

use cairn_chain::conformance::{PLENTY, blob};
use cairn_chain::object_tier::{KeyForm, Provider, S3Config};
use cairn_chain::{EngineOpenError, ObjectTier, ObjectTierConfig, ObjectTierSeams};
use cairn_core::ids::{ChunkId, NodeId};
use cairn_runtime::{Clock, Entropy, Spawner};
use object_store::memory::InMemory;

/// The conformance suite over stores that `$fresh` makes, where it can. Each case has the attribute.
macro_rules! contract_where_there_is_a_server {
    (#[$attribute:meta] $fresh:path) => {
        contract_where_there_is_a_server!(
            #[$attribute] $fresh:
            chunks_of_every_length_come_back_as_they_went_in,
            pieces_of_any_size_make_the_same_chunk,
            a_range_comes_as_the_blocks_that_hold_it,
            a_block_that_does_not_match_is_refused_and_nothing_is_left,
            an_end_that_does_not_match_is_refused_and_nothing_is_left,
            more_than_was_reserved_is_refused,
            a_writer_that_failed_takes_nothing_more,
            nothing_is_visible_before_the_end,
            a_repeat_succeeds_and_other_content_is_refused,
            of_two_writers_the_first_to_finish_wins,
            of_two_contents_that_finish_at_once_one_is_refused,
            a_writer_that_is_dropped_gives_its_room_back,
            what_does_not_fit_is_refused_when_it_begins,
            what_was_promised_and_not_used_is_free_again,
            a_page_begins_where_the_last_one_ended,
            deleting_is_idempotent,
            an_intact_chunk_is_not_put_aside,
            erasing_a_blob_is_done_in_bounded_steps,
            erasing_a_blob_breaks_off_its_open_writes,
            a_reader_may_go_on_after_the_deletion_or_fail_but_never_lies,
            a_closed_store_takes_nothing,
        );
    };
    (#[$attribute:meta] $fresh:path: $($case:ident),* $(,)?) => {
        $(
            #[tokio::test]
            #[$attribute]
            async fn $case() {
                let Some(store) = $fresh().await else { return };
                cairn_chain::conformance::$case(store).await;
            }
        )*
    };
}

mod object_tier {
    mod bucket;
    mod config;
    mod gcs;
    mod moto;
    mod roles;
}

fn chunk(index: u32) -> ChunkId {
    ChunkId::new(blob(1), index)
}

/// A seed stands for a process: all are one node's.
fn seams(seed: u64) -> ObjectTierSeams {
    ObjectTierSeams {
        node: NodeId::from_slice(&[1; 16]).expect("16 bytes"),
        spawner: Spawner::current(),
        entropy: Entropy::seeded(seed),
        clock: Clock::system(),
    }
}

/// Settings of a store in a bucket in memory.
fn config(keys: KeyForm) -> ObjectTierConfig {
    let prefix = "some/where".to_owned();
    let bucket = Provider::S3(S3Config::default());
    ObjectTierConfig { prefix, keys, ..ObjectTierConfig::at(PLENTY, bucket) }
}

async fn open(bucket: &Arc<InMemory>, keys: KeyForm) -> Result<ObjectTier, EngineOpenError> {
    ObjectTier::open_on(bucket.clone(), &config(keys), seams(1)).await
}

mod in_memory {
    use super::{Arc, InMemory, KeyForm, open};
    use cairn_chain::ChunkStore;

    async fn fresh(_capacity: u64) -> (Arc<dyn ChunkStore>, ()) {
        let store = open(&Arc::new(InMemory::new()), KeyForm::Plain).await;
        (Arc::new(store.expect("a store")), ())
    }

    cairn_chain::chunk_store_conformance!(fresh);
}

mod in_memory_with_hashed_keys {
    use super::{Arc, InMemory, KeyForm, open};
    use cairn_chain::ChunkStore;

    async fn fresh(_capacity: u64) -> (Arc<dyn ChunkStore>, ()) {
        let store = open(&Arc::new(InMemory::new()), KeyForm::Hashed).await;
        (Arc::new(store.expect("a store")), ())
    }

    cairn_chain::chunk_store_conformance!(fresh);
}
