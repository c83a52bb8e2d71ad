//! A server process, and what it costs.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::figures::Cost;
use crate::load::Failure;

/// A process that serves, with its children. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it is reached, e.g. `127.0.0.1:8080`.
    pub(crate) authority: String,
}

impl Server {
    /// Starts `cairn up` and waits for the line that tells its address.
    pub(crate) async fn cairn(
        binary: &Path,
        data: &Path,
        nodes: u32,
        copies: u32,
    ) -> Result<Self, Failure> {
        let mut command = Command::new(binary);
        command.args(["up", "--open", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        command.arg("--data").arg(data);
        command.args(["--nodes", &nodes.to_string(), "--copies", &copies.to_string()]);
        // What is deleted is gone at once, so that rounds do not pile up on the disk.
        command.args(["--condemn-for", "0s"]);
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            if let Some((_, authority)) = line.split_once("gateway on http://") {
                let authority = authority.trim().to_owned();
                return Ok(Self { child, authority });
            }
        }
        Err("cairn up ended before it served".into())
    }

    /// Takes a process that serves at `authority`.
    pub(crate) fn of(child: Child, authority: String) -> Self {
        Self { child, authority }
    }

    /// CPU time so far and peak memory, of the process and its children.
    pub(crate) fn cost(&self) -> Cost {
        let Some(parent) = self.child.id() else { return Cost::default() };
        let mut total = Cost::default();
        for pid in std::iter::once(parent).chain(children(parent)) {
            let cost = cost_of(pid).unwrap_or_default();
            total.cpu += cost.cpu;
            total.peak_bytes += cost.peak_bytes;
        }
        total
    }

    /// Asks it to end, and waits.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        if let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            let pid = rustix::process::Pid::from_raw(pid).ok_or("no process id")?;
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        self.child.wait().await?;
        Ok(())
    }
}

fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Reads `/proc/PID/stat` and `/proc/PID/status` (proc(5)).
fn cost_of(pid: u32) -> Option<Cost> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let per_second = rustix::param::clock_ticks_per_second();
    let cpu = Duration::from_secs_f64(ticks as f64 / per_second as f64);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = peak.split_whitespace().next()?.parse().ok()?;
    Some(Cost { cpu, peak_bytes: kib << 10 })
}
