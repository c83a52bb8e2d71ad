//! The definition itself, tried out: every order of every choice of the calls that may or may not have happened. For
//! small histories only.

use proptest::prelude::{
    Just, ProptestConfig, Strategy, prop, prop_assert_eq, prop_oneof, proptest,
};

use super::object::{Object, Op, When};
use super::{Call, Model, check};
use crate::history::{Content, Told};

/// Whether some order that keeps to real time explains the calls.
fn explained<M: Model>(model: &M, calls: &[Call<M::Op>]) -> bool {
    let maybe: Vec<usize> = (0..calls.len()).filter(|at| calls[*at].ended.is_none()).collect();
    (0..1_u32 << maybe.len()).any(|choice| {
        let left_out = |at: &usize| {
            let of_maybe = maybe.iter().position(|other| other == at);
            of_maybe.is_some_and(|bit| choice & (1 << bit) == 0)
        };
        let rest: Vec<usize> = (0..calls.len()).filter(|at| !left_out(at)).collect();
        ordered(model, calls, &model.initial(), &rest)
    })
}

/// Whether `rest` can follow in some order.
fn ordered<M: Model>(model: &M, calls: &[Call<M::Op>], state: &M::State, rest: &[usize]) -> bool {
    rest.is_empty()
        || rest.iter().any(|&first| {
            let before =
                |other: usize| calls[other].ended.is_some_and(|ended| ended < calls[first].began);
            let others: Vec<usize> = rest.iter().copied().filter(|other| *other != first).collect();
            !others.iter().any(|other| before(*other))
                && model
                    .step(state, &calls[first].op)
                    .is_some_and(|state| ordered(model, calls, &state, &others))
        })
}

fn content() -> impl Strategy<Value = Content> {
    (0..3_u64).prop_map(|seed| Content { seed, length: 1 })
}

fn op() -> impl Strategy<Value = Op> {
    let when = prop_oneof![3 => Just(When::Always), 2 => Just(When::Absent), 2 => content().prop_map(When::Is)];
    let told = prop_oneof![4 => Just(Told::Acknowledged), 1 => Just(Told::Refused), 2 => Just(Told::Unknown)];
    let written = prop::option::weighted(0.7, content());
    prop_oneof![
        3 => (written, when, told)
            .prop_map(|(content, when, told)| Op::Write { content, when, told }),
        2 => prop::option::of(content()).prop_map(Op::Saw),
    ]
}

fn calls() -> impl Strategy<Value = Vec<Call<Op>>> {
    let call = (op(), 0..16_u64, 1..8_u64).prop_map(|(op, began, lasts)| {
        let unknown = matches!(op, Op::Write { told: Told::Unknown, .. });
        Call { op, began, ended: (!unknown).then_some(began + lasts) }
    });
    prop::collection::vec(call, 0..7)
}

/// Histories that a real object gave: every call takes effect at one moment between its ends.
fn true_calls() -> impl Strategy<Value = Vec<Call<Op>>> {
    (calls(), prop::collection::vec(0..8_u64, 7)).prop_map(|(mut calls, moments)| {
        let mut order: Vec<usize> = (0..calls.len()).collect();
        let moment = |call: &Call<Op>, at: usize| match call.ended {
            Some(ended) => call.began + moments[at] % (ended - call.began + 1),
            None => call.began + moments[at],
        };
        order.sort_by_key(|at| moment(&calls[*at], *at));
        let mut state = Object.initial();
        for at in order {
            let op = answer_of(&calls[at].op, state);
            state = Object.step(&state, &op).unwrap_or(state);
            calls[at].op = op;
        }
        calls
    })
}

/// The operation with the answer that the object gives in `state`.
fn answer_of(op: &Op, state: Option<Content>) -> Op {
    match *op {
        Op::Saw(_) => Op::Saw(state),
        Op::Write { told: Told::Unknown, .. } => *op,
        Op::Write { content, when, .. } => {
            let done = Op::Write { content, when, told: Told::Acknowledged };
            let refused = Op::Write { content, when, told: Told::Refused };
            if Object.step(&state, &done).is_some() { done } else { refused }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_search_and_the_definition_agree(calls in calls()) {
        prop_assert_eq!(check(&Object, &calls).is_ok(), explained(&Object, &calls));
    }

    #[test]
    fn what_a_real_object_answers_is_always_accepted(calls in true_calls()) {
        prop_assert_eq!(check(&Object, &calls), Ok(()));
        prop_assert_eq!(explained(&Object, &calls), true);
    }
}
