//! What one name of the store does: a register that is put, deleted and seen, under conditions.

use super::Model;
use crate::history::{Content, Told};

/// Under which condition a name may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Whatever is there.
    Always,
    /// Whatever is there, also nothing: the deletion of a bucket, which takes its names along.
    Anyway,
    /// Nothing is there: `If-None-Match: *`.
    Absent,
    /// This is there: `If-Match`.
    Is(Content),
}

impl When {
    /// Whether the condition holds.
    fn holds(self, now: Option<Content>) -> bool {
        match self {
            Self::Always | Self::Anyway => true,
            Self::Absent => now.is_none(),
            Self::Is(content) => now == Some(content),
        }
    }
}

/// What a client asked of a name, and what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// A write of a content, or of nothing: a delete, which also demands that something is there.
    Write { content: Option<Content>, when: When, told: Told },
    /// GET, HEAD or an entry of a list, or that there is none.
    Saw(Option<Content>),
}

/// A name of the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Object;

impl Model for Object {
    type State = Option<Content>;
    type Op = Op;

    fn initial(&self) -> Self::State {
        None
    }

    fn step(&self, state: &Self::State, op: &Op) -> Option<Self::State> {
        match *op {
            Op::Saw(seen) => (seen == *state).then_some(*state),
            Op::Write { content, when, told } => {
                let finds = content.is_some() || state.is_some() || when == When::Anyway;
                let allowed = when.holds(*state) && finds;
                match (told, allowed) {
                    (Told::Acknowledged | Told::Unknown, true) => Some(content),
                    (Told::Refused, false) => Some(*state),
                    // One that was refused for another reason is no call of the history.
                    (Told::Declined, _)
                    | (Told::Acknowledged | Told::Unknown | Told::Refused, _) => None,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::{Call, Refuted, check};

    const A: Content = Content { seed: 1, length: 10 };
    const B: Content = Content { seed: 2, length: 10 };
    const C: Content = Content { seed: 3, length: 10 };

    fn call(op: Op, began: u64, ended: u64) -> Call<Op> {
        Call { op, began, ended: Some(ended) }
    }

    fn put(content: Content, began: u64, ended: u64) -> Call<Op> {
        put_when(content, When::Always, Told::Acknowledged, began, ended)
    }

    fn put_when(content: Content, when: When, told: Told, began: u64, ended: u64) -> Call<Op> {
        call(Op::Write { content: Some(content), when, told }, began, ended)
    }

    fn delete(told: Told, began: u64, ended: u64) -> Call<Op> {
        call(Op::Write { content: None, when: When::Always, told }, began, ended)
    }

    fn saw(seen: Option<Content>, began: u64, ended: u64) -> Call<Op> {
        call(Op::Saw(seen), began, ended)
    }

    /// A put whose client was told nothing.
    fn maybe(content: Content, began: u64) -> Call<Op> {
        let op = Op::Write { content: Some(content), when: When::Always, told: Told::Unknown };
        Call { op, began, ended: None }
    }

    fn holds(calls: &[Call<Op>]) -> bool {
        check(&Object, calls).is_ok()
    }

    #[test]
    fn one_after_the_other_each_write_replaces_the_one_before() {
        assert!(holds(&[
            saw(None, 0, 1),
            put(A, 2, 3),
            saw(Some(A), 4, 5),
            put(B, 6, 7),
            saw(Some(B), 8, 9)
        ]));
    }

    #[test]
    fn a_stale_read_is_found() {
        let history = [put(A, 0, 1), put(B, 2, 3), saw(Some(A), 4, 5)];
        assert_eq!(check(&Object, &history), Err(Refuted::NoOrder { call: 2 }));
    }

    #[test]
    fn reads_that_go_back_and_forth_while_a_write_runs_are_found() {
        let write = put(B, 2, 20);
        assert!(holds(&[put(A, 0, 1), write.clone(), saw(Some(A), 3, 4), saw(Some(B), 5, 6)]));
        assert!(!holds(&[put(A, 0, 1), write, saw(Some(B), 3, 4), saw(Some(A), 5, 6)]));
    }

    #[test]
    fn a_lost_update_is_found() {
        let told = Told::Acknowledged;
        // Both replaced A, and only one of them can have.
        let first = put_when(B, When::Is(A), told, 2, 10);
        let second = put_when(C, When::Is(A), told, 3, 11);
        assert!(!holds(&[put(A, 0, 1), first.clone(), second]));
        let second = put_when(C, When::Is(A), Told::Refused, 3, 11);
        assert!(holds(&[put(A, 0, 1), first, second]));
    }

    #[test]
    fn a_name_created_twice_is_found() {
        let told = Told::Acknowledged;
        let creates = |content, began, ended| put_when(content, When::Absent, told, began, ended);
        assert!(!holds(&[creates(A, 0, 10), creates(B, 1, 9)]));
        assert!(holds(&[creates(A, 0, 10), creates(B, 1, 9), delete(told, 2, 8)]));
    }

    #[test]
    fn a_create_that_is_refused_of_a_name_that_cannot_exist_is_found() {
        let refused = put_when(B, When::Absent, Told::Refused, 4, 5);
        assert!(!holds(std::slice::from_ref(&refused)));
        assert!(!holds(&[put(A, 0, 1), delete(Told::Acknowledged, 2, 3), refused.clone()]));
        assert!(holds(&[maybe(A, 0), refused]), "the other write may have happened");
    }

    #[test]
    fn a_resurrection_after_a_delete_is_found() {
        let history = [put(A, 0, 1), delete(Told::Acknowledged, 2, 3), saw(Some(A), 4, 5)];
        assert_eq!(check(&Object, &history), Err(Refuted::NoOrder { call: 2 }));
    }

    #[test]
    fn a_delete_that_finds_nothing_where_something_stands_is_found() {
        assert!(!holds(&[put(A, 0, 1), delete(Told::Refused, 2, 3)]));
        assert!(holds(&[
            put(A, 0, 1),
            delete(Told::Acknowledged, 2, 4),
            delete(Told::Refused, 3, 5)
        ]));
        assert!(!holds(&[
            put(A, 0, 1),
            delete(Told::Acknowledged, 2, 4),
            delete(Told::Acknowledged, 3, 5)
        ]));
    }

    #[test]
    fn an_acknowledged_write_that_is_lost_is_found() {
        assert!(!holds(&[put(A, 0, 1), saw(None, 2, 3)]));
    }

    #[test]
    fn what_nobody_was_told_of_may_come_late_or_never_but_only_once() {
        let history = [maybe(A, 0), put(B, 1, 2), saw(Some(B), 3, 4)];
        assert!(holds(&history));
        let late = [&history[..], &[saw(Some(A), 5, 6)]].concat();
        assert!(holds(&late));
        let back = [&late[..], &[saw(Some(B), 7, 8)]].concat();
        assert_eq!(check(&Object, &back), Err(Refuted::NoOrder { call: 4 }));
        let twice = [&late[..], &[put(C, 7, 8), saw(Some(A), 9, 10)]].concat();
        assert!(!holds(&twice), "it was used up by the read of A before C");
    }

    #[test]
    fn a_write_must_not_be_seen_before_it_begins() {
        assert!(!holds(&[saw(Some(A), 0, 1), put(A, 2, 3)]));
    }

    #[test]
    fn many_writes_without_an_answer_are_not_too_many() {
        let mut history: Vec<_> =
            (0..24).map(|n| maybe(Content { seed: n, length: 1 }, n)).collect();
        for n in 0..24 {
            let at = 100 + 2 * n;
            history.push(saw(Some(Content { seed: n * 7 % 24, length: 1 }), at, at + 1));
        }
        assert!(holds(&history));
        history.push(saw(None, 1000, 1001));
        assert!(!holds(&history));
    }
}
