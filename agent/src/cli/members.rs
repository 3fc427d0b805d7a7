//! `lictor members`: the members of the pool, as the agent sees them.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::Context;
use lictor_api::{
    contract::{ROLE_SERVER, TAG_ROLE},
    types::agent::Member,
};

use super::{Verb, api_flags::AgentFlags, output};

/// Flags of `members`.
#[derive(Debug, clap::Args)]
pub struct MembersVerb {
    /// Show each member's tags
    #[arg(long)]
    detailed: bool,
    /// The WAN pool instead of the LAN pool
    #[arg(long)]
    wan: bool,
    /// Only members whose status matches this regular expression
    #[arg(long, default_value = ".*")]
    status: String,
    /// Only members that match this filter expression
    #[arg(long)]
    filter: Option<String>,
    /// Accepted; there is one segment
    #[arg(long)]
    segment: Option<String>,
    #[command(flatten)]
    api: AgentFlags,
}

impl Verb for MembersVerb {
    const PATH: &'static str = "members";
    const ABOUT: &'static str = "List the members of the cluster";

    async fn run(self) -> anyhow::Result<ExitCode> {
        let status = regex::Regex::new(&self.status)
            .with_context(|| format!("-status {:?}", self.status))?;
        let mut query = vec![("segment", self.segment.as_deref().unwrap_or("_all"))];
        if self.wan {
            query.push(("wan", "1"));
        }
        if let Some(filter) = &self.filter {
            query.push(("filter", filter));
        }
        let mut members: Vec<Member> = self
            .api
            .client()?
            .get_json("/v1/agent/members", &query)
            .await
            .context("Error retrieving members")?;
        members.retain(|member| status.is_match(status_name(member.status)));
        if members.is_empty() {
            return Ok(ExitCode::from(2));
        }
        let rank = |member: &Member| u8::from(!is_server(&member.tags));
        members.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.name.cmp(&b.name)));
        output::table(&if self.detailed { detailed(&members) } else { standard(&members) });
        Ok(ExitCode::SUCCESS)
    }
}

fn is_server(tags: &BTreeMap<String, String>) -> bool {
    tags.get(TAG_ROLE).is_some_and(|role| role == ROLE_SERVER)
}

fn status_name(status: u8) -> &'static str {
    match status {
        1 => "alive",
        2 => "leaving",
        3 => "left",
        4 => "failed",
        _ => "none",
    }
}

fn standard(members: &[Member]) -> Vec<Vec<String>> {
    let mut rows = vec![output::row([
        "Node",
        "Address",
        "Status",
        "Type",
        "Build",
        "Protocol",
        "DC",
        "Partition",
        "Segment",
    ])];
    for member in members {
        let tag = |name: &str| member.tags.get(name).map_or("", String::as_str);
        let server = is_server(&member.tags);
        let segment = match tag("segment") {
            "" if server => "<all>",
            "" => "<default>",
            other => other,
        };
        rows.push(output::row([
            &member.name,
            &std::net::SocketAddr::new(
                member.addr.parse().unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into()),
                member.port,
            )
            .to_string(),
            status_name(member.status),
            if server { "server" } else { "client" },
            tag("build").split(':').next().unwrap_or_default(),
            tag("vsn"),
            tag("dc"),
            "default",
            segment,
        ]));
    }
    rows
}

fn detailed(members: &[Member]) -> Vec<Vec<String>> {
    let mut rows = vec![output::row(["Node", "Address", "Status", "Tags"])];
    for member in members {
        let tags: Vec<String> =
            member.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        rows.push(output::row([
            &member.name,
            &format!("{}:{}", member.addr, member.port),
            status_name(member.status),
            &tags.join(","),
        ]));
    }
    rows
}
