{{- define "tokenstream.hook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{- /* A Job that runs one command before each install and upgrade. Argument: root, role, args, weight, timeout. */}}
{{- define "tokenstream.job" -}}
{{- $of := merge (dict "resources" (dict "requests" (dict "cpu" "50m" "memory" "128Mi") "limits" (dict "memory" "256Mi")) "secretName" (printf "%s-hook" (include "tokenstream.fullname" .root))) . -}}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "tokenstream.metadata" (dict "root" .root "role" .role "annotations" (include "tokenstream.hook" .weight | fromYaml)) | nindent 2 }}
spec:
  backoffLimit: 10
  activeDeadlineSeconds: {{ .timeout }}
  template:
    metadata:
      labels:
        {{- include "tokenstream.labels" . | nindent 8 }}
    spec:
      restartPolicy: Never
      {{- include "tokenstream.pod" . | nindent 6 }}
      containers:
        - {{ include "tokenstream.container" $of | nindent 10 | trim }}
      {{- with include "tokenstream.volumes" $of | fromJsonArray }}
      volumes:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end -}}
