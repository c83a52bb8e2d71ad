//! `cairn get`: files out of the store.
//!
//! ```text
//! HEAD or list ─► plan     which segments are missing      DEST.part.json tells what an earlier try has
//!              ─► fetch    some at a time, If-Match: the version      a replaced file is noticed
//!              ─► part     written in place to DEST.part
//!              ─► follow   what is on disk is hashed: each segment's chunks, as it gets whole
//!              ─► finish   file root compared, fsync, rename to DEST, fsync of the folder
//! ```

pub(super) mod fetch;
mod follow;
mod part;
mod plan;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use tokio::sync::watch;

use self::fetch::fetch;
use self::part::{Part, part_path, state_path};
use super::args::Get;
use super::error::{ClientError, Kind};
use super::proof::{Arrived, Proof, root_of};
use super::remote::Version;
use super::{Client, block_on, each, names, remote};
use crate::human;

/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// A fetched file, in JSON.
#[derive(Serialize)]
struct Fetched<'a> {
    bucket: &'a str,
    key: &'a str,
    path: &'a str,
    length: u64,
    etag: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    verified: bool,
    /// What it was compared with: `root` or `sha256`.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_by: Option<&'static str>,
    /// Bytes that an earlier try had left.
    resumed: u64,
}

pub(crate) fn run(args: &Get) -> Result<(), ClientError> {
    block_on(async {
        let client = Client::open(&args.connection, args.telling, args.parallel)?;
        let wanted = if args.recursive {
            folder(&client, args).await?
        } else {
            vec![single(&client, args).await?]
        };
        let bytes = wanted.iter().map(|(version, _)| version.length).sum();
        client.output.begin(Some(bytes));
        let ended = each(&client, args.parallel, wanted, |(version, dest)| {
            get(&client, args, version, dest)
        });
        let ended = ended.await;
        client.output.end();
        ended
    })
}

/// One file and where it goes.
async fn single(client: &Client, args: &Get) -> Result<(Version, PathBuf), ClientError> {
    let doing = format!("get {}", args.key);
    if args.dest.as_deref() == Some(Path::new("-")) {
        return Err(ClientError::usage(&doing, "get writes files")
            .advise(format!("for standard output: cairn cat {}", args.key)));
    }
    let key = names::key(&doing, args.key.as_str())?;
    let given = args.dest.clone().unwrap_or_default();
    let is_folder = args.dest.is_none() || given.is_dir() || given.to_string_lossy().ends_with('/');
    let dest = if is_folder {
        let name = names::last_part(key.as_str()).ok_or_else(|| {
            ClientError::usage(&doing, "the key does not end in the name of a file")
                .advise("name the file after the key, or fetch a folder with -r")
        })?;
        given.join(name)
    } else {
        given
    };
    let found = remote::stat(client, &doing, &key).await.map_err(|error| match error.kind {
        Kind::NotFound => error.advise_too("a folder is fetched with: cairn get -r"),
        _ => error,
    })?;
    Ok((Version::of(&doing, found)?, dest))
}

/// All files of a folder and where they go.
async fn folder(client: &Client, args: &Get) -> Result<Vec<(Version, PathBuf)>, ClientError> {
    let doing = format!("get -r {}", args.key);
    let prefix = names::folder(&args.key);
    let root = args.dest.clone().unwrap_or_default();
    let found = remote::all(client, &prefix).await?;
    if found.is_empty() {
        return Err(ClientError::new(Kind::NotFound, &doing, "nothing is there")
            .advise("see what is there: cairn ls"));
    }
    let (mut wanted, mut taken) = (Vec::new(), BTreeSet::new());
    for file in found {
        let relative = file.key.strip_prefix(&prefix).unwrap_or(&file.key);
        let Some(path) = names::path_below(relative) else {
            let problem = "the key cannot be a path below the folder";
            return Err(ClientError::usage(format!("{doing}: {}", file.key), problem)
                .advise("fetch it by itself: cairn get KEY FILE"));
        };
        let dest = root.join(path);
        taken.insert(dest.clone());
        wanted.push((Version::of(&doing, file)?, dest));
    }
    for (version, dest) in &wanted {
        if taken.contains(&part_path(dest)) || taken.contains(&state_path(dest)) {
            let problem = "another file has the name that its part would have";
            return Err(ClientError::usage(format!("{doing}: {}", version.key), problem)
                .advise("fetch it by itself: cairn get KEY FILE"));
        }
    }
    Ok(wanted)
}

