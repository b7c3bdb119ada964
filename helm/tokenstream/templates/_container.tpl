{{- define "tokenstream.securityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "tokenstream.port" -}}
{{- $settings := include "tokenstream.settings" . | fromJson -}}
{{- get $settings "HTTP_PORT" | default "8484" -}}
{{- end -}}

{{- /*
A container of a role: what is the same wherever it runs. Argument: root, role, sidecar (true for the relay as a sidecar), beside (true for
another container of that pod), name, volume, args, resources.
*/}}
{{- define "tokenstream.container" -}}
name: {{ .name | default (ternary "tokenstream" .role (.sidecar | default false)) }}
image: {{ include "tokenstream.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args:
  {{- toYaml .args | nindent 2 }}
env:
  {{- include "tokenstream.env" . | fromJsonArray | toYaml | nindent 2 }}
resources:
  {{- toYaml .resources | nindent 2 }}
securityContext:
  {{- include "tokenstream.securityContext" . | nindent 2 }}
terminationMessagePolicy: FallbackToLogsOnError
{{- $secrets := include "tokenstream.volumes" . | fromJsonArray }}
{{- $inPod := or .sidecar .beside }}
{{- if or $secrets $inPod }}
volumeMounts:
{{- if $secrets }}
  - name: {{ .volume | default "tokenstream-secrets" }}
    mountPath: {{ include "tokenstream.secretsPath" . }}
    readOnly: true
{{- end }}
{{- if $inPod }}
  - name: tokenstream-no-token
    mountPath: /var/run/secrets/kubernetes.io/serviceaccount
    readOnly: true
{{- end }}
{{- end }}
{{- end -}}

{{- /* The port, and the probe that restarts it. A process that answers is alive; what it waits for, a restart would not mend. */}}
{{- define "tokenstream.serving" -}}
ports:
  - name: tokenstream
    containerPort: {{ include "tokenstream.port" . }}
    protocol: TCP
{{- /* Long, for a busy node: a start takes seconds, but was seen to take 90, and killing it then only adds to the load. */}}
startupProbe:
  httpGet:
    path: /healthz
    port: tokenstream
  periodSeconds: 1
  failureThreshold: 180
livenessProbe:
  httpGet:
    path: /healthz
    port: tokenstream
  periodSeconds: {{ .root.Values.probePeriodSeconds }}
  timeoutSeconds: 3
  failureThreshold: 6
{{- end -}}

{{- /* What every pod of this release has. Argument: root, role. */}}
{{- define "tokenstream.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- end -}}
