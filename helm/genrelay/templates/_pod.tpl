{{/* The security of a pod; user, group and the group of volumes can be left to the cluster. Takes podSecurity. */}}
{{- define "genrelay.podSecurity" -}}
runAsNonRoot: true
{{- range $name := list "runAsUser" "runAsGroup" "fsGroup" }}
{{- if not (kindIs "invalid" (index $ $name)) }}
{{ $name }}: {{ index $ $name | int64 }}
{{- end }}
{{- end }}
{{- if not (kindIs "invalid" .fsGroup) }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "genrelay.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* What every container of our image has in front of its arguments. Takes root and name. */}}
{{- define "genrelay.container" -}}
name: {{ .name }}
image: {{ include "genrelay.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- include "genrelay.containerSecurity" . | nindent 2 }}
{{- end -}}

{{/*
The variables of a process that reads the settings: the chart's, under extraEnv, under those of the component. Each name is there
once only, which server-side apply insists on. Takes root and component.
*/}}
{{- define "genrelay.env" -}}
{{- $env := include "genrelay.ownEnv" . | fromYamlArray -}}
{{- range list .root.Values.extraEnv (get .root.Values .component).extraEnv -}}
{{- $more := default list . -}}
{{- $names := dict -}}
{{- range $more -}}{{- $_ := set $names .name true -}}{{- end -}}
{{- $kept := list -}}
{{- range $env -}}
{{- if not (hasKey $names .name) -}}{{- $kept = append $kept . -}}{{- end -}}
{{- end -}}
{{- $env = concat $kept $more -}}
{{- end -}}
{{- toYaml $env -}}
{{- end -}}

{{- define "genrelay.ownEnv" -}}
- name: GENRELAY_CONFIG
  value: /etc/genrelay/genrelay.toml
# Nothing is written there as long as the Secret has a database and a secret key.
- name: GENRELAY_DATA_DIR
  value: /tmp/genrelay
- name: GENRELAY_HOST
  value: {{ .root.Values.listenAddress | quote }}
- name: GENRELAY_PORT
  value: {{ .root.Values.containerPort | int | quote }}
# The image has this variable, which would win over the file.
- name: GENRELAY_LOG_FORMAT
  value: {{ default "json" (default dict .root.Values.config).log_format | quote }}
{{- if eq .component "api" }}
- name: GENRELAY_HTTP__LINGER_SECONDS
  value: {{ include "genrelay.linger" .root | quote }}
{{- end }}
{{- end -}}

{{/* Where secrets come from; later ones win. */}}
{{- define "genrelay.envFrom" -}}
{{- if .Values.development.enabled }}
- secretRef:
    name: {{ include "genrelay.developmentName" . }}
{{- end }}
{{- if or .Values.existingSecret (not .Values.development.enabled) }}
- secretRef:
    name: {{ include "genrelay.secretName" . | quote }}
{{- end }}
{{- with .Values.extraEnvFrom }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "genrelay.volumeMounts" -}}
- name: config
  mountPath: /etc/genrelay
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Takes root and config, the ConfigMap's name. */}}
{{- define "genrelay.volumes" -}}
- name: config
  configMap:
    name: {{ .config }}
- name: tmp
  emptyDir:
    sizeLimit: {{ .root.Values.tmpSizeLimit | quote }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A probe of the http port. Takes path and probe. */}}
{{- define "genrelay.probe" -}}
httpGet:
  path: {{ .path }}
  port: http
{{- range $name, $value := .probe }}
{{- if not (kindIs "invalid" $value) }}
{{ $name }}: {{ int64 $value }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Before development's processes start: PostgreSQL answers and has the newest schema. A hook would come before PostgreSQL. */}}
{{- define "genrelay.developmentInit" -}}
- name: wait-for-postgresql
  image: {{ .root.Values.development.postgresql.image | quote }}
  command: [sh, -c, "until pg_isready --quiet --timeout=5 --host={{ include "genrelay.fullname" .root }}-postgresql --username=genrelay; do sleep 1; done"]
  securityContext:
    {{- include "genrelay.containerSecurity" .root | nindent 4 }}
- {{ include "genrelay.container" (dict "root" .root "name" "migrate") | nindent 2 | trim }}
  args: [migrate]
  env:
    {{- include "genrelay.env" . | nindent 4 }}
  envFrom:
    {{- include "genrelay.envFrom" .root | trim | nindent 4 }}
  volumeMounts:
    {{- include "genrelay.volumeMounts" .root | nindent 4 }}
{{- end -}}

{{/* A constraint without a labelSelector gets that of these pods. Takes root and component. */}}
{{- define "genrelay.spread" -}}
{{- $labels := merge (dict "app.kubernetes.io/component" .component) (include "genrelay.selector" .root | fromYaml) -}}
{{- $constraints := list -}}
{{- range (get .root.Values .component).topologySpreadConstraints -}}
{{- $own := dict "labelSelector" (dict "matchLabels" $labels) -}}
{{- $constraints = append $constraints (hasKey . "labelSelector" | ternary . (merge $own .)) -}}
{{- end -}}
{{- toYaml $constraints -}}
{{- end -}}

{{/* A Deployment. Takes root and component, which is also the name of its values and of its role. */}}
{{- define "genrelay.deployment" -}}
{{- $values := get .root.Values .component -}}
{{- $fullname := include "genrelay.fullname" .root -}}
{{- $scaled := .component | eq "api" | ternary (include "genrelay.apiScaled" .root) (include "genrelay.workerScaled" .root) -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $fullname }}-{{ .component }}
  labels:
    {{- include "genrelay.labels" . | nindent 4 }}
spec:
  {{- if not $scaled }}
  replicas: {{ int64 $values.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  {{- with $values.strategy }}
  strategy:
    {{- /* The defaults of values.yaml are still there below another type, where the API server refuses them. */}}
    {{- toYaml (eq (default "RollingUpdate" .type) "RollingUpdate" | ternary . (omit . "rollingUpdate")) | nindent 4 }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "genrelay.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  template:
    metadata:
      annotations:
        kubectl.kubernetes.io/default-container: genrelay
        checksum/config: {{ include "genrelay.toml" .root | sha256sum }}
        {{- with $values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      labels:
        {{- include "genrelay.selector" .root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
        {{- with omit (default dict $values.podLabels) "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "genrelay.serviceAccountName" .root | quote }}
      automountServiceAccountToken: {{ .root.Values.serviceAccount.automountServiceAccountToken }}
      # The variables that Kubernetes makes of Services would be taken for ours: a Service named genrelay makes GENRELAY_PORT.
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ include "genrelay.grace" . }}
      {{- with .root.Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- include "genrelay.podSecurity" .root.Values.podSecurity | nindent 8 }}
      {{- if or .root.Values.development.enabled .root.Values.extraInitContainers }}
      initContainers:
        {{- with .root.Values.extraInitContainers }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- if .root.Values.development.enabled }}
        {{- include "genrelay.developmentInit" . | nindent 8 }}
        {{- end }}
      {{- end }}
      containers:
        - {{ include "genrelay.container" (dict "root" .root "name" "genrelay") | nindent 10 | trim }}
          args: [serve, --role, {{ .component }}]
          ports:
            - name: http
              containerPort: {{ int .root.Values.containerPort }}
          env:
            {{- include "genrelay.env" . | nindent 12 }}
          envFrom:
            {{- include "genrelay.envFrom" .root | trim | nindent 12 }}
          startupProbe:
            {{- include "genrelay.probe" (dict "path" "/livez" "probe" .root.Values.probes.startup) | nindent 12 }}
          readinessProbe:
            {{- include "genrelay.probe" (dict "path" "/readyz" "probe" .root.Values.probes.readiness) | nindent 12 }}
          livenessProbe:
            {{- include "genrelay.probe" (dict "path" "/livez" "probe" .root.Values.probes.liveness) | nindent 12 }}
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          volumeMounts:
            {{- include "genrelay.volumeMounts" .root | nindent 12 }}
        {{- with .root.Values.extraContainers }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      volumes:
        {{- include "genrelay.volumes" (dict "root" .root "config" (printf "%s-config" $fullname)) | nindent 8 }}
      {{- if $values.topologySpreadConstraints }}
      topologySpreadConstraints:
        {{- include "genrelay.spread" . | nindent 8 }}
      {{- end }}
      {{- range $name := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
      {{- with get $values $name }}
      {{ $name }}:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- end }}
{{- end -}}

{{/* Whether there is a HorizontalPodAutoscaler: "yes" or nothing. */}}
{{- define "genrelay.apiScaled" -}}
{{- if .Values.api.autoscaling.enabled }}yes{{ end -}}
{{- end -}}

{{- define "genrelay.workerScaled" -}}
{{- if and .Values.worker.autoscaling.enabled .Values.worker.autoscaling.queueAge.metricName }}yes{{ end -}}
{{- end -}}
