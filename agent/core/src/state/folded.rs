//! Names in lower case: the keys under which written names are found.
//!
//! DNS compares names without regard to case, so tables are keyed by lower-case names while rows
//! keep the spelling of their registration.
//!
//! INVARIANT: a [`Folded`] holds no ASCII upper-case letter. Only this file makes one, so that a
//! written name can never be used as a key. Reading allocates only for a name with such letters.

use std::{borrow::Cow, cmp::Ordering, fmt};

use equivalent::{Comparable, Equivalent};
use serde::{Deserialize, Deserializer, Serialize};

/// A name in lower case; compares, hashes and serializes as its text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Folded<N>(N);

/// Returns the name in lower case, sharing its text when it has no upper-case letter.
pub fn fold<N: From<String> + AsRef<str> + Clone>(name: &N) -> Folded<N> {
    match FoldedStr::of_written(name.as_ref()).0 {
        Cow::Borrowed(_) => Folded(name.clone()),
        Cow::Owned(text) => Folded(N::from(text)),
    }
}

// === impl Folded ===

impl<N: AsRef<str>> Folded<N> {
    /// Returns the lower-case text.
    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }

    /// Borrows the name for a lookup.
    pub(super) fn as_folded(&self) -> FoldedStr<'_> {
        FoldedStr(Cow::Borrowed(self.as_str()))
    }

    /// Returns the key of what `id` names below this name.
    pub(super) fn with<'a>(&'a self, id: &'a str) -> FoldedPair<'a> {
        FoldedPair(self.as_str(), id)
    }
}

impl<N: From<String> + for<'n> From<&'n str>> Folded<N> {
    /// Returns a written name in lower case.
    pub(super) fn of_written(name: &str) -> Self {
        match FoldedStr::of_written(name).0 {
            Cow::Borrowed(text) => Self(N::from(text)),
            Cow::Owned(text) => Self(N::from(text)),
        }
    }
}

impl<N: fmt::Display> fmt::Display for Folded<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<N: fmt::Debug> fmt::Debug for Folded<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de, N> Deserialize<'de> for Folded<N>
where
    N: Deserialize<'de> + From<String> + AsRef<str> + Clone,
{
    /// Folds again: snapshots are not trusted to hold lower-case names.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        N::deserialize(deserializer).map(|name| fold(&name))
    }
}

/// A name in lower case for one lookup; borrows the written name if that is lower case already.
#[derive(Debug, Clone)]
pub(super) struct FoldedStr<'a>(Cow<'a, str>);

// === impl FoldedStr ===

impl<'a> FoldedStr<'a> {
    /// Folds a written name.
    pub(super) fn of_written(name: &'a str) -> Self {
        if name.bytes().any(|c| c.is_ascii_uppercase()) {
            Self(Cow::Owned(name.to_ascii_lowercase()))
        } else {
            Self(Cow::Borrowed(name))
        }
    }

    /// Returns the key of what `id` names below this name.
    pub(super) fn with(&'a self, id: &'a str) -> FoldedPair<'a> {
        FoldedPair(&self.0, id)
    }
}

impl<N: AsRef<str>> Equivalent<Folded<N>> for FoldedStr<'_> {
    fn equivalent(&self, key: &Folded<N>) -> bool {
        *self.0 == *key.as_str()
    }
}

impl<N: AsRef<str>> Comparable<Folded<N>> for FoldedStr<'_> {
    fn compare(&self, key: &Folded<N>) -> Ordering {
        (*self.0).cmp(key.as_str())
    }
}

/// A folded name with the ID of something that belongs to it, for one lookup.
#[derive(Debug, Clone, Copy)]
pub(super) struct FoldedPair<'a>(&'a str, &'a str);

// === impl FoldedPair ===

impl<'a> FoldedPair<'a> {
    /// Borrows a key for a lookup.
    pub(super) fn of<N: AsRef<str>, I: AsRef<str>>(key: &'a (Folded<N>, I)) -> Self {
        Self(key.0.as_str(), key.1.as_ref())
    }
}

impl<N: AsRef<str>, I: AsRef<str>> Equivalent<(Folded<N>, I)> for FoldedPair<'_> {
    fn equivalent(&self, key: &(Folded<N>, I)) -> bool {
        self.0 == key.0.as_str() && self.1 == key.1.as_ref()
    }
}

impl<N: AsRef<str>, I: AsRef<str>> Comparable<(Folded<N>, I)> for FoldedPair<'_> {
    fn compare(&self, key: &(Folded<N>, I)) -> Ordering {
        self.0.cmp(key.0.as_str()).then_with(|| self.1.cmp(key.1.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use lictor_api::NodeName;

    use super::*;

    #[test]
    fn every_spelling_of_a_name_is_one_key() {
        let lower = fold(&NodeName::from("web-1"));
        assert_eq!(fold(&NodeName::from("WEB-1")), lower);
        assert_eq!(Folded::of_written("Web-1"), lower);
        assert!(FoldedStr::of_written("wEb-1").equivalent(&lower));
    }

    #[test]
    fn a_lower_case_name_shares_its_text() {
        let name = NodeName::from("web");
        assert_eq!(fold(&name).as_str().as_ptr(), name.as_str().as_ptr());
        assert!(matches!(FoldedStr::of_written("web").0, Cow::Borrowed(_)));
    }

    #[test]
    fn a_snapshot_with_upper_case_names_is_folded_when_it_is_read() {
        let read: Folded<NodeName> = serde_json::from_str("\"Web\"").unwrap();
        assert_eq!(read.as_str(), "web");
    }

    #[test]
    fn a_pair_is_ordered_as_the_keys_of_a_map_are() {
        let key = |node: &str, id: &str| (Folded::<NodeName>::of_written(node), NodeName::from(id));
        let keys = [key("a", "z"), key("b", ""), key("b", "a"), key("c", "")];
        for (place, (node, id)) in keys.iter().enumerate() {
            let pair = node.with(id);
            let order: Vec<_> = keys.iter().map(|key| pair.compare(key)).collect();
            let expected: Vec<_> = (0..keys.len()).map(|other| place.cmp(&other)).collect();
            assert_eq!(order, expected);
        }
    }
}
