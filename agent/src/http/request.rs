//! What a handler works with: the agent, who asks, and the parts of a request that are Consul's.
//!
//! The caller's identity is established here ([`Context::identify`]) and nowhere else.

use std::sync::Arc;

use http::header::ACCEPT_ENCODING;
use lictor_api::wire;
use lictor_core::{
    acl::{Access, Caller},
    fsm::Command,
};
use serde::de::DeserializeOwned;

use super::{HttpError, Request};
use crate::{agent::Agent, server::Server, views::Cached};

/// What a handler works with besides the request.
#[derive(Clone)]
pub struct Context {
    /// The agent that answers.
    pub agent: Arc<Agent>,
    /// Who asks.
    pub caller: Caller,
    /// What reads are answered from instead of this server's state (`?cached` on a client agent).
    pub(super) view: Option<Cached>,
}

impl Context {
    /// Establishes who sends `request`.
    pub async fn identify(agent: &Arc<Agent>, request: &Request) -> Self {
        let caller = match (&agent.kubernetes, request.token()) {
            _ if request.peer.is_local() || request.peer.is_authorized() => Caller::Local,
            (Some(kubernetes), Some(token)) => Box::pin(kubernetes.caller(token)).await,
            _ => Caller::Anonymous,
        };
        Self { agent: agent.clone(), caller, view: None }
    }

    /// Asks the one gate.
    ///
    /// # Errors
    /// [`HttpError::PermissionDenied`].
    pub fn authorize(&self, access: &Access<'_>) -> Result<(), HttpError> {
        Ok(self.agent.authorizer.authorize(&self.caller, access)?)
    }

    /// The server that this agent is.
    ///
    /// # Errors
    /// [`HttpError::NoServers`] on a client agent, which answers no such request itself.
    pub fn server(&self) -> Result<&Arc<Server>, HttpError> {
        self.agent.server().ok_or(HttpError::NoServers)
    }

    /// Replicates a command; `false` when its condition did not hold.
    ///
    /// # Errors
    /// [`HttpError::Server`].
    pub async fn propose(&self, command: Command) -> Result<bool, HttpError> {
        Ok(self.server()?.propose(command).await?)
    }
}

impl Request {
    /// A numeric query parameter; `None` when it is absent. `?cas=` with nothing behind it is no
    /// write without a condition, but an error.
    ///
    /// # Errors
    /// [`HttpError::Number`] for what is not a number.
    pub fn number(&self, name: &str) -> Result<Option<u64>, HttpError> {
        let Some(text) = self.param(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| HttpError::Number(text.to_owned()))
    }

    /// Decodes the body as JSON written for Go.
    ///
    /// # Errors
    /// [`HttpError::Decode`] names the field.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        wire::from_slice(&self.body).map_err(HttpError::Decode)
    }

    /// Whether the answer may be compressed.
    pub(super) fn accepts_gzip(&self) -> bool {
        self.header(ACCEPT_ENCODING).is_some_and(|accepted| {
            accepted.split(',').any(|coding| {
                let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
                let refused =
                    weight.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
                matches!(name.trim(), "gzip" | "*") && !refused
            })
        })
    }

    /// Refuses enterprise parameters, which lictor does not have.
    pub(super) fn check_parameters(&self) -> Result<(), HttpError> {
        for (parameter, feature) in [("ns", "Namespaces"), ("partition", "Partitions")] {
            if self.param(parameter).is_some_and(|value| !value.is_empty()) {
                return Err(HttpError::EnterpriseParameter { parameter, feature });
            }
        }
        for (header, feature) in
            [("X-Consul-Namespace", "Namespaces"), ("X-Consul-Partition", "Partitions")]
        {
            if self.header(header).is_some_and(|value| !value.is_empty()) {
                return Err(HttpError::EnterpriseHeader { header, feature });
            }
        }
        Ok(())
    }
}
