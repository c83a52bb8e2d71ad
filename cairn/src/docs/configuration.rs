//! `docs/configuration.md`: every option of every command.

use std::any::TypeId;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, Command, CommandFactory};

use super::{check, table};
use crate::args::Args;
use crate::config_file;

/// What a value is written as; the words are explained on the page.
fn value(arg: &Arg) -> String {
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return "flag".to_owned();
    }
    let choices = arg.get_possible_values();
    if !choices.is_empty() {
        let choices: Vec<_> = choices.iter().map(|one| format!("`{}`", one.get_name())).collect();
        return choices.join(", ");
    }
    let of = arg.get_value_parser().type_id();
    let known = [
        (TypeId::of::<Duration>(), "time"),
        (TypeId::of::<u64>(), "size"),
        (TypeId::of::<u32>(), "number"),
        (TypeId::of::<u16>(), "number"),
        (TypeId::of::<SocketAddr>(), "address"),
        (TypeId::of::<PathBuf>(), "path"),
    ];
    let known = known.into_iter().find(|(one, _)| of == *one).map(|(_, word)| word.to_owned());
    let named = || {
        let names: Vec<_> = arg.get_value_names().unwrap_or_default().iter().collect();
        names.first().map_or_else(|| "text".to_owned(), |name| name.to_lowercase())
    };
    known.unwrap_or_else(named)
}

fn default(arg: &Arg) -> String {
    let defaults: Vec<_> =
        arg.get_default_values().iter().map(|text| format!("`{}`", text.display())).collect();
    if arg.is_hide_default_value_set() { String::new() } else { defaults.join(" ") }
}

fn label(arg: &Arg) -> String {
    match (arg.get_long(), arg.get_short()) {
        (Some(long), Some(short)) => format!("`--{long}`, `-{short}`"),
        (Some(long), None) => format!("`--{long}`"),
        (None, _) => {
            let names: Vec<_> = arg.get_value_names().unwrap_or_default().iter().collect();
            let names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
            names.join(" ")
        }
    }
}

fn variable(arg: &Arg) -> String {
    arg.get_env().map(|name| format!("`{}`", name.display())).unwrap_or_default()
}

fn about(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default()
}

fn options(command: &Command) -> Vec<&Arg> {
    let shown =
        |arg: &&Arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str());
    let mut options: Vec<_> = command.get_arguments().filter(shown).collect();
    // What is told apart by its place comes first.
    options.sort_by_key(|arg| arg.get_long().is_some());
    options
}

fn heading(name: &str, command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    format!("### `{name}`\n\n{about}.\n\n")
}

/// A service: its options have variables and keys.
fn service(name: &str, command: &Command) -> String {
    let key = |arg: &Arg| match arg.get_long() {
        Some(long) if config_file::is_key(long) => format!("`{long}`"),
        _ => String::new(),
    };
    let rows: Vec<_> = options(command)
        .into_iter()
        .map(|arg| [label(arg), variable(arg), key(arg), value(arg), default(arg), about(arg)])
        .collect();
    let columns = ["option", "variable", "key", "value", "default", "meaning"];
    heading(name, command) + &table(columns, &rows)
}

/// A command that ends, and what is below it.
fn client(name: &str, command: &Command) -> String {
    let below: Vec<_> = command
        .get_subcommands()
        .filter(|below| below.get_name() != "help")
        .map(|below| client(&format!("{name} {}", below.get_name()), below))
        .collect();
    if !below.is_empty() {
        return below.join("\n");
    }
    let rows: Vec<_> = options(command)
        .into_iter()
        .map(|arg| [label(arg), variable(arg), value(arg), default(arg), about(arg)])
        .collect();
    heading(name, command) + &table(["option", "variable", "value", "default", "meaning"], &rows)
}

#[test]
fn the_configuration_page_is_what_the_code_says() {
    let mut command = Args::command();
    command.build();
    let is_service = |command: &&Command| {
        command.get_arguments().any(|arg| arg.get_long() == Some(config_file::OPTION))
    };
    let (services, clients): (Vec<_>, Vec<_>) = command
        .get_subcommands()
        .filter(|command| command.get_name() != "help" && !command.is_hide_set())
        .partition(is_service);
    let full = |command: &Command| format!("cairn {}", command.get_name());
    let services: Vec<_> = services.into_iter().map(|one| service(&full(one), one)).collect();
    let clients: Vec<_> = clients.into_iter().map(|one| client(&full(one), one)).collect();
    check(
        "configuration.md",
        &[("services", services.join("\n")), ("commands", clients.join("\n"))],
    );
}
