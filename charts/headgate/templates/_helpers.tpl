{{/* Start of all names: at most 40 characters, so that suffixes fit into 63. */}}
{{- define "headgate.name" -}}
{{- $name := default "headgate" .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" (.Release.Name | trunc 31 | trimSuffix "-") $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Name of cluster-wide objects: two releases of one name in two namespaces must not share them. */}}
{{- define "headgate.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "headgate.name" .) -}}
{{- end -}}

{{- define "headgate.selector" -}}
app.kubernetes.io/name: headgate
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Without the chart's version: a new chart alone restarts no pod. */}}
{{- define "headgate.podLabels" -}}
{{ include "headgate.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}

{{- define "headgate.labels" -}}
{{ include "headgate.podLabels" . }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "headgate.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "headgate.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Who reads metrics, as a JSON list of NetworkPolicyPeer; empty for everybody. */}}
{{- define "headgate.scrapers" -}}
{{- if or .Values.networkPolicies.scrapers (not .Values.prometheus.embedded.enabled) -}}
{{- .Values.networkPolicies.scrapers | toJson -}}
{{- else -}}
{{- list (include "headgate.peer" (dict "root" . "component" "prometheus") | fromJson) | toJson -}}
{{- end -}}
{{- end -}}

{{/* The release's own pods of one component, as a NetworkPolicyPeer in JSON. */}}
{{- define "headgate.peer" -}}
{{- $namespace := dict "kubernetes.io/metadata.name" .root.Release.Namespace -}}
{{- $pods := include "headgate.selector" . | fromYaml -}}
{{- dict "namespaceSelector" (dict "matchLabels" $namespace) "podSelector" (dict "matchLabels" $pods) | toJson -}}
{{- end -}}

{{- define "headgate.prometheusName" -}}
{{- printf "%s-prometheus" (include "headgate.name" .) -}}
{{- end -}}

{{/* Where the operator asks. Without a Prometheus nothing could ever be decided, so that is refused here. */}}
{{- define "headgate.prometheusUrl" -}}
{{- if and .Values.prometheus.url .Values.prometheus.embedded.enabled -}}
{{- fail "prometheus.url and prometheus.embedded.enabled exclude each other: set one of them" -}}
{{- end -}}
{{- if .Values.prometheus.embedded.enabled -}}
{{- printf "http://%s.%s.svc:9090" (include "headgate.prometheusName" .) .Release.Namespace -}}
{{- else -}}
{{- required "Headgate decides on metrics: set prometheus.url to your Prometheus, or prometheus.embedded.enabled=true" .Values.prometheus.url -}}
{{- end -}}
{{- end -}}
