//! Names that recursors resolve; the recursor is a socket of the test.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    thread,
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{
        RData, Record, RecordType,
        rdata::{A, CNAME},
    },
};

use super::{
    catalog,
    exchange::{Served, ask_udp, client},
    query, text, zone,
};

/// Answers `queries` queries, each as `answer` says, then ends.
fn recursor(
    queries: usize,
    answer: impl Fn(&mut Message) + Send + 'static,
) -> (SocketAddr, thread::JoinHandle<()>) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    let address = socket.local_addr().unwrap();
    let thread = thread::spawn(move || {
        for _ in 0..queries {
            let mut packet = [0; 1500];
            let (length, client) = socket.recv_from(&mut packet).unwrap();
            let mut message = Message::from_vec(&packet[..length]).unwrap().into_response();
            message.metadata.recursion_available = true;
            answer(&mut message);
            socket.send_to(&message.to_vec().unwrap(), client).unwrap();
        }
    });
    (address, thread)
}

fn resolves(message: &mut Message) {
    let name = message.queries[0].name().clone();
    message.add_answer(Record::from_rdata(name, 60, RData::A(A::new(203, 0, 113, 7))));
}

async fn ask_through(recursors: Vec<SocketAddr>, name: &str, qtype: RecordType) -> String {
    let mut zone = zone();
    zone.settings.recursors = recursors;
    zone.settings.recursor_timeout = std::time::Duration::from_millis(300);
    let served = Served::start(catalog(), zone);
    let (address, request) = (served.address, query(name, qtype));
    let id = request.metadata.id;
    let answer = client(move || ask_udp(address, &request)).await;
    assert_eq!(answer.metadata.id, id);
    served.stop().await;
    text(&answer)
}

#[tokio::test]
async fn other_names_are_forwarded() {
    let (address, recursor) = recursor(1, resolves);
    let answer = ask_through(vec![address], "example.com.", RecordType::A).await;
    assert_eq!(answer, "NoError rd,ra\nanswer example.com. 60 IN A 203.0.113.7");
    recursor.join().unwrap();
}

#[tokio::test]
async fn a_recursor_that_fails_is_skipped() {
    let (failing, first) =
        recursor(1, |message| message.metadata.response_code = ResponseCode::ServFail);
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (working, second) = recursor(1, resolves);
    let recursors = vec![failing, silent.local_addr().unwrap(), working];
    let answer = ask_through(recursors, "example.com.", RecordType::A).await;
    assert_eq!(answer, "NoError rd,ra\nanswer example.com. 60 IN A 203.0.113.7");
    first.join().unwrap();
    second.join().unwrap();
}

#[tokio::test]
async fn when_all_recursors_fail_the_answer_is_a_server_failure() {
    let (failing, recursor) =
        recursor(1, |message| message.metadata.response_code = ResponseCode::Refused);
    let answer = ask_through(vec![failing], "example.com.", RecordType::A).await;
    assert_eq!(answer, "ServFail rd,ra");
    recursor.join().unwrap();
}

#[tokio::test]
async fn names_of_the_domain_are_never_forwarded() {
    let nobody = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let recursors = vec![nobody.local_addr().unwrap()];
    let answer = ask_through(recursors, "missing.service.consul.", RecordType::A).await;
    assert!(answer.starts_with("NXDomain rd,aa,ra\n"), "{answer}");
}

#[tokio::test]
async fn aliases_are_resolved_by_the_recursors() {
    let (address, thread) = recursor(1, |message| {
        let asked = message.queries[0].name().clone();
        let target = asked.prepend_label(&b"real"[..]).unwrap();
        message.add_answer(Record::from_rdata(asked, 5, RData::CNAME(CNAME(target.clone()))));
        message.add_answer(Record::from_rdata(target, 5, RData::A(A::new(203, 0, 113, 8))));
    });
    let answer = ask_through(vec![address], "outside.node.consul.", RecordType::A).await;
    assert_eq!(
        answer,
        "NoError rd,aa,ra\nanswer outside.node.consul. 0 IN CNAME db.example.com.\n\
         answer db.example.com. 5 IN CNAME real.db.example.com.\n\
         answer real.db.example.com. 5 IN A 203.0.113.8"
    );
    thread.join().unwrap();
    let (address, thread) = recursor(1, resolves);
    let answer = ask_through(vec![address], "db.service.consul.", RecordType::SRV).await;
    assert_eq!(
        answer,
        "NoError rd,aa,ra\nanswer db.service.consul. 0 IN SRV 1 1 5432 db.example.com.\n\
         additional db.example.com. 60 IN A 203.0.113.7"
    );
    thread.join().unwrap();
}
