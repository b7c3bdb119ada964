{{- /* Values that are right each by itself, but can't work together: said at once, in one sentence each, with what to do. */}}
{{- define "tokenstream.checks" -}}
{{- $settings := include "tokenstream.settings" (dict "root" . "role" "relay") | fromJson -}}
{{- $given := merge (dict) .Values.secrets .Values.secretValues -}}
{{- $direct := eq (get $settings "REALTIME" | default "ably") "direct" -}}
{{- $wrong := list -}}
{{- if and .Values.gateway.enabled (not $direct) -}}
{{- $wrong = append $wrong "gateway.enabled needs settings.REALTIME=direct: with Ably nothing is published to the frames topic." -}}
{{- end -}}
{{- if not (get $settings "KAFKA_BOOTSTRAP_SERVERS") -}}
{{- $wrong = append $wrong "settings.KAFKA_BOOTSTRAP_SERVERS is not set: give the brokers, as kafka:9092." -}}
{{- end -}}
{{- range $name, $_ := .Values.secrets -}}
{{- if hasKey $.Values.secretValues $name -}}
{{- $wrong = append $wrong (printf "%s is in secrets and in secretValues: keep one." $name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := $given -}}
{{- if get $.Values.settings $name -}}
{{- $wrong = append $wrong (printf "%s is in settings and in secrets: keep one." $name) -}}
{{- end -}}
{{- end -}}
{{- if and (or (eq .Values.mode "deployment") .Values.injection.enabled) (not $direct) (not (hasKey $given "ABLY_KEY")) (not (get $settings "ABLY_KEY")) -}}
{{- $wrong = append $wrong "secrets.ABLY_KEY is not set: name a Secret that holds the key, as secrets.ABLY_KEY.name=tokenstream." -}}
{{- end -}}
{{- range $role := list "archive" "api" "gateway" -}}
{{- $own := include "tokenstream.settings" (dict "root" $ "role" $role) | fromJson -}}
{{- if and (index $.Values $role).enabled (not (hasKey $given "STORE_URL")) (not (get $own "STORE_URL")) -}}
{{- $wrong = append $wrong (printf "STORE_URL is not set, which %s needs: name a Secret in secrets.STORE_URL (or give settings.STORE_URL for a bucket), or set %s.enabled=false." $role $role) -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.mode "deployment" -}}
{{- $drain := get $settings "DRAIN_TIMEOUT" | default "20" | float64 -}}
{{- $grace := .Values.relay.terminationGracePeriodSeconds -}}
{{- if and (not (kindIs "invalid" $grace)) (lt (float64 $grace) (addf $drain 10)) -}}
{{- $wrong = append $wrong (printf "relay.terminationGracePeriodSeconds is %v, and DRAIN_TIMEOUT %v: give %v or more, or drain for less." $grace $drain (addf $drain 10)) -}}
{{- end -}}
{{- end -}}
{{- if .Values.gateway.enabled -}}
{{- $drain := get (include "tokenstream.settings" (dict "root" . "role" "gateway") | fromJson) "DRAIN_TIMEOUT" | default "20" | float64 -}}
{{- $grace := .Values.gateway.terminationGracePeriodSeconds -}}
{{- if and (not (kindIs "invalid" $grace)) (lt (float64 $grace) (addf $drain 10)) -}}
{{- $wrong = append $wrong (printf "gateway.terminationGracePeriodSeconds is %v, and DRAIN_TIMEOUT %v: give %v or more, or drain for less." $grace $drain (addf $drain 10)) -}}
{{- end -}}
{{- end -}}
{{- range $role := list "archive" "api" -}}
{{- $grace := (index $.Values $role).terminationGracePeriodSeconds -}}
{{- if and (not (kindIs "invalid" $grace)) (lt (float64 $grace) 20.0) -}}
{{- $wrong = append $wrong (printf "%s.terminationGracePeriodSeconds is %v: give 20 or more." $role $grace) -}}
{{- end -}}
{{- end -}}
{{- range $role := list "relay" "archive" -}}
{{- $own := index $.Values $role -}}
{{- if and $own.hpa.enabled $own.keda.enabled -}}
{{- $wrong = append $wrong (printf "%s.hpa and %s.keda are both enabled: they would scale against each other; keep one." $role $role) -}}
{{- end -}}
{{- range $kind := list "hpa" "keda" -}}
{{- $scaling := index $own $kind -}}
{{- if and $scaling.enabled $.Values.topics.apply.enabled (gt (int $scaling.maxReplicas) (int $.Values.topics.apply.partitions)) -}}
{{- $wrong = append $wrong (printf "%s.%s.maxReplicas is %v, and topics.apply.partitions %v: those above it would have nothing to do." $role $kind $scaling.maxReplicas $.Values.topics.apply.partitions) -}}
{{- end -}}
{{- if and $scaling.enabled (gt (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- $wrong = append $wrong (printf "%s.%s.minReplicas is more than maxReplicas." $role $kind) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.injection.enabled (ne .Values.mode "sidecar") -}}
{{- $wrong = append $wrong "injection.enabled needs mode=sidecar." -}}
{{- end -}}
{{- if and .Values.injection.enabled (not (semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version)) -}}
{{- $wrong = append $wrong (printf "injection.enabled needs Kubernetes 1.36, and this is %s: use the template tokenstream.sidecar or the kustomize component." .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if $wrong -}}
{{- fail (printf "\n\n%s\n" (join "\n" $wrong)) -}}
{{- end -}}
{{- end -}}
