//! The whole cluster, simulated: gateway, master and nodes as they run in production, on simulated hosts, with a
//! seed in the place of chance.
//!
//! ```text
//! scenario ── clients and faults, drawn from the seed ─► history ──┐
//!    └─► cluster ── production's build and serve                   ├─► invariants ─► violations
//!           └─► network, disks, clocks: simulated ─► event log ────┘
//! ```
//!
//! A seed decides a run: it gives the same event log each time, so a failure can be looked at as often as needed.

mod client;
mod cluster;
mod events;
mod history;
mod invariants;
mod network;
mod operator;
mod scenario;
mod wall;

pub use cluster::{ChunkInFlight, Cluster, ClusterConfig, Control, Cut, InFlight};
pub use events::EventLog;
pub use history::{Content, History, Moment, Tally, Ticket, Told};
pub use scenario::{Report, Scenario};
