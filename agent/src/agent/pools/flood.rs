//! WAN flood join: each server joins the WAN pool through the other servers of its LAN pool, at the
//! port in their tag `wan_join_port`.

use std::{net::SocketAddr, time::Duration};

use lictor_membership::{Member, Pool};
use tokio_util::sync::CancellationToken;

/// Interval of the rounds while the LAN pool does not change.
const ROUND_INTERVAL: Duration = Duration::from_secs(30);
/// The least time between two rounds.
const MIN_ROUND_INTERVAL: Duration = Duration::from_secs(1);

pub(super) async fn run(lan: Pool, wan: Pool, until: CancellationToken) {
    let mut changes = lan.changes();
    loop {
        let missing = missing(&changes.borrow_and_update().clone(), &wan.members());
        if !missing.is_empty()
            && let Err(error) = wan.join(&missing).await
        {
            tracing::debug!(target: "agent", %error, "servers of this datacenter are not in the WAN pool yet");
        }
        tokio::time::sleep(MIN_ROUND_INTERVAL).await;
        tokio::select! {
            () = until.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(ROUND_INTERVAL) => {}
        }
    }
}

/// Returns the WAN addresses of live servers of the LAN pool that are not in the WAN pool.
fn missing(lan: &[Member], wan: &[Member]) -> Vec<SocketAddr> {
    let known = |server: &Member| {
        wan.iter().any(|member| {
            member.is_alive()
                && member.node_id() == server.node_id()
                && member.datacenter() == server.datacenter()
        })
    };
    lan.iter()
        .filter(|member| member.is_alive() && member.is_server() && !known(member))
        .filter_map(|member| {
            let port = member.tag("wan_join_port").parse().ok().filter(|port| *port != 0)?;
            Some(SocketAddr::new(member.address.ip(), port))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lictor_membership::MemberStatus;

    fn server(id: &str, status: MemberStatus) -> Member {
        let tags = [("role", "consul"), ("dc", "dc1"), ("id", id), ("wan_join_port", "8302")];
        Member {
            name: id.to_owned(),
            address: "10.0.0.1:8301".parse().unwrap(),
            status,
            tags: tags.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            protocol: 1,
            delegate: 1,
        }
    }

    #[test]
    fn only_live_servers_that_are_missing_are_joined() {
        let (alive, failed) = (MemberStatus::Alive, MemberStatus::Failed);
        let lan = [server("a", alive), server("b", alive), server("c", failed)];
        let wan = [server("a", alive), server("b", failed)];
        assert_eq!(missing(&lan, &wan), ["10.0.0.1:8302".parse().unwrap()]);
        assert!(missing(&lan[..1], &wan).is_empty());
    }
}
