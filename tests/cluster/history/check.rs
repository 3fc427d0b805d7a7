//! What must hold of a history of keys. Pure, and tested with histories that break each rule.

use std::collections::{BTreeMap, BTreeSet};

use super::{Mode, Record};
use crate::linearizable::{
    self, Interval, Verdict,
    model::{Key, KeyOperation},
};

/// Every violation in the records, as a sentence.
pub(crate) fn violations(records: &[Record]) -> Vec<String> {
    let mut keys: BTreeMap<usize, Vec<&Record>> = BTreeMap::new();
    for record in records {
        keys.entry(record.key).or_default().push(record);
    }
    let mut found = Vec::new();
    for (key, records) in keys {
        found.extend(order(key, &records));
        found.extend(phantoms(key, &records));
        found.extend(indexes_back(key, &records));
        found.extend(indexes_apart(key, &records));
    }
    found
}

/// Writes, consistent reads and default reads have one order that respects time.
fn order(key: usize, records: &[&Record]) -> Option<String> {
    let (verdict, records) = judge(records, |mode| mode != Mode::Stale);
    let position = match verdict {
        Verdict::Linearizable => return None,
        Verdict::Violation(position) => position,
        Verdict::Undecided(position) => {
            return Some(format!("key {key}: too many orders at {:?}", records[position]));
        }
    };
    let record = &records[position];
    // Who only reads consistently may still have been told the truth.
    let (consistent, _) = judge(&records, |mode| mode == Mode::Consistent);
    let consistent = consistent != Verdict::Linearizable;
    let who = if consistent { "consistent reads too" } else { "default reads only" };
    let near: Vec<String> = records
        .iter()
        .filter(|other| {
            other.called <= record.returned.unwrap_or(u64::MAX)
                && other.returned.unwrap_or(u64::MAX) + 50_000_000 >= record.called
        })
        .map(|other| format!("\n    {other:?}"))
        .collect();
    Some(format!("key {key} is not linearizable ({who}) at {record:?}; near it: {}", near.concat()))
}

/// Whether all writes and those reads have an order, and what was judged.
///
/// Unknown writes whose value nobody read are left out at first: an order without them is an order of
/// all, in which they never took effect. Each that is kept may double the search.
fn judge<'a>(
    records: &[&'a Record],
    is_checked: impl Fn(Mode) -> bool,
) -> (Verdict, Vec<&'a Record>) {
    let is_read = |record: &Record| matches!(record.operation, KeyOperation::Read(_));
    let checked: Vec<&Record> =
        records.iter().copied().filter(|r| !is_read(r) || is_checked(r.mode)).collect();
    let seen: BTreeSet<u64> = records.iter().filter_map(|record| seen(record)).collect();
    let is_needed = |record: &&&Record| {
        record.returned.is_some() || writes(record).is_none_or(|value| seen.contains(&value))
    };
    let needed: Vec<&Record> = checked.iter().filter(is_needed).copied().collect();
    if linearizable::check::<Key>(&intervals(&needed)) == Verdict::Linearizable {
        return (Verdict::Linearizable, needed);
    }
    (linearizable::check::<Key>(&intervals(&checked)), checked)
}

fn intervals(records: &[&Record]) -> Vec<Interval<KeyOperation>> {
    let interval = |record: &&Record| Interval {
        operation: record.operation.clone(),
        called: record.called,
        returned: record.returned,
    };
    records.iter().map(interval).collect()
}

/// The value that an operation would write; `None` for a read and for a delete.
fn writes(record: &Record) -> Option<u64> {
    match record.operation {
        KeyOperation::Write(value) | KeyOperation::CompareAndSet { new: value, .. } => value,
        KeyOperation::Read(_) => None,
    }
}

/// The value that a client saw, or compared with.
fn seen(record: &Record) -> Option<u64> {
    match record.operation {
        KeyOperation::Read(value) | KeyOperation::CompareAndSet { expected: value, .. } => value,
        KeyOperation::Write(_) => None,
    }
}