async fn get(
    client: &Client,
    args: &Get,
    version: Version,
    dest: PathBuf,
) -> Result<(), ClientError> {
    client.output.at(version.key.as_str());
    let doing = format!("get {}", version.key);
    let proof = version.proof.clone().filter(|_| !args.no_verify);
    if proof.is_none() && !args.no_verify {
        let problem = "the server tells nothing to compare this file with";
        return Err(ClientError::new(Kind::Mismatch, &doing, problem)
            .advise("--no-verify takes it as it is"));
    }
    let part = client.blocking(&doing, {
        let (doing, version, dest) = (doing.clone(), version.clone(), dest.clone());
        // What nobody verifies is not built upon either.
        let resume = proof.is_some() && !args.no_resume;
        move || Part::open(&doing, &version, &dest, resume)
    });
    let part = Arc::new(part.await?);
    let resumed = part.bytes_done();
    client.output.here_already(resumed);
    let job = Job { client, doing: &doing, version: &version, part: &part };
    let arrived = match job.all_segments(args.parallel, proof.as_ref()).await {
        // The part is of a version that is gone.
        Err(error) if matches!(error.kind, Kind::Condition | Kind::NotFound) => {
            let _ = client.blocking(&doing, move || part.discard()).await;
            return Err(error);
        }
        Err(error) if proof.is_some() => {
            let part = part_path(&dest);
            let kept =
                format!("what is there is kept in {}: run it again to go on", part.display());
            return Err(error.advise_too(kept));
        }
        arrived => arrived?,
    };
    if let Some(Err(differs)) = proof.as_ref().zip(arrived).map(|(proof, got)| proof.check(&got)) {
        let _ = client.blocking(&doing, move || part.discard()).await;
        let problem = format!("what is on disk is not what was stored: {differs}");
        return Err(ClientError::new(Kind::Mismatch, &doing, problem)
            .advise("the part was removed; fetch it again"));
    }
    client.blocking(&doing, move || part.finish()).await?;
    let path = dest.display().to_string();
    let line = format!("{} -> {path} ({})", version.key, human::bytes(version.length));
    let told = Fetched {
        bucket: client.api.bucket(),
        key: version.key.as_str(),
        path: &path,
        length: version.length,
        etag: &version.etag,
        sha256: version.sha256.map(|sha256| sha256.to_string()),
        verified: proof.is_some(),
        verified_by: proof.as_ref().map(Proof::id),
        resumed,
    };
    client.output.done(&line, &told)
}

/// One file on its way.
#[derive(Clone, Copy)]
struct Job<'a> {
    client: &'a Client,
    doing: &'a str,
    version: &'a Version,
    part: &'a Arc<Part>,
}

impl Job<'_> {
    /// Fetches what is missing, and hashes all of it as it lies on disk; nothing when nothing is to be proven.
    async fn all_segments(
        self,
        parallel: u16,
        proof: Option<&Proof>,
    ) -> Result<Option<Arrived>, ClientError> {
        match proof {
            Some(Proof::Root { .. }) => self.with_root(parallel).await.map(Some),
            Some(Proof::Sha256(_)) => {
                let (advance, front) = watch::channel(self.part.front());
                let hashed = follow::sha256(self.client, self.doing, self.part, front);
                let fetched = self.fetch_all(parallel, advance);
                let ((), digest) = tokio::try_join!(fetched, hashed)?;
                Ok(digest)
            }
            None => {
                let (advance, _) = watch::channel(0);
                self.fetch_all(parallel, advance).await.map(|()| None)
            }
        }
    }

    /// Each segment's chunks are hashed as soon as it is there, some segments at a time.
    async fn with_root(self, parallel: u16) -> Result<Arrived, ClientError> {
        let segments = 0..self.part.segments().count();
        let mut hashed: Vec<_> = stream::iter(segments)
            .map(|nth| async move {
                self.fetch_missing(nth).await?;
                let hashes = follow::chunk_hashes(self.client, self.doing, self.part, nth).await?;
                Ok::<_, ClientError>((nth, hashes))
            })
            .buffer_unordered(usize::from(parallel))
            .try_collect()
            .await?;
        hashed.sort_unstable_by_key(|(nth, _)| *nth);
        Ok(root_of(hashed.into_iter().flat_map(|(_, hashes)| hashes)))
    }

    /// `advance` is told how many segments from the front are there.
    async fn fetch_all(
        self,
        parallel: u16,
        advance: watch::Sender<usize>,
    ) -> Result<(), ClientError> {
        stream::iter(0..self.part.segments().count())
            .map(|nth| self.fetch_missing(nth))
            .buffer_unordered(usize::from(parallel))
            .try_for_each(async |()| {
                advance.send_replace(self.part.front());
                Ok(())
            })
            .await
    }

    async fn fetch_missing(self, nth: usize) -> Result<(), ClientError> {
        if self.part.has(nth) {
            return Ok(());
        }
        let Self { client, doing, version, part } = self;
        let range = part.segment(nth).bytes.clone();
        let mut at = range.start;
        let mut gathered = BytesMut::with_capacity(WRITE_BYTES);
        let end = range.end;
        fetch(client, doing, version, range, async |bytes| {
            gathered.extend_from_slice(&bytes);
            let arrived = at + gathered.len() as u64;
            if gathered.len() < WRITE_BYTES && arrived < end {
                return Ok(());
            }
            let (part, bytes, place) = (Arc::clone(part), gathered.split().freeze(), at);
            at = arrived;
            client.blocking(doing, move || part.write(place, &bytes)).await
        })
        .await?;
        let part = Arc::clone(part);
        client.blocking(doing, move || part.done(nth)).await
    }
}
