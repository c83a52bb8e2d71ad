//! What a load cost.

use std::time::Duration;

/// CPU time and memory of a server, as the operating system counts them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// User and system time.
    pub(crate) cpu: Duration,
    /// Peak of resident memory in bytes, since its start.
    pub(crate) peak_bytes: u64,
    /// How often it made something durable; nothing when it does not tell.
    pub(crate) fsyncs: Option<u64>,
}

/// One load.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// Operations done.
    pub(crate) operations: u64,
    /// Bytes of content moved.
    pub(crate) bytes: u64,
    /// From the first request to the last answer, and to the disk where the answer does not say so.
    pub(crate) time: Duration,
    /// Of each operation, sorted.
    pub(crate) latencies: Vec<Duration>,
    /// CPU time that the servers spent, and their peak memory.
    pub(crate) cost: Cost,
}

impl Figures {
    pub(crate) fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.time.as_secs_f64()
    }

    pub(crate) fn operations_per_second(&self) -> f64 {
        self.operations as f64 / self.time.as_secs_f64()
    }

    /// CPU seconds of the servers for each GB of content.
    pub(crate) fn cpu_per_gb(&self) -> f64 {
        self.cost.cpu.as_secs_f64() / (self.bytes as f64 / 1e9)
    }

    /// CPU seconds of the servers for each 1000 operations.
    pub(crate) fn cpu_per_thousand(&self) -> f64 {
        self.cost.cpu.as_secs_f64() / (self.operations as f64 / 1000.0)
    }

    /// How often the servers made something durable for each operation.
    pub(crate) fn fsyncs_per_operation(&self) -> Option<f64> {
        self.cost.fsyncs.map(|fsyncs| fsyncs as f64 / self.operations as f64)
    }

    /// The latency that `share` of the operations did not exceed, in milliseconds.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = ((last as f64) * share).round() as usize;
        self.latencies.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }
}

/// The middle value; 0 of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(vec![]).abs() < f64::EPSILON);
    }
}
