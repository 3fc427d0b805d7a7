use std::sync::Mutex;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::subscriber::set_default;

use super::*;
use crate::{capture::Lines, panics};

const LONG: Duration = Duration::from_secs(30);

/// Connections that a test hands out, each a number, and errors.
struct Scripted(tokio::sync::Mutex<mpsc::UnboundedReceiver<io::Result<u32>>>);

fn scripted() -> (mpsc::UnboundedSender<io::Result<u32>>, Scripted) {
    let (connect, connected) = mpsc::unbounded_channel();
    (connect, Scripted(tokio::sync::Mutex::new(connected)))
}

impl Listener for Scripted {
    type Stream = u32;

    async fn accept(&self) -> io::Result<(u32, Option<SocketAddr>)> {
        match self.0.lock().await.recv().await {
            Some(connection) => Ok((connection?, None)),
            None => std::future::pending().await,
        }
    }
}

#[tokio::test]
async fn connections_are_served_until_they_end_by_themselves() {
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    let connections = Connections::new(&tasks, "echo");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async {
        let echo = |mut accepted: Accepted<TcpStream>| async move {
            assert!(accepted.slot.is_some());
            let (mut read, mut write) = accepted.stream.split();
            tokio::io::copy(&mut read, &mut write).await.unwrap();
        };
        let slots = Slots::new(8, WhenFull::Refuse);
        stop.run_until_cancelled(connections.accept(&listener, &slots, echo)).await;
        connections.drain(LONG).await
    };
    let client = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"before").await.unwrap();
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).await.unwrap();
        stop.cancel();
        stream.write_all(b"behind").await.unwrap();
        stream.shutdown().await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        answer
    };
    let (dropped, answer) = tokio::join!(server, client);
    assert_eq!((dropped, &answer), (0, b"behind"));
}

#[tokio::test(start_paused = true)]
async fn connections_that_do_not_end_are_dropped_after_the_grace_period() {
    let tasks = Tasks::new();
    let connections = Connections::new(&tasks, "slow");
    for seconds in [1, 4, 100, 1000] {
        connections.spawn(sleep(Duration::from_secs(seconds)));
    }
    let began = Instant::now();
    assert_eq!(connections.drain(Duration::from_secs(5)).await, 2);
    assert_eq!(began.elapsed().as_secs(), 5);
    assert!(tasks.tracker().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_loop_without_file_descriptors_waits_and_goes_on() {
    let (lines, tasks) = (Lines::default(), Tasks::new());
    let _logging = set_default(lines.json());
    let (connect, listener) = scripted();
    for _ in 0..20 {
        connect.send(Err(io::Error::from_raw_os_error(24))).unwrap();
    }
    connect.send(Err(io::ErrorKind::ConnectionAborted.into())).unwrap();
    connect.send(Ok(7)).unwrap();
    let (serve, mut served) = mpsc::unbounded_channel();
    let connections = Connections::new(&tasks, "http.connection");
    let began = Instant::now();
    let slots = Slots::per_address(0);
    let accept = connections.accept(&listener, &slots, |accepted| {
        serve.send(accepted.stream).unwrap();
        async {}
    });
    tokio::select! {
        never = accept => match never {},
        connection = served.recv() => assert_eq!(connection, Some(7)),
    }
    let seconds = began.elapsed().as_secs();
    assert!((8..=20).contains(&seconds), "{seconds}");
    let events = lines.events("cannot accept connections");
    assert_eq!(events.len(), 20, "a peer that gave up is no event");
    assert_eq!(events[0]["task"], "http.connection");
}

#[tokio::test(start_paused = true)]
async fn a_full_server_leaves_connections_in_the_queue_or_refuses_them() {
    for (when_full, at_once) in [(WhenFull::Wait, 2), (WhenFull::Refuse, 3)] {
        let (tasks, slots) = (Tasks::new(), Slots::new(2, when_full));
        let (connect, listener) = scripted();
        for connection in 0..3 {
            connect.send(Ok(connection)).unwrap();
        }
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Connections::new(&tasks, "admin");
        let accept = connections.accept(&listener, &slots, |accepted| {
            seen.lock().unwrap().push(accepted.slot.is_some());
            async move {
                sleep(Duration::from_secs(60)).await;
                drop(accepted.slot);
            }
        });
        let mut accept = std::pin::pin!(accept);
        assert!(timeout(Duration::from_secs(1), accept.as_mut()).await.is_err());
        assert_eq!(seen.lock().unwrap().len(), at_once);
        assert!(timeout(Duration::from_secs(100), accept.as_mut()).await.is_err());
        let with_slot = seen.lock().unwrap().iter().filter(|has_slot| **has_slot).count();
        assert_eq!((seen.lock().unwrap().len(), with_slot), (3, at_once.min(2) + 3 - at_once));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_panics_gives_its_slot_back_and_harms_no_other() {
    let (tasks, slots) = (Tasks::new(), Slots::new(1, WhenFull::Refuse));
    let (connect, listener) = scripted();
    let (serve, mut served) = mpsc::unbounded_channel();
    let connections = Connections::new(&tasks, "planted.connection");
    let accept = connections.accept(&listener, &slots, |accepted| {
        serve.send(accepted.slot.is_some()).unwrap();
        async move {
            assert!(accepted.slot.is_none(), "planted");
        }
    });
    let client = async {
        for _ in 0..3 {
            connect.send(Ok(1)).unwrap();
            assert_eq!(served.recv().await, Some(true));
            while !tasks.tracker().is_empty() {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::select! {
        never = accept => match never {},
        () = client => {}
    }
    assert!(panics::by_task().contains(&("planted.connection", 3)));
}
