//! RFC 7766: DNS over TCP, over real sockets.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

use tokio::{io::AsyncReadExt, time::Instant};

use super::*;
use crate::dns::tests::exchange::{Served, client};

/// Longer than any answer on loopback takes.
const DEADLINE: Duration = Duration::from_secs(10);

fn framed(id: u16, name: &str) -> Vec<u8> {
    let mut message = query(name, RecordType::A);
    message.metadata.id = id;
    let packet = message.to_vec().unwrap();
    [&u16::try_from(packet.len()).unwrap().to_be_bytes()[..], &packet].concat()
}

fn read(stream: &mut TcpStream) -> Message {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).unwrap();
    Message::from_vec(&answer).unwrap()
}

/// Runs a client of a server of the small catalog.
async fn with_client(run: impl FnOnce(TcpStream) + Send + 'static) {
    let served = Served::start(catalog(), zone());
    let address = served.address;
    client(move || {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        run(stream);
    })
    .await;
    served.stop().await;
}

/// Section 6.2.1: a connection serves one query after the other.
#[tokio::test]
async fn s6_2_1_a_connection_is_reused() {
    with_client(|mut stream| {
        for id in 1..=5 {
            stream.write_all(&framed(id, "web.service.consul.")).unwrap();
            assert_eq!(read(&mut stream).metadata.id, id);
        }
    })
    .await;
}

/// Section 6.2.1.1: queries may follow each other without waiting; each has its answer.
#[tokio::test]
async fn s6_2_1_1_pipelined_queries_are_all_answered() {
    with_client(|mut stream| {
        let names = ["web.service.consul.", "missing.service.consul.", "example.com."];
        let queries: Vec<_> = (1..).zip(names).map(|(id, name)| framed(id, name)).collect();
        stream.write_all(&queries.concat()).unwrap();
        for (id, name) in (1..).zip(names) {
            let answer = read(&mut stream);
            assert_eq!(answer.metadata.id, id);
            assert_eq!(answer.queries[0].name().to_string(), name);
        }
    })
    .await;
}

/// Section 6.2.4: queries that were sent before the client closed its side are answered.
#[tokio::test]
async fn s6_2_4_queries_are_answered_after_a_half_close() {
    with_client(|mut stream| {
        let queries = [framed(1, "web.service.consul."), framed(2, "foo.node.consul.")];
        stream.write_all(&queries.concat()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        for id in 1..=2 {
            assert_eq!(read(&mut stream).metadata.id, id);
        }
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    })
    .await;
}

/// Section 8: length and message may come in any number of segments.
#[tokio::test]
async fn s8_a_query_may_come_octet_by_octet() {
    with_client(|mut stream| {
        for octet in framed(7, "web.service.consul.") {
            stream.write_all(&[octet]).unwrap();
        }
        assert_eq!(read(&mut stream).answers[0].data.to_string(), "10.1.0.1");
    })
    .await;
}

/// Section 8: the two octets before a message hold its length.
#[tokio::test]
async fn s8_an_answer_is_as_long_as_its_length_says() {
    with_client(|mut stream| {
        stream.write_all(&framed(7, "web.service.consul.")).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
        assert_eq!(bytes.len(), 2 + length);
    })
    .await;
}

/// Section 5: what does not fit a datagram is answered over TCP.
#[tokio::test]
async fn s5_large_answers_are_whole() {
    let served = Served::start(many(500), zone());
    let address = served.address;
    client(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(&framed(1, "many.service.consul.")).unwrap();
        let answer = read(&mut stream);
        assert_eq!(answer.answers.len(), 500);
        assert!(!answer.metadata.truncation);
    })
    .await;
    served.stop().await;
}

/// Section 6.2.3: an idle connection is closed after some seconds, not at once. The clock is paused.
#[tokio::test(start_paused = true)]
async fn s6_2_3_an_idle_connection_is_closed_after_a_while() {
    let served = Served::start(catalog(), zone());
    let began = Instant::now();
    let mut stream = tokio::net::TcpStream::connect(served.address).await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    let idle = began.elapsed();
    assert!((Duration::from_secs(8)..Duration::from_secs(10)).contains(&idle), "{idle:?}");
    // Threads end in real time.
    tokio::time::resume();
    served.stop().await;
}
