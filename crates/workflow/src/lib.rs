//! Steps one after another: each looks whether it has to do anything, does it, and can take it back.
//!
//! ```text
//! run(input) ─► step ─► step ─► … ─► Done
//!                │ pre-check: go, skip (the next step is next), cancel
//!                │ job: an output, or an error
//!                └─ failed, panicked, cancelled, out of time
//!                      └─► compensations of what began, last first ─► Failed, Cancelled
//!
//! start(id, input) ─► the same; how far it is lies in a store ─► resume(id), here or elsewhere
//! ```
//!
//! ```
//! use cairn_runtime::Clock;
//! use cairn_workflow::{Bounds, Caller, Check, Coordinator, Outcome};
//! # use std::{sync::Arc, time::Duration};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!
//! struct Shop { stock: u32 }
//!
//! let bounds = Bounds {
//!     run: Duration::from_secs(60),
//!     step: Duration::from_secs(10),
//!     compensation: Duration::from_secs(10),
//! };
//! let mut order = Coordinator::<Shop, u32>::builder("order", Clock::system(), bounds);
//! let reserve = order
//!     .step("reserve")
//!     .pre_check(|step| async move {
//!         let left = step.context().stock.checked_sub(*step.input()).ok_or("sold out")?;
//!         Ok(Check::Go(left))
//!     })
//!     .job(|step| async move { Ok(format!("{} reserved", step.input())) })
//!     .compensate(|_| async { Ok(()) })
//!     .add();
//! order
//!     .step("tell")
//!     .job(move |step| async move {
//!         let left = step.output(reserve.checked)?;
//!         Ok(format!("{}, {left} left", step.output(reserve.made)?))
//!     })
//!     .add();
//! let order = order.build()?;
//!
//! let caller = Caller::new(Arc::new(Shop { stock: 10 }));
//! let report = order.run(&caller, 4).await;
//! assert_eq!(report.outcome, Outcome::Done);
//! assert_eq!(report.output(reserve.checked), Ok(&6));
//! # Ok(()) }
//! ```
//! `examples/statements.rs` is a longer one.
//!
//! # What holds
//! - **Types are checked where it is compiled.** An input of another type, a step without a job, an output read as something
//!   else: none of that builds. What is left for the run is [`NoOutput`]: that step was skipped, or comes later.
//! - **An answer of the pre-check skips, no answer fails.** An error of a pre-check skips the job and the run goes on; a
//!   pre-check that panics or takes too long fails the step.
//! - **[`Cancelled`] in the chain of an error cancels**, in a pre-check as in a job. Any other error of a job fails the run.
//! - **What began is compensated**: each step whose job was begun, whatever came of it, last first, also when the run was
//!   cancelled or out of time. A compensation that fails is in the report, and the others go on.
//! - **Runs share nothing** but what the caller gives them; a panic is an error of its step.
//!
//! # Runs that outlive their process
//! ```
//! # use cairn_runtime::Clock;
//! # use cairn_workflow::{Bounds, Caller, Coordinator, Outcome};
//! # use std::{sync::Arc, time::Duration};
//! use cairn_kv::Kv;
//! use cairn_workflow::RunStore;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let second = Duration::from_secs(1);
//! # let bounds = Bounds { run: second, step: second, compensation: second };
//! # let mut greet = Coordinator::<(), String>::builder("greet", Clock::system(), bounds);
//! # let said = greet.step("say").job(|step| async move { Ok(format!("hello {}", step.input())) }).add();
//! # let greet = greet.build()?;
//! # let caller = Caller::new(Arc::new(()));
//!
//! let store = RunStore::new(Kv::memory(), "runs/");
//! let id = "greeting 7";
//! let first = greet.start(&store, id, &caller, "world".to_owned()).await?;
//! // Here or in another process, after the first one was dropped, or died, or ended as this one:
//! let again = greet.resume(&store, id, &caller).await?;
//! assert_eq!(again.output(said.made)?, "hello world");
//! # Ok(()) }
//! ```
//! A step that was running when its process died is run again with its pre-check; so steps are idempotent. Of two who go on
//! with one run, the slower finds that it was [overtaken](StoreError::Overtaken). A pause is to drop the future; to
//! [cancel](Caller::cancel) is to compensate. A record stays until it is [forgotten](RunStore::forget).
//!
//! A workflow whose runs are never stored is built [`in_memory`](Coordinator::in_memory): its outputs need no stored form, and
//! [`Coordinator::start`] is not to be had for it.
//!
//! # What it accepts as loss
//! - A run without an id is gone with its future: nothing takes back what it did.
//! - Steps of one run do not run beside each other, and nothing is spawned: a job that blocks its thread blocks its caller.

mod builder;
mod coordinator;
mod error;
mod output;
mod record;
mod report;
mod run;
mod step;
mod store;

pub use builder::{Bounds, BuildError, Builder, MAX_NAME_BYTES, MAX_STEPS};
pub use coordinator::{Caller, Coordinator};
pub use error::{BoxError, Cancelled, Check};
pub use output::{
    InMemory, Keeping, MAX_OUTPUT_BYTES, NoOutput, Output, StepOutputs, Storable, Value,
};
pub use report::{CancelledBy, Fault, Outcome, Phase, RunError, RunReport, StepError};
pub use step::{NewStep, StepContext, StepWithJob};
pub use store::{MAX_INPUT_BYTES, RunStore, StoreError};
