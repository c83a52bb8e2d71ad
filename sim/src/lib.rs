//! Cairn, simulated in two tiers, with a seed in the place of chance.
//!
//! ```text
//! stack   clients and faults ─► gateway, master, nodes as in production, on simulated hosts ─┐
//! core    gateways and nodes as models, faults ─► the production master, one step at a time ─┤
//!                                                                                            ▼
//!                  history ─► linear: one order explains all answers      audit, invariants ─► violations
//! ```
//!
//! A seed decides a run: it gives the same event log each time, so a failure can be looked at as often as needed.

mod acts;
mod client;
mod cluster;
mod core;
mod events;
mod history;
mod invariants;
mod linear;
mod network;
mod operator;
mod outcome;
mod scenario;
mod wall;

pub use self::core::CoreScenario;
pub use cluster::{ChunkInFlight, Cluster, ClusterConfig, Control, Cut, InFlight};
pub use events::EventLog;
pub use history::{Content, History, Moment, Tally, Ticket, Told};
pub use linear::object::When;
pub use outcome::{Outcome, Totals};
pub use scenario::Scenario;
