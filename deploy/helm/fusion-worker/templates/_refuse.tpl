{{/* The keys of the configuration that are secrets; a test holds this list against the worker's own. */}}
{{- define "fusion-worker.secretKeys" -}}
feeds.mqtt.password kafka.sasl_plain_password kafka.ssl_password redis.password sinks.mqtt.password sinks.sql.url sinks.webhook.authorization sinks.webhook.secret sinks.webhook.url traces.header
{{- end -}}

{{/* What a schema cannot say: one line each, with the remedy. */}}
{{- define "fusion-worker.refuse" -}}
{{- $config := .Values.config -}}
{{- range splitList " " (include "fusion-worker.secretKeys" .) -}}
{{- $found := $config -}}
{{- range splitList "." . -}}
{{- $found = kindIs "map" $found | ternary $found dict | dig . "" -}}
{{- end -}}
{{- if $found -}}
{{- fail (printf "config.%s: is a secret, and config is no place for one; name its Secret in secrets.existingSecret and its key in secrets.keys" .) -}}
{{- end -}}
{{- end -}}
{{- if and (eq (default "" .Values.image.tag) "latest") (not .Values.image.digest) -}}
{{- fail "image.tag: is latest, which is another image tomorrow; name a version, or give image.digest" -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if hasPrefix "FUSION__" (upper .name) -}}
{{- fail (printf "extraEnv: %s is of the configuration; give it in config, which probes, ports and the time to end follow, or by secrets.keys where it is a secret" .name) -}}
{{- end -}}
{{- end -}}
{{- $url := dig "redis" "url" "" $config -}}
{{- if or (regexMatch "^[a-z]+://[^/?]*:[^/?@]*@" $url) (regexMatch "[?&](ssl_)?password=" $url) -}}
{{- fail "config.redis.url: holds a password; give it by secrets.keys, as redis.password (or the whole address as redis.url)" -}}
{{- end -}}
{{- if and .Values.secrets.keys (not .Values.secrets.existingSecret) (not .Values.secrets.volume) -}}
{{- fail "secrets.keys: needs secrets.existingSecret, the Secret that has them, or secrets.volume" -}}
{{- end -}}
{{- if and .Values.secrets.existingSecret .Values.secrets.volume -}}
{{- fail "secrets.volume: is given beside secrets.existingSecret; give one of them" -}}
{{- end -}}
{{- if and .Values.gpu.count (eq (dig "model" "device" "auto" $config) "cpu") -}}
{{- fail (printf "config.model.device: is cpu, and gpu.count gives each worker %v; make it auto or cuda, or gpu.count 0" .Values.gpu.count) -}}
{{- end -}}
{{- if and (not .Values.gpu.count) (hasPrefix "cuda" (dig "model" "device" "auto" $config)) -}}
{{- fail "config.model.device: asks for a GPU, and gpu.count is 0; give each worker one by gpu.count=1" -}}
{{- end -}}
{{- if and (hasPrefix "/models" (default "" (dig "model" "path" "" $config))) (not .Values.model.volume) -}}
{{- fail "config.model.path: lies in /models, where nothing is mounted; give model.volume" -}}
{{- end -}}
{{- if and (eq (int .Values.strategy.maxSurge) 0) (eq (int .Values.strategy.maxUnavailable) 0) -}}
{{- fail "strategy: maxSurge and maxUnavailable are both 0, so no pod could ever be replaced; make one of them 1" -}}
{{- end -}}
{{- include "fusion-worker.refuseScaling" . -}}
{{- if and (dig "http" "token_file" "" $config) .Values.serviceMonitor.enabled (not .Values.serviceMonitor.authorization) -}}
{{- fail "serviceMonitor.authorization: must name the Secret of the token that config.http.token_file makes /metrics ask for" -}}
{{- end -}}
{{- end -}}

{{- define "fusion-worker.refuseScaling" -}}
{{- $scaling := .Values.scaling -}}
{{- if $scaling.enabled -}}
{{- if not $scaling.anchorPartitions -}}
{{- fail "scaling.anchorPartitions: must be given with scaling.enabled: how many partitions the anchor's topic has; more workers than these have nothing to do" -}}
{{- end -}}
{{- $most := int (default $scaling.anchorPartitions $scaling.maxReplicas) -}}
{{- if gt $most (int $scaling.anchorPartitions) -}}
{{- fail (printf "scaling.maxReplicas: is %d, and the anchor's topic has %d partitions (scaling.anchorPartitions); more workers than partitions have nothing to do" $most (int $scaling.anchorPartitions)) -}}
{{- end -}}
{{- if gt (int $scaling.minReplicas) $most -}}
{{- fail (printf "scaling.minReplicas: is %d, more than the most workers, %d" (int $scaling.minReplicas) $most) -}}
{{- end -}}
{{- if not .Values.serviceMonitor.enabled -}}
{{- fail "scaling.enabled: the rule looks at metrics by the labels that serviceMonitor gives them; set serviceMonitor.enabled" -}}
{{- end -}}
{{- end -}}
{{- end -}}
