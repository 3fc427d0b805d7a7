//! PTR queries to a client agent, which are forwarded to a server first.

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RData, Record, RecordType, rdata::PTR},
};
use tokio::net::UdpSocket;

use super::*;
use crate::dns;

/// Returns the address of a recursor that answers every PTR query with `host.example.`.
async fn recursor() -> SocketAddr {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut packet = [0; 1500];
        while let Ok((length, client)) = socket.recv_from(&mut packet).await {
            let mut message = Message::from_vec(&packet[..length]).unwrap().into_response();
            let owner = message.queries[0].name().clone();
            let name = RData::PTR(PTR(Name::from_ascii("host.example.").unwrap()));
            message.add_answer(Record::from_rdata(owner, 60, name));
            socket.send_to(&message.to_vec().unwrap(), client).await.unwrap();
        }
    });
    address
}

async fn name_of(server: SocketAddr, address: &str) -> Option<String> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(address).unwrap(), RecordType::PTR));
    socket.send_to(&message.to_vec().unwrap(), server).await.unwrap();
    let mut packet = [0; 1500];
    let length = timeout(DEADLINE, socket.recv(&mut packet)).await.unwrap().unwrap();
    let answer = Message::from_vec(&packet[..length]).unwrap();
    answer.answers.first().map(|record| record.data.to_string())
}

#[tokio::test]
async fn a_ptr_query_that_the_catalog_does_not_answer_goes_to_the_client_agents_recursors() {
    let recursors = vec![recursor().await];
    // The server's own recursors get no queries of other agents.
    let nobody = |config: &mut RuntimeConfig| {
        config.dns.recursors = vec![SocketAddr::from(([127, 0, 0, 1], 9))];
    };
    let pair = Pair::start_with(nobody, |config| config.dns.recursors = recursors).await;
    pair.register(r#"{"Node":"web-1","Address":"10.0.0.7"}"#).await;
    let client = pair.client.agent();
    let views = client.views.clone().unwrap();
    let remote = Some(dns::Remote::Client(views));
    let backend = dns::Backend { store: client.store.clone(), zone: client.dns.clone(), remote };
    let listeners = dns::Listeners::bind(&[SocketAddr::from(([127, 0, 0, 1], 0))]).unwrap();
    let (address, until) = (listeners.addresses()[0], CancellationToken::new());
    let tasks = lictor_runtime::Tasks::until(until.clone());
    let serving = tokio::spawn(dns::serve(listeners, backend, tasks));
    for (question, name) in [
        ("7.0.0.10.in-addr.arpa.", "web-1.node.dc1.consul."),
        ("8.8.8.8.in-addr.arpa.", "host.example."),
    ] {
        pair.refresh_servers();
        assert_eq!(name_of(address, question).await.as_deref(), Some(name), "{question}");
    }
    until.cancel();
    serving.await.unwrap().unwrap();
    pair.stop().await;
}
