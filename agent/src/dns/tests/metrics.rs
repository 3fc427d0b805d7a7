//! Queries are counted by what they ask for.

use super::{
    exchange::{Served, ask_udp, client},
    *,
};
use crate::telemetry::metrics::{DNS_DOMAIN_QUERY, DNS_PTR_QUERY};

#[tokio::test]
async fn answered_queries_are_counted() {
    let served = Served::start(catalog(), zone());
    let address = served.address;
    for (name, qtype, sample) in [
        ("foo.node.consul.", RecordType::A, &DNS_DOMAIN_QUERY),
        ("1.0.1.10.in-addr.arpa.", RecordType::PTR, &DNS_PTR_QUERY),
    ] {
        let before = sample.totals().0;
        client(move || ask_udp(address, &query(name, qtype))).await;
        // Counted when the answer is sent, which may be a moment after it is here.
        let counted = async {
            while sample.totals().0 == before {
                tokio::task::yield_now().await;
            }
        };
        let counted = tokio::time::timeout(Duration::from_secs(10), counted).await;
        assert!(counted.is_ok(), "{name} was not counted");
    }
    served.stop().await;
}
