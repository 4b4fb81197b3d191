{{- define "rauta.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "rauta.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if eq .Release.Name (include "rauta.name" .) -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "rauta.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "rauta.account" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "rauta.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: must be set where serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What finds the Pods; never changes. */}}
{{- define "rauta.selector" -}}
app.kubernetes.io/name: {{ include "rauta.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "rauta.labels" -}}
{{ include "rauta.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels and annotations of an object in no namespace. */}}
{{- define "rauta.metadata" -}}
labels:
  {{- include "rauta.labels" . | nindent 2 }}
{{- with .Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "rauta.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* Whether agents announce addresses: "true" or nothing. The interface `off` is false to YAML where it has no quotes. */}}
{{- define "rauta.announces" -}}
{{- $addresses := default dict .Values.settings.addresses -}}
{{- $interface := dig "interface" "" $addresses -}}
{{- if and $addresses.pool (not (has (toString $interface) (list "off" "false"))) -}}
true
{{- end -}}
{{- end -}}

{{/* Whether Gateways have the addresses of the nodes that run an agent, or beside a pool Ingresses, which takes the right to read Pods:
"true" or nothing. */}}
{{- define "rauta.readsNodes" -}}
{{- $addresses := default dict .Values.settings.addresses -}}
{{- $isElsewhere := or .Values.service.create $addresses.nodes $addresses.service -}}
{{- if not (or $isElsewhere (and $addresses.pool $addresses.ingresses)) -}}
true
{{- end -}}
{{- end -}}

{{/* Whether extraEnv has the variable `name`: "true" or nothing. One that stood twice would be refused by a server-side apply. */}}
{{- define "rauta.isGiven" -}}
{{- $name := .name -}}
{{- range .root.Values.extraEnv -}}
{{- if eq .name $name -}}
true
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Where Ingresses are served, over `http` or `https`, if the chart says it: nothing where settings do, or nobody is to. Values of a
release from before there was one (--reuse-values) have none. */}}
{{- define "rauta.listens" -}}
{{- $of := index (dict "http" (list "listen" "RAUTA_LISTEN" 80) "https" (list "listenHttps" "RAUTA_LISTEN_HTTPS" 443)) .scheme -}}
{{- $port := dig .scheme (last $of) .root.Values.ports | int -}}
{{- $isGiven := include "rauta.isGiven" (dict "root" .root "name" (index $of 1)) -}}
{{- if and (ne $port 0) (not (hasKey .root.Values.settings (first $of))) (not $isGiven) -}}
:{{ $port }}
{{- end -}}
{{- end -}}

{{/* Secrets and ConfigMaps: of all namespaces, or of one. */}}
{{- define "rauta.secretRules" -}}
- apiGroups: [""]
  resources: [secrets, configmaps]
  verbs: [list, watch]
{{- end -}}
