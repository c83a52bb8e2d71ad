//! A bounded queue between the handles of a store and its threads.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::error::ClosedReason;

/// First in, first out, for any number of producers and consumers. Producers never wait.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    name: &'static str,
    capacity: usize,
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    closed: Option<ClosedReason>,
}

/// Why an item was not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    Full { queue: &'static str },
    Closed(ClosedReason),
}

/// What a consumer woke up for.
#[derive(Debug)]
pub(crate) enum Popped<T> {
    Item(T),
    /// Nothing came in the time given.
    Idle,
    /// Nothing is left, and nothing will come.
    Closed,
}

impl<T> Queue<T> {
    pub(crate) fn new(name: &'static str, capacity: usize) -> Queue<T> {
        let state = State { items: VecDeque::new(), closed: None };
        Queue { name, capacity, state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(crate) fn push(&self, item: T) -> Result<(), Refused> {
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Err(Refused::Closed(reason.clone()));
        }
        if state.items.len() >= self.capacity {
            return Err(Refused::Full { queue: self.name });
        }
        state.items.push_back(item);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for an item, at most for `patience` where one is given.
    pub(crate) fn pop(&self, patience: Option<Duration>) -> Popped<T> {
        let empty = |state: &mut State<T>| state.items.is_empty() && state.closed.is_none();
        let mut state = match patience {
            None => self.changed.wait_while(self.lock(), empty).expect(UNPOISONED),
            Some(time) => {
                self.changed.wait_timeout_while(self.lock(), time, empty).expect(UNPOISONED).0
            }
        };
        match state.items.pop_front() {
            Some(item) => Popped::Item(item),
            None if state.closed.is_some() => Popped::Closed,
            None => Popped::Idle,
        }
    }

    /// The next item, if one waits already.
    pub(crate) fn try_pop(&self) -> Option<T> {
        self.lock().items.pop_front()
    }

    /// Takes nothing more. What waits is still handed out; the first reason stays.
    pub(crate) fn close(&self, reason: ClosedReason) {
        self.lock().closed.get_or_insert(reason);
        self.changed.notify_all();
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().items.len()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect(UNPOISONED)
    }
}

const UNPOISONED: &str = "no code of others runs under the queue's lock: nothing panics there";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_by_name() {
        let queue = Queue::new("test", 1);
        queue.push(1).unwrap();
        assert!(matches!(queue.push(2), Err(Refused::Full { queue: "test" })));
    }

    #[test]
    fn a_closed_queue_hands_out_what_waits_and_takes_nothing_more() {
        let queue = Queue::new("test", 8);
        queue.push(1).unwrap();
        queue.close(ClosedReason::ByOwner);
        assert!(matches!(queue.push(2), Err(Refused::Closed(ClosedReason::ByOwner))));
        assert!(matches!(queue.pop(None), Popped::Item(1)));
        assert!(matches!(queue.pop(None), Popped::Closed));
    }

    #[test]
    fn a_consumer_with_limited_patience_learns_that_nothing_came() {
        let queue = Queue::<u8>::new("test", 8);
        assert!(matches!(queue.pop(Some(Duration::ZERO)), Popped::Idle));
    }
}
