//! A panic in one connection must not affect the others. Over real sockets.

use lictor_runtime::panics;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::*;

const TEST_TIMEOUT: Duration = Duration::from_secs(20);

async fn exchange(stream: &mut TcpStream, text: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(text).await?;
    let mut echoed = vec![0; text.len()];
    stream.read_exact(&mut echoed).await?;
    Ok(echoed)
}

#[tokio::test]
async fn a_connection_that_panics_dies_alone_and_is_counted() {
    let drain = Drain::default();
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let caught = || panics::by_task().iter().any(|(task, _)| *task == "connection");
    assert!(!caught());
    let _open = accept(listener, 2, &drain, |accepted| async move {
        let Accepted { mut stream, slot, .. } = accepted;
        assert!(slot.is_some(), "the slot of a connection that panicked is free again");
        let mut byte = [0; 1];
        while stream.read_exact(&mut byte).await.is_ok() {
            assert_ne!(byte, *b"!", "planted");
            stream.write_all(&byte).await.unwrap();
        }
    });
    let mut stays = TcpStream::connect(address).await.unwrap();
    assert_eq!(exchange(&mut stays, b"a").await.unwrap(), b"a");
    for _ in 0..3 {
        let mut dies = TcpStream::connect(address).await.unwrap();
        assert_eq!(exchange(&mut dies, b"b").await.unwrap(), b"b");
        timeout(TEST_TIMEOUT, exchange(&mut dies, b"!")).await.unwrap().unwrap_err();
        let freed = async {
            while drain.tasks.tracker().len() > 2 {
                tokio::task::yield_now().await;
            }
        };
        timeout(TEST_TIMEOUT, freed).await.unwrap();
    }
    assert!(caught());
    assert_eq!(exchange(&mut stays, b"c").await.unwrap(), b"c");
    assert!(timeout(Duration::ZERO, drain.tasks.failed()).await.is_err(), "the sidecar goes on");
    drop(stays);
    timeout(TEST_TIMEOUT, drain.finish(TEST_TIMEOUT)).await.unwrap();
}
