//! What an operator asks of any process: memory, processor time, open files. The names are those that Prometheus's own
//! clients use.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::Clock;

/// Registers the process's numbers and `cairn_build_info`.
pub fn register(registry: &mut Registry, clock: &Clock) {
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("cairn_build", "The version that runs", version);
    registry.register_collector(Box::new(Process { started: clock.wall_ms() as f64 / 1000.0 }));
}

/// Read from `/proc` when asked for, which is memory and not a disk. Where there is none, nothing is shown.
#[derive(Debug)]
struct Process {
    /// Seconds since 1970-01-01 UTC.
    started: f64,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: Option<f64>| {
            let Some(value) = value else { return Ok(()) };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        gauge("process_resident_memory_bytes", "Resident memory", resident_bytes())?;
        gauge("process_open_fds", "Open file descriptors", open_files())?;
        gauge("process_max_fds", "Most file descriptors that may be open", most_files())?;
        let help = "When the process started, in seconds since 1970-01-01 UTC";
        gauge("process_start_time_seconds", help, Some(self.started))?;
        let Some(seconds) = cpu_seconds() else { return Ok(()) };
        let (name, help) = ("process_cpu_seconds", "Processor time, user and system");
        let counter = ConstCounter::new(seconds);
        counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
    }
}

/// The line of `/proc/self/status` that begins with `VmRSS:`, in KiB.
fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024.0)
}

/// Fields 14 and 15 of `/proc/self/stat` (proc(5)), in ticks; the second field may hold spaces and ends with `)`.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: Vec<f64> =
        rest.split_whitespace().skip(11).take(2).map_while(|field| field.parse().ok()).collect();
    Some(ticks.iter().sum::<f64>() / rustix::param::clock_ticks_per_second() as f64)
}

fn open_files() -> Option<f64> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}

fn most_files() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_tells_all_of_it() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1e5));
        assert!(cpu_seconds().is_some());
        assert!(open_files().is_some_and(|files| files >= 3.0));
        assert!(most_files().is_some_and(|files| files > 3.0));
    }
}