/// Whatever the mode, a value that is read was being written before the read returned.
fn phantoms(key: usize, records: &[&Record]) -> Vec<String> {
    let mut written: BTreeMap<u64, u64> = BTreeMap::new();
    for record in records {
        written.extend(writes(record).map(|value| (value, record.called)));
    }
    let is_phantom = |record: &Record| match record.operation {
        KeyOperation::Read(Some(value)) => {
            written.get(&value).is_none_or(|called| record.returned < Some(*called))
        }
        _ => false,
    };
    records
        .iter()
        .filter(|record| is_phantom(record))
        .map(|record| format!("key {key}: a value that nobody had written: {record:?}"))
        .collect()
}

/// A read that is not stale has an index at least as high as every such read that ended before.
fn indexes_back(key: usize, records: &[&Record]) -> Vec<String> {
    let mut calls: Vec<(u64, u64, &Record)> = Vec::new();
    let mut ends: Vec<(u64, u64)> = Vec::new();
    for record in records.iter().filter(|record| record.mode != Mode::Stale) {
        if let (Some(index), Some(returned)) = (record.index, record.returned) {
            calls.push((record.called, index, record));
            ends.push((returned, index));
        }
    }
    calls.sort_by_key(|call| call.0);
    ends.sort_unstable();
    let (mut highest, mut ended, mut found) = (0, 0, Vec::new());
    for (called, index, record) in calls {
        while ends.get(ended).is_some_and(|end| end.0 < called) {
            highest = highest.max(ends[ended].1);
            ended += 1;
        }
        if index < highest {
            found.push(format!("key {key}: index {index} after {highest}: {record:?}"));
        }
    }
    found
}

/// A value has one ModifyIndex, wherever and whenever it is read, and no two values share one.
fn indexes_apart(key: usize, records: &[&Record]) -> Vec<String> {
    let pairs: BTreeSet<(u64, u64)> = records
        .iter()
        .filter_map(|record| match (&record.operation, record.modified) {
            (KeyOperation::Read(Some(value)), Some(modified)) => Some((*value, modified)),
            _ => None,
        })
        .collect();
    let values: BTreeSet<u64> = pairs.iter().map(|pair| pair.0).collect();
    let indexes: BTreeSet<u64> = pairs.iter().map(|pair| pair.1).collect();
    let same = values.len() == pairs.len() && indexes.len() == pairs.len();
    if same { vec![] } else { vec![format!("key {key}: values and their indexes: {pairs:?}")] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(called: u64, returned: u64, operation: KeyOperation) -> Record {
        Record {
            key: 0,
            mode: Mode::Default,
            operation,
            called,
            returned: Some(returned),
            index: None,
            modified: None,
        }
    }

    fn read(called: u64, value: Option<u64>, mode: Mode, index: u64) -> Record {
        let operation = KeyOperation::Read(value);
        let modified = value.map(|_| index);
        Record { mode, index: Some(index), modified, ..record(called, called + 1, operation) }
    }

    fn check(records: &[Record], expected: &str) {
        let found = violations(records).join("\n");
        if expected.is_empty() {
            assert_eq!(found, "");
        } else {
            assert!(found.contains(expected), "{expected:?} is not in {found:?}");
        }
    }

    #[test]
    fn each_rule_is_applied() {
        let one = record(0, 1, KeyOperation::Write(Some(1)));
        let two = record(10, 11, KeyOperation::Write(Some(2)));
        let fresh = read(20, Some(2), Mode::Default, 7);
        let old = |mode| read(30, Some(1), mode, 6);
        check(&[one.clone(), two.clone(), fresh.clone(), old(Mode::Stale)], "");
        check(&[one.clone(), two.clone(), old(Mode::Default)], "default reads only");
        check(&[one.clone(), two.clone(), old(Mode::Consistent)], "consistent reads too");
        check(&[one.clone(), two.clone(), fresh.clone(), old(Mode::Default)], "index 6 after 7");
        check(&[read(5, Some(9), Mode::Stale, 5)], "nobody had written");
        let late = record(50, 51, KeyOperation::Write(Some(9)));
        check(&[read(5, Some(9), Mode::Stale, 5), late], "nobody had written");
        let other = read(22, Some(2), Mode::Stale, 8);
        check(&[one, two, fresh, other], "values and their indexes");
    }
}
