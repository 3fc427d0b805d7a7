//! `connect` and `kubernetes`.

use std::collections::BTreeMap;

use lictor_api::GoDuration;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::keys;

section! {
    /// The mesh and its certificate authority.
    ConnectSource {
        /// Turns the mesh on.
        enabled: Option<bool> {
            default: "true", bounds: "none; `auto_encrypt.allow_tls` turns it on in any case",
            reload: Restart, example: "false"
        },
        /// Who signs the mesh's certificates.
        ca_provider: Option<String> {
            default: "consul", bounds: "`consul`, the built-in authority", reload: Restart,
            example: r#""consul""#
        },
        /// First settings of that authority.
        ca_config: CaConfigSource { block },
        /// Joins datacenters through mesh gateways.
        enable_mesh_gateway_wan_federation: Option<Value> { ignored, example: "true" },
        /// Serverless functions in the mesh.
        enable_serverless_plugin: Option<Value> { ignored, example: "true" },
    }
}

section! {
    /// Settings that the built-in authority is made with when a cluster is first started; later
    /// `lictor connect ca set-config` changes them.
    CaConfigSource {
        /// UUID that names the trust domain.
        cluster_id: Option<String> {
            default: "random", bounds: "a UUID", reload: NextStart,
            example: r#""2f7f0a0c-5c1e-4c0b-8a55-6a1c43a2f3ce""#
        },
        /// Life of a service's certificate.
        leaf_cert_ttl: Option<GoDuration> {
            default: "72h", bounds: "1h to 8760h", reload: NextStart, example: r#""24h""#
        },
        /// Life of a root certificate.
        root_cert_ttl: Option<GoDuration> {
            default: "87600h", bounds: "0s or more; more than `leaf_cert_ttl` is needed",
            reload: NextStart, example: r#""43800h""#
        },
        /// Life of an intermediate certificate of another datacenter. Stored and shown; none is made
        /// yet.
        intermediate_cert_ttl: Option<GoDuration> {
            default: "8760h", bounds: "0s or more", reload: NextStart, example: r#""4380h""#
        },
        /// Certificates signed per second; above that, clients are asked to retry.
        csr_max_per_second: Option<u32> {
            default: "50", bounds: "0, which is no limit, to 4294967295", reload: NextStart,
            example: "20"
        },
        /// COMPAT: the tests of Consul's Go client store provider state here and read it back.
        test_state: BTreeMap<String, String> {
            default: "none", bounds: "none", reload: NextStart, example: r#"{"a":"b"}"#
        },
    }
}

section! {
    /// The Kubernetes cluster that the servers run in; giving the block turns it on.
    KubernetesSource {
        /// `false` makes the agent disregard the block.
        enabled: Option<bool> {
            default: "true", bounds: "none", reload: Restart, example: "true"
        },
        /// Audience of the tokens that sidecars and the operator show.
        audience: Option<String> {
            default: "lictor", bounds: "none", reload: Restart, example: r#""mesh""#
        },
        /// Namespace of the servers.
        namespace: Option<String> {
            default: "none", bounds: "required", reload: Restart, example: r#""mesh-system""#
        },
        /// ConfigMap in that namespace that the servers write the mesh's roots to.
        roots_config_map: Option<String> {
            default: "lictor-roots", bounds: "none", reload: Restart, example: r#""roots""#
        },
        /// ServiceAccount of the operator.
        operator_service_account: Option<String> {
            default: "none", bounds: "required; `namespace/name`", reload: Restart,
            example: r#""mesh-system/operator""#
        },
    }
}
