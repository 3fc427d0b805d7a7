//! Reads the ServiceAccount in a Kubernetes token (Kubernetes "Service account tokens").
//!
//! The token is not verified here. It only chooses the service to request when nothing else names
//! one: no Service selects a Job. The servers review the token and decide.

use std::path::Path;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

/// Returns the ServiceAccount's name from the subject of the token in the file at `path`,
/// `system:serviceaccount:NAMESPACE:NAME`; `None` if it cannot be read.
pub fn service_account(path: &Path) -> Option<String> {
    name(&std::fs::read_to_string(path).ok()?)
}

fn name(token: &str) -> Option<String> {
    let payload = BASE64_URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    let subject = claims.get("sub")?.as_str()?.strip_prefix("system:serviceaccount:")?;
    Some(subject.split_once(':')?.1.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subject_names_the_service_account() {
        let token = |claims: &str| format!("e30.{}.c2ln\n", BASE64_URL_SAFE_NO_PAD.encode(claims));
        let named = token(r#"{"sub":"system:serviceaccount:shop:web","aud":["lictor"]}"#);
        assert_eq!(name(&named), Some("web".to_owned()));
        for other in [token(r#"{"sub":"web"}"#), token("{}"), "no token".into(), String::new()] {
            assert_eq!(name(&other), None, "{other}");
        }
    }
}
