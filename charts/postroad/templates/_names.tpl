{{/* Names and labels of all objects of the release. */}}
{{- define "postroad.name" -}}
{{- if contains "postroad" .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-postroad" .Release.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "postroad.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "postroad.name" .) }}
{{- end }}

{{- define "postroad.selector" -}}
app.kubernetes.io/name: postroad-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "postroad.labels" -}}
{{ include "postroad.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: postroad
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* image: [root, image values] → registry/repository:tag */}}
{{- define "postroad.image" -}}
{{- $root := index . 0 }}{{- $image := index . 1 -}}
{{- with $root.Values.image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end }}
