//! The checker against histories written by hand and against a search through all orders.

use proptest::prelude::*;

use super::{
    Interval, Verdict, check,
    model::{
        Key,
        KeyOperation::{self, CompareAndSet, Read, Write},
        Lock, LockOperation,
    },
};
use crate::linearizable::Model;

type History = Vec<Interval<KeyOperation>>;

fn interval(called: u64, returned: u64, operation: KeyOperation) -> Interval<KeyOperation> {
    Interval { operation, called, returned: Some(returned) }
}

fn unknown(called: u64, operation: KeyOperation) -> Interval<KeyOperation> {
    Interval { operation, called, returned: None }
}

fn cas(expected: u64, new: u64, done: bool) -> KeyOperation {
    CompareAndSet { expected: Some(expected), new: Some(new), done }
}

fn is_linearizable(history: &[Interval<KeyOperation>]) -> bool {
    match check::<Key>(history) {
        Verdict::Linearizable => true,
        Verdict::Violation(_) => false,
        Verdict::Undecided(position) => panic!("undecided at {position}"),
    }
}

#[test]
fn histories_that_an_order_explains_pass() {
    let histories: [History; 7] = [
        vec![],
        vec![interval(0, 1, Write(Some(1))), interval(2, 3, Read(Some(1)))],
        // A read beside a write may see either value.
        vec![
            interval(0, 9, Write(Some(1))),
            interval(1, 2, Read(None)),
            interval(3, 4, Read(Some(1))),
        ],
        // Two writes at once, in the order that the reads say.
        vec![
            interval(0, 9, Write(Some(1))),
            interval(0, 9, Write(Some(2))),
            interval(1, 2, Read(Some(2))),
            interval(3, 4, Read(Some(1))),
        ],
        // An unknown write may take effect late, or never.
        vec![
            unknown(0, Write(Some(1))),
            interval(1, 2, Read(None)),
            interval(3, 4, Read(Some(1))),
            unknown(5, Write(Some(2))),
            interval(6, 7, Read(Some(1))),
        ],
        vec![
            interval(0, 1, Write(Some(1))),
            interval(2, 5, cas(1, 2, true)),
            interval(2, 5, cas(1, 3, false)),
            interval(6, 7, Read(Some(2))),
        ],
        vec![
            interval(0, 1, Write(Some(1))),
            interval(2, 3, Write(None)),
            interval(4, 5, Read(None)),
        ],
    ];
    for history in histories {
        assert!(is_linearizable(&history), "{history:#?}");
    }
}

#[test]
fn histories_that_no_order_explains_are_found() {
    let histories: [(&str, History); 6] = [
        ("a lost write", vec![interval(0, 1, Write(Some(1))), interval(2, 3, Read(None))]),
        (
            "a stale read",
            vec![
                interval(0, 1, Write(Some(1))),
                interval(2, 3, Write(Some(2))),
                interval(4, 5, Read(Some(1))),
            ],
        ),
        (
            "a read that goes back beside a write",
            vec![
                interval(0, 9, Write(Some(1))),
                interval(1, 2, Read(Some(1))),
                interval(3, 4, Read(None)),
            ],
        ),
        (
            "two winners of one comparison",
            vec![
                interval(0, 1, Write(Some(1))),
                interval(2, 9, cas(1, 2, true)),
                interval(2, 9, cas(1, 3, true)),
            ],
        ),
        (
            "a comparison that failed although nothing had changed",
            vec![interval(0, 1, Write(Some(1))), interval(2, 3, cas(1, 2, false))],
        ),
        (
            "an unknown write that took effect twice",
            vec![
                unknown(0, Write(Some(1))),
                interval(1, 2, Read(Some(1))),
                interval(3, 4, Write(Some(2))),
                interval(5, 6, Read(Some(1))),
            ],
        ),
    ];
    for (what, history) in histories {
        assert!(!is_linearizable(&history), "{what}");
    }
}

