//! What an operation of a transaction touches, for the one gate.

use lictor_core::{
    acl::Access,
    fsm::{
        Operation,
        txn::{CatalogVerb, KvVerb},
    },
    state::State,
};

use super::super::catalog::{existing, removed_node, written_node, written_service};

/// Everything that has to be allowed.
pub(super) fn touched<'a>(state: &'a State, operation: &'a Operation) -> Vec<Access<'a>> {
    match operation {
        Operation::Kv(operation) => {
            let write = !operation.verb.is_read();
            let tree = matches!(operation.verb, KvVerb::DeleteTree | KvVerb::GetTree);
            let under = state.kv.list(&operation.key).filter(|_| tree);
            let keys = under.map(|pair| pair.key.as_str()).chain([operation.key.as_str()]);
            keys.map(|key| Access::Key { key, write }).collect()
        }
        Operation::Node { verb: CatalogVerb::Get, node } => {
            vec![Access::Node { name: &node.name, write: false, synthetic: false }]
        }
        Operation::Node { verb: CatalogVerb::Delete | CatalogVerb::DeleteCas, node } => {
            removed_node(state, &node.name)
        }
        Operation::Node { node, .. } => vec![written_node(state, &node.name, &node.meta)],
        Operation::Service { verb: CatalogVerb::Get, service, .. } => {
            vec![Access::Service { name: &service.service, write: false, of_pod: false }]
        }
        Operation::Service { node, service, .. } => {
            let id = &service.id;
            vec![written_service(state, node, id, service), existing(state, node, id)]
        }
        Operation::Check { verb: CatalogVerb::Get, check } => {
            vec![Access::Node { name: &check.node, write: false, synthetic: false }]
        }
        Operation::Check { check, .. } => {
            let mut touched = vec![existing(state, &check.node, &check.service_id)];
            let replaced = state.catalog.check(&check.node, &check.check_id);
            touched.extend(replaced.map(|old| existing(state, &check.node, &old.service_id)));
            touched
        }
    }
}

#[cfg(test)]
mod tests {
    use lictor_api::wire;
    use serde_json::json;

    use super::{super::operation::convert, *};
    use lictor_core::{
        acl::{Authorizer, Caller},
        fsm::{self, Command, KvCommand},
        state::watch::Touched,
    };

    /// A catalog with a pod's instance and a machine's, and some keys.
    fn state() -> State {
        let mut state = State::default();
        let pod = json!({"Node": "k1-virtual", "Address": "10.0.0.1",
            "NodeMeta": {"synthetic-node": "true"},
            "Service": {"ID": "web-1", "Service": "web", "Meta": {"pod-uid": "u"}},
            "Check": {"CheckID": "ns/web-1", "ServiceID": "web-1"}});
        let machine = json!({"Node": "vm", "Address": "10.0.0.2",
            "Service": {"ID": "db", "Service": "db"}});
        let keys = ["a", "a/1", "a/2", "b"].map(|key| {
            Command::Kv(KvCommand::Set { key: key.to_owned(), flags: 0, value: "v".into() })
        });
        let rows = [pod, machine].map(|row| Command::Register(wire::from_value(row).unwrap()));
        for (index, command) in (1..).zip(rows.into_iter().chain(keys)) {
            fsm::apply(&mut state, index, command, &mut Touched::default());
        }
        state
    }

    fn operation(asked: serde_json::Value) -> Operation {
        convert(wire::from_value(asked).unwrap(), "dc1").unwrap()
    }

    #[test]
    fn every_key_that_an_operation_touches_is_asked_for() {
        let state = state();
        for (verb, key, keys, writes) in [
            ("set", "a", vec!["a"], true),
            ("lock", "new", vec!["new"], true),
            ("get", "a", vec!["a"], false),
            ("check-session", "b", vec!["b"], false),
            ("get-tree", "a", vec!["a", "a/1", "a/2", "a"], false),
            ("delete-tree", "a/", vec!["a/1", "a/2", "a/"], true),
            ("delete-tree", "", vec!["a", "a/1", "a/2", "b", ""], true),
        ] {
            let operation = operation(json!({"KV": {"Verb": verb, "Key": key}}));
            let expected: Vec<_> =
                keys.into_iter().map(|key| Access::Key { key, write: writes }).collect();
            assert_eq!(touched(&state, &operation), expected, "{verb} {key}");
        }
    }

    #[test]
    fn what_the_operator_owns_is_changed_by_it_alone() {
        let state = state();
        let service = |verb: &str, node: &str, service: serde_json::Value| json!({"Service": {"Verb": verb, "Node": node, "Service": service}});
        for (asked, anonymous) in [
            (json!({"Node": {"Verb": "get", "Node": {"Node": "k1-virtual"}}}), true),
            (json!({"Node": {"Verb": "set", "Node": {"Node": "K1-virtual"}}}), false),
            (json!({"Node": {"Verb": "delete", "Node": {"Node": "k1-virtual"}}}), false),
            (
                json!({"Node": {"Verb": "cas", "Node": {"Node": "x", "Meta": {"synthetic-node": ""}}}}),
                false,
            ),
            (json!({"Node": {"Verb": "delete-cas", "Node": {"Node": "vm"}}}), true),
            (service("set", "k1-virtual", json!({"ID": "web-1", "Service": "other"})), false),
            (service("delete", "k1-virtual", json!({"ID": "web-1"})), false),
            (service("set", "vm", json!({"Service": "x", "Meta": {"pod-uid": "u"}})), false),
            (service("cas", "vm", json!({"Service": "db"})), true),
            (
                json!({"Check": {"Verb": "delete", "Check": {"Node": "k1-virtual", "CheckID": "ns/web-1"}}}),
                false,
            ),
            (
                json!({"Check": {"Verb": "set", "Check": {"Node": "vm", "CheckID": "c", "ServiceID": "db"}}}),
                true,
            ),
        ] {
            let operation = operation(asked.clone());
            let touched = touched(&state, &operation);
            let allowed = |caller: &Caller| {
                let authorizer = Authorizer::new(true);
                touched.iter().all(|access| authorizer.authorize(caller, access).is_ok())
            };
            assert_eq!(allowed(&Caller::Anonymous), anonymous, "{asked}");
            assert!(allowed(&Caller::Operator));
        }
    }
}
