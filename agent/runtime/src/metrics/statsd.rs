//! Metrics as lines for a statsd or DogStatsD server, and the socket that sends them.
//!
//! Events are summed up before they are sent, once a window: a counter is one line, and a sample a
//! line for each bucket, with the rate at which the server is to count it. So what is sent is bounded
//! by the number of series and not by the load.
//!
//! INVARIANT: sending never waits for the receiver. What the system does not take is lost, and
//! [`SEND_ERRORS`] counts it.

use std::{io, time::Duration};

use lictor_api::resolve::lookup_with_port;
use tokio::{
    net::{UdpSocket, UnixDatagram},
    time::timeout,
};

use super::{Counter, Reading, Settings, Value};

/// Packets that could not be sent.
pub static SEND_ERRORS: Counter = Counter::new();

/// Bytes of a packet: what passes an Ethernet in one piece.
const MAX_PACKET_BYTES: usize = 1400;
/// How long it may take to resolve the receiver's name and to have a socket.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// Which dialect the receiver reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dialect {
    /// Labels become parts of the name.
    Statsd,
    /// Labels become tags, beside these, and names are without the host, which its agent knows.
    DogStatsd {
        /// Tags of every metric, as `name:value`.
        tags: Vec<String>,
    },
}

/// Returns the lines for `readings`, without an end of line.
pub fn lines<'a>(
    readings: impl IntoIterator<Item = &'a Reading>,
    settings: &Settings,
    dialect: &Dialect,
) -> Vec<String> {
    let mut lines = Vec::new();
    for reading in readings {
        let is_gauge = matches!(reading.value, Value::Level(_));
        let name = settings.name(reading.row.name, is_gauge);
        if !settings.filter.shows(&name) {
            continue;
        }
        let (name, tags) = dialect.name(name, reading, settings);
        match &reading.value {
            Value::Events(events) => lines.push(format!("{name}:{}|c{tags}", events.count)),
            Value::Level(level) => lines.push(format!("{name}:{level}|g{tags}")),
            Value::Observations(observed) => {
                lines.extend(observed.values().map(|(value, count)| match count {
                    1 => format!("{name}:{value}|ms{tags}"),
                    count => format!("{name}:{value}|ms|@{}{tags}", f64::from(count).recip()),
                }));
            }
        }
    }
    lines
}

impl Dialect {
    /// Returns the name and the tags of a series.
    fn name(&self, name: String, reading: &Reading, settings: &Settings) -> (String, String) {
        match self {
            Self::Statsd => {
                let values = reading.labels.iter().map(|(_, value)| value.as_str());
                let parts: Vec<&str> = std::iter::once(name.as_str()).chain(values).collect();
                (plain(&parts.join(".")), String::new())
            }
            Self::DogStatsd { tags } => {
                let own = reading.labels.iter().map(|(name, value)| format!("{name}:{value}"));
                let all: Vec<String> =
                    tags.iter().cloned().chain(own).map(|tag| plain_tag(&tag)).collect();
                let tags =
                    if all.is_empty() { String::new() } else { format!("|#{}", all.join(",")) };
                (plain(&settings.name(reading.row.name, false)), tags)
            }
        }
    }
}

/// Returns a name without what ends it on the wire.
fn plain(name: &str) -> String {
    name.replace([':', ' ', '|', '@', '\n'], "_")
}

fn plain_tag(tag: &str) -> String {
    tag.replace([',', '|', '\n'], "_")
}

/// Returns lines put together in packets, in order.
fn packets(lines: &[String]) -> Vec<String> {
    let mut packets: Vec<String> = Vec::new();
    for line in lines {
        match packets.last_mut() {
            Some(last) if last.len() + 1 + line.len() <= MAX_PACKET_BYTES => {
                last.push('\n');
                last.push_str(line);
            }
            _ => packets.push(line.clone()),
        }
    }
    packets
}

/// Sends lines to `host:port`, or to the Unix socket of a path behind `unix://`. The name is
/// resolved each time, so that a receiver may move.
pub async fn send(address: &str, lines: &[String]) {
    let packets = packets(lines);
    let send = async {
        match address.strip_prefix("unix://") {
            Some(path) => send_unix(path, &packets).await,
            None => send_udp(address, &packets).await,
        }
    };
    let sent = timeout(READY_TIMEOUT, send).await;
    match sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(lost) => SEND_ERRORS.add(lost),
        Err(error) => {
            tracing::debug!(address, %error, "metrics cannot be sent");
            SEND_ERRORS.add(packets.len() as u64);
        }
    }
}

/// Returns how many packets were lost.
async fn send_udp(address: &str, packets: &[String]) -> io::Result<u64> {
    let (host, port) = address.rsplit_once(':').ok_or(io::ErrorKind::InvalidInput)?;
    let port = port.parse().map_err(io::Error::other)?;
    let receivers = lookup_with_port(host, port).await.map_err(io::Error::other)?;
    let receiver = receivers.first().ok_or(io::ErrorKind::NotFound)?;
    let any = if receiver.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(receiver).await?;
    socket.writable().await?;
    let lost = packets.iter().filter(|packet| socket.try_send(packet.as_bytes()).is_err());
    Ok(lost.count() as u64)
}

/// Returns how many packets were lost.
async fn send_unix(path: &str, packets: &[String]) -> io::Result<u64> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.writable().await?;
    let lost = packets.iter().filter(|packet| socket.try_send(packet.as_bytes()).is_err());
    Ok(lost.count() as u64)
}
