//! `translate_wan_addrs`: what another datacenter answers shows the addresses that are reached from
//! here.
//!
//! Rows come from another agent as JSON and stay JSON: whatever has tagged addresses gets the one
//! tagged `wan` in place of its own, and a service the port with it. What has no such tag stays.

use http::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use super::Response;

/// The same answer with addresses of the WAN.
pub(super) fn with_wan_addresses(mut response: Response) -> Response {
    let is_json = response.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if is_json && let Ok(mut document) = serde_json::from_slice::<Value>(&response.body) {
        translate(&mut document);
        if let Ok(body) = serde_json::to_vec(&document) {
            response.body = body.into();
        }
    }
    response
}

fn translate(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(translate),
        Value::Object(members) => {
            translate_row(members, "TaggedAddresses", "Address", "Port");
            translate_row(members, "ServiceTaggedAddresses", "ServiceAddress", "ServicePort");
            // What a proxy's settings hold is the user's own.
            let rows = members.iter_mut().filter(|(name, _)| *name != "Proxy");
            rows.for_each(|(_, member)| translate(member));
        }
        _ => {}
    }
}

/// A node's tagged addresses are texts, a service's have ports.
fn translate_row(row: &mut Map<String, Value>, tagged: &str, address: &str, port: &str) {
    let Some(wan) = row.get(tagged).and_then(|tagged| tagged.get("wan")).cloned() else { return };
    let (wan_address, wan_port) = match &wan {
        Value::Object(wan) => (wan.get("Address"), wan.get("Port")),
        text => (Some(text), None),
    };
    if let (Some(place), Some(Value::String(wan))) = (row.get_mut(address), wan_address) {
        place.clone_from(&Value::String(wan.clone()));
    }
    if let (Some(place), Some(wan)) = (row.get_mut(port), wan_port.filter(|port| **port != 0)) {
        place.clone_from(wan);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(row: Value, expected: Value) {
        let answered = Response::json(&json!([row.clone()])).unwrap();
        let translated = with_wan_addresses(answered);
        let translated: Value = serde_json::from_slice(&translated.body).unwrap();
        assert_eq!(translated, json!([expected]), "{row}");
    }

    #[test]
    fn nodes_and_instances_show_the_address_that_is_tagged_wan() {
        check(
            json!({"Address": "10.0.0.1", "TaggedAddresses": {"lan": "10.0.0.1", "wan": "1.2.3.4"}}),
            json!({"Address": "1.2.3.4", "TaggedAddresses": {"lan": "10.0.0.1", "wan": "1.2.3.4"}}),
        );
        let tagged = json!({"wan": {"Address": "1.2.3.4", "Port": 90}});
        check(
            json!({"Address": "a", "ServiceAddress": "", "ServicePort": 80,
                   "ServiceTaggedAddresses": tagged}),
            json!({"Address": "a", "ServiceAddress": "1.2.3.4", "ServicePort": 90,
                   "ServiceTaggedAddresses": tagged}),
        );
        let tagged = json!({"wan": {"Address": "1.2.3.4", "Port": 0}});
        check(
            json!({"Service": {"Address": "b", "Port": 80, "TaggedAddresses": tagged}}),
            json!({"Service": {"Address": "1.2.3.4", "Port": 80, "TaggedAddresses": tagged}}),
        );
    }

    #[test]
    fn what_has_no_such_tag_and_what_users_wrote_stays() {
        for row in [
            json!({"Address": "10.0.0.1", "TaggedAddresses": {"lan": "10.0.0.2"}}),
            json!({"Address": "10.0.0.1", "TaggedAddresses": null}),
            json!({"Meta": {"TaggedAddresses": "wan", "Address": "x"}}),
            json!({"Proxy": {"Config": {"Address": "x", "TaggedAddresses": {"wan": "y"}}}}),
        ] {
            check(row.clone(), row);
        }
    }
}
