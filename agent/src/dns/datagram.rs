//! Datagrams: an answer leaves from the address that its query came to (RFC 2181 section 4.1).
//!
//! A client drops answers that come from another address than the one it asked. The system picks
//! the right one for a socket that is bound to one address; a socket that is bound to all of a host's
//! addresses has to be told, and only such a socket pays for it.

use std::{
    io::{self, IoSlice},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket},
    os::fd::{AsFd, AsRawFd},
};

use nix::{
    cmsg_space, libc,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, RecvMsg, SockaddrStorage, sendmsg,
        setsockopt, sockopt,
    },
};

/// The two ends of a query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    /// Where the query came from.
    pub(super) client: SocketAddr,
    /// The address of this host that the query came to, if the socket is bound to all of them.
    host: Option<IpAddr>,
}

/// Makes a socket say which address a datagram came to, if it is to be bound to all of them.
///
/// # Errors
/// A system that cannot say it.
pub(super) fn report_host(socket: &impl AsFd, address: SocketAddr) -> io::Result<()> {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => {
            setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
        }
        IpAddr::V6(ip) if ip.is_unspecified() => {
            setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
        _ => {}
    }
    Ok(())
}

/// Returns a buffer for what the system says about one datagram.
pub(super) fn report_buffer() -> Vec<u8> {
    cmsg_space!(libc::in6_pktinfo)
}

/// Returns both ends of a datagram that was received; `None` if it has no sender.
pub(super) fn ends(datagram: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<Ends> {
    let client = client(datagram.address.as_ref()?)?;
    let host = datagram.cmsgs().ok().and_then(|mut reports| reports.find_map(host));
    Some(Ends { client, host })
}

fn client(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = || address.as_sockaddr_in().map(|v4| SocketAddrV4::from(*v4).into());
    let v6 = || address.as_sockaddr_in6().map(|v6| SocketAddrV6::from(*v6).into());
    v4().or_else(v6)
}

fn host(report: ControlMessageOwned) -> Option<IpAddr> {
    match report {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(Ipv4Addr::from_bits(u32::from_be(info.ipi_spec_dst.s_addr)).into())
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into())
        }
        _ => None,
    }
}

/// Sends an answer.
///
/// # Errors
/// Those of `sendmsg(2)`.
pub(super) fn send(socket: &UdpSocket, answer: &[u8], ends: Ends) -> io::Result<()> {
    match (ends.host, ends.client) {
        (Some(IpAddr::V4(host)), SocketAddr::V4(client)) => {
            let spec_dst = libc::in_addr { s_addr: host.to_bits().to_be() };
            let any = libc::in_addr { s_addr: 0 };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: spec_dst, ipi_addr: any };
            send_from(socket, answer, ControlMessage::Ipv4PacketInfo(&info), client.into())
        }
        (Some(IpAddr::V6(host)), SocketAddr::V6(client)) => {
            let address = libc::in6_addr { s6_addr: host.octets() };
            let info = libc::in6_pktinfo { ipi6_addr: address, ipi6_ifindex: 0 };
            send_from(socket, answer, ControlMessage::Ipv6PacketInfo(&info), client.into())
        }
        (_, client) => socket.send_to(answer, client).map(drop),
    }
}

fn send_from(
    socket: &UdpSocket,
    answer: &[u8],
    host: ControlMessage<'_>,
    client: SockaddrStorage,
) -> io::Result<()> {
    let (parts, fd) = ([IoSlice::new(answer)], socket.as_raw_fd());
    sendmsg(fd, &parts, &[host], MsgFlags::empty(), Some(&client))?;
    Ok(())
}
