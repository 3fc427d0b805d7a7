//! Commands that create and end sessions (Consul "Session HTTP API").
//!
//! Renewal is not a command: the leader watches the TTLs and proposes the end of expired sessions.

use lictor_api::types::{health::CheckStatus, session::Session};
use serde::{Deserialize, Serialize};

use super::{Rejection, Response};
use crate::state::{State, watch::Change};

/// A change to the sessions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SessionCommand {
    /// Create a session with the ID that the proposer has chosen.
    Create(Session),
    /// End a session; no effect if there is none.
    Destroy {
        /// ID of the session.
        id: String,
    },
    /// End the sessions and lock-delays that have expired on the leader's clock.
    Expire(Expired),
}

/// Expired sessions and lock-delays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    /// IDs of sessions that were not renewed in time, each with its `CreateIndex`.
    pub sessions: Vec<(String, u64)>,
    /// Keys whose lock-delay has expired, each with the Raft index at which it began, so that a
    /// later delay of the same key is not ended.
    pub delays: Vec<(String, u64)>,
}

pub(super) fn apply(
    state: &mut State,
    change: &mut Change<'_>,
    command: SessionCommand,
) -> Response {
    match command {
        SessionCommand::Create(session) => match validate(state, &session) {
            Ok(()) => {
                state.create_session(change, session);
                Response::Done
            }
            Err(rejection) => Response::Rejected(rejection),
        },
        SessionCommand::Destroy { id } => {
            state.end_session(change, &id);
            Response::Done
        }
        SessionCommand::Expire(expired) => {
            for (id, created) in expired.sessions {
                if state.sessions.get(&id).is_some_and(|found| found.create_index == created) {
                    state.end_session(change, &id);
                }
            }
            for (key, since) in expired.delays {
                state.kv.end_delay(&key, since);
            }
            Response::Done
        }
    }
}

/// Checks that the session's node exists, and that its checks exist and are not critical.
fn validate(state: &State, session: &Session) -> Result<(), Rejection> {
    if session.id.is_empty() || state.sessions.get(&session.id).is_some() {
        return Err(Rejection::SessionId(session.id.clone()));
    }
    if state.catalog.node(&session.node).is_none() {
        return Err(Rejection::MissingNodeRegistration);
    }
    for id in session.checks() {
        let Some(check) = state.catalog.check(&session.node, id) else {
            return Err(Rejection::MissingCheckRegistration(id.to_string()));
        };
        if check.status == CheckStatus::Critical {
            return Err(Rejection::CriticalCheck(id.to_string()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
