{{- /* The roles this release runs as Deployments, as JSON list. */}}
{{- define "tokenstream.roles" -}}
{{- $roles := list -}}
{{- if eq .Values.mode "deployment" -}}{{- $roles = append $roles "relay" -}}{{- end -}}
{{- if and .Values.archive.enabled (ne .Values.mode "library") -}}{{- $roles = append $roles "archive" -}}{{- end -}}
{{- if and .Values.api.enabled (ne .Values.mode "library") -}}{{- $roles = append $roles "api" -}}{{- end -}}
{{- if and .Values.gateway.enabled (ne .Values.mode "library") -}}{{- $roles = append $roles "gateway" -}}{{- end -}}
{{- $roles | toJson -}}
{{- end -}}
