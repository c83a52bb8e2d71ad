//! Load on a running Cairn, and on nginx beside it in the same run.
//!
//! ```text
//! for each round:  cairn up ─► put, get, list, delete ─► figures ┐
//!                  nginx    ─► put, get,       delete ─► figures ┴─► ratio
//! ```
//!
//! Durability is equal: both sides write to the same file system, Cairn's answers come after fsync, and nginx's time
//! includes a syncfs at the end of each load. With `--dir` on a tmpfs neither side waits for a disk.

mod args;
mod content;
mod figures;
mod grpc;
mod load;
mod nginx;
mod rest;
mod round;
mod server;

use std::process::ExitCode;

use args::Args;
use clap::Parser;

#[expect(clippy::print_stderr, reason = "a command-line program")]
fn main() -> ExitCode {
    let args = Args::parse().settled();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ran = match runtime {
        Ok(runtime) => runtime.block_on(run(&args)),
        Err(error) => Err(error.into()),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cairn-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<(), load::Failure> {
    for interface in &args.interface {
        round::run(args, *interface).await?;
    }
    Ok(())
}
