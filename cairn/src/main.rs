//! The one binary.
//!
//! ```text
//! cairn up        gateway, master and nodes in one process
//! cairn gateway   ┐
//! cairn master    ├ one service a process
//! cairn node      ┘
//! cairn put get cat ls stat rm    client/   files, over HTTP
//! cairn admin                     admin/    nodes, usage, limits, over gRPC
//! cairn healthcheck completions man
//! ```

mod admin;
mod args;
mod client;
mod config_file;
#[cfg(test)]
mod docs;
mod gateway;
mod human;
mod master;
mod node;
mod process;
mod shell;
mod up;

use std::process::ExitCode;

use args::{Args, Command, Node};
use cairn_chain::plan::Plan;
use clap::{CommandFactory, Parser};
use client::error::{ClientError, Kind};
use config_file::{BadConfigFile, Told};
use process::StartError;

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] BadConfigFile),
    #[error(transparent)]
    Service(#[from] StartError),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Failure {
    fn kind(&self) -> Kind {
        match self {
            Self::Config(_) | Self::Service(StartError::Usage(_)) => Kind::Usage,
            Self::Service(StartError::Failed { .. }) => Kind::Failed,
            Self::Client(error) => error.kind,
        }
    }
}

fn main() -> ExitCode {
    match config_file::merged(&Args::command(), std::env::args_os().collect())
        .map_err(Failure::from)
        .and_then(|Told { arguments, tiers }| run(Args::parse_from(arguments), tiers))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let kind = failure.kind();
            if kind != Kind::ReaderGone {
                complain(&failure);
            }
            ExitCode::from(kind.exit_code())
        }
    }
}

#[expect(clippy::print_stderr, reason = "the last word to whoever started the process")]
fn complain(failure: &Failure) {
    eprintln!("cairn: {failure}");
}

fn run(args: Args, tiers: Option<Plan>) -> Result<(), Failure> {
    match args.command {
        Command::Up(up) => up::run(&up)?,
        Command::Gateway(gateway) => gateway::run(&gateway)?,
        Command::Master(master) => master::run(&master)?,
        Command::Node(Node { folder: Some(folder), .. }) => node::folder::run(&folder)?,
        Command::Node(node) => node::run(&node, tiers)?,
        Command::Put(put) => client::put(&put)?,
        Command::Get(get) => client::get(&get)?,
        Command::Cat(cat) => client::cat(&cat)?,
        Command::Ls(ls) => client::ls(&ls)?,
        Command::Stat(stat) => client::stat(&stat)?,
        Command::Rm(rm) => client::rm(&rm)?,
        Command::Bucket(bucket) => client::bucket(&bucket)?,
        Command::Admin(admin) => admin::run(&admin)?,
        Command::Healthcheck(check) => client::healthcheck(&check)?,
        Command::Completions(completions) => shell::completions(&completions)?,
        Command::Man(man) => shell::man(&man)?,
    }
    Ok(())
}
