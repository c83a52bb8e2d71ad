//! What the services share: seams and mechanics, no rules about files.
//!
//! ```text
//! seams       Clock · Entropy · Spawner · Blocking · Listen · Dial     given by the composition root or the simulation
//! serving     listener ─► sniff ─► HTTP/1 or HTTP/2 ─► routes          one accept loop for every service
//! calling     Dial ─► PeerChannel ─► generated clients                 over the network or in process
//! operating   telemetry, /healthz /readyz /metrics, drain
//! ```

pub mod clock;
pub mod entropy;
pub mod peer;
pub mod spawn;

pub use clock::{Clock, Elapsed};
pub use entropy::Entropy;
pub use peer::{Dial, Dialer, InvalidAddress, LocalDial, NetworkDial, PeerChannel};
pub use spawn::{Blocking, BlockingError, Spawner};
