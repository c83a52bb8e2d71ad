//! What does not depend on which tree it is: shared commits.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::mpsc;

use bytes::Bytes;

use super::commits::Commits;
use super::{Change, Table, Tree};

/// A map that counts its commits, and waits for a word before each when it is told to.
#[derive(Debug, Default)]
struct Map {
    entries: Mutex<BTreeMap<(Table, Vec<u8>), Bytes>>,
    commits: Mutex<Vec<(usize, bool)>>,
    /// Says that a commit begins, and waits for a word.
    gate: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
    fails: bool,
}

impl Tree for Map {
    const SLICE_BYTES: usize = crate::store::FRAME_BYTES;

    fn room(value: u64) -> u64 {
        value
    }

    fn get(&self, table: Table, key: &[u8], part: Range<usize>) -> io::Result<Option<Bytes>> {
        let entries = self.entries.lock().expect("no panic");
        let found = entries.get(&(table, key.to_vec()));
        Ok(found.map(|value| value.slice(part.start..part.end.min(value.len()))))
    }

    fn keys(
        &self,
        table: Table,
        from: &[u8],
        each: &mut dyn FnMut(&[u8]) -> bool,
    ) -> io::Result<()> {
        let entries = self.entries.lock().expect("no panic");
        for ((of, key), _) in entries.range((table, from.to_vec())..) {
            if *of != table || !each(key) {
                break;
            }
        }
        Ok(())
    }

    fn commit(&self, changes: Vec<Change>, durable: bool) -> io::Result<()> {
        if let Some((begun, gate)) = &*self.gate.lock().expect("no panic") {
            begun.send(()).expect("the test listens");
            gate.recv().expect("the test opens the gate");
        }
        self.commits.lock().expect("no panic").push((changes.len(), durable));
        if self.fails {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut entries = self.entries.lock().expect("no panic");
        for change in changes {
            match change {
                Change::Put(table, key, value) => drop(entries.insert((table, key), value)),
                Change::Remove(table, key) => drop(entries.remove(&(table, key))),
            }
        }
        Ok(())
    }
}

fn put(key: &str) -> Vec<Change> {
    vec![Change::Put(Table::Chunks, key.into(), Bytes::new())]
}

#[test]
fn writers_that_wait_for_a_commit_share_the_next_one() {
    let (begin, begun) = mpsc::channel();
    let (open, gate) = mpsc::channel();
    let map = Map { gate: Mutex::new(Some((begin, gate))), ..Map::default() };
    let commits = Commits::default();
    let first = commits.push(put("first"), false);
    let rest: Vec<_> = std::thread::scope(|scope| {
        let job = scope.spawn(|| commits.drain(&map));
        begun.recv().expect("the first commit begins");
        let rest = (0..9).map(|n| commits.push(put(&n.to_string()), n == 5)).collect();
        // Somebody is at it: this returns at once.
        commits.drain(&map);
        open.send(()).expect("the first commit waits");
        begun.recv().expect("the second commit begins");
        open.send(()).expect("the second commit waits");
        job.join().expect("no panic");
        rest
    });
    for answer in std::iter::once(first).chain(rest) {
        answer.blocking_recv().expect("an answer").expect("committed");
    }
    let made = map.commits.into_inner().expect("no panic");
    assert_eq!(made, [(1, false), (9, true)]);
}

#[test]
fn all_who_share_a_commit_hear_of_its_failure() {
    let map = Map { fails: true, ..Map::default() };
    let commits = Commits::default();
    let answers = [commits.push(put("one"), false), commits.push(put("two"), true)];
    commits.drain(&map);
    for answer in answers {
        let answer = answer.blocking_recv().expect("an answer");
        assert_eq!(answer.expect_err("it failed").kind(), io::ErrorKind::StorageFull);
    }
    assert_eq!(map.commits.into_inner().expect("no panic"), [(2, true)]);
}
