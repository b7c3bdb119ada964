{{- /*
The relay as a native sidecar, for the pod of a model service: starts before it, stops after it. It has no readiness probe, so
nothing it waits for takes the model's pod out of a Service, and its start waits for nothing but its own process.

For other charts, with this one as a dependency:

    initContainers:
      {{- include "tokenstream.sidecar" (dict "context" .) | nindent 8 }}
    volumes:
      {{- include "tokenstream.sidecar.volumes" (dict "context" .) | nindent 8 }}
    terminationGracePeriodSeconds: {{ include "tokenstream.sidecar.terminationGracePeriodSeconds" (dict "context" .) }}

Settings are those of the dependency: values below `tokenstream:`, as `settings`, `secrets`, `sidecar` and `image`, with
`mode: library` so that nothing else is made. Under an alias, add "subchart" with it to the dict. Pods labelled
`tokenstream.dev/sidecar: "true"` are found by the PodMonitor.
*/}}
{{- define "tokenstream.sidecar" -}}
- {{ include "tokenstream.sidecar.container" . | nindent 2 | trim }}
{{- with include "tokenstream.bridge.container" . }}
- {{ . | nindent 2 | trim }}
{{- end }}
{{- end -}}

{{- define "tokenstream.sidecar.container" -}}
{{- $root := include "tokenstream.sidecar.root" . | fromYaml -}}
{{- $of := dict "root" $root "role" "relay" "sidecar" true "args" (list "relay") "resources" $root.Values.sidecar.resources -}}
{{- include "tokenstream.container" $of }}
restartPolicy: Always
{{ include "tokenstream.serving" $of }}
{{- end -}}

{{- /*
The bridge, where `bridge.enabled` is set: the model service's own container reaches it on loopback, so no probe can. It starts after the
relay's sidecar and so stops before it.
*/}}
{{- define "tokenstream.bridge.container" -}}
{{- $root := include "tokenstream.sidecar.root" . | fromYaml -}}
{{- if $root.Values.bridge.enabled -}}
{{- $of := dict "root" $root "role" "bridge" -}}
{{- if not (get (include "tokenstream.settings" $of | fromJson) "BRIDGE_UPSTREAM") -}}
{{- fail "\n\nbridge.settings.BRIDGE_UPSTREAM is not set, which the bridge needs: give the model server, as http://localhost:8000/v1.\n" -}}
{{- end -}}
{{- $container := dict "beside" true "name" "tokenstream-bridge" "volume" "tokenstream-bridge-secrets" "args" (list "bridge") "resources" $root.Values.bridge.resources -}}
{{- include "tokenstream.container" (merge $container $of) }}
restartPolicy: Always
{{- end -}}
{{- end -}}

{{- /*
Its secrets, and an empty folder. Kubernetes puts the service account's token into every container that has no mount at its place:
whether the pod has one is the model service's to decide, and the sidecar needs none.
*/}}
{{- define "tokenstream.sidecar.volumes" -}}
{{- $root := include "tokenstream.sidecar.root" . | fromYaml -}}
{{- $volumes := include "tokenstream.volumes" (dict "root" $root "role" "relay") | fromJsonArray -}}
{{- if $root.Values.bridge.enabled -}}
{{- $of := dict "root" $root "role" "bridge" "volume" "tokenstream-bridge-secrets" -}}
{{- $volumes = concat $volumes (include "tokenstream.volumes" $of | fromJsonArray) -}}
{{- end -}}
{{- append $volumes (dict "name" "tokenstream-no-token" "emptyDir" dict) | toYaml -}}
{{- end -}}

{{- /*
Seconds a pod with the sidecar needs to terminate: first the model service stops, then the bridge, if there is one, then the sidecar drains.
*/}}
{{- define "tokenstream.sidecar.terminationGracePeriodSeconds" -}}
{{- $root := include "tokenstream.sidecar.root" . | fromYaml -}}
{{- $settings := include "tokenstream.settings" (dict "root" $root "role" "relay" "sidecar" true) | fromJson -}}
{{- add (int $root.Values.sidecar.modelStopSeconds) (include "tokenstream.bridge.stopSeconds" (dict "root" $root) | int) (get $settings "DRAIN_TIMEOUT" | default "20" | float64 | ceil | int) 10 -}}
{{- end -}}

{{- /* Seconds the bridge may take to stop; 0 without one. Argument: root. */}}
{{- define "tokenstream.bridge.stopSeconds" -}}
{{- $settings := include "tokenstream.settings" (dict "root" .root "role" "bridge") | fromJson -}}
{{- ternary (get $settings "DRAIN_TIMEOUT" | default "20" | float64 | ceil | int) 0 .root.Values.bridge.enabled -}}
{{- end -}}

{{- /* This chart's own view of the values, seen from itself or from the chart that depends on it. Argument: context. */}}
{{- define "tokenstream.sidecar.root" -}}
{{- $context := .context -}}
{{- if ne $context.Chart.Name "tokenstream" -}}
{{- $context = index $context.Subcharts (.subchart | default "tokenstream") -}}
{{- end -}}
{{- $of := dict "root" (dict "Values" $context.Values "Chart" $context.Chart) "role" "relay" "sidecar" true -}}
{{- if not (get (include "tokenstream.settings" $of | fromJson) "KAFKA_BOOTSTRAP_SERVERS") -}}
{{- fail "\n\nsettings.KAFKA_BOOTSTRAP_SERVERS is not set, which the sidecar needs: give the brokers, as kafka:9092.\n" -}}
{{- end -}}
{{- if not (or (hasKey $context.Values.secrets "ABLY_KEY") (hasKey $context.Values.secretValues "ABLY_KEY")) -}}
{{- fail "\n\nsecrets.ABLY_KEY is not set, which the sidecar needs: name a Secret that holds the key, as secrets.ABLY_KEY.name=tokenstream.\n" -}}
{{- end -}}
Values:
  {{- $context.Values | toYaml | nindent 2 }}
Chart:
  Name: {{ $context.Chart.Name }}
  Version: {{ $context.Chart.Version | quote }}
  AppVersion: {{ $context.Chart.AppVersion | quote }}
Release:
  Name: {{ $context.Release.Name }}
  Namespace: {{ $context.Release.Namespace }}
  Service: {{ $context.Release.Service }}
{{- end -}}
