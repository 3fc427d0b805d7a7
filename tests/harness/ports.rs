//! Ports for agents under test, below the range that the kernel gives to clients.
//!
//! A block of ports belongs to one test process for as long as it holds the block's first port.

use std::{
    net::TcpListener,
    sync::{
        OnceLock,
        atomic::{AtomicU16, Ordering},
    },
};

const FIRST: u16 = 22000;
const LAST: u16 = 32000;
const BLOCK: u16 = 1000;

/// A port on loopback that nobody else is given.
///
/// # Panics
/// When the process's block, or the machine, has none left.
pub fn free() -> u16 {
    static GUARD: OnceLock<(TcpListener, u16)> = OnceLock::new();
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let (_, base) = GUARD.get_or_init(|| {
        (FIRST..LAST)
            .step_by(usize::from(BLOCK))
            .find_map(|base| Some((TcpListener::bind(("127.0.0.1", base)).ok()?, base)))
            .expect("no block of ports is free")
    });
    loop {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(offset < BLOCK, "this test process has used up its {BLOCK} ports");
        let port = base + offset;
        let tcp = TcpListener::bind(("127.0.0.1", port));
        let udp = std::net::UdpSocket::bind(("127.0.0.1", port));
        if tcp.is_ok() && udp.is_ok() {
            return port;
        }
    }
}
