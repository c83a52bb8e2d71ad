//! `cairn get`: files out of the store.
//!
//! ```text
//! HEAD or list ─► plan     which segments are missing      DEST.part.json tells what an earlier try has
//!              ─► fetch    some at a time, If-Match: the version      a replaced file is noticed
//!              ─► part     written in place to DEST.part
//!              ─► follow   SHA-256 of what is on disk, from the front, while the rest arrives
//!              ─► finish   digest compared, fsync, rename to DEST, fsync of the folder
//! ```

pub(super) mod fetch;
mod follow;
mod part;
mod plan;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use cairn_core::digest::Sha256;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use tokio::sync::watch;

use self::fetch::fetch;
use self::follow::follow;
use self::part::{Part, part_path, state_path};
use super::args::Get;
use super::error::{ClientError, Kind};
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
    let found = remote::stat(client, &doing, &key).await?;
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
    let verify = !args.no_verify;
    if verify && version.sha256.is_none() {
        let problem = "the server keeps no SHA-256 of this file, so it cannot be verified";
        return Err(ClientError::new(Kind::Mismatch, &doing, problem)
            .advise("--no-verify takes it as it is"));
    }
    let part = client.blocking(&doing, {
        let (doing, version, dest) = (doing.clone(), version.clone(), dest.clone());
        // What nobody verifies is not built upon either.
        let resume = verify && !args.no_resume;
        move || Part::open(&doing, &version, &dest, resume)
    });
    let part = Arc::new(part.await?);
    let resumed = part.bytes_done();
    client.output.here_already(resumed);
    let arrived = all_segments(client, args, &doing, &version, &part).await;
    let digest = match arrived {
        // The part is of a version that is gone.
        Err(error) if matches!(error.kind, Kind::Condition | Kind::NotFound) => {
            let _ = client.blocking(&doing, move || part.discard()).await;
            return Err(error);
        }
        arrived => arrived?,
    };
    if verify && digest != version.sha256 {
        let _ = client.blocking(&doing, move || part.discard()).await;
        let problem = "what is on disk is not what was stored: its SHA-256 differs";
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
        verified: verify,
        resumed,
    };
    client.output.done(&line, &told)
}

/// Fetches what is missing, and hashes all of it as it lies on disk; no digest when none is wanted.
async fn all_segments(
    client: &Client,
    args: &Get,
    doing: &str,
    version: &Version,
    part: &Arc<Part>,
) -> Result<Option<Sha256>, ClientError> {
    let (advance, front) = watch::channel(part.front());
    let segments = async {
        let advance = advance;
        stream::iter(part.missing())
            .map(|segment| one_segment(client, doing, version, part, segment))
            .buffer_unordered(usize::from(args.parallel))
            .try_for_each(async |()| {
                advance.send_replace(part.front());
                Ok(())
            })
            .await
    };
    if args.no_verify {
        return segments.await.map(|()| None);
    }
    let hashed = follow(client, doing, part, front);
    let ((), digest) = tokio::try_join!(segments, hashed)?;
    Ok(digest)
}

async fn one_segment(
    client: &Client,
    doing: &str,
    version: &Version,
    part: &Arc<Part>,
    segment: u64,
) -> Result<(), ClientError> {
    let range = part.range(segment);
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
    client.blocking(doing, move || part.done(segment)).await
}
