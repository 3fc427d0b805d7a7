//! Whether a history of one object is linearizable.
//!
//! Wing and Gong's search, breadth first over the events as in Lowe's "Testing for linearizability"
//! (2017): after each event it holds every configuration that explains the history so far, that is
//! a state of the object and the operations that took effect and have not returned. A set holds
//! each configuration once, which is the memory that makes the search feasible. When an operation
//! returns it must have taken effect; only then are others let take effect, before it.
//!
//! An operation whose outcome is unknown never returns: it may take effect at any time, or never.
//! INVARIANT: of two configurations that differ only in unknown operations that took effect, the one
//! with fewer can do all that the other can, so only it is kept. Of unknown operations that are equal, the
//! one that was asked first takes effect first: they can stand for each other. Without these two, a few
//! dozen unknown operations would be out of reach.

pub(crate) mod model;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Debug,
};

/// What an object does.
pub(crate) trait Model {
    /// Its state; the default is the state before the history.
    type State: Clone + Ord + Default + Debug;
    /// What a client asked, and what it was told.
    type Operation: Clone + Debug + PartialEq;

    /// The state after an operation that was told what it was told, or `None` if it could not have
    /// been told that in this state.
    fn step(state: &Self::State, operation: &Self::Operation) -> Option<Self::State>;
}

/// An operation and when it was in flight.
#[derive(Debug, Clone)]
pub(crate) struct Interval<O> {
    /// What was asked and told.
    pub(crate) operation: O,
    /// When the client asked.
    pub(crate) called: u64,
    /// When it was told; `None` if it never was.
    pub(crate) returned: Option<u64>,
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// There is an order that explains everything.
    Linearizable,
    /// No order explains the history up to the return of the operation with this position.
    Violation(usize),
    /// The search grew too large at the return of the operation with this position.
    Undecided(usize),
}

/// Beyond this many configurations after one event the search gives up.
const LIMIT: usize = 1 << 16;

/// What explains a history so far: a state, and what took effect and has not returned.
#[derive(Debug, Clone)]
struct Configuration<S> {
    state: S,
    /// Operations that will return.
    known: BTreeSet<usize>,
    /// Operations that never do.
    unknown: BTreeSet<usize>,
}

/// Configurations of which none can replace another.
struct Configurations<S> {
    groups: BTreeMap<(S, BTreeSet<usize>), Vec<BTreeSet<usize>>>,
    count: usize,
}

/// Checks a history; its order does not matter.
pub(crate) fn check<M: Model>(history: &[Interval<M::Operation>]) -> Verdict {
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (position, interval) in history.iter().enumerate() {
        events.push((interval.called, false, position));
        events.extend(interval.returned.map(|returned| (returned, true, position)));
    }
    // At the same instant calls come first: the operations then overlap, which allows more orders.
    events.sort_unstable();
    let mut search = Search::<M> {
        history,
        before: befores(history),
        pending: BTreeSet::new(),
        configurations: Configurations::new(),
    };
    search.configurations.insert(Configuration {
        state: M::State::default(),
        known: BTreeSet::new(),
        unknown: BTreeSet::new(),
    });
    for (_, is_return, position) in events {
        if !is_return {
            search.pending.insert(position);
            continue;
        }
        if !search.take_return(position) {
            return Verdict::Undecided(position);
        }
        if search.configurations.count == 0 {
            return Verdict::Violation(position);
        }
    }
    Verdict::Linearizable
}

/// For every unknown operation the equal one that was asked before it.
fn befores<O: PartialEq>(history: &[Interval<O>]) -> Vec<Option<usize>> {
    let mut unknown: Vec<usize> =
        (0..history.len()).filter(|at| history[*at].returned.is_none()).collect();
    unknown.sort_by_key(|at| history[*at].called);
    let mut befores = vec![None; history.len()];
    for (number, at) in unknown.iter().enumerate() {
        let is_equal = |other: &&usize| history[**other].operation == history[*at].operation;
        befores[*at] = unknown[..number].iter().rev().find(is_equal).copied();
    }
    befores
}

struct Search<'a, M: Model> {
    history: &'a [Interval<M::Operation>],
    /// For every unknown operation the equal one that takes effect before it.
    before: Vec<Option<usize>>,
    pending: BTreeSet<usize>,
    configurations: Configurations<M::State>,
}

// === impl Search ===

impl<M: Model> Search<'_, M> {
    /// Keeps the configurations in which the operation took effect; false if there are too many.
    fn take_return(&mut self, position: usize) -> bool {
        let mut seen = std::mem::replace(&mut self.configurations, Configurations::new());
        // First those with fewer operations: they replace more of those that come later.
        let mut open: VecDeque<Configuration<M::State>> = seen.all().collect();
        while let Some(mut configuration) = open.pop_front() {
            if configuration.known.remove(&position) {
                self.configurations.insert(configuration);
                continue;
            }
            for next in &self.pending {
                let Some(configuration) = self.effect(&configuration, *next) else { continue };
                if seen.insert(configuration.clone()) {
                    open.push_back(configuration);
                }
            }
            if seen.count > LIMIT {
                return false;
            }
        }
        self.pending.remove(&position);
        true
    }

    /// The configuration after one more operation took effect, if it can.
    fn effect(
        &self,
        before: &Configuration<M::State>,
        position: usize,
    ) -> Option<Configuration<M::State>> {
        if self.before[position].is_some_and(|first| !before.unknown.contains(&first)) {
            return None;
        }
        let mut after = before.clone();
        let interval = &self.history[position];
        let effective =
            if interval.returned.is_some() { &mut after.known } else { &mut after.unknown };
        if !effective.insert(position) {
            return None;
        }
        after.state = M::step(&before.state, &interval.operation)?;
        Some(after)
    }
}

// === impl Configurations ===

impl<S: Clone + Ord> Configurations<S> {
    fn new() -> Self {
        Self { groups: BTreeMap::new(), count: 0 }
    }

    /// Adds a configuration, unless one is there that can replace it; whether it was added.
    fn insert(&mut self, configuration: Configuration<S>) -> bool {
        let Configuration { state, known, unknown } = configuration;
        let group = self.groups.entry((state, known)).or_default();
        if group.iter().any(|fewer| fewer.is_subset(&unknown)) {
            return false;
        }
        let before = group.len();
        group.retain(|more| !unknown.is_subset(more));
        group.push(unknown);
        self.count = self.count + group.len() - before;
        true
    }

    fn all(&self) -> impl Iterator<Item = Configuration<S>> {
        self.groups.iter().flat_map(|((state, known), group)| {
            group.iter().map(|unknown| Configuration {
                state: state.clone(),
                known: known.clone(),
                unknown: unknown.clone(),
            })
        })
    }
}
