//! What HTTP clients write: queries and filters.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{Method, Uri};
use lictor::http::{Peer, Request, filter::Filter};
use lictor_api::types::health::CheckServiceNode;

type Pairs = Vec<(String, String)>;

fn request(uri: &str) -> Option<Request> {
    let uri: Uri = uri.parse().ok()?;
    let (head, ()) =
        http::Request::builder().method(Method::GET).uri(uri).body(()).ok()?.into_parts();
    Request::new(head, Bytes::new(), Peer::Unix).ok()
}

fn pairs(query: &str) -> Pairs {
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// A query is read as the library for forms reads it, and stays the same query when it is sent on.
pub(crate) fn query(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Some(mut request) = request(&text).filter(|request| request.path().starts_with('/')) else {
        return;
    };
    assert_eq!(request.query(), pairs(request.raw_query()));
    // None of these may panic, whatever they make of it.
    let _options = request.options();
    let _index = request.number("index");
    let _who = (request.datacenter().is_some(), request.token().is_some());
    let _tail = request.strip("/v1/kv/").is_ok();
    let mut sorted: Pairs = request.query().to_vec();
    sorted.retain(|(key, _)| key != "token");
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(pairs(&request.encoded_query()), sorted);
    request.fill_in_agent("n&d=e +%ä");
    assert_eq!(request.query(), pairs(request.raw_query()), "{}", request.raw_query());
    assert!(request.params("near").all(|near| near != "_agent"));
    let again = self::request(&request.uri()).expect("it can be sent on");
    assert_eq!((again.query(), again.path()), (request.query(), request.path()));
}

static ROWS: LazyLock<[CheckServiceNode; 2]> = LazyLock::new(|| {
    let row = serde_json::from_value(serde_json::json!({
        "Node": {"Node": "foo", "Meta": {"os": "linux"}},
        "Service": {"Service": "web", "Tags": ["v1"], "Port": 80},
        "Checks": [{"Status": "warning"}, {"Status": "passing"}]
    }));
    [row.expect("the row is a row"), CheckServiceNode::default()]
});

fn verdicts(filter: &Filter) -> [bool; 2] {
    [&ROWS[0], &ROWS[1]].map(|row| filter.passes(row).expect("rows are JSON"))
}

/// An expression means the same in parentheses, joined with itself, and the opposite negated.
pub(crate) fn filter(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let parse = |text: &str| Filter::parse::<CheckServiceNode>(text);
    let Ok(filter) = parse(&text) else { return };
    let plain = verdicts(&filter);
    if filter.is_empty() {
        return assert_eq!(plain, [true, true]);
    }
    for same in
        [format!("({text})"), format!("({text}) and ({text})"), format!("({text})or({text})")]
    {
        match parse(&same) {
            Ok(filter) => assert_eq!(verdicts(&filter), plain, "{same}"),
            Err(error) => assert!(error.to_string().contains("nested"), "{same}: {error}"),
        }
    }
    match parse(&format!("not ({text})")) {
        Ok(filter) => assert_eq!(verdicts(&filter), plain.map(|passes| !passes)),
        Err(error) => assert!(error.to_string().contains("nested"), "{error}"),
    }
}
