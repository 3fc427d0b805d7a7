//! Applications and their clients, at the two ends of the sidecars.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::TEST_TIMEOUT;

/// Starts an application that returns what it receives and closes when its client does.
pub(crate) async fn echo() -> SocketAddr {
    counted().await.address
}

/// An echo application that counts connections and bytes.
pub(crate) struct Counted {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    received_bytes: Arc<AtomicUsize>,
}

impl Counted {
    /// Returns how many connections it has accepted and how many bytes it has read from them.
    pub(crate) fn seen(&self) -> (usize, usize) {
        (self.connections.load(SeqCst), self.received_bytes.load(SeqCst))
    }
}

/// Starts an echo application that counts its connections and their bytes.
pub(crate) async fn counted() -> Counted {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connections, received_bytes) = (Arc::default(), Arc::default());
    let counted = Counted {
        address,
        connections: Arc::clone(&connections),
        received_bytes: Arc::clone(&received_bytes),
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.fetch_add(1, SeqCst);
            tokio::spawn(send_back(stream, Arc::clone(&received_bytes)));
        }
    });
    counted
}

/// Echoes until the connection ends; the test notices a connection that breaks, this task ignores
/// it.
async fn send_back(mut stream: TcpStream, received_bytes: Arc<AtomicUsize>) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return stream.shutdown().await;
        }
        received_bytes.fetch_add(read, SeqCst);
        stream.write_all(&buffer[..read]).await?;
    }
}

/// Sends `request` on a new connection, closes the sending side, and returns the response.
pub(crate) async fn exchange(to: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let exchange = async {
        let mut stream = TcpStream::connect(to).await?;
        stream.write_all(request).await?;
        stream.shutdown().await?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await?;
        Ok(response)
    };
    timeout(TEST_TIMEOUT, exchange).await.expect("a response in time")
}

/// Sends `request` to an echo and reads it back, on a connection that stays open.
pub(crate) async fn round_trip(stream: &mut TcpStream, request: &[u8]) {
    let mut response = vec![0; request.len()];
    let trip = async {
        stream.write_all(request).await?;
        stream.read_exact(&mut response).await
    };
    timeout(TEST_TIMEOUT, trip).await.expect("a response in time").unwrap();
    assert_eq!(response, request);
}
