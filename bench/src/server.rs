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
    /// Where its metrics are; nothing when it has none.
    admin: Option<String>,
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
        let mut gateway = None;
        while let Some(line) = lines.next_line().await? {
            let address = |what| Some(line.split_once(what)?.1.trim().to_owned());
            gateway = gateway.or(address("gateway on http://"));
            if let (Some(authority), admin @ Some(_)) = (&gateway, address("admin on http://")) {
                return Ok(Self { child, authority: authority.clone(), admin });
            }
        }
        Err("cairn up ended before it served".into())
    }

    /// Takes a process that serves at `authority`.
    pub(crate) fn of(child: Child, authority: String) -> Self {
        Self { child, authority, admin: None }
    }

    /// CPU time so far, peak memory and fsyncs so far, of the process and its children.
    pub(crate) async fn cost(&self) -> Result<Cost, Failure> {
        let Some(parent) = self.child.id() else { return Err("the server has ended".into()) };
        let mut total = Cost::default();
        if let Some(admin) = &self.admin {
            let metrics = crate::rest::text(admin, "/metrics").await?;
            total.fsyncs = Some(FSYNC_COUNTERS.iter().map(|name| sum_of(&metrics, name)).sum());
        }
        for pid in std::iter::once(parent).chain(children(parent)) {
            let cost = cost_of(pid).unwrap_or_default();
            total.cpu += cost.cpu;
            total.peak_bytes += cost.peak_bytes;
        }
        Ok(total)
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

/// Counters of the services, over all nodes. A synced commit of the catalog is one fsync (redb, below 1 GiB).
const FSYNC_COUNTERS: [&str; 2] =
    ["cairn_node_fsync_duration_seconds_count", "cairn_master_store_synced_commits_total"];

/// The sum of a counter over all its labels, in the text form of Prometheus.
fn sum_of(metrics: &str, name: &str) -> u64 {
    let value = |line: &str| {
        let labels_and_value = line.strip_prefix(name)?;
        let has_name = labels_and_value.starts_with(['{', ' ']);
        labels_and_value.rsplit_once(' ')?.1.parse::<u64>().ok().filter(|_| has_name)
    };
    metrics.lines().filter_map(value).sum()
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
    Some(Cost { cpu, peak_bytes: kib << 10, fsyncs: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_summed_over_its_labels() {
        let text = "# HELP a_total A.\na_total{node=\"x y\"} 3\na_total{node=\"z\"} 4\na_total_more 9\na_total 1\n";
        assert_eq!(sum_of(text, "a_total"), 8);
        assert_eq!(sum_of(text, "b_total"), 0);
    }
}
