//! The command line of those who use files.

use std::path::PathBuf;

use cairn_core::chunking::{Chunking, MAX_CHUNKS, Parts};
use clap::{Args as ClapArgs, ValueHint};

use super::error::EXIT_CODES;

/// Where the files are.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Connection {
    /// The gateway
    #[arg(long, env = "CAIRN_URL", default_value = "http://127.0.0.1:8080", value_hint = ValueHint::Url)]
    pub(crate) url: String,
    /// The bucket
    #[arg(long, env = "CAIRN_BUCKET", default_value = "default", value_name = "NAME")]
    pub(crate) bucket: String,
}

/// How it is told.
#[derive(Debug, Clone, Copy, ClapArgs)]
pub(crate) struct Telling {
    /// No progress and no line for each file
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// One JSON object a line for each file
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `cairn put`.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = EXIT_CODES, override_usage = "cairn put [OPTIONS] <SRC>... <KEY>")]
pub(crate) struct Put {
    /// Files, then the key; a key that ends with / takes each file under its own name; `-` is standard input
    #[arg(required = true, num_args = 2.., value_names = ["SRC", "KEY"], value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
    /// Folders with all that is in them: `put -r DIR PREFIX/` stores DIR/a/b as PREFIX/a/b
    #[arg(long, short)]
    pub(crate) recursive: bool,
    /// Only under names that do not exist yet; exit code 4 when one does
    #[arg(long)]
    pub(crate) new: bool,
    /// Media type; from the key's extension, when not given
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) content_type: Option<String>,
    /// A word about the file, given back with it; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = meta)]
    pub(crate) meta: Vec<(String, String)>,
    /// How files are cut into chunks: `equal:6` into six equal parts, the last with the remainder
    #[arg(long, value_name = "RULE", value_parser = chunking)]
    pub(crate) chunking: Option<Chunking>,
    /// Files in flight at once
    #[arg(long, env = "CAIRN_PARALLEL", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) parallel: u16,
    #[command(flatten)]
    pub(crate) telling: Telling,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Options of `cairn get`.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Get {
    /// The file, or with -r the folder; `/` is the whole bucket
    pub(crate) key: String,
    /// Where to; a folder takes the file under its own name. The working folder, when not given
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) dest: Option<PathBuf>,
    /// All files below KEY: `get -r PREFIX DIR` fetches PREFIX/a/b as DIR/a/b
    #[arg(long, short)]
    pub(crate) recursive: bool,
    /// Fetch all of it, even when an earlier try left a part
    #[arg(long)]
    pub(crate) no_resume: bool,
    /// Compare what is on disk with the file root that the server keeps; this is the default
    #[arg(long, overrides_with = "no_verify")]
    pub(crate) verify: bool,
    /// Take what arrives as it is; nothing is resumed then, because nobody would notice a bad part
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// Ranges in flight at once
    #[arg(long, env = "CAIRN_PARALLEL", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) parallel: u16,
    #[command(flatten)]
    pub(crate) telling: Telling,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Options of `cairn cat`.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Cat {
    /// The file
    pub(crate) key: String,
    /// Do not compare what was written with what is stored
    #[arg(long)]
    pub(crate) no_verify: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Options of `cairn ls`.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Ls {
    /// A folder, or the beginning of keys
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// Length and time of each file
    #[arg(long, short)]
    pub(crate) long: bool,
    /// With -l: lengths to the byte
    #[arg(long)]
    pub(crate) bytes: bool,
    /// Everything below, instead of one level
    #[arg(long, short)]
    pub(crate) recursive: bool,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Options of `cairn stat`.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Stat {
    /// The file
    pub(crate) key: String,
    /// As one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Options of `cairn rm`.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Rm {
    /// The files, or with -r the folders
    #[arg(required = true, value_name = "KEY")]
    pub(crate) keys: Vec<String>,
    /// Everything below each KEY
    #[arg(long, short)]
    pub(crate) recursive: bool,
    /// With -r /: yes, every file of the bucket
    #[arg(long, requires = "recursive")]
    pub(crate) everything: bool,
    #[command(flatten)]
    pub(crate) telling: Telling,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// Options of `cairn healthcheck`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Healthcheck {
    /// The port of a service that serves health: admin of master, gateway and `cairn up`, or a node
    #[arg(long, env = "CAIRN_HEALTH_URL", default_value = "http://127.0.0.1:8081", value_hint = ValueHint::Url)]
    pub(crate) url: String,
}

/// As the header says it, but without what shells take for their own.
fn chunking(text: &str) -> Result<Chunking, String> {
    let parts = text.strip_prefix("equal:").and_then(|parts| parts.parse().ok());
    let parts = parts.and_then(|parts| Parts::new(parts).ok());
    parts.map(Chunking::Equal).ok_or_else(|| format!("use equal:N, with 1 to {MAX_CHUNKS} parts"))
}

fn meta(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("use NAME=VALUE, e.g. owner=ada")?;
    let allowed =
        |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    if name.is_empty() || !name.chars().all(allowed) {
        return Err("a name is of a-z, 0-9, '-', '_' and '.'".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}
