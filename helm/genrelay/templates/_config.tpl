{{/*
Replaces whole numbers, which Helm has as floats, by integers, in place: a TOML file would say 1e+06 else.
Takes a map.
*/}}
{{- define "genrelay.whole" -}}
{{- $map := . -}}
{{- range $key, $value := . -}}
{{- if kindIs "map" $value -}}
{{- include "genrelay.whole" $value -}}
{{- else if kindIs "slice" $value -}}
{{- $parts := list -}}
{{- range $value -}}
{{- $parts = append $parts (ternary (int64 .) . (include "genrelay.isWhole" . | eq "yes")) -}}
{{- end -}}
{{- $_ := set $map $key $parts -}}
{{- else if include "genrelay.isWhole" $value | eq "yes" -}}
{{- $_ := set $map $key (int64 $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "genrelay.isWhole" -}}
{{- if kindIs "float64" . -}}
{{- if and (lt . 9e15) (gt . -9e15) (eq (floor .) .) }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{/* What development sets, below what the operator sets. */}}
{{- define "genrelay.developmentConfig" -}}
{{- $sandbox := printf "%s-sandbox.%s.svc" (include "genrelay.fullname" .) .Release.Namespace -}}
public_url: {{ printf "http://%s-api.%s.svc:%d" (include "genrelay.fullname" .) .Release.Namespace (int .Values.api.service.port) }}
allowed_private_subnets: {{ toJson .Values.development.clusterSubnets }}
providers:
  novita:
    base_url: http://{{ $sandbox }}:8090
    output_hosts: [{{ $sandbox }}]
  modelslab:
    base_url: http://{{ $sandbox }}:8090
    output_hosts: [{{ $sandbox }}]
{{- end -}}

{{/* The settings as YAML: the operator's, over those of development. */}}
{{- define "genrelay.settings" -}}
{{- $settings := deepCopy (default dict .Values.config) -}}
{{- if .Values.development.enabled -}}
{{- $settings = mergeOverwrite (include "genrelay.developmentConfig" . | fromYaml) $settings -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}

{{/* The settings as the TOML file that GENRELAY_CONFIG names. */}}
{{- define "genrelay.toml" -}}
{{- $settings := include "genrelay.settings" . | fromYaml -}}
{{- include "genrelay.whole" $settings -}}
{{- range $line := toToml $settings | splitList "\n" -}}
{{- if trim $line }}{{ println (trimSuffix " " $line) }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* Seconds that a pod of the API serves on after it was told to go; nobody sends requests to workers, which don't. */}}
{{- define "genrelay.linger" -}}
{{- $http := default dict (default dict .Values.config).http -}}
{{- hasKey $http "linger_seconds" | ternary (get $http "linger_seconds") .Values.api.lingerSeconds -}}
{{- end -}}

{{/*
Seconds that a pod may take to go: its own first, then 60 for requests under way (service/serving.py), then 15 for what closes at
the end. Takes root and component.
*/}}
{{- define "genrelay.grace" -}}
{{- $given := (get .root.Values .component).terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $given -}}
{{- $engine := default dict (default dict .root.Values.config).engine -}}
{{- $drain := hasKey $engine "drain_seconds" | ternary (get $engine "drain_seconds") 320 -}}
{{- $of_workers := dict "variable" "GENRELAY_ENGINE__DRAIN_SECONDS" "setting" "engine.drain_seconds" "otherwise" $drain -}}
{{- $of_the_api := dict "variable" "GENRELAY_HTTP__LINGER_SECONDS" "setting" "http.linger_seconds" -}}
{{- $first := include "genrelay.seconds" (merge (.component | eq "worker" | ternary $of_workers $of_the_api) .) -}}
{{- addf (float64 $first) 75 | ceil | int64 -}}
{{- else -}}
{{- int64 $given -}}
{{- end -}}
{{- end -}}

{{/* What a variable of the pods says, which wins over the file. Takes root, component, variable, setting and otherwise. */}}
{{- define "genrelay.seconds" -}}
{{- $seconds := .otherwise -}}
{{- range include "genrelay.env" . | fromYamlArray -}}
{{- if eq .name $.variable -}}
{{- $seconds = default "" .value -}}
{{- if not (regexMatch "^[0-9]+([.][0-9]*)?$" $seconds) -}}
{{- fail (printf "%s: a pod's grace period follows from it, and here it is no number: set config.%s instead" $.variable $.setting) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $seconds -}}
{{- end -}}
