{{/* Agent configuration of the servers, as JSON; `server.extraConfig` is laid over it. */}}
{{- define "lictor.serverConfig" -}}
{{- $name := include "lictor.fullname" . -}}
{{- $host := include "lictor.serverHost" . -}}
{{- $config := dict
  "server" true
  "bootstrap_expect" (int .Values.server.replicas)
  "datacenter" .Values.global.datacenter
  "domain" .Values.global.domain
  "data_dir" "/data"
  "addresses" (dict "http" "127.0.0.1" "https" "0.0.0.0" "grpc_tls" "0.0.0.0" "dns" "0.0.0.0")
  "ports" (dict "server" 8300 "serf_lan" 8301 "serf_wan" -1 "http" 8500 "https" 8501 "grpc" -1 "grpc_tls" 8503 "dns" 8600)
  "tls" (dict
    "auto" true
    "auto_names" (list $host (printf "%s.cluster.local" $host))
    "internal_rpc" (dict
      "ca_file" "/etc/lictor-keys/ca.pem"
      "cert_file" "/etc/lictor-keys/server.pem"
      "key_file" "/etc/lictor-keys/server-key.pem"
      "verify_incoming" true
      "verify_outgoing" true
      "verify_server_hostname" true))
  "disable_keyring_file" true
  "kubernetes" (dict
    "enabled" true
    "audience" .Values.connectInject.audience
    "namespace" .Release.Namespace
    "roots_config_map" "lictor-roots"
    "operator_service_account" (printf "%s/%s-operator" .Release.Namespace $name))
  "default_intention_policy" .Values.mesh.defaultIntention -}}
{{- if gt (int .Values.server.replicas) 1 }}
{{- /* Pods are asked of the API server, not of cluster DNS: it knows new addresses at once, and remembers no old ones. */ -}}
{{- $labels := list }}
{{- range $key, $value := include "lictor.selector" (list . "server") | fromYaml }}
{{- $labels = append $labels (printf "%s=%s" $key $value) }}
{{- end }}
{{- $pods := printf "provider=k8s namespace=%s label_selector=\"%s\"" .Release.Namespace (join "," $labels) }}
{{- $_ := set $config "retry_join" (list $pods) }}
{{- /* A pod that is away comes back under its name: its vote waits for it. */ -}}
{{- $_ := set $config "autopilot" (dict "min_quorum" (int .Values.server.replicas)) }}
{{- end }}
{{- mergeOverwrite $config (deepCopy .Values.server.extraConfig) | toPrettyJson -}}
{{- end }}
