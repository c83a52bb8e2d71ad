//! Where tasks and blocking work run, as arguments.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tracing::Instrument;

/// Spawns tasks on one runtime. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Spawner(Handle);

impl Spawner {
    /// Spawns on `handle`'s runtime.
    pub fn on(handle: Handle) -> Self {
        Self(handle)
    }

    /// Spawns on the runtime that calls.
    ///
    /// # Panics
    /// Outside a runtime: call it only from async code.
    pub fn current() -> Self {
        Self(Handle::current())
    }

    /// Runs `work` on this thread, within the runtime: for what spawns tasks of its own when it is made.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.0.enter();
        work()
    }

    /// Starts a task; dropping the handle detaches it. It goes on with the span of whoever starts it.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.spawn(future.in_current_span())
    }

    /// Starts a task that belongs to `tasks`, and ends with it; its span is as for [`Self::spawn`].
    pub fn spawn_in<T, F>(&self, tasks: &mut JoinSet<T>, future: F)
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        tasks.spawn_on(future.in_current_span(), &self.0);
    }
}

/// A task that ends when whoever waits for it goes away.
#[derive(Debug)]
pub struct Owned<T>(JoinHandle<T>);

impl<T> Owned<T> {
    /// Ties a task to the one who waits for it.
    pub fn new(task: JoinHandle<T>) -> Self {
        Self(task)
    }

    /// Waits for the task.
    ///
    /// # Errors
    /// When it panicked or its runtime ended.
    pub async fn join(mut self) -> Result<T, JoinError> {
        (&mut self.0).await
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Blocking work did not give a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockingError {
    /// The work panicked; it was contained.
    #[error("blocking work panicked")]
    Panicked,
    /// The pool is closed.
    #[error("the pool for blocking work is closed")]
    Closed,
}

type Job = Box<dyn FnOnce() + Send>;

/// Runs work that blocks (disk, hashing) on a bounded set of threads, or inline in a simulation. Cheap to clone;
/// the threads end when the last clone is dropped and the queue is empty.
#[derive(Clone)]
pub struct Blocking(Option<mpsc::Sender<Job>>);

impl fmt::Debug for Blocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Blocking(threads)" } else { "Blocking(inline)" })
    }
}

impl Blocking {
    /// Jobs that may wait per thread; more make their callers wait.
    const QUEUE_PER_THREAD: usize = 64;

    /// Runs on the task that asks: for simulations, where threads would break determinism.
    pub fn inline() -> Self {
        Self(None)
    }

    /// Starts `threads` threads named `name`.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn threads(name: &str, threads: usize) -> std::io::Result<Self> {
        let threads = threads.max(1);
        let (jobs, queue) = mpsc::channel::<Job>(threads * Self::QUEUE_PER_THREAD);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            let work = move || {
                let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
                while let Some(job) = next() {
                    job();
                }
            };
            std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
        }
        Ok(Self(Some(jobs)))
    }

    /// Runs `work` to its end, even when the caller goes away.
    ///
    /// # Errors
    /// [`BlockingError`] when the work panics or the pool is closed.
    pub async fn run<T, F>(&self, work: F) -> Result<T, BlockingError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let contained =
            || catch_unwind(AssertUnwindSafe(work)).map_err(|_| BlockingError::Panicked);
        let Some(jobs) = &self.0 else {
            return contained();
        };
        let (done, result) = oneshot::channel();
        let job: Job = Box::new(move || drop(done.send(contained())));
        jobs.send(job).await.map_err(|_| BlockingError::Closed)?;
        result.await.map_err(|_| BlockingError::Closed)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_contained_and_the_thread_lives_on() {
        let pool = Blocking::threads("test", 1).expect("a thread");
        let failed: Result<(), _> = pool.run(|| panic!("on purpose")).await;
        assert_eq!(failed, Err(BlockingError::Panicked));
        assert_eq!(pool.run(|| 7).await, Ok(7));
        assert_eq!(Blocking::inline().run(|| 8).await, Ok(8));
    }
}
