//! Failed passes are counted and retried.

use serde_json::{Value, json};

use super::*;
use crate::{controllers::api_server, metrics};

fn object() -> Value {
    json!({
        "apiVersion": "consul.hashicorp.com/v1alpha1", "kind": "ServiceIntentions",
        "metadata": {"name": "corp", "namespace": "shop"},
        "spec": {
            "destination": {"name": "corp-app"}, "sources": [{"name": "*", "action": "deny"}],
        },
    })
}

/// Reconciles an object; with `api_status` 200 the servers fail, otherwise the API server.
async fn failed_pass(api_status: u16) {
    let (context, _stop) = api_server::context(move |_| (api_status, object())).await;
    context.servers.state().broken.insert("corp-app".to_owned());
    let object: Arc<ServiceIntentions> = Arc::new(serde_json::from_value(object()).unwrap());
    let error = reconcile(Arc::clone(&object), Arc::clone(&context)).await.unwrap_err();
    assert_eq!(matches!(error, ReconcileError::Servers(_)), api_status == 200, "{error:?}");
    assert_eq!(retry(object, &error, context), Action::requeue(RETRY_INTERVAL));
}

#[test]
fn a_pass_that_the_api_server_or_the_servers_failed_is_counted() {
    let moved = metrics::moved_by(async {
        failed_pass(500).await;
        failed_pass(200).await;
    });
    let expect = "lictor_operator_controller_failures_total{controller=\"config_entries\"} 2";
    assert!(moved.contains(expect), "{moved}");
}
