//! The segment store beside a file per chunk, and beside fio, on the same disk in the same run.
//!
//! ```text
//! for each round:  4 KiB chunks, 64 writers    segments : files      chunks a second, syncs a chunk
//!                  8 MiB chunks,  4 writers    segments : files, fio bytes a second
//! once:            bytes that are copied for each that is written and read
//!                  opening a store of many chunks from its index : from its records; memory for each chunk
//! ```
//!
//! All of them acknowledge after fsync. fio writes files of the same size, each synced at its end. Each figure is printed
//! with the bar that it is to reach; one that is missed makes the program fail.

mod bars;
mod copies;
mod counted;
mod fio;
mod load;
mod opening;

use std::path::PathBuf;
use std::process::ExitCode;

use bars::{Bar, Bars};
use clap::Parser;
use load::{Kind, Load};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const SMALL: usize = 4 << 10;
const SMALL_WRITERS: u32 = 64;
const LARGE: usize = 8 << 20;
const LARGE_WRITERS: u32 = 4;

/// Measures the stores of a storage node.
#[derive(Debug, Parser)]
struct Args {
    /// On which file system
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Rounds; medians are printed
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Chunks of 4 KiB in a round
    #[arg(long, default_value_t = 8192)]
    small: u32,
    /// Chunks of 8 MiB in a round
    #[arg(long, default_value_t = 64)]
    large: u32,
    /// Chunks of the store that is opened
    #[arg(long, default_value_t = 1_000_000)]
    open: u32,
    /// Bytes of each of these
    #[arg(long, default_value_t = SMALL)]
    open_bytes: usize,
    /// Little of everything, and no bars of time: syncs, copies and memory are what they are on any machine
    #[arg(long)]
    smoke: bool,
    /// Opens the store in this folder, and tells what it took
    #[arg(long, hide = true)]
    reopen: Option<PathBuf>,
}

#[expect(clippy::print_stderr, reason = "a command-line program")]
fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.smoke {
        args = Args { rounds: 1, small: 2048, large: 8, open: 100_000, open_bytes: 64, ..args };
    }
    let ran = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(run(&args)));
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cairn-store-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Tells whether all bars were reached.
async fn run(args: &Args) -> Result<bool, Failure> {
    if let Some(folder) = &args.reopen {
        opening::reopen(folder).await?;
        return Ok(true);
    }
    let mut bars = Bars::new(args.smoke);
    small(args, &mut bars).await?;
    large(args, &mut bars).await?;
    copies::measure(&args.dir, &mut bars).await?;
    opening::measure(args, &mut bars).await?;
    Ok(bars.all_reached())
}

/// The two kinds one after the other, in turns: what else the machine does strikes both.
async fn pair(args: &Args, round: usize, load: Load) -> Result<[load::Took; 2], Failure> {
    let mut kinds = [Kind::Segments, Kind::Files];
    if round % 2 == 1 {
        kinds.reverse();
    }
    let first = load::run(&args.dir, kinds[0], load).await?;
    let second = load::run(&args.dir, kinds[1], load).await?;
    Ok(if round % 2 == 1 { [second, first] } else { [first, second] })
}

#[expect(clippy::print_stdout, reason = "a command-line program")]
async fn small(args: &Args, bars: &mut Bars) -> Result<(), Failure> {
    let load = Load { count: args.small, bytes: SMALL, writers: SMALL_WRITERS };
    let (mut ratios, mut syncs) = (Vec::new(), Vec::new());
    for round in 0..args.rounds {
        let [segments, files] = pair(args, round, load).await?;
        println!(
            "4 KiB, {SMALL_WRITERS} writers: segments {:.0}/s, {:.3} syncs each; files {:.0}/s, {:.2} syncs each",
            segments.rate(),
            segments.syncs_each(),
            files.rate(),
            files.syncs_each(),
        );
        ratios.push(segments.rate() / files.rate());
        syncs.push(segments.syncs_each());
    }
    bars.judge("4 KiB, syncs for each put", syncs, Bar::AtMost(0.1));
    bars.judge_time("4 KiB, segments : files", ratios, Bar::AtLeast(3.0));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a command-line program")]
async fn large(args: &Args, bars: &mut Bars) -> Result<(), Failure> {
    let load = Load { count: args.large, bytes: LARGE, writers: LARGE_WRITERS };
    let (mut to_files, mut to_fio) = (Vec::new(), Vec::new());
    for round in 0..args.rounds {
        let [segments, files] = pair(args, round, load).await?;
        let [segments, files] = [segments, files].map(|took| took.megabytes_per_second());
        let fio = if args.smoke { None } else { fio::run(&args.dir, load)? };
        let by_fio = fio.map_or("not there".to_owned(), |fio| format!("{fio:.0}"));
        println!(
            "8 MiB, {LARGE_WRITERS} writers: MB/s: segments {segments:.0}, files {files:.0}, fio {by_fio}"
        );
        to_files.push(segments / files);
        to_fio.extend(fio.map(|fio| segments / fio));
    }
    bars.tell("8 MiB, segments : files", to_files);
    match to_fio.is_empty() {
        true if args.smoke => {}
        true => println!("SKIPPED: no fio (apt-get install fio)"),
        false => bars.judge_time("8 MiB, segments : fio", to_fio, Bar::AtLeast(0.8)),
    }
    Ok(())
}
