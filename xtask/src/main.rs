//! What a contributor runs: `cargo xtask` lists it. Every check is one command, printed before it runs.

#![allow(clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

mod command;
mod show;
mod tasks;
mod tidy;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.split_first() {
        None => {
            tasks::list();
            Ok(())
        }
        Some((name, rest)) => tasks::run_task(name, rest),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}
