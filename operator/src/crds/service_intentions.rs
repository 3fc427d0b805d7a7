//! ServiceIntentions: who may connect to one destination, as a Kubernetes object.
//!
//! One object becomes one `service-intentions` config entry, named after `spec.destination.name`.

#![expect(unreachable_pub, reason = "KubeSchema repeats each struct in a private scope")]
#![expect(clippy::duplicated_attributes, reason = "each printcolumn has its own type")]

use kube::{CustomResource, KubeSchema};
use lictor_api::types::intention::IntentionAction;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Keeps the object until its config entry is gone.
pub const FINALIZER: &str = "finalizers.consul.hashicorp.com";

/// Who may connect to the destination.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "consul.hashicorp.com",
    version = "v1alpha1",
    kind = "ServiceIntentions",
    plural = "serviceintentions",
    shortname = "service-intentions",
    namespaced,
    status = "ServiceIntentionsStatus",
    derive = "PartialEq",
    doc = "Who may connect to one service of the mesh.",
    printcolumn(
        name = "Synced",
        type_ = "string",
        description = "Whether the servers have it",
        json_path = ".status.conditions[?(@.type==\"Synced\")].status"
    ),
    printcolumn(
        name = "Last Synced",
        type_ = "date",
        description = "When the servers last took it",
        json_path = ".status.lastSyncedTime"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceIntentionsSpec {
    /// The service that is protected.
    pub destination: Destination,
    /// Who may connect, and who may not.
    #[schemars(length(min = 1, max = 512))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub sources: Vec<Source>,
}

/// The protected service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Destination {
    /// Its name, or `*` for every service.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^(\*|[a-zA-Z0-9._-]+)$"))]
    pub name: String,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.action) != (has(self.permissions) && size(self.permissions) > 0)")
    .message("exactly one of action and permissions must be set"))]
pub struct Source {
    /// The connecting service, or `*` for any.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^(\*|[a-zA-Z0-9._-]+)$"))]
    pub name: String,
    /// Whether it is let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// HTTP permissions, first match wins; a proxy that only sees TCP refuses the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub permissions: Vec<Permission>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub description: String,
}

/// Whether a connection is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Let in.
    Allow,
    /// Refused.
    Deny,
}

/// One HTTP permission.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Permission {
    /// Whether a matching request is let in.
    pub action: Action,
    /// What it matches.
    pub http: HttpMatch,
}

/// What a permission matches.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "(has(self.pathExact) ? 1 : 0) + (has(self.pathPrefix) ? 1 : 0) + (has(self.pathRegex) ? 1 : 0) <= 1")
    .message("at most one of pathExact, pathPrefix and pathRegex may be set"))]
pub struct HttpMatch {
    /// The whole path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_exact: Option<String>,
    /// How the path starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// A regular expression for the whole path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_regex: Option<String>,
    /// Methods; none means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Headers, all of which must match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub header: Vec<HeaderMatch>,
}

/// One header.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeaderMatch {
    /// Its name.
    pub name: String,
    /// It must be there, with any value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<bool>,
    /// The whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// How the value starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// How the value ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
    /// A regular expression for the whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// The opposite of the above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invert: Option<bool>,
}

/// What became of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceIntentionsStatus {
    /// One condition, `Synced`.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// When the servers last took it, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_synced_time: Option<String>,
}

/// A condition, as Kubernetes defines it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Synced`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word, for programs.
    #[serde(default)]
    pub reason: String,
    /// One sentence, for people.
    #[serde(default)]
    pub message: String,
    /// When `status` last changed, RFC 3339.
    #[serde(default)]
    pub last_transition_time: String,
    /// The generation it speaks about.
    #[serde(default)]
    pub observed_generation: i64,
}

impl From<Action> for IntentionAction {
    fn from(action: Action) -> Self {
        match action {
            Action::Allow => Self::Allow,
            Action::Deny => Self::Deny,
        }
    }
}
