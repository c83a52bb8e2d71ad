//! The whole cluster on simulated hosts: the production services with other seams.
//!
//! ```text
//! client ──► gateway:8080 ──► master:7000 (calls), master:7001 (admin)
//!               └──────────► node-1:7100 … node-n:7100
//!
//! lives on through a crash   node: MemoryDisk, less what was not synced or torn
//!                            master: SimulatedStore, less a tail of what was buffered
//! begins anew                everything else: tasks, connections, clocks
//! ```

mod control;
mod machine;
mod services;
mod watched;

use std::error::Error;
use std::fmt;
use std::time::{Duration, SystemTime};

use cairn_chunk_master::SeededBug;
use cairn_core::chunking::{ChunkSizes, InvalidChunkSizes};
use cairn_kv::simulated::SimulatedStore;
use cairn_runtime::{Clock, Entropy};
use cairn_transport::Transport;
use turmoil::{Builder, Sim};

pub use control::{Control, Cut};
pub use watched::{ChunkInFlight, InFlight};

use crate::EventLog;
use crate::wall::SimulatedClocks;
use machine::{Life, Machine};
use services::{GatewayHost, MasterHost, NodeHost};

pub(crate) use services::{ADMIN_PORT, GATEWAY, GATEWAY_PORT, MASTER};

/// The host of the clients.
pub(crate) const CLIENT: &str = "client";
/// Wall time at which every simulation begins, since 1970-01-01 UTC.
pub(crate) const BEGINNING: Duration = Duration::from_secs(1_800_000_000);
/// Simulated time after which a run that does not end is given up.
const LONGEST: Duration = Duration::from_secs(900);
/// Tells the chance of the master's store from that of everything else.
const STORE: u64 = 0x5354_4f52_4500;
/// One step of the simulation.
const TICK: Duration = Duration::from_millis(2);
/// Segments under way in one direction of a connection: few enough that a slow reader holds its writer up, and more than
/// a cut link can swallow. Turmoil sends nothing again, and counts what was lost as under way for ever.
const SEGMENTS: usize = 128;
/// Messages between hosts take this long, at least and at most.
const LATENCY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// What is simulated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Storage nodes, each in a zone of its own.
    pub nodes: u32,
    /// Copies of each chunk.
    pub copies: u32,
    /// Bytes of a chunk; small, so that small files have several.
    pub chunk_bytes: u64,
    /// A fault on purpose in the master.
    pub seeded_bug: Option<SeededBug>,
}

/// The clock of the host that runs. Its wall is the simulation's.
pub(crate) fn clock() -> Clock {
    Clock::with_wall(|| turmoil::since_epoch().unwrap_or_default())
}

/// A simulated cluster that has not run yet.
pub struct Cluster {
    sim: Sim<'static>,
    control: Control,
    /// Dropped last: what is dropped before it may still look at the clock.
    _clocks: SimulatedClocks,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("control", &self.control).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Puts the hosts on a network. Nothing runs before [`Self::run`].
    ///
    /// # Errors
    /// [`InvalidChunkSizes`] when the chunk size is none.
    pub fn new(config: &ClusterConfig, log: &EventLog) -> Result<Self, InvalidChunkSizes> {
        let chunk_sizes = ChunkSizes::starting_with(config.chunk_bytes)?;
        let clocks = SimulatedClocks::begin();
        let mut sim = Builder::new()
            .rng_seed(config.seed)
            .epoch(SystemTime::UNIX_EPOCH + BEGINNING)
            .simulation_duration(LONGEST)
            .tick_duration(TICK)
            .min_message_latency(LATENCY.0)
            .max_message_latency(LATENCY.1)
            .tcp_capacity(SEGMENTS)
            .enable_random_order()
            .build();
        let chance = Entropy::seeded(config.seed ^ STORE);
        let store = SimulatedStore::new(move |below| chance.below(below));
        let mut control = Control::new(log.clone(), store.clone());
        let master = MasterHost {
            machine: control.add(Machine::new(MASTER, config.seed)),
            config: services::master_config(config, chunk_sizes),
            store,
        };
        sim.host(MASTER, move || master.clone().run());
        for n in 1..=config.nodes {
            let host = format!("node-{n}");
            let node = NodeHost {
                machine: control.add(Machine::new(host.as_str(), config.seed)),
                disk: control.add_node(&host),
                zone: format!("zone-{n}"),
                in_flight: control.in_flight(),
                log: log.clone(),
            };
            sim.host(host, move || node.clone().run());
        }
        let gateway = GatewayHost {
            machine: control.add(Machine::new(GATEWAY, config.seed)),
            chunk_bytes: config.chunk_bytes,
            // Both have to hold: every other seed takes the other one.
            transport: if config.seed.is_multiple_of(2) {
                Transport::Lane
            } else {
                Transport::Grpc
            },
        };
        sim.host(GATEWAY, move || gateway.clone().run());
        Ok(Self { sim, control, _clocks: clocks })
    }

    /// What faults are injected with.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Runs until `client` is done; gives the simulated time that passed.
    ///
    /// # Errors
    /// When a service ends, or the client takes too long.
    pub fn run(
        mut self,
        client: impl Future<Output = ()> + 'static,
    ) -> Result<Duration, Box<dyn Error>> {
        self.sim.client(CLIENT, async move {
            client.await;
            Ok(())
        });
        while !self.sim.step()? {
            SimulatedClocks::set(self.sim.elapsed());
            self.control.carry_out(&mut self.sim);
        }
        let elapsed = self.sim.elapsed();
        // What the services say when they are dropped is no part of the run.
        self.control.log().close();
        Ok(elapsed)
    }
}
