//! `cairn cat`: a file to standard output.

use super::args::{Cat, Telling};
use super::digest::Hasher;
use super::error::{ClientError, Kind};
use super::get::fetch::fetch;
use super::output::write_out;
use super::remote::{Version, stat};
use super::{Client, block_on, names};

pub(crate) fn run(args: &Cat) -> Result<(), ClientError> {
    block_on(async {
        let client = Client::open(&args.connection, Telling { quiet: true, json: false }, 1)?;
        let doing = format!("cat {}", args.key);
        let key = names::key(&doing, args.key.as_str())?;
        let version = Version::of(&doing, stat(&client, &doing, &key).await?)?;
        let mut hasher = Hasher::default();
        fetch(&client, &doing, &version, 0..version.length, async |bytes| {
            hasher.update(&bytes);
            write_out(&bytes)
        })
        .await?;
        let arrived = hasher.finish();
        if args.no_verify || version.sha256 == Some(arrived) {
            return Ok(());
        }
        let problem = match version.sha256 {
            Some(_) => "what was written is not what was stored: its SHA-256 differs",
            None => "the server keeps no SHA-256 of this file, so it could not be verified",
        };
        Err(ClientError::new(Kind::Mismatch, &doing, problem).advise("do not use what was written"))
    })
}
