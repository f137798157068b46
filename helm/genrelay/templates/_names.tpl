{{/* The beginning of all names: at most 40 characters, so that there is room for what follows; a cut one stays unique by its hash. */}}
{{- define "genrelay.fullname" -}}
{{- $chart := default .Chart.Name .Values.nameOverride -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
{{- $name = contains $chart .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $chart) -}}
{{- end -}}
{{- /* A Service's name has no dots, which a release's may have. */ -}}
{{- $plain := $name | replace "." "-" -}}
{{- if or (gt (len $plain) 40) (ne $plain $name) (regexMatch "^[0-9]" $plain) -}}
{{- $plain = printf "%s-%s" ($plain | trunc 30 | trimSuffix "-") (sha256sum $name | trunc 8) -}}
{{- end -}}
{{- regexMatch "^[0-9]" $plain | ternary (printf "r%s" $plain) $plain -}}
{{- end -}}

{{/* The labels that select pods; they can never change. */}}
{{- define "genrelay.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* The labels of an object. Takes root and component. */}}
{{- define "genrelay.labels" -}}
{{ include "genrelay.selector" .root }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name (.root.Chart.Version | replace "+" "_") }}
{{- end -}}

{{- define "genrelay.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "genrelay.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "genrelay.secretName" -}}
{{- default (include "genrelay.fullname" .) .Values.existingSecret -}}
{{- end -}}

{{- define "genrelay.developmentName" -}}
{{- printf "%s-development" (include "genrelay.fullname" .) -}}
{{- end -}}

{{/* Where a client's key is: the Secret's name. */}}
{{- define "genrelay.testSecretName" -}}
{{- if .Values.tests.apiKeySecret.name -}}
{{- .Values.tests.apiKeySecret.name -}}
{{- else if and .Values.development.enabled (not .Values.existingSecret) -}}
{{- include "genrelay.developmentName" . -}}
{{- else -}}
{{- include "genrelay.secretName" . -}}
{{- end -}}
{{- end -}}

{{- define "genrelay.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What clients need, as paths; what providers reach is /v1/callbacks, and not among them. */}}
{{- define "genrelay.clientPaths" -}}
paths:
  - /v1/account
  - /v1/deliveries
  - /v1/destinations
  - /v1/events
  - /v1/jobs
  - /v1/providers
  - /v1/subscriptions
  - /v1/webhook-checks
  - /.well-known/jwks.json
  - /openapi.json
  - /docs
  - /problems
{{- end -}}
