//! Custom resources of group `consul.hashicorp.com/v1alpha1`, one file per kind.
//!
//! Existing manifests of Consul on Kubernetes apply unchanged; validation is CEL in the schema, so
//! `kubectl apply` needs no webhook. The chart carries the output of `crdgen`. Besides tests, this
//! is the only module that uses `serde_yaml`: the chart's file is reviewed and compared, and
//! definitions are read as YAML everywhere.

pub mod service_intentions;

use kube::CustomResourceExt as _;

/// First line of the file in the chart.
const HEADER: &str = "# Generated: cargo run -p lictor-operator --bin crdgen\n";

/// Returns all definitions as YAML.
///
/// # Errors
/// A definition cannot be expressed in YAML, which a test would find.
pub fn rendered() -> Result<String, serde_yaml::Error> {
    let text = serde_yaml::to_string(&service_intentions::ServiceIntentions::crd())?;
    Ok(format!("{HEADER}{text}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_chart_carries_the_current_definitions() {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/lictor/files/serviceintentions.yaml");
        let carried = std::fs::read_to_string(path).unwrap();
        let fresh = carried == super::rendered().unwrap();
        assert!(fresh, "stale; run: cargo run -p lictor-operator --bin crdgen > {path}");
    }
}
