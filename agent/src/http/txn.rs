//! `PUT /v1/txn`: operations carried out in order, all or none (Consul "Transactions HTTP API").
//!
//! A transaction that only reads accepts the consistency modes of reads; any other is one log
//! entry. What cannot be carried out, and what the caller may not do, is answered with 409 and the
//! list of reasons, and nothing is changed.
//!
//! INVARIANT: every key, node, instance and check that an operation touches is asked of the one
//! gate before anything is proposed.

mod access;
mod operation;

use http::StatusCode;
use lictor_api::{
    types::txn::{MAX_OPERATIONS, TxnError, TxnOp},
    wire,
};
use lictor_core::{
    fsm::{self, Command, Operation, TxnOutcome, txn::TxnResult},
    state::State,
};
use serde_json::{Value, json};

use super::{Context, HttpError, Request, Response};

/// Runs a transaction.
pub(super) async fn run(cx: Context, request: Request) -> Result<Response, HttpError> {
    let limit = cx.agent.config.load().limits.kv_max_value_bytes;
    if request.body.len() > limit {
        return Err(HttpError::TxnTooLarge { bytes: request.body.len(), limit });
    }
    let asked: Vec<TxnOp> = wire::from_slice(&request.body).map_err(HttpError::TxnDecode)?;
    if asked.len() > MAX_OPERATIONS {
        return Err(HttpError::TooManyOperations(asked.len()));
    }
    let state = cx.server()?.store().snapshot();
    let operations = match check(&cx, &state, asked) {
        Ok(operations) => operations,
        Err(errors) => return respond(TxnOutcome { errors, ..TxnOutcome::default() }),
    };
    if operations.iter().all(Operation::is_read) {
        // COMPAT: a transaction never blocks.
        let options = lictor_api::query::QueryOptions { index: 0, ..request.options()? };
        let read = |state: &State, _: &mut _| fsm::txn::read(state, &operations);
        let (meta, outcome) = cx.server()?.query(&options, read).await?;
        return Ok(respond(outcome)?.with_meta(&meta));
    }
    answer(cx.server()?.submit(Command::Transaction(operations)).await?)
}

/// Returns the response to a transaction that the servers have carried out or refused.
///
/// # Errors
/// [`HttpError::UnexpectedResponse`] for the response to another command: whether anything was
/// changed is not known.
fn answer(response: fsm::Response) -> Result<Response, HttpError> {
    match response {
        fsm::Response::Transaction(outcome) => respond(outcome),
        other => {
            tracing::error!(response = ?other, "a transaction was answered like another command");
            Err(HttpError::UnexpectedResponse)
        }
    }
}

/// Returns the operations as the servers take them, or why some are refused.
fn check(cx: &Context, state: &State, asked: Vec<TxnOp>) -> Result<Vec<Operation>, Vec<TxnError>> {
    let datacenter = cx.agent.config.load().datacenter.clone();
    let (mut operations, mut errors) = (Vec::new(), Vec::new());
    for (op_index, asked) in (0..).zip(asked) {
        let converted = operation::convert(asked, &datacenter).map_err(|error| error.to_string());
        let checked = converted.and_then(|operation| {
            for access in access::touched(state, &operation) {
                cx.authorize(&access).map_err(|error| error.to_string())?;
            }
            Ok(operation)
        });
        match checked {
            Ok(operation) => operations.push(operation),
            Err(what) => errors.push(TxnError { op_index, what }),
        }
    }
    if errors.is_empty() { Ok(operations) } else { Err(errors) }
}

/// Returns the response for an outcome. COMPAT: an empty list is `null` here, at the top and inside of nodes, instances and checks.
fn respond(outcome: TxnOutcome) -> Result<Response, HttpError> {
    let failed = !outcome.errors.is_empty();
    let results = outcome.results.iter().map(result).collect::<Result<Vec<Value>, _>>();
    let results = results.map_err(HttpError::Encode)?;
    let errors = json!(outcome.errors);
    let body = json!({
        "Results": if results.is_empty() { Value::Null } else { results.into() },
        "Errors": if failed { errors } else { Value::Null },
    });
    let response = Response::json(&body)?;
    Ok(if failed { response.with_status(StatusCode::CONFLICT) } else { response })
}

fn result(result: &TxnResult) -> serde_json::Result<Value> {
    let (name, mut row) = match result {
        TxnResult::Kv(pair) => ("KV", serde_json::to_value(pair)?),
        TxnResult::Node(node) => ("Node", serde_json::to_value(node)?),
        TxnResult::Service(service) => ("Service", serde_json::to_value(service)?),
        TxnResult::Check(check) => ("Check", serde_json::to_value(check)?),
    };
    for field in ["Meta", "ServiceTags", "TaggedAddresses", "Tags"] {
        if let Some(value) = row.get_mut(field)
            && (*value == json!([]) || *value == json!({}))
        {
            *value = Value::Null;
        }
    }
    Ok(json!({ name: row }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_to_another_command_is_no_empty_success() {
        let refused = answer(fsm::Response::Applied(true)).unwrap_err();
        assert_eq!((refused.status().as_u16(), &*refused.to_string()), (500, "internal error"));
        let outcome = TxnOutcome::default();
        assert_eq!(answer(fsm::Response::Transaction(outcome)).unwrap().status.as_u16(), 200);
    }
}
