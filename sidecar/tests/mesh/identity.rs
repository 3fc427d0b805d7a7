//! Both sides verify the peer's certificate before any data flows.

use crate::support::{Ca, Pair, TRUST_DOMAIN, counted, eventually, greet};

#[tokio::test]
async fn an_endpoint_with_another_identity_gets_no_data() {
    let app = counted().await;
    let pair = Pair::serving("web", "impersonated", app.address).await;
    // The servers list the destination under an identity that is not its certificate's.
    let expected = pair.server.mesh.ca.id("someone-else").to_string();
    let mut endpoint = pair.endpoint();
    endpoint.spiffe_id = expected;
    pair.list(&[endpoint]);
    eventually("the client refuses the identity", || async {
        let before = app.seen();
        let refused = pair.exchange(b"secret").await.is_err();
        let counted = pair.closed("outbound", "identity_refused").await >= 1.0;
        // Until the new list is received the old endpoint is used, and the application gets data.
        if refused && counted {
            assert_eq!(app.seen(), before, "connections and bytes at the application");
        }
        refused && counted
    })
    .await;
}

#[tokio::test]
async fn only_a_certificate_of_the_mesh_opens_the_public_listener() {
    let app = counted().await;
    let pair = Pair::serving("web", "guarded", app.address).await;
    let ca = &pair.server.mesh.ca;
    let id = ca.id("web").to_string();
    let accepted = ca.leaf(std::slice::from_ref(&id));
    assert_eq!(greet(pair.public, Some(accepted)).await.unwrap(), 6);
    let seen = app.seen();
    assert_eq!(seen, (1, 6));

    let forged = Ca::new(TRUST_DOMAIN).leaf(std::slice::from_ref(&id));
    let foreign = "spiffe://99999999-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/web";
    for (what, certificate) in [
        ("no certificate", None),
        ("another authority", Some(forged)),
        ("another trust domain", Some(ca.leaf(&[foreign.to_owned()]))),
        ("two identities", Some(ca.leaf(&[id.clone(), ca.id("api").to_string()]))),
        ("no identity", Some(ca.leaf(&[]))),
    ] {
        let result = greet(pair.public, certificate).await;
        assert!(result.is_err(), "{what}: {result:?}");
    }
    assert_eq!(app.seen(), seen, "connections and bytes at the application");
    eventually("each refusal is counted by its class", || async {
        pair.closed("inbound", "identity_refused").await == 5.0
    })
    .await;
}
