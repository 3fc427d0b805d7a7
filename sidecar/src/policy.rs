//! Decides by this service's intentions whether a source may connect.
//!
//! A core: no I/O, no clock. The servers send the list with the highest precedence first, and the
//! first match decides; it is sorted again here so that no decision depends on a server's order.
//! Follows Consul "Service intentions", layer 4 only.

use lictor_api::mesh::v1;

/// Decides which sources may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    default_allow: bool,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// `None` matches every source.
    source: Option<String>,
    allow: bool,
    precedence: u32,
}

impl Policy {
    /// Returns a policy without rules: every source, or none.
    pub fn without_rules(default_allow: bool) -> Self {
        Self { default_allow, rules: Vec::new() }
    }

    /// Returns whether `source`, a service of our trust domain, may connect.
    pub fn allows(&self, source: &str) -> bool {
        self.rules
            .iter()
            .find(|rule| rule.source.as_deref().is_none_or(|name| name == source))
            .map_or(self.default_allow, |rule| rule.allow)
    }
}

impl From<v1::Intentions> for Policy {
    fn from(intentions: v1::Intentions) -> Self {
        let rule = |intention: v1::Intention| Rule {
            source: (intention.source != "*").then_some(intention.source),
            allow: intention.allow,
            precedence: intention.precedence,
        };
        let mut rules: Vec<Rule> = intentions.list.into_iter().map(rule).collect();
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.precedence));
        Self { default_allow: intentions.default_allow, rules }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(default_allow: bool, list: &[(&str, bool, u32)]) -> Policy {
        let intention = |&(source, allow, precedence): &(&str, bool, u32)| v1::Intention {
            source: source.to_owned(),
            allow,
            precedence,
        };
        v1::Intentions { default_allow, list: list.iter().map(intention).collect() }.into()
    }

    #[test]
    fn the_highest_precedence_decides_in_any_order() {
        for list in [[("web", true, 9), ("*", false, 8)], [("*", false, 8), ("web", true, 9)]] {
            let policy = policy(true, &list);
            assert!(policy.allows("web"));
            assert!(!policy.allows("other"));
        }
    }

    #[test]
    fn the_default_holds_when_nothing_matches() {
        assert!(policy(true, &[("web", false, 9)]).allows("api"));
        assert!(!policy(false, &[("web", true, 9)]).allows("api"));
    }

    #[test]
    fn a_source_matches_whole_and_by_case() {
        let policy = policy(false, &[("web", true, 9)]);
        assert!(!policy.allows("web2") && !policy.allows("we") && !policy.allows("Web"));
    }
}
