//! Every wrapper, and chains of several shapes, keep the contract of a chunk store.

use std::sync::Arc;

use cairn_chain::ChunkStore;
use cairn_chain::chain::{Chain, ChainConfig, Tier, TierConfig};
use cairn_chain::disk::memory::MemoryDisk;
use cairn_chain::report::TierErrors;

use super::setup::{behind, cache, file, journal, lru, seams, segments, spread, sync};

async fn store(capacity: u64, seed: u64) -> Arc<dyn ChunkStore> {
    file(&MemoryDisk::new(capacity), seed).await
}

async fn chain(tiers: Vec<Tier>, with_journal: bool) -> Arc<dyn ChunkStore> {
    let journal = match with_journal {
        true => Some(journal(&MemoryDisk::new(1 << 20)).await),
        false => None,
    };
    let seams = seams(TierErrors::logged_only());
    Arc::new(Chain::open(ChainConfig::default(), tiers, journal, seams).expect("a chain"))
}

mod in_an_lru {
    use super::{Arc, ChunkStore, lru, store};

    async fn fresh(capacity: u64) -> (Arc<dyn ChunkStore>, ()) {
        (lru(store(capacity, 0).await, capacity).await, ())
    }

    cairn_chain::chunk_store_conformance!(fresh);
}

mod with_a_timeout {
    use cairn_chain::wrap::{Timeout, TimeoutConfig};
    use cairn_runtime::Clock;

    use super::{Arc, ChunkStore, store};

    async fn fresh(capacity: u64) -> (Arc<dyn ChunkStore>, ()) {
        let store = store(capacity, 0).await;
        (Arc::new(Timeout::new(store, &TimeoutConfig::default(), Clock::system())), ())
    }

    cairn_chain::chunk_store_conformance!(fresh);
}

mod observed {
    use cairn_chain::wrap::{CallLog, Observed};
    use cairn_runtime::Clock;

    use super::{Arc, ChunkStore, store};

    async fn fresh(capacity: u64) -> (Arc<dyn ChunkStore>, ()) {
        let store = store(capacity, 0).await;
        (Arc::new(Observed::new("disk", store, Arc::new(CallLog), Clock::system())), ())
    }

    cairn_chain::chunk_store_conformance!(fresh);
}

/// As many disks of `capacity` bytes.
async fn disks(count: u64, capacity: u64) -> Arc<dyn ChunkStore> {
    let mut disks: Vec<Arc<dyn ChunkStore>> = Vec::new();
    for seed in 0..count {
        disks.push(segments(&MemoryDisk::new(capacity), seed).await);
    }
    spread(disks)
}

mod spread_over_one_disk {
    use super::{Arc, ChunkStore, disks};

    async fn fresh(capacity: u64) -> (Arc<dyn ChunkStore>, ()) {
        (disks(1, capacity).await, ())
    }

    cairn_chain::chunk_store_conformance!(fresh);
}

mod spread_over_two_disks {
    use super::{Arc, ChunkStore, disks};

    async fn fresh(capacity: u64) -> (Arc<dyn ChunkStore>, ()) {
        (disks(2, capacity).await, ())
    }

    cairn_chain::chunk_store_conformance!(fresh);
}

mod spread_over_three_disks {
    use super::{Arc, ChunkStore, disks};

    async fn fresh(capacity: u64) -> (Arc<dyn ChunkStore>, ()) {
        (disks(3, capacity).await, ())
    }

    cairn_chain::chunk_store_conformance!(fresh);
}

mod chain_of_a_cache_and_a_spread {
    use super::{Arc, ChunkStore, cache, chain, disks, lru, store, sync};

    async fn fresh(capacity: u64) -> (Arc<dyn ChunkStore>, ()) {
        let tiers = vec![
            cache("cache", lru(store(capacity, 9).await, 1 << 20).await),
            sync("disks", disks(2, capacity).await),
        ];
        (chain(tiers, false).await, ())
    }

    cairn_chain::chunk_store_conformance!(fresh);
}

mod chain_of_one_tier {
    use super::{Arc, ChunkStore, chain, store, sync};

    async fn fresh(capacity: u64) -> (Arc<dyn ChunkStore>, ()) {
        (chain(vec![sync("disk", store(capacity, 0).await)], false).await, ())
    }

    cairn_chain::chunk_store_conformance!(fresh);
}

mod chain_of_a_cache_and_two_disks {
    use super::{Arc, ChunkStore, cache, chain, lru, store, sync};

    async fn fresh(capacity: u64) -> (Arc<dyn ChunkStore>, ()) {
        let tiers = vec![
            cache("cache", lru(store(capacity, 0).await, 1 << 20).await),
            sync("first", store(capacity, 1).await),
            sync("second", store(capacity, 2).await),
        ];
        (chain(tiers, false).await, ())
    }

    cairn_chain::chunk_store_conformance!(fresh);
}

mod chain_of_a_disk_and_one_behind {
    use super::{Arc, ChunkStore, behind, chain, store, sync};

    async fn fresh(capacity: u64) -> (Arc<dyn ChunkStore>, ()) {
        let tiers =
            vec![sync("disk", store(capacity, 0).await), behind("far", store(capacity, 1).await)];
        (chain(tiers, true).await, ())
    }

    cairn_chain::chunk_store_conformance!(fresh);
}

mod chain_in_a_chain {
    use super::{Arc, ChunkStore, Tier, TierConfig, behind, cache, chain, lru, store, sync};

    async fn fresh(capacity: u64) -> (Arc<dyn ChunkStore>, ()) {
        let inner = vec![
            cache("cache", lru(store(capacity, 0).await, 1 << 22).await),
            sync("disk", store(capacity, 1).await),
            behind("far", store(capacity, 2).await),
        ];
        let inner = chain(inner, true).await;
        let outer = vec![
            cache("small", lru(store(capacity, 3).await, 1 << 20).await),
            Tier::new(TierConfig::named("chain"), inner),
        ];
        (chain(outer, false).await, ())
    }

    cairn_chain::chunk_store_conformance!(fresh);
}
