//! `cairn stat`: what the server knows of a file.

use super::args::{Stat, Telling};
use super::error::ClientError;
use super::{Client, block_on, names, remote};
use crate::human;

pub(crate) fn run(args: &Stat) -> Result<(), ClientError> {
    block_on(async {
        let telling = Telling { quiet: true, json: args.json };
        let client = Client::open(&args.connection, telling, 1)?;
        let doing = format!("stat {}", args.key);
        let key = names::key(&doing, args.key.as_str())?;
        let file = remote::stat(&client, &doing, &key).await?;
        if args.json {
            return client.output.json(&file);
        }
        let line = |name: &str, value: &str| -> Result<(), ClientError> {
            client.output.line(&format!("{name:<13}{}", super::error::printable(value)))
        };
        line("key", &file.key)?;
        line("bucket", &file.bucket)?;
        let rounded = match file.length {
            0..1024 => String::new(),
            length => format!(" ({})", human::bytes(length)),
        };
        line("length", &format!("{}{rounded}", file.length))?;
        let known = [
            ("modified", &file.modified),
            ("type", &file.content_type),
            ("sha256", &file.sha256),
            ("root", &file.root),
            ("chunks", &file.chunks),
        ];
        for (name, value) in known {
            if let Some(value) = value {
                line(name, value)?;
            }
        }
        line("etag", &file.etag)?;
        for (name, value) in &file.meta {
            line(&format!("meta {name}"), value)?;
        }
        Ok(())
    })
}
