//! Commands that make and end sessions (Consul "Session HTTP API").
//!
//! Renewal is no command: a TTL is a clock of the leader's, which proposes the end of what it saw
//! run out.

use lictor_api::types::{health::CheckStatus, session::Session};
use serde::{Deserialize, Serialize};

use super::{Rejection, Response};
use crate::state::{State, watch::Touched};

/// A change to the sessions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SessionCommand {
    /// Make a session; whoever proposes it has chosen its ID.
    Create(Session),
    /// End a session. Nothing happens when there is none.
    Destroy {
        /// Its ID.
        id: String,
    },
    /// What the leader's clocks say: end these sessions and lock-delays.
    Expire(Expired),
}

/// What has run out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expired {
    /// IDs of sessions that were not renewed in time, each with its `CreateIndex`.
    pub sessions: Vec<(String, u64)>,
    /// Keys whose lock-delay is over, each with the Raft index at which it began, so that one that
    /// has begun since goes on.
    pub delays: Vec<(String, u64)>,
}

pub(super) fn apply(
    state: &mut State,
    index: u64,
    command: SessionCommand,
    touched: &mut Touched,
) -> Response {
    match command {
        SessionCommand::Create(session) => match validate(state, &session) {
            Ok(()) => {
                state.create_session(index, session, touched);
                Response::Done
            }
            Err(rejection) => Response::Rejected(rejection),
        },
        SessionCommand::Destroy { id } => {
            state.end_session(index, &id, touched);
            Response::Done
        }
        SessionCommand::Expire(expired) => {
            for (id, created) in expired.sessions {
                if state.sessions.get(&id).is_some_and(|found| found.create_index == created) {
                    state.end_session(index, &id, touched);
                }
            }
            for (key, since) in expired.delays {
                state.kv.end_delay(&key, since);
            }
            Response::Done
        }
    }
}

/// Its node must exist, and its checks must exist and not be critical.
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
