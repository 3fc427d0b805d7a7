//! Interprets a TokenReview. Pure, so that every refusal is tested without a cluster.

use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::TokenReviewStatus;

/// Prefix of a ServiceAccount's user name.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
/// Keys of the pod that a bound token was issued for.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// Why a token is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It does not have the form of a ServiceAccount token.
    #[error("the token is not a Kubernetes ServiceAccount token")]
    NotAToken,
    /// The API server rejected it, or it has expired.
    #[error("the token is not valid in this cluster")]
    NotAuthenticated,
    /// It was issued for another audience.
    #[error("the token is not for audience {0:?}")]
    Audience(String),
    /// It belongs to a user or a node.
    #[error("the token does not belong to a ServiceAccount")]
    NotAServiceAccount,
}

/// The owner of a reviewed token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its ServiceAccount's namespace.
    pub namespace: String,
    /// Its ServiceAccount.
    pub service_account: String,
    /// The pod that the token is bound to.
    pub pod: Option<Pod>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl Identity {
    /// Reads the API server's response to a review for `audience`.
    ///
    /// # Errors
    /// [`Refusal`] states why the token is rejected.
    pub fn reviewed(status: TokenReviewStatus, audience: &str) -> Result<Self, Refusal> {
        if status.authenticated != Some(true) {
            return Err(Refusal::NotAuthenticated);
        }
        // An API server without audience support returns none: the token is for the API server.
        let audiences = status.audiences.unwrap_or_default();
        if !audiences.iter().any(|granted| granted == audience) {
            return Err(Refusal::Audience(audience.to_owned()));
        }
        let user = status.user.unwrap_or_default();
        let name = user.username.unwrap_or_default();
        let (namespace, service_account) = name
            .strip_prefix(SERVICE_ACCOUNT)
            .and_then(|account| account.split_once(':'))
            .ok_or(Refusal::NotAServiceAccount)?;
        Ok(Self {
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
            pod: pod(&user.extra.unwrap_or_default()),
        })
    }

    /// Returns `namespace/name` of the ServiceAccount.
    pub fn account(&self) -> String {
        format!("{}/{}", self.namespace, self.service_account)
    }
}

fn pod(extra: &BTreeMap<String, Vec<String>>) -> Option<Pod> {
    let value = |key: &str| extra.get(key)?.first().filter(|text| !text.is_empty()).cloned();
    Some(Pod { name: value(POD_NAME)?, uid: value(POD_UID)? })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::UserInfo;

    use super::*;

    fn status(user: &str, audiences: &[&str]) -> TokenReviewStatus {
        TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(audiences.iter().map(|&audience| audience.to_owned()).collect()),
            user: Some(UserInfo {
                username: Some(user.to_owned()),
                extra: Some(BTreeMap::from([
                    (POD_NAME.to_owned(), vec!["web-0".to_owned()]),
                    (POD_UID.to_owned(), vec!["u-1".to_owned()]),
                ])),
                ..UserInfo::default()
            }),
            ..TokenReviewStatus::default()
        }
    }

    #[test]
    fn a_bound_token_names_its_pod() {
        let status = status("system:serviceaccount:shop:web", &["lictor"]);
        let identity = Identity::reviewed(status, "lictor").unwrap();
        assert_eq!(identity.account(), "shop/web");
        let pod = Pod { name: "web-0".to_owned(), uid: "u-1".to_owned() };
        assert_eq!(identity.pod, Some(pod));
    }

    #[test]
    fn what_is_not_for_lictor_proves_nothing() {
        let account = "system:serviceaccount:shop:web";
        let refusal = |status| Identity::reviewed(status, "lictor").unwrap_err();
        for audiences in [&[][..], &["https://kubernetes.default.svc"]] {
            assert_eq!(
                refusal(status(account, audiences)),
                Refusal::Audience("lictor".to_owned()),
                "{audiences:?}"
            );
        }
        let unauthenticated =
            TokenReviewStatus { authenticated: Some(false), ..status(account, &["lictor"]) };
        assert_eq!(refusal(unauthenticated), Refusal::NotAuthenticated);
        assert_eq!(refusal(status("system:node:n1", &["lictor"])), Refusal::NotAServiceAccount);
        assert_eq!(refusal(TokenReviewStatus::default()), Refusal::NotAuthenticated);
    }
}
