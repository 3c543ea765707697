{{/* What every container of a worker's pod has: it is no root, has no rights, and writes to /tmp alone. */}}
{{- define "fusion-worker.container" -}}
image: {{ include "fusion-worker.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
env:
  # The image sets these three, and the environment wins over the file.
  - {name: FUSION__HTTP__HOST, value: {{ .Values.config.http.host | quote }}}
  - {name: FUSION__HTTP__PORT, value: {{ int .Values.config.http.port | quote }}}
  - {name: FUSION__LOG__FORMAT, value: {{ dig "log" "format" "json" .Values.config | quote }}}
  {{- range $key, $file := .Values.secrets.keys }}
  - {name: {{ printf "FUSION__%s_FILE" ($key | upper | replace "." "__") }}, value: {{ printf "/run/fusion/secrets/%s" $file | quote }}}
  {{- end }}
  {{- range .Values.extraEnv }}
  - {name: {{ .name }}, value: {{ .value | quote }}}
  {{- end }}
volumeMounts:
  - {name: config, mountPath: /etc/fusion, readOnly: true}
  - {name: tmp, mountPath: /tmp}
  {{- if .Values.secrets.keys }}
  - {name: secrets, mountPath: /run/fusion/secrets, readOnly: true}
  {{- end }}
  {{- range $name, $secret := .Values.tls }}
  - {name: tls-{{ $name }}, mountPath: /run/fusion/tls/{{ $name }}, readOnly: true}
  {{- end }}
  {{- if .Values.model.volume }}
  - {name: model, mountPath: /models, readOnly: true}
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "fusion-worker.volumes" -}}
- name: config
  configMap: {name: {{ include "fusion-worker.fullname" . }}}
- name: tmp
  emptyDir: {sizeLimit: {{ .Values.tmp.sizeLimit }}}
{{- if .Values.secrets.keys }}
- name: secrets
  {{- if .Values.secrets.existingSecret }}
  secret:
    secretName: {{ .Values.secrets.existingSecret }}
    defaultMode: 0440
    items:
      {{- range $file := values .Values.secrets.keys | sortAlpha | uniq }}
      - {key: {{ $file }}, path: {{ $file }}}
      {{- end }}
  {{- else }}
  {{- toYaml .Values.secrets.volume | nindent 2 }}
  {{- end }}
{{- end }}
{{- range $name, $secret := .Values.tls }}
- name: tls-{{ $name }}
  secret: {secretName: {{ $secret }}, defaultMode: 0440}
{{- end }}
{{- with .Values.model.volume }}
- name: model
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "fusion-worker.resources" -}}
{{- $limits := deepCopy (default dict .Values.resources.limits) -}}
{{- if .Values.gpu.count -}}
{{- $_ := set $limits .Values.gpu.resource (int .Values.gpu.count) -}}
{{- end -}}
requests: {{- toYaml .Values.resources.requests | nindent 2 }}
limits: {{- toYaml $limits | nindent 2 }}
{{- end -}}

{{/* A kubelet takes any certificate, and sends no token: /livez and /readyz ask for none. */}}
{{- define "fusion-worker.probeScheme" -}}
{{- if dig "http" "ssl_certfile" "" .Values.config -}}, scheme: HTTPS{{- end -}}
{{- end -}}
