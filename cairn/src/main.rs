//! The one binary.
//!
//! ```text
//! cairn up        gateway, master and nodes in one process
//! cairn gateway   ┐
//! cairn master    ├ one service a process
//! cairn node      ┘
//! ```

mod args;
mod gateway;
mod master;
mod node;
mod process;
mod up;

use std::process::ExitCode;

use args::{Args, Command};
use clap::Parser;
use process::StartError;

/// What was asked for cannot be done as asked: mend the command line.
const EXIT_USAGE: u8 = 2;
/// It failed while it ran, or could not start.
const EXIT_FAILED: u8 = 1;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            match error {
                StartError::Usage(_) => ExitCode::from(EXIT_USAGE),
                StartError::Failed { .. } => ExitCode::from(EXIT_FAILED),
            }
        }
    }
}

#[expect(clippy::print_stderr, reason = "the last word to whoever started the process")]
fn complain(error: &StartError) {
    eprintln!("cairn: {error}");
}

fn run(args: Args) -> Result<(), StartError> {
    match args.command {
        Command::Up(up) => up::run(&up),
        Command::Gateway(gateway) => gateway::run(&gateway),
        Command::Master(master) => master::run(&master),
        Command::Node(node) => node::run(&node),
    }
}
