{{/* A table of the configuration as TOML: its own keys first, then the tables in it. Given: table, path. */}}
{{- define "fusion-worker.toml" -}}
{{- $path := .path -}}
{{- range $key, $value := .table -}}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) -}}
{{- printf "%s = %s\n" (include "fusion-worker.tomlKey" $key) (include "fusion-worker.tomlValue" $value) -}}
{{- end -}}
{{- end -}}
{{- range $key, $value := .table -}}
{{- if kindIs "map" $value -}}
{{- $below := append $path (include "fusion-worker.tomlKey" $key) -}}
{{- printf "\n[%s]\n" (join "." $below) -}}
{{- include "fusion-worker.toml" (dict "table" $value "path" $below) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "fusion-worker.tomlKey" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . -}}{{- . -}}{{- else -}}{{- toJson . -}}{{- end -}}
{{- end -}}

{{/* Helm reads every number of a values file as a float: 40000000 would be written 4e+07. */}}
{{- define "fusion-worker.tomlValue" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- printf "%.0f" . -}}
{{- else if kindIs "float64" . -}}
{{- printf "%v" . -}}
{{- else if kindIs "slice" . -}}
{{- $all := list -}}
{{- range . -}}{{- $all = append $all (include "fusion-worker.tomlValue" .) -}}{{- end -}}
{{- printf "[%s]" (join "," $all) -}}
{{- else if kindIs "map" . -}}
{{- $all := list -}}
{{- range $key, $value := . -}}
{{- $all = append $all (printf "%s = %s" (include "fusion-worker.tomlKey" $key) (include "fusion-worker.tomlValue" $value)) -}}
{{- end -}}
{{- printf "{%s}" (join ", " $all) -}}
{{- else -}}
{{- toJson . -}}
{{- end -}}
{{- end -}}

{{/* Seconds of a duration such as 500ms or 1.5h, rounded up. */}}
{{- define "fusion-worker.seconds" -}}
{{- $unit := regexFind "(us|ms|s|m|h|d)$" . -}}
{{- $number := trimSuffix $unit . | trim | float64 -}}
{{- $factor := get (dict "us" 0.000001 "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0) $unit -}}
{{- mulf $number $factor | ceil | int64 -}}
{{- end -}}

{{/*
What a pod has after SIGTERM. The worker itself ends within drain_timeout + 5 s whatever a library does
(worker/ops/watchdog.py: 4 s to close, 1 s to tell); 5 s more are the kubelet's and the runtime's.
*/}}
{{- define "fusion-worker.graceSeconds" -}}
{{- $drain := dig "delivery" "drain_timeout" "10s" .Values.config -}}
{{- add (include "fusion-worker.seconds" $drain | int64) 10 -}}
{{- end -}}

{{- define "fusion-worker.kafkaPorts" -}}
{{- $ports := list -}}
{{- range splitList "," (dig "kafka" "bootstrap_servers" "localhost:9092" .Values.config) -}}
{{- $ports = append $ports (regexFind "[0-9]+$" (trim .) | int) -}}
{{- end -}}
{{- range .Values.networkPolicy.kafka.ports -}}{{- $ports = append $ports (int .) -}}{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}

{{- define "fusion-worker.redisPorts" -}}
{{- $url := dig "redis" "url" "redis://localhost:6379/0" .Values.config -}}
{{- $ports := list -}}
{{- if not (hasPrefix "unix:" $url) -}}
{{- $host := $url | trimPrefix "rediss://" | trimPrefix "redis://" | regexFind "^[^/?]*" -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" $host | trimPrefix ":" | default "6379" | int) -}}
{{- end -}}
{{- range .Values.networkPolicy.redis.ports -}}{{- $ports = append $ports (int .) -}}{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}
