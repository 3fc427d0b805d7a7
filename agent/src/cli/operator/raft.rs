//! `lictor operator raft list-peers | remove-peer | transfer-leader`.

use std::process::ExitCode;

use anyhow::Context;
use bytes::Bytes;
use http::Method;
use lictor_api::types::operator::RaftConfiguration;

use crate::cli::{Verb, api_flags::ApiFlags, output};

/// Flags of `operator raft list-peers`.
#[derive(Debug, clap::Args)]
pub struct ListPeersVerb {
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for ListPeersVerb {
    const PATH: &'static str = "operator raft list-peers";
    const ABOUT: &'static str = "List the servers that take part in consensus";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let configuration: RaftConfiguration = self
            .api
            .client()?
            .get_json("/v1/operator/raft/configuration", &[])
            .await
            .context("Error getting peers: Failed to retrieve raft configuration")?;
        output::table(&rows(&configuration));
        Ok(ExitCode::SUCCESS)
    }
}

fn rows(configuration: &RaftConfiguration) -> Vec<Vec<String>> {
    let mut rows = vec![output::row([
        "Node",
        "ID",
        "Address",
        "State",
        "Voter",
        "RaftProtocol",
        "Commit Index",
        "Trails Leader By",
    ])];
    let leader = configuration.servers.iter().find(|server| server.leader);
    for server in &configuration.servers {
        let trails = match leader {
            _ if server.leader => "-".to_owned(),
            None => "-".to_owned(),
            Some(leader) => match leader.last_index.saturating_sub(server.last_index) {
                1 => "1 commit".to_owned(),
                behind => format!("{behind} commits"),
            },
        };
        rows.push(output::row([
            &server.node,
            &server.id,
            &server.address,
            if server.leader { "leader" } else { "follower" },
            if server.voter { "true" } else { "false" },
            &server.protocol_version,
            &server.last_index.to_string(),
            &trails,
        ]));
    }
    rows
}

/// Flags of `operator raft remove-peer`.
#[derive(Debug, clap::Args)]
pub struct RemovePeerVerb {
    /// Node ID of the server
    #[arg(long, default_value = "")]
    id: String,
    /// Server RPC address of the server
    #[arg(long, default_value = "")]
    address: String,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for RemovePeerVerb {
    const PATH: &'static str = "operator raft remove-peer";
    const ABOUT: &'static str = "Take a server out of consensus";
    const DETAILS: &'static str = "\
For a server that is gone and that autopilot does not remove. A server that is only stopped counts
as failed and is removed by itself; one that is removed while it runs may join again.

Examples:
  lictor operator raft remove-peer -id 0a8ba5ba-b05c-4a9c-8b5c-6e2f4a3f1b9e
  lictor operator raft remove-peer -address 10.0.1.8:8300";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let (name, value) = match (self.id.as_str(), self.address.as_str()) {
            ("", "") => anyhow::bail!(
                "Error removing peer: an address or id is required for the peer to remove"
            ),
            (id, "") => ("id", id),
            ("", address) => ("address", address),
            _ => anyhow::bail!("Error removing peer: cannot give both an address and id"),
        };
        let client = self.api.client()?;
        client
            .delete("/v1/operator/raft/peer", &[(name, value)])
            .await
            .context("Error removing peer")?;
        output::line(format!("Removed peer with {name} {value:?}"));
        Ok(ExitCode::SUCCESS)
    }
}

/// Flags of `operator raft transfer-leader`.
#[derive(Debug, clap::Args)]
pub struct TransferLeaderVerb {
    /// Node ID of the server that is to lead; the most up-to-date one by default
    #[arg(long, default_value = "")]
    id: String,
    #[command(flatten)]
    api: ApiFlags,
}

impl Verb for TransferLeaderVerb {
    const PATH: &'static str = "operator raft transfer-leader";
    const ABOUT: &'static str = "Let another server lead";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let query = [("id", self.id.as_str())];
        let query = if self.id.is_empty() { &[] } else { &query[..] };
        let client = self.api.client()?;
        client
            .send(Method::POST, "/v1/operator/raft/transfer-leader", query, Bytes::new())
            .await
            .and_then(lictor_api::client::Answer::success)
            .context("Error transfering leadership")?;
        output::line("Success");
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use lictor_api::types::operator::RaftServer;

    use super::*;

    #[test]
    fn servers_are_compared_with_the_leader() {
        let server = |node: &str, leader, last_index| RaftServer {
            node: node.to_owned(),
            id: format!("id-{node}"),
            address: "127.0.0.1:8300".to_owned(),
            leader,
            protocol_version: "3".to_owned(),
            voter: true,
            last_index,
        };
        let servers = vec![server("a", true, 20), server("b", false, 20), server("c", false, 19)];
        let rows = rows(&RaftConfiguration { servers, index: 1 });
        let last = |row: &Vec<String>| row.last().unwrap().clone();
        let columns: Vec<String> = rows.iter().map(last).collect();
        assert_eq!(columns, ["Trails Leader By", "-", "0 commits", "1 commit"]);
        assert_eq!(rows[1][..4], ["a", "id-a", "127.0.0.1:8300", "leader"]);
        assert_eq!(rows[2][3..7], ["follower", "true", "3", "20"]);
    }
}
