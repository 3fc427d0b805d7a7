//! The entry of an object, and the owner of an entry.

use lictor_api::types::intention::IntentionAction;
use serde_json::{Value, json};

use super::*;

fn object(spec: Value) -> ServiceIntentions {
    serde_json::from_value(json!({
        "apiVersion": "consul.hashicorp.com/v1alpha1", "kind": "ServiceIntentions",
        "metadata": {"name": "corp", "namespace": "shop"}, "spec": spec,
    }))
    .unwrap()
}

fn corp() -> ServiceIntentions {
    object(json!({
        "destination": {"name": "corp-app"},
        "sources": [
            {"name": "hashicorpjapan-app", "action": "allow", "description": "front"},
            {"name": "*", "action": "deny"},
        ],
    }))
}

#[test]
fn an_object_becomes_an_entry_named_after_its_destination() {
    let entry = entry(&corp(), &Config::for_tests());
    assert_eq!(entry.name, "corp-app");
    let sources: Vec<_> = entry.sources.iter().map(|s| (s.name.as_str(), s.action)).collect();
    assert_eq!(
        sources,
        [("hashicorpjapan-app", Some(IntentionAction::Allow)), ("*", Some(IntentionAction::Deny)),]
    );
    assert_eq!(
        serde_json::to_value(&entry.meta).unwrap(),
        json!({
            "external-source": "kubernetes", "k8s-cluster": "kubernetes",
            "k8s-resource": "shop/corp", "consul.hashicorp.com/source-datacenter": "dc1",
        })
    );
}

#[test]
fn permissions_take_the_spelling_of_the_api() {
    let object = object(json!({
        "destination": {"name": "web"},
        "sources": [{"name": "app", "permissions": [{
            "action": "allow",
            "http": {"pathPrefix": "/v1", "methods": ["GET"], "header": [{"name": "x", "present": true}]},
        }]}],
    }));
    let entry = entry(&object, &Config::for_tests());
    assert_eq!(
        entry.sources[0].permissions,
        [json!({"Action": "allow", "HTTP": {
            "PathPrefix": "/v1", "Methods": ["GET"], "Header": [{"Name": "x", "Present": true}],
        }})]
    );
}

#[test]
fn what_the_server_sets_and_orders_is_no_difference() {
    let wanted = entry(&corp(), &Config::for_tests());
    let mut stored = wanted.clone();
    stored.sources.reverse();
    stored.sources[0].precedence = 8;
    stored.modify_index = 12;
    assert_eq!(normal(&stored), normal(&wanted));
    stored.sources[0].action = Some(IntentionAction::Allow);
    assert_ne!(normal(&stored), normal(&wanted));
}

#[test]
fn an_entry_is_ours_only_with_this_clusters_name() {
    let config = Config::for_tests();
    let made = entry(&corp(), &config);
    assert_eq!(owner(&made, &config), Owner::Object("shop/corp"));
    let elsewhere = Config { cluster: "west".to_owned(), ..config.clone() };
    assert_eq!(owner(&made, &elsewhere), Owner::Elsewhere);
    assert!(!is_own(&Entry::default(), &config));
}
