//! `cairn put | get | cat | ls | stat | rm | bucket | healthcheck`: files over HTTP, from the side of those who use them.
//!
//! ```text
//! args ─► put · get · cat · list · stat · rm ─► http ─► a gateway
//!              │ names   keys ◄─► paths          │
//!              │ remote  what the server knows   └─ error   what people read, exit codes
//!              └ output  stdout, progress
//! ```
//!
//! One thread runs the requests, a few more read, write and hash files. `-r` and lists hold the names of all files they
//! concern in memory.

pub(crate) mod args;
pub(crate) mod bucket;
mod cat;
mod digest;
pub(crate) mod error;
mod get;
mod healthcheck;
pub(crate) mod http;
mod list;
mod names;
pub(crate) mod output;
mod proof;
mod put;
mod remote;
mod rm;
mod stat;

use std::future::Future;

use cairn_core::names::BucketName;
use cairn_runtime::{Blocking, Clock};
use futures_util::{StreamExt, stream};
use tokio::runtime::Builder;

use self::args::{Connection, Telling};
use self::error::{ClientError, Kind};
use self::http::Api;
use self::output::Output;

pub(crate) use self::bucket::run as bucket;
pub(crate) use self::cat::run as cat;
pub(crate) use self::get::run as get;
pub(crate) use self::healthcheck::run as healthcheck;
pub(crate) use self::list::run as ls;
pub(crate) use self::put::run as put;
pub(crate) use self::rm::run as rm;
pub(crate) use self::stat::run as stat;

/// What a command works with.
struct Client {
    api: Api,
    /// For files of this machine: reading, writing, hashing.
    files: Blocking,
    output: Output,
}

impl Client {
    /// `parallel` files or ranges are in flight at once.
    fn open(connection: &Connection, telling: Telling, parallel: u16) -> Result<Self, ClientError> {
        let base = http::base_url("--url", &connection.url)?;
        let bucket = BucketName::new(connection.bucket.as_str())
            .map_err(|error| ClientError::usage("--bucket", error))?;
        let parallel = usize::from(parallel);
        // One more, so that hashing does not wait for those that write.
        let files = Blocking::threads("cairn-file", parallel + 1)
            .map_err(|error| ClientError::failed("start threads", error))?;
        let api = Api::new(base, bucket, Clock::system(), parallel);
        Ok(Self { api, files, output: Output::new(telling) })
    }

    /// Work that blocks, on a thread for that.
    async fn blocking<T: Send + 'static>(
        &self,
        doing: &str,
        work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let done = self.files.run(work).await;
        done.unwrap_or_else(|error| Err(ClientError::failed(doing, error)))
    }
}

/// Runs a command on this thread.
pub(crate) fn block_on<T>(
    main: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ClientError::failed("start a runtime", error))?;
    let ended = runtime.block_on(main);
    // A look-up of a name may still block a thread of the runtime.
    runtime.shutdown_background();
    ended
}

/// Does something for many files, some at once. A file that fails does not hinder the others, unless they would fail
/// alike; what went wrong is told at once, and the command ends with the first failure's exit code.
async fn each<T, F>(
    client: &Client,
    parallel: u16,
    items: Vec<T>,
    work: impl Fn(T) -> F,
) -> Result<(), ClientError>
where
    F: Future<Output = Result<(), ClientError>>,
{
    let all = items.len();
    if all == 1 {
        let mut only = items;
        return match only.pop() {
            Some(item) => work(item).await,
            None => Ok(()),
        };
    }
    let (mut done, mut failures) = (0, Vec::new());
    let mut running = stream::iter(items).map(work).buffer_unordered(usize::from(parallel));
    while let Some(ended) = running.next().await {
        match ended {
            Ok(()) => done += 1,
            Err(error) if error.kind == Kind::ReaderGone => return Err(error),
            Err(error) => {
                client.output.complain(&error.to_string());
                failures.push(error.kind);
                if error.kind.ends_all() {
                    break;
                }
            }
        }
    }
    match failures.first() {
        None => Ok(()),
        Some(kind) => {
            let problem = format!("{done} done, {} not", all - done);
            Err(ClientError::new(*kind, format!("{all} files"), problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        let connection =
            Connection { url: "http://127.0.0.1:1".to_owned(), bucket: "default".to_owned() };
        let telling = Telling { quiet: true, json: false };
        Client::open(&connection, telling, 2).expect("a client")
    }

    fn fail_at(kind: Kind) -> (Result<(), ClientError>, usize) {
        let started = std::cell::Cell::new(0);
        let ended = block_on(async {
            let work = |n: usize| {
                started.set(started.get() + 1);
                async move { if n == 1 { Err(ClientError::new(kind, "n", "bad")) } else { Ok(()) } }
            };
            each(&client(), 1, (0..5).collect(), work).await
        });
        (ended, started.get())
    }

    #[test]
    fn a_file_that_fails_does_not_hinder_the_others() {
        let (ended, started) = fail_at(Kind::NotFound);
        assert_eq!((ended.expect_err("one failed").kind, started), (Kind::NotFound, 5));
    }

    #[test]
    fn nothing_more_is_tried_when_all_would_fail_alike() {
        let (ended, started) = fail_at(Kind::Quota);
        assert_eq!(ended.expect_err("one failed").kind, Kind::Quota);
        assert!(started < 5, "{started} were started");
    }
}
