{{/* Prefix of every object's name. */}}
{{- define "lictor.fullname" -}}
{{- .Values.global.name | default .Release.Name -}}
{{- end }}

{{/* Labels that select pods: (list . "component"). They never change, as selectors cannot. */}}
{{- define "lictor.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: lictor
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* All labels: (list . "component"). */}}
{{- define "lictor.labels" -}}
{{- $root := index . 0 -}}
{{ include "lictor.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end }}

{{/* Image of a binary: (list . "lictor-sidecar"). */}}
{{- define "lictor.image" -}}
{{- $root := index . 0 -}}
{{- $image := $root.Values.global.image -}}
{{ $image.registry }}/{{ index . 1 }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end }}

{{/* Name in the servers' certificate that clients ask for. */}}
{{- define "lictor.serverName" -}}
server.{{ .Values.global.datacenter }}.{{ .Values.global.domain }}
{{- end }}

{{/* Host name of the servers, for everybody but themselves. */}}
{{- define "lictor.serverHost" -}}
{{ include "lictor.fullname" . }}-server.{{ .Release.Namespace }}.svc
{{- end }}

{{/* Namespaces whose pods are never injected, as a YAML list. */}}
{{- define "lictor.excludedNamespaces" -}}
{{- concat (list "kube-system" "kube-public" "kube-node-lease" .Release.Namespace) .Values.connectInject.excludedNamespaces | uniq | toYaml }}
{{- end }}

{{/* Pod and container fields of Pod Security "restricted". */}}
{{- define "lictor.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- define "lictor.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Empty, or the pod field imagePullSecrets. */}}
{{- define "lictor.pullSecrets" -}}
{{- with .Values.global.image.pullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}
