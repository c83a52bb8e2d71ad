//! Two tiers as one store: a disk that keeps the 500 MB used last, and one behind it that keeps everything, a bucket of S3 or
//! another folder.
//!
//! ```sh
//! cargo run -p cairn-chain --features testing --example tiers
//! AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… \
//!     cargo run -p cairn-chain --features testing --example tiers -- http://127.0.0.1:5000 my-bucket
//! ```

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cairn_chain::chain::{Chain, ChainConfig, ChainSeams, Journal, JournalSeams, Tier, TierConfig};
use cairn_chain::conformance::{get_all, put};
use cairn_chain::object_tier::{Provider, S3Config, S3Credentials};
use cairn_chain::report::TierErrors;
use cairn_chain::wrap::{Lru, LruConfig, LruSeams, Timeout, TimeoutConfig};
use cairn_chain::{
    ChunkStore, FileStore, FileStoreConfig, FileStoreSeams, ObjectTier, ObjectTierConfig,
    ObjectTierSeams, ReadError, RealDisk,
};
use cairn_core::ids::{BlobId, ChunkId, NodeId};
use cairn_runtime::{Blocking, Clock, Entropy, Spawner};

type Failure = Box<dyn Error + Send + Sync>;

/// What stores need of their surroundings.
#[derive(Clone)]
struct Surroundings {
    blocking: Blocking,
    spawner: Spawner,
    entropy: Entropy,
    clock: Clock,
    errors: TierErrors,
}

/// A folder on this machine.
async fn folder(path: &Path, around: &Surroundings) -> Result<Arc<dyn ChunkStore>, Failure> {
    let seams = FileStoreSeams {
        disk: Arc::new(RealDisk::open(path)?),
        blocking: around.blocking.clone(),
        spawner: around.spawner.clone(),
        entropy: around.entropy.clone(),
        clock: around.clock.clone(),
    };
    Ok(Arc::new(FileStore::open(FileStoreConfig::default(), seams).await?))
}

/// A bucket on a server that speaks S3, with up to a terabyte of chunks.
pub(crate) fn bucket(endpoint: &str, name: &str, credentials: S3Credentials) -> ObjectTierConfig {
    let bucket = S3Config {
        name: name.to_owned(),
        endpoint: Some(endpoint.to_owned()),
        region: Some("us-east-1".to_owned()),
        path_style: true,
        allow_http: endpoint.starts_with("http:"),
        credentials,
        ..S3Config::default()
    };
    ObjectTierConfig::at(1 << 40, Provider::S3(bucket))
}

/// The place that keeps everything: the bucket, or else a folder.
async fn remote(
    bucket: Option<&ObjectTierConfig>,
    path: &Path,
    around: &Surroundings,
) -> Result<Arc<dyn ChunkStore>, Failure> {
    let store: Arc<dyn ChunkStore> = match bucket {
        None => folder(path, around).await?,
        Some(bucket) => {
            let Surroundings { spawner, entropy, clock, .. } = around.clone();
            let seams =
                ObjectTierSeams { node: NodeId::from_slice(&[1; 16])?, spawner, entropy, clock };
            Arc::new(ObjectTier::open(bucket, seams).await?)
        }
    };
    Ok(Arc::new(Timeout::new(store, &TimeoutConfig::default(), around.clock.clone())))
}

/// Opens the two tiers, and makes a chain of them.
async fn open(
    root: &Path,
    bucket: Option<&ObjectTierConfig>,
) -> Result<(Chain, Arc<Lru>, Arc<dyn ChunkStore>), Failure> {
    let around = Surroundings {
        blocking: Blocking::threads("disk", 2)?,
        spawner: Spawner::current(),
        entropy: Entropy::from_system()?,
        clock: Clock::system(),
        errors: TierErrors::logged_only(),
    };
    let journal = JournalSeams {
        disk: Arc::new(RealDisk::open(root.join("journal"))?),
        blocking: around.blocking.clone(),
        spawner: around.spawner.clone(),
    };
    // The journal first: it says what the disk must not let go of.
    let journal = Journal::open(journal).await?;
    let lru = LruSeams {
        tier: "disk".into(),
        spawner: around.spawner.clone(),
        clock: around.clock.clone(),
        pins: journal.pins(),
        errors: around.errors.clone(),
    };
    let disk = folder(&root.join("disk"), &around).await?;
    let disk = Arc::new(Lru::open(disk, &LruConfig::of(500_000_000), lru).await?);
    let remote = remote(bucket, &root.join("remote"), &around).await?;
    let tiers = vec![
        Tier::evicting(TierConfig::named("disk"), disk.clone()),
        Tier::new(TierConfig::named("remote").behind(), remote.clone()),
    ];
    let Surroundings { spawner, clock, entropy, errors, .. } = around;
    let seams = ChainSeams { spawner, clock, entropy, errors };
    let chain = Chain::open(ChainConfig::default(), tiers, Some(journal), seams)?;
    Ok((chain, disk, remote))
}

/// What a store has under a name, if it does.
async fn look(store: &dyn ChunkStore, chunk: ChunkId) -> Result<Option<Bytes>, Failure> {
    match get_all(store, chunk).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(ReadError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Plays both scenarios in the folder `root`, with the bucket as the remote when there is one; gives what was seen, line by line.
///
/// # Errors
/// What went wrong first.
pub(crate) async fn scenarios(
    root: &Path,
    bucket: Option<&ObjectTierConfig>,
) -> Result<Vec<String>, Failure> {
    for folder in ["disk", "remote", "journal"] {
        std::fs::create_dir_all(root.join(folder))?;
    }
    let (chain, disk, remote) = open(root, bucket).await?;
    let mut seen = Vec::new();
    let k = ChunkId::new(BlobId::from_slice(&[1; 16])?, 0);
    let hi = ChunkId::new(BlobId::from_slice(&[2; 16])?, 0);

    seen.push("Example 1".to_owned());
    put(&chain, k, &Bytes::from_static(&[1, 2, 3])).await?;
    seen.push(format!("from the chain: {:?}", look(&chain, k).await?));
    seen.push(format!("from the disk: {:?}", look(&*disk, k).await?));
    chain.flush().await?;
    seen.push(format!("from the remote, once flushed: {:?}", look(&*remote, k).await?));
    chain.delete(vec![k]).await?;
    let everywhere = [look(&chain, k).await?, look(&*disk, k).await?, look(&*remote, k).await?];
    seen.push(format!("deleted everywhere: {everywhere:?}"));

    seen.push("Example 2".to_owned());
    put(&chain, hi, &Bytes::from_static(b"hope you enjoy")).await?;
    chain.flush().await?;
    disk.delete(vec![hi]).await?;
    seen.push(format!("from the disk, where it was deleted: {:?}", look(&*disk, hi).await?));
    seen.push(format!("from the chain: {:?}", look(&chain, hi).await?));
    chain.settle().await;
    seen.push(format!("from the disk, once promoted: {:?}", look(&*disk, hi).await?));
    chain.close().await;
    Ok(seen)
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "this is what a sample is for")]
#[allow(dead_code, reason = "the test that plays the scenarios has no use for it")]
async fn main() -> Result<(), Failure> {
    let root = std::env::temp_dir().join(format!("cairn-tiers-{}", std::process::id()));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let bucket = match &arguments[..] {
        [endpoint, name] => Some(bucket(endpoint, name, S3Credentials::Environment)),
        _ => None,
    };
    for line in scenarios(&root, bucket.as_ref()).await? {
        println!("{line}");
    }
    std::fs::remove_dir_all(&root)?;
    Ok(())
}
