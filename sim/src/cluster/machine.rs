//! A simulated machine: one life of its process after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cairn_runtime::{Blocking, Clock, Entropy, Spawner};
use tokio::sync::Notify;

use super::clock;
use crate::network::Network;

/// What the host of one service is given. Cheap to clone; clones are the same machine.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) host: String,
    seed: u64,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Starts of this host: each life draws other ids.
    lives: AtomicU64,
    kill: Notify,
    dead: AtomicBool,
}

/// The seams of one life of a service.
pub(super) struct Life {
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    pub(super) spawner: Spawner,
    pub(super) blocking: Blocking,
    pub(super) network: Network,
}

impl Machine {
    pub(super) fn new(host: impl Into<String>, seed: u64) -> Self {
        Self { host: host.into(), seed, state: Arc::default() }
    }

    /// Lives one life, until the service ends or the process is killed. A killed one does nothing more and waits to be
    /// taken away.
    pub(super) async fn run<F>(self, serve: impl FnOnce(Life) -> F) -> turmoil::Result
    where
        F: Future<Output = turmoil::Result>,
    {
        let life = self.live();
        let network = life.network.clone();
        let mut service = Box::pin(serve(life));
        tokio::select! {
            biased;
            () = self.state.kill.notified() => {}
            ended = service.as_mut() => return ended,
        }
        // The service is kept until it is taken away: dropping it here would tell its tasks to drain, which wakes them
        // in an order that tokio draws from a seed of its own.
        network.go_down();
        self.state.dead.store(true, Ordering::Relaxed);
        std::future::pending().await
    }

    /// Asks the process to die when its host runs next.
    pub(super) fn kill(&self) {
        self.state.kill.notify_one();
    }

    /// True once a killed process has closed its connections.
    pub(super) fn is_dead(&self) -> bool {
        self.state.dead.load(Ordering::Relaxed)
    }

    fn live(&self) -> Life {
        self.state.dead.store(false, Ordering::Relaxed);
        let life = self.state.lives.fetch_add(1, Ordering::Relaxed);
        let name = blake3::hash(format!("{} {} {life}", self.seed, self.host).as_bytes());
        let seed = name.as_bytes().iter().take(8).fold(0, |seed, b| seed << 8 | u64::from(*b));
        Life {
            clock: clock(),
            entropy: Entropy::seeded(seed),
            spawner: Spawner::current(),
            blocking: Blocking::inline(),
            network: Network::default(),
        }
    }
}
