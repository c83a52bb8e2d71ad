//! `--config FILE`: the options of a service as TOML, one key for each long option.
//!
//! ```toml
//! # cairn node --config node.toml
//! data = "/srv/cairn"
//! listen = "10.0.0.5:7100"
//! zone = "rack-1"
//! open = true
//! ```
//!
//! What is given on the command line wins over `CAIRN_…`, which wins over the file. The file becomes arguments, so that
//! every value is read, checked and explained by the same code wherever it came from. A node's tiers, which no argument
//! can say, are read as what they are: see [`cairn_chain::plan`].

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use cairn_chain::chain::ChainConfig;
use cairn_chain::plan::{Plan, TierPlan};
use clap::{Arg, ArgAction, Command};

/// The file cannot be used. The text names the file and the place in it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadConfigFile(String);

/// The option that names the file.
pub(crate) const OPTION: &str = "config";

/// True for the long options that are keys of a file.
pub(crate) fn is_key(long: &str) -> bool {
    ![OPTION, "help", "version"].contains(&long)
}

/// The service whose file may describe tiers.
const WITH_TIERS: &str = "node";
/// The keys that describe them.
const TIER_KEYS: [&str; 3] = ["tier", "chain", "behind-journal"];

/// The tiers in a file, among other keys.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Tiers {
    tier: Vec<TierPlan>,
    chain: ChainConfig,
    behind_journal: Option<PathBuf>,
}

/// What a process is told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Its arguments, with those of the file.
    pub(crate) arguments: Vec<OsString>,
    /// The tiers of the node, where its file describes some.
    pub(crate) tiers: Option<Plan>,
}

/// Adds what the file named by `--config` says to `arguments`, unless they or the environment say it already.
pub(crate) fn merged(command: &Command, arguments: Vec<OsString>) -> Result<Told, BadConfigFile> {
    let mut told = Told { arguments, tiers: None };
    let arguments = &mut told.arguments;
    let Some(service) = arguments.get(1).and_then(|name| name.to_str()) else {
        return Ok(told);
    };
    let Some(service) = command.find_subcommand(service) else { return Ok(told) };
    let Some(file) = file_named_in(arguments, service) else { return Ok(told) };
    let file = Path::new(&file);
    let text = fs::read_to_string(file)
        .map_err(|error| BadConfigFile(format!("read {}: {error}", file.display())))?;
    let from_file = arguments_of(file, &text, service, |arg| {
        is_given(arguments, arg) || arg.get_env().is_some_and(|name| env::var_os(name).is_some())
    })?;
    arguments.extend(from_file.arguments);
    told.tiers = from_file.tiers;
    Ok(told)
}

fn file_named_in(arguments: &[OsString], service: &Command) -> Option<OsString> {
    let long = format!("--{OPTION}");
    let mut after = arguments.iter().skip(2);
    while let Some(argument) = after.next() {
        if *argument == *long {
            return after.next().cloned();
        }
        let text = argument.to_str().and_then(|text| text.strip_prefix(&long)?.strip_prefix('='));
        if let Some(file) = text {
            return Some(file.into());
        }
    }
    let option = service.get_arguments().find(|arg| arg.get_long() == Some(OPTION))?;
    env::var_os(option.get_env()?)
}

