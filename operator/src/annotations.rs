//! Reads annotations and labels under their two prefixes.
//!
//! Pure. `lictor.dev/NAME` and `consul.hashicorp.com/NAME` mean the same; where both are set, the
//! first wins key by key and [`conflicts`] names the pair. Values are parsed by Go's rules where
//! Consul's are (booleans, tag lists).

use std::collections::BTreeMap;

use lictor_api::contract::{CONSUL_PREFIX, LICTOR_PREFIX};

use crate::contract::POD_NAME_VARIABLE;

/// Annotations or labels of an object.
pub type Pairs = BTreeMap<String, String>;

/// Returns the value of `name` under either prefix.
pub fn get<'a>(pairs: &'a Pairs, name: &str) -> Option<&'a str> {
    let under = |prefix: &str| pairs.get(&format!("{prefix}{name}"));
    under(LICTOR_PREFIX).or_else(|| under(CONSUL_PREFIX)).map(String::as_str)
}

/// Returns all values whose name starts with `stem`, by the rest of the name.
pub fn starting_with<'a>(pairs: &'a Pairs, stem: &str) -> BTreeMap<&'a str, &'a str> {
    let mut found = BTreeMap::new();
    // The winner is inserted last.
    for prefix in [CONSUL_PREFIX, LICTOR_PREFIX] {
        for (key, value) in pairs {
            let rest = key.strip_prefix(prefix).and_then(|name| name.strip_prefix(stem));
            if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
                found.insert(rest, value.as_str());
            }
        }
    }
    found
}

/// Returns one sentence for each name whose two prefixes carry different values.
pub fn conflicts(pairs: &Pairs) -> Vec<String> {
    let both = pairs.iter().filter_map(|(key, ours)| {
        let name = key.strip_prefix(LICTOR_PREFIX)?;
        let theirs = pairs.get(&format!("{CONSUL_PREFIX}{name}"))?;
        (ours != theirs).then_some((name, ours, theirs))
    });
    both.map(|(name, ours, theirs)| {
        format!(
            "{LICTOR_PREFIX}{name} is {ours:?} and wins over {CONSUL_PREFIX}{name}, which is \
             {theirs:?}"
        )
    })
    .collect()
}

/// Parses the value of `service-tags`: items between commas, `\,` is a comma, blanks are trimmed,
/// empty items are dropped, and an item that is exactly `$POD_NAME` is the pod's name.
pub fn parse_tags(text: &str, pod_name: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' if rest.next_if_eq(&',').is_some() => push(&mut items, ','),
            ',' => items.push(String::new()),
            c => push(&mut items, c),
        }
    }
    let tag = |item: &String| match item.trim() {
        POD_NAME_VARIABLE => pod_name.to_owned(),
        tag => tag.to_owned(),
    };
    items.iter().map(tag).filter(|tag| !tag.is_empty()).collect()
}

fn push(items: &mut [String], c: char) {
    items.last_mut().expect("the list starts with one item").push(c);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Pairs {
        list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn own_prefix_wins_and_the_difference_is_named() {
        let both = pairs(&[
            ("lictor.dev/connect-service", "a"),
            ("consul.hashicorp.com/connect-service", "b"),
            ("lictor.dev/service-tags", "same"),
            ("consul.hashicorp.com/service-tags", "same"),
        ]);
        assert_eq!(get(&both, "connect-service"), Some("a"));
        let [warning] = &conflicts(&both)[..] else { panic!("one conflict") };
        for part in ["connect-service", "\"a\"", "\"b\""] {
            assert!(warning.contains(part), "{warning}");
        }
    }

    #[test]
    fn meta_is_compared_key_by_key() {
        let both = pairs(&[
            ("consul.hashicorp.com/service-meta-team", "x"),
            ("consul.hashicorp.com/service-meta-tier", "y"),
            ("lictor.dev/service-meta-team", "z"),
        ]);
        let found = starting_with(&both, "service-meta-");
        assert_eq!(found, BTreeMap::from([("team", "z"), ("tier", "y")]));
    }

    #[test]
    fn tags_follow_the_escape_and_the_pod_name() {
        let check = |text, expect: &[&str]| assert_eq!(parse_tags(text, "web-0"), expect, "{text}");
        check("a,b", &["a", "b"]);
        check(" a , b,", &["a", "b"]);
        check(r"a\,b,c", &["a,b", "c"]);
        check("$POD_NAME,x$POD_NAME", &["web-0", "x$POD_NAME"]);
        check(r"a\b", &[r"a\b"]);
        check("", &[]);
    }
}
