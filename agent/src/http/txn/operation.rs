//! A transaction's operations as they are asked for, turned into those that the servers take.
//!
//! An operation that cannot be taken is refused by itself, and the others are still looked at.

use lictor_api::types::txn::{KvTxnOp, TxnOp};
use lictor_core::fsm::{
    Operation,
    txn::{CatalogVerb, KvOperation, KvVerb},
};

use super::super::{
    HttpError,
    catalog::{check_type, validate_service},
};

/// Why an operation is refused. COMPAT: the texts are Consul's; they stand in `Errors` of the body.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidOperation {
    /// It is of no kind.
    #[error("unknown operation")]
    Kind,
    /// The key-value store has no such verb.
    #[error("unknown KV verb {0:?}")]
    KvVerb(String),
    /// The kind has no such verb.
    #[error("unknown {kind} verb {verb:?}")]
    CatalogVerb {
        /// Node, Service or Check.
        kind: &'static str,
        /// The verb.
        verb: String,
    },
    /// It names no node.
    #[error("Must provide node")]
    MissingNode,
    /// It names no key.
    #[error("Must provide key")]
    MissingKey,
    /// Its instance cannot be registered.
    #[error(transparent)]
    Service(HttpError),
}

/// Returns the operation with its verb known and its defaults filled in.
///
/// # Errors
/// [`InvalidOperation`].
pub(super) fn convert(asked: TxnOp, datacenter: &str) -> Result<Operation, InvalidOperation> {
    if let Some(asked) = asked.kv {
        return kv(asked).map(Operation::Kv);
    }
    if let Some(mut asked) = asked.node {
        let verb = catalog_verb("Node", &asked.verb)?;
        if verb != CatalogVerb::Get && asked.node.name.is_empty() {
            return Err(InvalidOperation::MissingNode);
        }
        if asked.node.datacenter.is_empty() {
            asked.node.datacenter = datacenter.to_owned();
        }
        return Ok(Operation::Node { verb, node: Box::new(asked.node) });
    }
    if let Some(asked) = asked.service {
        let (verb, mut service) = (catalog_verb("Service", &asked.verb)?, asked.service);
        if service.id.is_empty() {
            service.id = service.service.as_str().into();
        }
        if verb != CatalogVerb::Get {
            // COMPAT: Go's client sends zero weights when it means none.
            if service.weights.passing == 0 && service.weights.warning == 0 {
                service.weights = Default::default();
            }
            if matches!(verb, CatalogVerb::Set | CatalogVerb::Cas) {
                validate_service(&service).map_err(InvalidOperation::Service)?;
            }
        }
        return Ok(Operation::Service { verb, node: asked.node, service: Box::new(service) });
    }
    if let Some(asked) = asked.check {
        let (verb, mut check) = (catalog_verb("Check", &asked.verb)?, asked.check);
        if check.check_id.is_empty() {
            check.check_id = check.name.as_str().into();
        }
        if verb != CatalogVerb::Get && check.check_type.is_empty() {
            check.check_type = check_type(&check.definition).to_owned();
        }
        return Ok(Operation::Check { verb, check: Box::new(check) });
    }
    Err(InvalidOperation::Kind)
}

fn kv(asked: KvTxnOp) -> Result<KvOperation, InvalidOperation> {
    let verb = match asked.verb.as_str() {
        "set" => KvVerb::Set,
        "cas" => KvVerb::Cas,
        "lock" => KvVerb::Lock,
        "unlock" => KvVerb::Unlock,
        "get" => KvVerb::Get,
        "get-or-empty" => KvVerb::GetOrEmpty,
        "get-tree" => KvVerb::GetTree,
        "check-index" => KvVerb::CheckIndex,
        "check-session" => KvVerb::CheckSession,
        "check-not-exists" => KvVerb::CheckNotExists,
        "delete" => KvVerb::Delete,
        "delete-tree" => KvVerb::DeleteTree,
        "delete-cas" => KvVerb::DeleteCas,
        verb => return Err(InvalidOperation::KvVerb(verb.to_owned())),
    };
    if asked.key.is_empty() && verb != KvVerb::DeleteTree {
        return Err(InvalidOperation::MissingKey);
    }
    let KvTxnOp { key, value, flags, index, session, .. } = asked;
    Ok(KvOperation { verb, key, flags, value, index, session })
}

fn catalog_verb(kind: &'static str, verb: &str) -> Result<CatalogVerb, InvalidOperation> {
    match verb {
        "get" => Ok(CatalogVerb::Get),
        "set" => Ok(CatalogVerb::Set),
        "cas" => Ok(CatalogVerb::Cas),
        "delete" => Ok(CatalogVerb::Delete),
        "delete-cas" => Ok(CatalogVerb::DeleteCas),
        _ => Err(InvalidOperation::CatalogVerb { kind, verb: verb.to_owned() }),
    }
}
