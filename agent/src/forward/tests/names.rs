//! DNS of a client agent, where a server has to help.

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RData, Record, RecordType, rdata::PTR},
};
use tokio::net::UdpSocket;

use super::*;
use crate::dns;

/// A recursor to which every address is called `host.example.`.
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
async fn an_address_that_no_server_knows_is_the_recursors_of_the_agent_that_is_asked() {
    let recursors = vec![recursor().await];
    // Those of the server are not asked on behalf of others.
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
    for (asked, name) in [
        ("7.0.0.10.in-addr.arpa.", "web-1.node.dc1.consul."),
        ("8.8.8.8.in-addr.arpa.", "host.example."),
    ] {
        pair.introduce();
        assert_eq!(name_of(address, asked).await.as_deref(), Some(name), "{asked}");
    }
    until.cancel();
    serving.await.unwrap().unwrap();
    pair.stop().await;
}
