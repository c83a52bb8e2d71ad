//! The command line of `cairn bucket`.

use cairn_core::strategy::{ReadStrategy, SaveStrategy};
use clap::{ArgGroup, Args as ClapArgs, Subcommand, ValueHint};
use serde_json::{Map, Value};

use crate::client::error::EXIT_CODES;

/// What stands for what the cluster does, in every setting.
const DEFAULT: &str = "default";

/// Options of `cairn bucket`.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Bucket {
    #[command(subcommand)]
    pub(crate) what: Do,
    /// The gateway
    #[arg(
        long,
        global = true,
        env = "CAIRN_URL",
        default_value = "http://127.0.0.1:8080",
        value_hint = ValueHint::Url
    )]
    pub(crate) url: String,
}

/// What is done with buckets.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Do {
    /// Create a bucket
    Create(Create),
    /// List buckets
    Ls(Ls),
    /// Show a bucket: settings, and what it holds
    Show(Show),
    /// Change settings of a bucket, for what is stored and deleted later
    Set(Set),
    /// Delete a bucket
    Rm(Rm),
}

/// Options of `cairn bucket create`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Create {
    /// 3 to 63 of a-z, 0-9, '-' and '.'
    pub(crate) bucket: String,
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// As one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `cairn bucket set`.
#[derive(Debug, Clone, ClapArgs)]
#[command(group = ArgGroup::new("some").required(true).multiple(true).args(SETTINGS))]
pub(crate) struct Set {
    /// The bucket
    pub(crate) bucket: String,
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// As one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

const SETTINGS: [&str; 10] = [
    "copies",
    "zones",
    "least_copies",
    "durability",
    "sha256",
    "retention",
    "write",
    "read",
    "quota_bytes",
    "quota_objects",
];

/// Settings as the interface takes them: `default` is null.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Settings {
    /// Copies of each chunk, 1 to 8; or default
    #[arg(long, value_name = "N", value_parser = number)]
    copies: Option<Value>,
    /// Least zones that the copies of a chunk are in, where there are that many; or default
    #[arg(long, value_name = "N", value_parser = number)]
    zones: Option<Value>,
    /// Least copies with which a write is accepted when nodes are short, until the rest can be made; or default
    #[arg(long, value_name = "N", value_parser = number)]
    least_copies: Option<Value>,
    /// When a write is acknowledged: synced; or default
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    durability: Option<Value>,
    /// Whether the SHA-256 of files is computed: on, off or default
    #[arg(long, value_name = "SWITCH", value_parser = switch)]
    sha256: Option<Value>,
    /// How long replaced and deleted files can come back, e.g. 7d, 12h, 0s; or default
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    retention: Option<Value>,
    /// How copies are written: sequential, parallel, "parallel; fail_fast", "parallel; quorum=N"; or default
    #[arg(long, value_name = "STRATEGY", value_parser = write)]
    write: Option<Value>,
    /// How copies are read: ordered, race, hedged; or default
    #[arg(long, value_name = "STRATEGY", value_parser = read)]
    read: Option<Value>,
    /// Most bytes, e.g. 20MiB; or none
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    quota_bytes: Option<Value>,
    /// Most files; or none
    #[arg(long, value_name = "COUNT", value_parser = count)]
    quota_objects: Option<Value>,
}

impl Settings {
    /// The settings that were given, as JSON.
    pub(crate) fn json(&self) -> Value {
        let given = [
            ("copies", &self.copies),
            ("zones", &self.zones),
            ("least_copies", &self.least_copies),
            ("durability", &self.durability),
            ("sha256", &self.sha256),
            ("retention_seconds", &self.retention),
            ("write", &self.write),
            ("read", &self.read),
            ("quota_bytes", &self.quota_bytes),
            ("quota_objects", &self.quota_objects),
        ];
        let given = given.into_iter().filter_map(|(name, value)| {
            value.as_ref().map(|value| (name.to_owned(), value.clone()))
        });
        Value::Object(given.collect::<Map<_, _>>())
    }
}

/// Options of `cairn bucket ls`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Ls {
    /// The beginning of names
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// Numbers of bytes in full
    #[arg(long)]
    pub(crate) bytes: bool,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `cairn bucket show`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Show {
    /// The bucket
    pub(crate) bucket: String,
    /// As one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `cairn bucket rm`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Rm {
    /// The bucket
    pub(crate) bucket: String,
    /// With all that is in it, in the background; nothing of it comes back
    #[arg(long)]
    pub(crate) contents: bool,
}

fn or_default(text: &str, read: impl Fn(&str) -> Result<Value, String>) -> Result<Value, String> {
    if text == DEFAULT { Ok(Value::Null) } else { read(text) }
}

fn number(text: &str) -> Result<Value, String> {
    let rule = |_| "use a whole number, or default".to_owned();
    or_default(text, |text| text.parse::<u32>().map(Value::from).map_err(rule))
}

fn level(text: &str) -> Result<Value, String> {
    or_default(text, |text| match text {
        "synced" => Ok(Value::from(text)),
        _ => Err("use synced, or default".to_owned()),
    })
}

fn write(text: &str) -> Result<Value, String> {
    let known = |text: &str| text.parse::<SaveStrategy>().map_err(|error| error.to_string());
    or_default(text, |text| known(text).map(|write| Value::from(write.to_string())))
}

fn read(text: &str) -> Result<Value, String> {
    let known = |text: &str| text.parse::<ReadStrategy>().map_err(|error| error.to_string());
    or_default(text, |text| known(text).map(|read| Value::from(read.to_string())))
}

fn switch(text: &str) -> Result<Value, String> {
    or_default(text, |text| match text {
        "on" => Ok(Value::Bool(true)),
        "off" => Ok(Value::Bool(false)),
        _ => Err("use on, off or default".to_owned()),
    })
}

fn seconds(text: &str) -> Result<Value, String> {
    or_default(text, |text| {
        let time = crate::args::duration(text)?;
        if time.subsec_nanos() == 0 {
            Ok(Value::from(time.as_secs()))
        } else {
            Err("use whole seconds".to_owned())
        }
    })
}

fn bytes(text: &str) -> Result<Value, String> {
    if text == "none" {
        return Ok(Value::Null);
    }
    let rule = |error| format!("{error}: use a number of bytes, one with KiB, MiB, GiB, or none");
    parse_size::parse_size(text).map(Value::from).map_err(rule)
}

fn count(text: &str) -> Result<Value, String> {
    if text == "none" {
        return Ok(Value::Null);
    }
    text.parse::<u64>().map(Value::from).map_err(|_| "use a whole number, or none".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_values_or_default() {
        assert_eq!(number("3"), Ok(Value::from(3)));
        assert_eq!(number("default"), Ok(Value::Null));
        assert_eq!(switch("off"), Ok(Value::Bool(false)));
        assert_eq!(seconds("7d"), Ok(Value::from(7 * 24 * 3600)));
        assert_eq!(bytes("20MiB"), Ok(Value::from(20 << 20)));
        assert_eq!((bytes("none"), count("none")), (Ok(Value::Null), Ok(Value::Null)));
        for wrong in [number("x"), number("-1"), switch("yes"), seconds("soon"), seconds("1500ms")]
        {
            assert!(wrong.is_err(), "{wrong:?}");
        }
        assert!(level("memory").is_err());
    }
}
