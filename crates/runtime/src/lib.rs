//! What the services share: seams and mechanics, no rules about files.
//!
//! ```text
//! seams       Clock · Entropy · Spawner · Blocking · Listen · Dial     given by the composition root or the simulation
//! serving     listener ─► sniff ─► HTTP/1 or HTTP/2 ─► guard ─► routes  one accept loop for every service
//! calling     Dial ─► PeerChannel ─► generated clients                 over the network or in process
//! operating   telemetry · trace · measure · /healthz /readyz /metrics · drain
//! ```

pub mod clock;
pub mod drain;
pub mod entropy;
pub mod grpc;
pub mod listen;
pub mod measure;
pub mod ops;
pub mod peer;
pub mod process_metrics;
pub mod repeat;
pub mod request;
pub mod serve;
pub mod spawn;
pub mod telemetry;
pub mod trace;

pub use clock::{Clock, Elapsed};
pub use drain::{Drain, Drained, Phase};
pub use entropy::Entropy;
pub use listen::Listen;
pub use peer::{Dial, Dialer, InvalidAddress, LocalDial, NetworkDial, PeerChannel, PeerError};
pub use repeat::{Allowance, Backoff};
pub use request::RequestId;
pub use serve::{ServeLimits, serve};
pub use spawn::{Blocking, BlockingError, Owned, Spawner};
pub use trace::TracedDial;
