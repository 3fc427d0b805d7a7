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
async fn the_first_question_is_a_miss_and_the_next_is_answered_without_a_server() {
    let mut pair = Pair::start().await;
    pair.register(&web("n1")).await;
    pair.introduce();
    let first = pair.ask(WEB).await;
    assert_eq!(cache(&first), (Some("MISS"), None), "{first:?}");
    let second = pair.ask(WEB).await;
    assert_eq!(cache(&second), (Some("HIT"), Some("0")));
    assert_eq!(header(&second, "x-consul-query-backend"), Some("streaming"));
    let fresh = pair.ask("GET /v1/health/service/web").await;
    assert_eq!((&fresh.body, cache(&fresh)), (&second.body, (None, None)));
    assert_eq!(header(&fresh, "x-consul-index"), header(&second, "x-consul-index"));

    let rows = pair.ask("GET /v1/catalog/service/web?cached").await;
    assert_eq!((column(&rows, "/Node"), cache(&rows).0), (vec!["n1".to_owned()], Some("HIT")));
    pair.cut().await;
    let alone = pair.ask(WEB).await;
    assert_eq!((&alone.body, cache(&alone).0), (&fresh.body, Some("HIT")));
    pair.stop().await;
}

#[tokio::test]
async fn a_cached_answer_changes_with_the_catalog_and_can_be_waited_for() {
    let pair = Pair::start().await;
    pair.register(&web("n1")).await;
    pair.introduce();
    let index = header(&pair.ask(WEB).await, "x-consul-index").unwrap().to_owned();
    let blocking = format!("{WEB}&index={index}&wait=5m");
    let register = web("n2");
    let (changed, ()) = tokio::join!(pair.ask(&blocking), pair.register(&register));
    assert_eq!(column(&changed, "/Node/Node"), ["n1", "n2"]);
    assert_eq!(cache(&changed).0, Some("HIT"));
    let index = header(&changed, "x-consul-index").unwrap().to_owned();
    let unchanged = pair.ask(&format!("{WEB}&index={index}&wait=1ms")).await;
    assert_eq!(header(&unchanged, "x-consul-index"), Some(&*index));
    pair.stop().await;
}

#[tokio::test]
async fn a_client_that_wants_it_fresh_gets_a_servers_answer_or_the_old_one_if_it_takes_that() {
    let mut pair = Pair::start().await;
    pair.register(&web("n1")).await;
    pair.introduce();
    assert_eq!(cache(&pair.ask(WEB).await).0, Some("MISS"));
    let with = async |pair: &Pair, control: &str| {
        ask(&pair.client, WEB, &[("cache-control", control)], "").await
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
async fn what_only_servers_know_is_asked_of_them() {
    let pair = Pair::start().await;
    pair.register(&web("n1")).await;
    pair.introduce();
    for path in ["/v1/catalog/services?cached", "/v1/health/service/web?cached&near=n1"] {
        let answer = pair.ask(&format!("GET {path}")).await;
        assert_eq!((answer.status.as_u16(), cache(&answer).0), (200, Some("HIT")), "{path}");
    }
    let contradiction = pair.ask(&format!("{WEB}&consistent")).await;
    assert_eq!(contradiction.status, 400);
    // COMPAT: Go's tests want the second answer of a server to be a hit.
    let at_server = ask(&pair.server, WEB, &[], "").await;
    assert_eq!(cache(&at_server), (Some("HIT"), Some("0")));
    let not_asked = ask(&pair.server, "GET /v1/health/service/web", &[], "").await;
    assert_eq!(cache(&not_asked), (None, None));
    pair.stop().await;
}
