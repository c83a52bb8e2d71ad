//! Stopping in order.
//!
//! ```text
//! Running ──► Draining ──► Stopped
//!             no new work   what still runs is dropped
//! ```

use tokio::sync::watch;

/// How far a service is on its way down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Takes new work.
    Running,
    /// Finishes what it has.
    Draining,
    /// Drops what it still has.
    Stopped,
}

/// Moves a service through its phases. Dropping it stops the service.
#[derive(Debug)]
pub struct Drain(watch::Sender<Phase>);

/// Tells a service its phase. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Drained(watch::Receiver<Phase>);

impl Default for Drain {
    fn default() -> Self {
        Self(watch::channel(Phase::Running).0)
    }
}

impl Drain {
    /// A handle for whoever must know.
    pub fn watch(&self) -> Drained {
        Drained(self.0.subscribe())
    }

    /// No new work from now on.
    pub fn begin(&self) {
        self.advance(Phase::Draining);
    }

    /// Drop what is left.
    pub fn finish(&self) {
        self.advance(Phase::Stopped);
    }

    fn advance(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let later = *phase < to;
            *phase = to.max(*phase);
            later
        });
    }
}

impl Drained {
    /// The phase now. A [`Drain`] that is gone means Stopped.
    pub fn phase(&self) -> Phase {
        if self.0.has_changed().is_err() { Phase::Stopped } else { *self.0.borrow() }
    }

    /// True while new work is taken.
    pub fn takes_work(&self) -> bool {
        self.phase() == Phase::Running
    }

    /// Waits until `phase` is reached.
    pub async fn reached(&mut self, phase: Phase) {
        // An error means that the Drain is gone, which is the last phase.
        let _ = self.0.wait_for(|now| *now >= phase).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_only_go_forward_and_a_lost_drain_stops() {
        let drain = Drain::default();
        let mut watch = drain.watch();
        assert!(watch.takes_work());
        drain.finish();
        drain.begin();
        assert_eq!(watch.phase(), Phase::Stopped);
        drop(drain);
        watch.reached(Phase::Stopped).await;
    }
}
