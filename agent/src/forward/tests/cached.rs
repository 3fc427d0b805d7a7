//! `?cached` at a client agent and at a server.

use super::*;

const WEB: &str = "GET /v1/health/service/web?cached";

fn web(node: &str) -> String {
    format!(r#"{{"Node":"{node}","Address":"10.0.0.1","Service":{{"Service":"web"}}}}"#)
}

fn cache(response: &Response) -> (Option<&str>, Option<&str>) {
    (header(response, "x-cache"), header(response, "age"))
}

#[tokio::test]
async fn the_first_cached_request_is_a_miss_and_the_next_a_hit_without_a_server() {
    let mut pair = Pair::start().await;
    pair.register(&web("n1")).await;
    pair.refresh_servers();
    let first = pair.send(WEB).await;
    assert_eq!(cache(&first), (Some("MISS"), None), "{first:?}");
    let second = pair.send(WEB).await;
    assert_eq!(cache(&second), (Some("HIT"), Some("0")));
    assert_eq!(header(&second, "x-consul-query-backend"), Some("streaming"));
    let fresh = pair.send("GET /v1/health/service/web").await;
    assert_eq!((&fresh.body, cache(&fresh)), (&second.body, (None, None)));
    assert_eq!(header(&fresh, "x-consul-index"), header(&second, "x-consul-index"));

    let rows = pair.send("GET /v1/catalog/service/web?cached").await;
    assert_eq!((column(&rows, "/Node"), cache(&rows).0), (vec!["n1".to_owned()], Some("HIT")));
    pair.cut().await;
    let alone = pair.send(WEB).await;
    assert_eq!((&alone.body, cache(&alone).0), (&fresh.body, Some("HIT")));
    pair.stop().await;
}

#[tokio::test]
async fn a_cached_response_follows_the_catalog_and_can_block() {
    let pair = Pair::start().await;
    pair.register(&web("n1")).await;
    pair.refresh_servers();
    let index = header(&pair.send(WEB).await, "x-consul-index").unwrap().to_owned();
    let blocking = format!("{WEB}&index={index}&wait=5m");
    let register = web("n2");
    let (changed, ()) = tokio::join!(pair.send(&blocking), pair.register(&register));
    assert_eq!(column(&changed, "/Node/Node"), ["n1", "n2"]);
    assert_eq!(cache(&changed).0, Some("HIT"));
    let index = header(&changed, "x-consul-index").unwrap().to_owned();
    let unchanged = pair.send(&format!("{WEB}&index={index}&wait=1ms")).await;
    assert_eq!(header(&unchanged, "x-consul-index"), Some(&*index));
    pair.stop().await;
}

#[tokio::test]
async fn must_revalidate_is_forwarded_and_fails_without_a_server() {
    let mut pair = Pair::start().await;
    pair.register(&web("n1")).await;
    pair.refresh_servers();
    assert_eq!(cache(&pair.send(WEB).await).0, Some("MISS"));
    let with = async |pair: &Pair, control: &str| {
        send(&pair.client, WEB, &[("cache-control", control)], "").await
    };
    assert_eq!(cache(&with(&pair, "max-age=5").await).0, Some("HIT"));
    assert_eq!(cache(&with(&pair, "must-revalidate").await).0, Some("MISS"));
    pair.cut().await;
    pair.client.agent().forwarder.servers().replace(Vec::new());
    let refused = with(&pair, "must-revalidate").await;
    assert_eq!((refused.status.as_u16(), text(&refused)), (500, "No known Consul servers"));
    pair.stop().await;
}

#[tokio::test]
async fn a_cached_request_that_no_view_covers_is_forwarded() {
    let pair = Pair::start().await;
    pair.register(&web("n1")).await;
    pair.refresh_servers();
    for path in ["/v1/catalog/services?cached", "/v1/health/service/web?cached&near=n1"] {
        let answer = pair.send(&format!("GET {path}")).await;
        assert_eq!((answer.status.as_u16(), cache(&answer).0), (200, Some("HIT")), "{path}");
    }
    let contradiction = pair.send(&format!("{WEB}&consistent")).await;
    assert_eq!(contradiction.status, 400);
    // COMPAT: Go's tests want the second answer of a server to be a hit.
    let at_server = send(&pair.server, WEB, &[], "").await;
    assert_eq!(cache(&at_server), (Some("HIT"), Some("0")));
    let uncached = send(&pair.server, "GET /v1/health/service/web", &[], "").await;
    assert_eq!(cache(&uncached), (None, None));
    pair.stop().await;
}
