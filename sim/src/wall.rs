//! The machine's clocks, for libraries that look at them without asking.
//!
//! HTTP/2 forgets the streams that it has reset one second later by the clock of the machine, and in doing so changes
//! the order in which the others of a connection fail. While a simulation runs on a thread, that thread's clocks
//! therefore show simulated time: the C library's `clock_gettime`, which the standard library reads, is replaced for
//! this program. Elsewhere than on 64-bit Linux they do not, and such runs may differ in that order.

use std::cell::Cell;
use std::time::Duration;

thread_local! {
    static SIMULATED: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// Lets this thread's clocks show simulated time for as long as it lives.
#[derive(Debug)]
pub(crate) struct SimulatedClocks(());

impl SimulatedClocks {
    /// Begins at zero. Nothing that has a time of this thread from before may be used.
    pub(crate) fn begin() -> Self {
        SIMULATED.set(Some(Duration::ZERO));
        Self(())
    }

    /// Moves them.
    pub(crate) fn set(elapsed: Duration) {
        SIMULATED.set(SIMULATED.get().map(|_| elapsed));
    }
}

impl Drop for SimulatedClocks {
    fn drop(&mut self) {
        SIMULATED.set(None);
    }
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[expect(unsafe_code, reason = "the C library's function can be replaced in no other way")]
mod replaced {
    use std::ffi::c_int;
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime as of_the_machine};

    use super::SIMULATED;
    use crate::cluster::BEGINNING;

    /// `struct timespec` of 64-bit Linux.
    #[repr(C)]
    pub(super) struct Timespec {
        seconds: i64,
        nanoseconds: i64,
    }

    /// Monotonic time begins here, so that what is subtracted from it stays positive.
    const MONOTONIC_BEGINNING: Duration = Duration::from_secs(1_000_000);

    fn read(clock: c_int) -> Option<(i64, i64)> {
        let clock = match clock {
            0 => ClockId::Realtime,
            1 => ClockId::Monotonic,
            2 => ClockId::ProcessCPUTime,
            3 => ClockId::ThreadCPUTime,
            4 => ClockId::MonotonicRaw,
            5 => ClockId::RealtimeCoarse,
            6 => ClockId::MonotonicCoarse,
            7 => ClockId::Boottime,
            _ => return None,
        };
        let simulated = SIMULATED.try_with(|simulated| simulated.get()).ok().flatten();
        let since = match (simulated, clock) {
            (Some(elapsed), ClockId::Monotonic) => MONOTONIC_BEGINNING + elapsed,
            (Some(elapsed), ClockId::Realtime) => BEGINNING + elapsed,
            _ => {
                let now = of_the_machine(clock);
                return Some((now.tv_sec, now.tv_nsec));
            }
        };
        Some((i64::try_from(since.as_secs()).ok()?, i64::from(since.subsec_nanos())))
    }

    /// Replaces the C library's function of this name: POSIX.1-2024, `clock_gettime`.
    ///
    /// # Safety
    /// `time` points to a `struct timespec` that may be written to, as the standard demands of its callers.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
        match read(clock) {
            Some((seconds, nanoseconds)) => {
                // SAFETY: by the contract of this function.
                unsafe { time.write(Timespec { seconds, nanoseconds }) };
                0
            }
            None => -1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    #[expect(clippy::disallowed_methods, reason = "the clock under test")]
    fn a_simulation_has_clocks_of_its_own() {
        use std::time::{Instant, SystemTime};
        let real = SystemTime::now();
        let clocks = SimulatedClocks::begin();
        let (instant, wall) = (Instant::now(), SystemTime::now());
        SimulatedClocks::set(Duration::from_secs(5));
        assert_eq!(instant.elapsed(), Duration::from_secs(5));
        assert_eq!(wall.elapsed().unwrap(), Duration::from_secs(5));
        drop(clocks);
        assert!(real.elapsed().unwrap() < Duration::from_secs(3600), "the machine's are back");
    }
}
