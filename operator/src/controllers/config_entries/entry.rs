//! Converts a ServiceIntentions object to its config entry, and finds the owner of an entry.
//!
//! Pure. The meta of an entry names its cluster and its object; an entry without both was created
//! elsewhere, and this operator does not change it.

use kube::ResourceExt as _;
use lictor_api::{
    contract::{CONSUL_PREFIX, META_K8S_CLUSTER, SOURCE_TYPE_CONSUL},
    types::intention::{ServiceIntentions as Entry, SourceIntention as EntrySource},
};
use serde_json::json;

use crate::{
    config::Config,
    contract::{KUBERNETES, META_EXTERNAL_SOURCE, META_RESOURCE, META_SOURCE_DATACENTER},
    crds::service_intentions::{HeaderMatch, Permission, ServiceIntentions, Source},
};

/// Returns the config entry of an object.
pub fn entry(object: &ServiceIntentions, config: &Config) -> Entry {
    let source = |source: &Source| EntrySource {
        name: source.name.clone(),
        action: source.action.map(Into::into),
        permissions: source.permissions.iter().map(permission).collect(),
        source_type: SOURCE_TYPE_CONSUL.to_owned(),
        description: source.description.clone(),
        ..EntrySource::default()
    };
    let meta = [
        (META_EXTERNAL_SOURCE.to_owned(), KUBERNETES.to_owned()),
        (format!("{CONSUL_PREFIX}{META_SOURCE_DATACENTER}"), config.datacenter.clone()),
        (META_K8S_CLUSTER.to_owned(), config.cluster.clone()),
        (META_RESOURCE.to_owned(), resource(object)),
    ];
    Entry {
        name: object.spec.destination.name.clone(),
        sources: object.spec.sources.iter().map(source).collect(),
        meta: meta.into(),
        ..Entry::default()
    }
}

/// Returns a permission in the API's spelling.
fn permission(permission: &Permission) -> serde_json::Value {
    let http = &permission.http;
    let header = |header: &HeaderMatch| {
        let mut fields = json!({"Name": header.name});
        let texts = [
            ("Exact", &header.exact),
            ("Prefix", &header.prefix),
            ("Suffix", &header.suffix),
            ("Regex", &header.regex),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                fields[name] = value.as_str().into();
            }
        }
        for (name, value) in [("Present", header.present), ("Invert", header.invert)] {
            if let Some(value) = value {
                fields[name] = value.into();
            }
        }
        fields
    };
    let mut fields = json!({});
    let paths = [
        ("PathExact", &http.path_exact),
        ("PathPrefix", &http.path_prefix),
        ("PathRegex", &http.path_regex),
    ];
    for (name, value) in paths {
        if let Some(value) = value {
            fields[name] = value.as_str().into();
        }
    }
    if !http.methods.is_empty() {
        fields["Methods"] = json!(http.methods);
    }
    if !http.header.is_empty() {
        fields["Header"] = http.header.iter().map(header).collect();
    }
    json!({"Action": permission.action, "HTTP": fields})
}

/// The creator of an entry.
#[derive(Debug, PartialEq, Eq)]
pub enum Owner<'a> {
    /// An object of this cluster, `namespace/name`.
    Object(&'a str),
    /// Another cluster, or no Kubernetes object.
    Elsewhere,
}

/// Returns the creator of an entry, by its meta.
pub fn owner<'a>(entry: &'a Entry, config: &Config) -> Owner<'a> {
    let meta = |key: &str| entry.meta.get(key).map(String::as_str);
    let here = meta(META_EXTERNAL_SOURCE) == Some(KUBERNETES)
        && meta(META_K8S_CLUSTER) == Some(&config.cluster);
    meta(META_RESOURCE).filter(|_| here).map_or(Owner::Elsewhere, Owner::Object)
}

/// Returns whether an object of this cluster created the entry.
pub fn is_own(entry: &Entry, config: &Config) -> bool {
    owner(entry, config) != Owner::Elsewhere
}

/// Returns an object's name in [`META_RESOURCE`]: `namespace/name`.
pub fn resource(object: &ServiceIntentions) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

/// Returns an entry without the fields that the server sets, its sources ordered by name.
pub fn normal(entry: &Entry) -> Entry {
    let mut entry = Entry { create_index: 0, modify_index: 0, ..entry.clone() };
    for source in &mut entry.sources {
        source.precedence = 0;
        SOURCE_TYPE_CONSUL.clone_into(&mut source.source_type);
        source.legacy_id.clear();
    }
    entry.sources.sort_by(|a, b| a.name.cmp(&b.name));
    entry
}

#[cfg(test)]
mod tests;
