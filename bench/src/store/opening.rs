//! Opening a store of many chunks, by a process of its own each time, as a node does when it starts.

use std::path::Path;
use std::process::Command;

use cairn_runtime::Clock;

use super::bars::{Bar, Bars};
use super::counted::Counts;
use super::load::{Kind, Load, content, fill, open};
use super::{Args, Failure};

/// Writers that fill the store.
const WRITERS: u32 = 256;

/// Opens the store in `folder`, and tells seconds, chunks, bytes of memory kept and at most used.
#[expect(clippy::print_stdout, reason = "a command-line program")]
pub(crate) async fn reopen(folder: &Path) -> Result<(), Failure> {
    let clock = Clock::system();
    let (before, begun) = (memory("VmRSS:")?, clock.monotonic());
    let store = open(folder, Kind::Segments, Counts::default()).await?;
    let seconds = (clock.monotonic() - begun).as_secs_f64();
    let (kept, most) = (memory("VmRSS:")? - before, memory("VmHWM:")? - before);
    println!("{seconds} {} {kept} {most}", store.usage().chunks);
    store.close().await;
    Ok(())
}

/// A line of what the system tells of this process, in bytes.
fn memory(line: &str) -> Result<f64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|text| text.strip_prefix(line));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kilobytes.ok_or("no such line of memory")?.parse::<f64>()? * 1024.0)
}

/// What [`reopen`] tells.
struct Reopened {
    seconds: f64,
    /// Bytes of memory for each chunk.
    kept: f64,
    most: f64,
}

impl Reopened {
    fn of(folder: &Path, chunks: u32) -> Result<Self, Failure> {
        // What others have written is not waited for within the time that is measured.
        rustix::fs::sync();
        let output = Command::new(std::env::current_exe()?).arg("--reopen").arg(folder).output()?;
        let told = String::from_utf8(output.stdout)?;
        let told: Vec<f64> = told.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [seconds, found, kept, most] = told[..] else {
            return Err(format!("not opened: {}", String::from_utf8_lossy(&output.stderr)).into());
        };
        if found != f64::from(chunks) {
            return Err(format!("{found} chunks were found, of {chunks}").into());
        }
        Ok(Self { seconds, kept: kept / found, most: most / found })
    }
}

/// Fills a store and opens it from its index and from its records, in turns.
#[expect(clippy::print_stdout, reason = "a command-line program")]
pub(crate) async fn measure(args: &Args, bars: &mut Bars) -> Result<(), Failure> {
    let folder = tempfile::tempdir_in(&args.dir)?;
    let store = open(folder.path(), Kind::Segments, Counts::default()).await?;
    let load = Load { count: args.open, bytes: args.open_bytes, writers: WRITERS };
    fill(&store, &content(args.open_bytes), load).await?;
    store.close().await;
    drop(store);
    let (mut ratios, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        // Closed, it has written its index file.
        let index = Reopened::of(folder.path(), args.open)?;
        std::fs::remove_file(folder.path().join("index"))?;
        let records = Reopened::of(folder.path(), args.open)?;
        println!(
            "open: from the index {:.3} s, {:.0} bytes a chunk, {:.0} at most; from the records {:.3} s, {:.0} bytes, {:.0} at most",
            index.seconds, index.kept, index.most, records.seconds, records.kept, records.most,
        );
        ratios.push(records.seconds / index.seconds);
        memory.push(index.kept);
    }
    bars.judge("bytes of memory for each chunk", memory, Bar::AtMost(100.0));
    bars.judge_time("open, from the records : from the index", ratios, Bar::AtLeast(5.0));
    Ok(())
}
