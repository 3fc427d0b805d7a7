{{/* Pod fields that the operator and its cleanup share. */}}
{{- define "lictor.operatorPod" -}}
serviceAccountName: {{ include "lictor.fullname" . }}-operator
automountServiceAccountToken: true
{{- with include "lictor.pullSecrets" . }}
{{ . }}
{{- end }}
securityContext:
  {{- include "lictor.podSecurity" . | nindent 2 }}
volumes:
  - name: identity
    projected:
      sources:
        - serviceAccountToken: {audience: {{ .Values.connectInject.audience }}, expirationSeconds: 3600, path: token}
{{- end }}

{{/* Container fields that the operator and its cleanup share; every setting is an environment variable. */}}
{{- define "lictor.operatorContainer" -}}
{{- $name := include "lictor.fullname" . -}}
image: {{ include "lictor.image" (list . "lictor-operator") }}
imagePullPolicy: {{ .Values.global.image.pullPolicy }}
securityContext: {{- include "lictor.containerSecurity" . | nindent 2 }}
volumeMounts:
  - {name: identity, mountPath: /var/run/lictor, readOnly: true}
env:
  - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  {{- $settings := list
    (list "LICTOR_FULLNAME" $name)
    (list "LICTOR_NAMESPACE" .Release.Namespace)
    (list "LICTOR_SERVERS" (printf "%s:8501" (include "lictor.serverHost" .)))
    (list "LICTOR_SERVER_GRPC" (printf "%s:8503" (include "lictor.serverHost" .)))
    (list "LICTOR_SERVER_NAME" (include "lictor.serverName" .))
    (list "LICTOR_TOKEN_FILE" "/var/run/lictor/token")
    (list "LICTOR_DATACENTER" .Values.global.datacenter)
    (list "LICTOR_DOMAIN" .Values.global.domain)
    (list "LICTOR_AUDIENCE" .Values.connectInject.audience)
    (list "LICTOR_SIDECAR_IMAGE" (include "lictor.image" (list . "lictor-sidecar")))
    (list "LICTOR_SIDECAR_PULL_POLICY" .Values.global.image.pullPolicy)
    (list "LICTOR_CLUSTER" .Values.connectInject.cluster)
    (list "LICTOR_DEFAULT_INJECT" (toString .Values.connectInject.default))
    (list "LICTOR_EXCLUDED_NAMESPACES" (include "lictor.excludedNamespaces" . | fromYamlArray | join ","))
    (list "LICTOR_WEBHOOK_SERVICE" (printf "%s-webhook" $name))
    (list "LICTOR_WEBHOOK_CONFIGURATION" (printf "%s-%s-injector" .Release.Namespace $name))
    (list "LICTOR_WEBHOOK_LISTEN" "0.0.0.0:9443")
    (list "LICTOR_HEALTH_LISTEN" "0.0.0.0:8080")
    (list "LICTOR_DNS_SERVICE" (printf "%s-dns" $name))
    (list "LICTOR_COREDNS_MANAGE" (toString .Values.dns.coredns.manage)) }}
  {{- range $settings }}
  - {name: {{ index . 0 }}, value: {{ index . 1 | quote }}}
  {{- end }}
{{- end }}