#[test]
fn the_operation_that_cannot_be_explained_is_named() {
    let history = [
        interval(0, 1, Write(Some(1))),
        interval(4, 5, Read(None)),
        interval(2, 3, Read(Some(1))),
        interval(6, 7, Read(Some(1))),
    ];
    assert_eq!(check::<Key>(&history), Verdict::Violation(1));
}

#[test]
fn hundreds_of_unknown_writes_are_decided() {
    let mut history = History::new();
    for value in 0..300 {
        history.push(unknown(value * 10, Write(Some(value))));
        history.push(interval(value * 10 + 1, value * 10 + 2, Write(Some(1000 + value))));
        history.push(interval(value * 10 + 3, value * 10 + 4, Read(Some(1000 + value))));
    }
    assert!(is_linearizable(&history));
    history.push(interval(9000, 9001, Read(Some(1000))));
    assert!(!is_linearizable(&history));
}

#[test]
fn interchangeable_operations_of_unknown_outcome_are_decided_quickly() {
    let mut history = Vec::new();
    let mut add = |called, operation, is_told: bool| {
        history.push(Interval { operation, called, returned: is_told.then_some(called + 1) });
    };
    for round in (0..600).step_by(20) {
        for session in [1, 2, 3] {
            add(round, LockOperation::Acquire(session, true), false);
            add(round + 1, LockOperation::Release(session, true), false);
        }
        // One of the others holds it, then none does.
        add(round + 2, LockOperation::Acquire(4, false), true);
        add(round + 4, LockOperation::Acquire(4, true), true);
        add(round + 6, LockOperation::Release(4, true), true);
    }
    assert_eq!(check::<Lock>(&history), Verdict::Linearizable);
}

#[test]
fn two_holders_of_a_lock_are_found() {
    let acquire = |called, session| Interval {
        operation: LockOperation::Acquire(session, true),
        called,
        returned: Some(called + 1),
    };
    let release =
        Interval { operation: LockOperation::Release(1, true), called: 4, returned: Some(5) };
    let history = [acquire(0, 1), acquire(2, 1), release, acquire(6, 2)];
    assert_eq!(check::<Lock>(&history), Verdict::Linearizable);
    assert_eq!(check::<Lock>(&[acquire(0, 1), acquire(2, 2)]), Verdict::Violation(1));
}

/// Whether some order explains a history: all of them are tried.
fn by_all_orders(
    history: &[Interval<KeyOperation>],
    state: Option<u64>,
    used: &mut [bool],
) -> bool {
    let open = |used: &[bool]| (0..history.len()).filter(|i| !used[*i]).collect::<Vec<_>>();
    let left = open(used);
    if left.iter().all(|i| history[*i].returned.is_none()) {
        return true;
    }
    left.iter().any(|&next| {
        let is_first = left
            .iter()
            .all(|&other| history[other].returned.is_none_or(|end| end >= history[next].called));
        let Some(state) = Key::step(&state, &history[next].operation) else { return false };
        used[next] = true;
        let explained = is_first && by_all_orders(history, state, used);
        used[next] = false;
        explained
    })
}

fn any_operation() -> impl Strategy<Value = KeyOperation> {
    let value = || prop::option::weighted(0.8, 0..3u64);
    prop_oneof![
        value().prop_map(Read),
        value().prop_map(Write),
        (value(), value(), any::<bool>()).prop_map(|(expected, new, done)| CompareAndSet {
            expected,
            new,
            done
        }),
    ]
}

fn any_interval() -> impl Strategy<Value = Interval<KeyOperation>> {
    (any_operation(), 0..20u64, prop::option::weighted(0.8, 0..8u64)).prop_map(
        |(operation, called, took)| Interval {
            operation,
            called,
            returned: took.map(|took| called + took),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_checker_agrees_with_a_search_through_all_orders(
        history in prop::collection::vec(any_interval(), 0..7)
    ) {
        let expected = by_all_orders(&history, None, &mut vec![false; history.len()]);
        prop_assert_eq!(is_linearizable(&history), expected);
    }
}
