//! Recursors: questions about names outside the domain go to other servers, one after the other.
//!
//! A recursor that does not answer in time, or with an rcode other than NOERROR and NXDOMAIN, is
//! skipped. The exchange itself (random port and ID, retransmission, matching of answers) is
//! hickory's. Answers are not cached: the recursors do that.

use std::net::SocketAddr;

use futures_util::StreamExt;
use hickory_proto::{
    op::{DnsRequest, DnsRequestOptions, DnsResponse, Message, Query, ResponseCode},
    rr::{Name, RData, Record},
};
use hickory_resolver::net::{
    DnsHandle, NetError, runtime::TokioRuntimeProvider, tcp::TcpClientStream, udp::UdpClientStream,
    xfer::DnsRequestSender,
};
use rand::seq::SliceRandom;
use tokio::time::timeout;

use super::{
    Zone,
    answer::Answer,
    general::{self, Outcome},
    truncate::Transport,
};

/// Aliases of one answer that are resolved.
const MAX_ALIASES: usize = 3;
/// Records taken from the answer about one alias.
const MAX_RECORDS: usize = 5;

/// Does what `outcome` asks of the recursors; returns the answer's bytes, if there is one.
pub async fn resolve(
    request: &Message,
    outcome: Outcome,
    transport: Transport,
    zone: &Zone,
) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let encoded = match outcome {
        Outcome::Forward => {
            if let Some(response) = ask(request, transport, zone).await {
                let mut bytes = response.into_buffer();
                bytes.get_mut(..2)?.copy_from_slice(&request.metadata.id.to_be_bytes());
                return Some(bytes);
            }
            general::server_failure(request, zone, &mut out)
        }
        Outcome::Resolve(answer) => {
            let resolved = resolve_aliases(request, &answer, zone).await;
            general::finish(request, *answer, resolved, transport, zone, &mut out)
        }
        Outcome::Send | Outcome::OtherDatacenter { .. } => return None,
    };
    if let Err(error) = encoded {
        tracing::debug!(id = request.metadata.id, %error, "dns answer cannot be encoded");
        return None;
    }
    Some(out)
}

async fn resolve_aliases(request: &Message, answer: &Answer, zone: &Zone) -> Vec<Record> {
    let mut records = Vec::new();
    for alias in answer.aliases.iter().take(MAX_ALIASES) {
        let mut question = Message::query();
        question.metadata.recursion_desired = true;
        question.add_query(general::alias_query(request, alias));
        let Some(response) = ask(&question, Transport::Udp, zone).await else { continue };
        records.extend(related(alias, response.into_message().answers));
    }
    records
}

/// Returns the addresses and aliases among the first records of an answer.
fn related(alias: &Name, answers: Vec<Record>) -> impl Iterator<Item = Record> {
    let mut known = vec![alias.clone()];
    answers.into_iter().take(MAX_RECORDS).filter(move |record| match &record.data {
        RData::CNAME(target) if known.contains(&record.name) => {
            known.push(target.0.clone());
            true
        }
        RData::A(_) | RData::AAAA(_) => known.contains(&record.name),
        _ => false,
    })
}

/// Returns the first usable answer.
async fn ask(request: &Message, transport: Transport, zone: &Zone) -> Option<DnsResponse> {
    let mut recursors = zone.settings.recursors.clone();
    if zone.settings.recursor_random {
        recursors.shuffle(&mut rand::rng());
    }
    for recursor in recursors {
        let exchange = exchange(request, recursor, transport, zone);
        let name = request.queries.first().map(Query::name);
        match timeout(zone.settings.recursor_timeout, exchange).await {
            Ok(Ok(response)) => match response.response_code {
                ResponseCode::NoError | ResponseCode::NXDomain => return Some(response),
                code => tracing::debug!(%recursor, ?name, %code, "recursor cannot answer"),
            },
            Ok(Err(error)) => tracing::debug!(%recursor, ?name, %error, "recursor failed"),
            Err(_) => tracing::debug!(%recursor, ?name, "recursor did not answer in time"),
        }
    }
    None
}

async fn exchange(
    request: &Message,
    recursor: SocketAddr,
    transport: Transport,
    zone: &Zone,
) -> Result<DnsResponse, NetError> {
    let mut message = request.clone();
    message.metadata.id = rand::random();
    let request = DnsRequest::new(message, DnsRequestOptions::default());
    let provider = TokioRuntimeProvider::new();
    let wait = zone.settings.recursor_timeout;
    let answer = match transport {
        Transport::Udp => {
            UdpClientStream::builder(recursor, provider)
                .with_timeout(Some(wait))
                .with_os_port_selection(true)
                .build()
                .send_message(request)
                .next()
                .await
        }
        Transport::Tcp => {
            TcpClientStream::exchange(recursor, None, wait, None, provider)
                .await?
                .send(request)
                .next()
                .await
        }
    };
    answer.unwrap_or(Err(NetError::Timeout))
}
