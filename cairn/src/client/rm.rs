//! `cairn rm`: deletes files, or folders with all that is in them.

use cairn_core::names::ObjectKey;
use http::Method;
use serde::Serialize;

use super::args::Rm;
use super::error::{ClientError, Kind};
use super::http::empty;
use super::{Client, block_on, each, names, remote};

/// Deletions in flight at once.
const PARALLEL: u16 = 8;

/// A deleted file, in JSON.
#[derive(Serialize)]
struct Deleted<'a> {
    bucket: &'a str,
    key: &'a str,
    deleted: bool,
}

pub(crate) fn run(args: &Rm) -> Result<(), ClientError> {
    block_on(async {
        let client = Client::open(&args.connection, args.telling, PARALLEL)?;
        let keys = if args.recursive {
            below(&client, args).await?
        } else {
            let check = |text: &String| {
                let folder = text.ends_with('/');
                let key = names::key(&format!("rm {text:?}"), text.as_str())?;
                Ok((key, folder))
            };
            args.keys.iter().map(check).collect::<Result<Vec<_>, _>>()?
        };
        each(&client, PARALLEL, keys, |(key, folder)| delete(&client, key, folder)).await
    })
}

/// All files of the folders that were named.
async fn below(client: &Client, args: &Rm) -> Result<Vec<(ObjectKey, bool)>, ClientError> {
    let mut keys = Vec::new();
    for text in &args.keys {
        let doing = format!("rm -r {text:?}");
        let prefix = names::folder(text);
        if prefix.is_empty() && !args.everything {
            return Err(ClientError::usage(&doing, "that is every file of the bucket")
                .advise("say rm -r --everything / if that is meant"));
        }
        let found = remote::all(client, &prefix).await?;
        if found.is_empty() && !prefix.is_empty() {
            return Err(ClientError::new(Kind::NotFound, &doing, "nothing is there")
                .advise("see what is there: cairn ls"));
        }
        for file in found {
            keys.push((names::key(&doing, file.key)?, false));
        }
    }
    keys.sort();
    keys.dedup();
    Ok(keys)
}

async fn delete(client: &Client, key: ObjectKey, folder: bool) -> Result<(), ClientError> {
    let doing = format!("rm {key}");
    let request = || client.api.file(Method::DELETE, &key).body(empty());
    let answer = client.api.ask(&doing, false, request).await;
    answer.map_err(|error| match error.kind {
        Kind::NotFound if folder => error.advise("delete a folder with: cairn rm -r"),
        Kind::NotFound => error.advise_too("a folder goes with: cairn rm -r"),
        _ => error,
    })?;
    let (bucket, name) = (client.api.bucket(), key.as_str());
    let deleted = Deleted { bucket, key: name, deleted: true };
    client.output.done(&format!("deleted {key}"), &deleted)
}
