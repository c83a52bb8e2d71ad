//! The scheduler: tasks that are driven by hand, one poll at a time, in an order that a seed decides.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use cairn_runtime::Entropy;

/// Whose process a task is part of: it ends with that process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Master,
    /// A loop of the master: it ends with it, and nobody who calls can break it off.
    Loop,
    Gateway(usize),
    Node(usize),
    /// Nobody that dies.
    Checker,
}

type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    owner: Owner,
    /// Taken out while it is polled.
    work: Option<Work>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Inner {
    next: u64,
    tasks: BTreeMap<u64, Task>,
}

/// All tasks of a run. Cheap to clone; clones are the same tasks.
#[derive(Clone, Default)]
pub(super) struct Tasks(Rc<RefCell<Inner>>);

impl Tasks {
    /// Adds a task; it runs when chance picks it.
    pub(super) fn spawn(&self, owner: Owner, work: impl Future<Output = ()> + 'static) {
        let mut inner = self.0.borrow_mut();
        let number = inner.next;
        inner.next += 1;
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        inner.tasks.insert(number, Task { owner, work: Some(Box::pin(work)), woken });
    }

    /// Polls one of the tasks that can go on; false when there is none.
    pub(super) fn step(&self, chance: &Entropy) -> bool {
        let Some((number, mut work, woken)) = self.pick(chance) else {
            return false;
        };
        woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&woken));
        let polled = work.as_mut().poll(&mut Context::from_waker(&waker));
        let mut inner = self.0.borrow_mut();
        match polled {
            Poll::Ready(()) => drop(inner.tasks.remove(&number)),
            Poll::Pending => {
                if let Some(task) = inner.tasks.get_mut(&number) {
                    task.work = Some(work);
                }
            }
        }
        true
    }

    fn pick(&self, chance: &Entropy) -> Option<(u64, Work, Arc<Woken>)> {
        let mut inner = self.0.borrow_mut();
        let can_go_on = |task: &Task| task.work.is_some() && task.woken.0.load(Ordering::Relaxed);
        let ready: Vec<u64> = inner
            .tasks
            .iter()
            .filter(|(_, task)| can_go_on(task))
            .map(|(number, _)| *number)
            .collect();
        let at = usize::try_from(chance.below(ready.len() as u64)).ok()?;
        let number = *ready.get(at)?;
        let task = inner.tasks.get_mut(&number)?;
        Some((number, task.work.take()?, Arc::clone(&task.woken)))
    }

    /// The process of `owner` ends: its tasks are dropped where they are. Gives their number.
    pub(super) fn kill(&self, owner: Owner) -> usize {
        let tasks = std::mem::take(&mut self.0.borrow_mut().tasks);
        let (dead, alive) = tasks.into_iter().partition(|(_, task)| task.owner == owner);
        let dead: BTreeMap<u64, Task> = dead;
        self.0.borrow_mut().tasks = alive;
        // Dropped while nothing is borrowed: what is dropped may look at the tasks.
        dead.len()
    }

    /// Drops one task of `owner` where it is, as when its caller hangs up. False when there is none.
    pub(super) fn break_off(&self, owner: Owner, chance: &Entropy) -> bool {
        let of_owner: Vec<u64> = self.numbers(owner);
        let at = usize::try_from(chance.below(of_owner.len() as u64)).unwrap_or(0);
        let broken = of_owner.get(at).and_then(|number| self.0.borrow_mut().tasks.remove(number));
        broken.is_some()
    }

    fn numbers(&self, owner: Owner) -> Vec<u64> {
        let inner = self.0.borrow();
        inner
            .tasks
            .iter()
            .filter(|(_, task)| task.owner == owner)
            .map(|(number, _)| *number)
            .collect()
    }

    /// Tasks of `owner`.
    pub(super) fn count(&self, owner: Owner) -> usize {
        self.numbers(owner).len()
    }

    /// Tasks in all.
    pub(super) fn len(&self) -> usize {
        self.0.borrow().tasks.len()
    }
}

/// Lets others run before the task goes on.
pub(super) async fn turns(count: u64) {
    for _ in 0..count {
        let mut first = true;
        std::future::poll_fn(|context| {
            if !std::mem::take(&mut first) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}