fn is_given(arguments: &[OsString], option: &Arg) -> bool {
    let Some(long) = option.get_long() else { return false };
    arguments.iter().filter_map(|argument| argument.to_str()).any(|argument| {
        let rest = argument.strip_prefix("--").and_then(|text| text.strip_prefix(long));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}

/// The file's keys as arguments, but those that are `overridden`.
fn arguments_of(
    file: &Path,
    text: &str,
    service: &Command,
    overridden: impl Fn(&Arg) -> bool,
) -> Result<Told, BadConfigFile> {
    let wrong = |line: usize, problem: String| {
        BadConfigFile(format!("{}, line {line}: {problem}", file.display()))
    };
    let line_of = |offset: usize| text[..offset.min(text.len())].lines().count().max(1);
    let no_toml = |error: toml::de::Error| {
        let line = error.span().map_or(1, |span| line_of(span.start + 1));
        wrong(line, error.message().to_owned())
    };
    let mut table: toml::Table = text.parse().map_err(no_toml)?;
    let mut tiers = None;
    if service.get_name() == WITH_TIERS && TIER_KEYS.iter().any(|key| table.contains_key(*key)) {
        let Tiers { tier, chain, behind_journal } = toml::from_str(text).map_err(no_toml)?;
        tiers = Some(Plan::new(tier, chain, behind_journal));
        table.retain(|key, _| !TIER_KEYS.contains(&key));
    }
    let mut arguments = Vec::new();
    for (key, value) in &table {
        let line = text.lines().position(|line| line.trim_start().starts_with(key.as_str()));
        let line = line.map_or(1, |line| line + 1);
        let option = service
            .get_arguments()
            .find(|arg| arg.get_long() == Some(key) && is_key(key))
            .ok_or_else(|| wrong(line, format!("unknown key {key:?}: {}", known(service))))?;
        if overridden(option) {
            continue;
        }
        let flag = matches!(option.get_action(), ArgAction::SetTrue);
        match (value, flag) {
            (toml::Value::Boolean(true), true) => arguments.push(format!("--{key}").into()),
            (toml::Value::Boolean(false), true) => {}
            (toml::Value::String(text), false) => arguments.push(format!("--{key}={text}").into()),
            (toml::Value::Integer(number), false) => {
                arguments.push(format!("--{key}={number}").into());
            }
            (toml::Value::Float(number), false) => {
                arguments.push(format!("--{key}={number}").into());
            }
            (toml::Value::Array(items), false) if option.get_value_delimiter().is_some() => {
                let texts: Option<Vec<_>> = items.iter().map(toml::Value::as_str).collect();
                let texts =
                    texts.ok_or_else(|| wrong(line, format!("{key} is a list of texts")))?;
                arguments.extend(texts.iter().map(|text| format!("--{key}={text}").into()));
            }
            (_, true) => return Err(wrong(line, format!("{key} is true or false"))),
            (_, false) => return Err(wrong(line, format!("{key} is a text or a number"))),
        }
    }
    Ok(Told { arguments, tiers })
}

fn known(service: &Command) -> String {
    let mut names: Vec<_> =
        service.get_arguments().filter_map(Arg::get_long).filter(|name| is_key(name)).collect();
    names.sort_unstable();
    format!("use {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Args;

    fn node() -> Command {
        let command = Args::command();
        command.find_subcommand("node").expect("a service").clone()
    }

    fn told(text: &str) -> Result<Told, String> {
        let file = Path::new("node.toml");
        arguments_of(file, text, &node(), |_| false).map_err(|error| error.to_string())
    }

    fn read(text: &str) -> Result<Vec<OsString>, String> {
        told(text).map(|told| told.arguments)
    }

    #[test]
    fn tiers_stand_beside_options() {
        let text = "zone = \"rack-1\"\n\n[[tier]]\nname = \"disk\"\n\
                    store = { kind = \"segments\", path = \".\" }\n";
        let Told { arguments, tiers } = told(text).expect("all known");
        assert_eq!(arguments, ["--zone=rack-1"]);
        assert_eq!(tiers.expect("tiers").tiers.len(), 1);
        assert_eq!(told("zone = \"a\"").expect("no tiers").tiers, None);
    }

    #[test]
    fn a_tier_that_is_not_understood_is_refused_with_its_place() {
        let refused = |text: &str| told(text).expect_err(text);
        let unknown = refused("zone = \"a\"\n[[tier]]\nname = \"disk\"\nstoer = 1\n");
        assert!(unknown.starts_with("node.toml, line 4: unknown field `stoer`"), "{unknown}");
        let kind = refused("[[tier]]\nname = \"disk\"\nstore = { kind = \"tape\" }\n");
        assert!(kind.contains("line 3") && kind.contains("unknown variant `tape`"), "{kind}");
        let command = Args::command();
        let master = command.find_subcommand("master").expect("a service");
        let refused = arguments_of(Path::new("m.toml"), "[[tier]]\n", master, |_| false);
        assert!(refused.expect_err("no tiers there").to_string().contains("unknown key \"tier\""));
    }

    #[test]
    fn keys_become_options() {
        let read = read(
            "zone = \"rack-1\"\nopen = true\nopen-to-network = false\ncapacity = 1024\notlp-sample = 0.1\n",
        );
        let read = read.expect("all known");
        assert_eq!(read, ["--capacity=1024", "--open", "--otlp-sample=0.1", "--zone=rack-1"]);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place_and_what_is_known() {
        let refused = read("zone = \"a\"\n\nzonne = \"b\"\n").expect_err("a typo");
        assert!(refused.starts_with("node.toml, line 3: unknown key \"zonne\": use "), "{refused}");
        assert!(refused.contains("capacity, ") && !refused.contains("help"), "{refused}");
    }

    #[test]
    fn what_is_no_toml_or_no_value_is_refused_with_its_place() {
        assert!(read("zone = ").expect_err("no value").contains("line 1"));
        assert!(
            read("\nopen = \"yes\"\n").expect_err("no boolean").contains("line 2: open is true")
        );
        assert!(read("zone = [\"a\"]\n").expect_err("a list").contains("line 1: zone is a text"));
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let given = ["cairn", "node", "--zone=other", "--data", "x"].map(OsString::from);
        let zone = node().get_arguments().find(|arg| arg.get_long() == Some("zone")).cloned();
        let open = node().get_arguments().find(|arg| arg.get_long() == Some("open")).cloned();
        assert!(is_given(&given, &zone.expect("an option")));
        assert!(!is_given(&given, &open.expect("an option")));
    }
}
