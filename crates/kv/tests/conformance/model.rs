//! Random histories give the same answers as an ordered map.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use cairn_kv::{Direction, Durability, Entry, KeyRange, Kv, Read, TransactError, Txn};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof};
use proptest::test_runner::{TestCaseError, TestRunner};
use proptest::{prop_assert, prop_assert_eq};

use crate::support::{Engine, No, block_on};

/// One step of a closure.
#[derive(Clone, Debug)]
enum Step {
    Get(Vec<u8>),
    Put(Vec<u8>, u8),
    Delete(Vec<u8>),
    Scan(Bound<Vec<u8>>, Bound<Vec<u8>>, usize, Direction),
}

#[derive(Clone, Debug)]
struct Transaction {
    steps: Vec<Step>,
    durability: Durability,
    ending: Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Accept,
    Reject,
}

/// What one step showed.
type Seen = Vec<Entry>;
type Model = BTreeMap<Bytes, Bytes>;

/// Few and short keys, so that histories meet the same ones often.
fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0), Just(b'a'), Just(0xff)], 0..3)
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        key().prop_map(Bound::Included),
        key().prop_map(Bound::Excluded),
        Just(Bound::Unbounded),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let direction = prop_oneof![Just(Direction::Forward), Just(Direction::Backward)];
    prop_oneof![
        1 => key().prop_map(Step::Get),
        4 => (key(), any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => key().prop_map(Step::Delete),
        3 => (bound(), bound(), 0..6_usize, direction)
            .prop_map(|(start, end, limit, direction)| Step::Scan(start, end, limit, direction)),
    ]
}

fn transaction() -> impl Strategy<Value = Transaction> {
    let durability = prop_oneof![Just(Durability::Buffered), Just(Durability::Synced)];
    let ending = prop_oneof![3 => Just(Ending::Accept), 1 => Just(Ending::Reject)];
    (vec(step(), 0..12), durability, ending).prop_map(|(steps, durability, ending)| Transaction {
        steps,
        durability,
        ending,
    })
}

pub(crate) fn agrees_with_the_model_on_random_histories(engine: Engine) {
    let mut config = ProptestConfig::with_cases(128);
    config.failure_persistence = None;
    TestRunner::new(config)
        .run(&vec(transaction(), 1..12), |history| match engine.open() {
            Some(store) => block_on(check_history(&store, history)),
            None => Ok(()),
        })
        .unwrap();
}

async fn check_history(kv: &Kv, history: Vec<Transaction>) -> Result<(), TestCaseError> {
    let mut model = Model::new();
    for transaction in history {
        let mut after = model.clone();
        let expected: Vec<Seen> =
            transaction.steps.iter().map(|step| model_step(&mut after, step)).collect();
        let Transaction { steps, durability, ending } = transaction;
        let (report, seen) = std::sync::mpsc::channel::<Vec<Seen>>();
        let answer = kv
            .transact(durability, move |txn| {
                let seen =
                    steps.iter().map(|step| txn_step(txn, step)).collect::<Result<_, _>>()?;
                report.send(seen).unwrap();
                if ending == Ending::Reject { Err(No::OnPrinciple) } else { Ok(()) }
            })
            .await;
        prop_assert_eq!(seen.recv().unwrap(), expected);
        match ending {
            Ending::Accept => {
                prop_assert!(answer.is_ok());
                model = after;
            }
            Ending::Reject => {
                prop_assert!(matches!(answer, Err(TransactError::Rejected(No::OnPrinciple))));
            }
        }
        let stored = kv
            .view(|snapshot| snapshot.scan(&KeyRange::all(), usize::MAX, Direction::Forward))
            .await
            .unwrap();
        prop_assert_eq!(stored, model.clone().into_iter().collect::<Vec<_>>());
    }
    Ok(())
}

fn txn_step(txn: &mut Txn<'_>, step: &Step) -> Result<Seen, No> {
    Ok(match step {
        Step::Get(key) => {
            txn.get(key)?.map(|value| (Bytes::from(key.clone()), value)).into_iter().collect()
        }
        Step::Put(key, value) => {
            txn.put(key.clone(), vec![*value])?;
            Seen::new()
        }
        Step::Delete(key) => {
            txn.delete(key.clone())?;
            Seen::new()
        }
        Step::Scan(start, end, limit, direction) => {
            txn.scan(&KeyRange::new(start.clone(), end.clone()), *limit, *direction)?
        }
    })
}

fn model_step(model: &mut Model, step: &Step) -> Seen {
    match step {
        Step::Get(key) => model.get_key_value(key.as_slice()).map(owned).into_iter().collect(),
        Step::Put(key, value) => {
            model.insert(key.clone().into(), vec![*value].into());
            Seen::new()
        }
        Step::Delete(key) => {
            model.remove(key.as_slice());
            Seen::new()
        }
        Step::Scan(start, end, limit, direction) => {
            // Bound by bound and by sorting, to have nothing in common with what is tested.
            let mut inside: Seen =
                model.iter().filter(|(key, _)| within(key, start, end)).map(owned).collect();
            if *direction == Direction::Backward {
                inside.sort_by(|left, right| right.0.cmp(&left.0));
            }
            inside.truncate(*limit);
            inside
        }
    }
}

fn within(key: &[u8], start: &Bound<Vec<u8>>, end: &Bound<Vec<u8>>) -> bool {
    let behind_start = match start {
        Bound::Included(start) => key >= start.as_slice(),
        Bound::Excluded(start) => key > start.as_slice(),
        Bound::Unbounded => true,
    };
    let before_end = match end {
        Bound::Included(end) => key <= end.as_slice(),
        Bound::Excluded(end) => key < end.as_slice(),
        Bound::Unbounded => true,
    };
    behind_start && before_end
}

fn owned((key, value): (&Bytes, &Bytes)) -> Entry {
    (key.clone(), value.clone())
}
