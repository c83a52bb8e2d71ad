//! The core tier: the production chunk master on a simulated store, with gateways and nodes as small models, and one
//! scheduler that decides every step from a seed. No sockets, no bytes, no real time: thousands of seeds a minute.
//!
//! ```text
//! play ── picks: run a task one step │ let something happen
//!   │         tasks: calls at the master, gateways' puts and gets, sweeps, heartbeats, files brought back, repairs
//!   │         happens: a bucket comes or goes, time passes, crash, power loss, empty disk, bad copy, long absence, clock jump, late and repeated messages
//!   └─► calm ─► repair in bounded time ─► sweep until quiet ─► check: order of answers, books, manifests, copies, leftovers
//! ```
//!
//! A task stops at every transaction and every message, so others can come in between there, or its process can die.

mod calls;
mod ending;
mod gateway;
mod node;
mod operator;
mod play;
mod reader;
mod tasks;
mod truth;
mod world;

pub use play::CoreScenario;
