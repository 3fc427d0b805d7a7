//! Creation of a Secret that must not be overwritten.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::api::{Api, ObjectMeta, PostParams};

use super::{KubernetesError, api_server};

/// Creates a Secret of these texts unless one of this name exists. Returns its namespace, which is
/// the pod's own if `namespace` is empty, and whether it was created.
///
/// # Errors
/// [`KubernetesError`]: the credentials are unusable, or the request failed.
pub async fn create_secret(
    namespace: &str,
    name: &str,
    data: BTreeMap<String, String>,
) -> Result<(String, bool), KubernetesError> {
    let (client, own) = api_server::connect()?;
    let namespace = if namespace.is_empty() { own } else { namespace.to_owned() };
    let labels = [("app.kubernetes.io/name", "lictor"), ("app.kubernetes.io/managed-by", "lictor")];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        },
        data: Some(
            data.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))).collect(),
        ),
        ..Secret::default()
    };
    let secrets = Api::<Secret>::namespaced(client, &namespace);
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(_) => Ok((namespace, true)),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok((namespace, false)),
        Err(error) => Err(KubernetesError::Api(Box::new(error))),
    }
}
