//! A transaction's operations as they are asked for, turned into those that the servers take.
//!
//! What one operation lacks is that operation's error. COMPAT: the texts are Consul's.

use lictor_api::types::txn::{KvTxnOp, TxnOp};
use lictor_core::fsm::{
    Operation,
    txn::{CatalogVerb, KvOperation, KvVerb},
};

use super::super::catalog::{check_type, validate_service};

/// The operation with its verb known and its defaults filled in.
pub(super) fn convert(asked: TxnOp, datacenter: &str) -> Result<Operation, String> {
    if let Some(asked) = asked.kv {
        return kv(asked).map(Operation::Kv);
    }
    if let Some(mut asked) = asked.node {
        let verb = catalog_verb("Node", &asked.verb)?;
        if verb != CatalogVerb::Get && asked.node.name.is_empty() {
            return Err("Must provide node".to_owned());
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
                validate_service(&service).map_err(|error| error.to_string())?;
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
    Err("unknown operation".to_owned())
}

fn kv(asked: KvTxnOp) -> Result<KvOperation, String> {
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
        verb => return Err(format!("unknown KV verb {verb:?}")),
    };
    if asked.key.is_empty() && verb != KvVerb::DeleteTree {
        return Err("Must provide key".to_owned());
    }
    let KvTxnOp { key, value, flags, index, session, .. } = asked;
    Ok(KvOperation { verb, key, flags, value, index, session })
}

fn catalog_verb(kind: &str, verb: &str) -> Result<CatalogVerb, String> {
    match verb {
        "get" => Ok(CatalogVerb::Get),
        "set" => Ok(CatalogVerb::Set),
        "cas" => Ok(CatalogVerb::Cas),
        "delete" => Ok(CatalogVerb::Delete),
        "delete-cas" => Ok(CatalogVerb::DeleteCas),
        _ => Err(format!("unknown {kind} verb {verb:?}")),
    }
}
