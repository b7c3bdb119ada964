{{- /* The Deployment of one role. Argument: root, role, grace (seconds), readiness (whether it can be not ready). */}}
{{- define "tokenstream.deployment" -}}
{{- $root := .root -}}
{{- $own := index $root.Values .role -}}
{{- $of := merge (dict "args" (list .role) "resources" $own.resources) . -}}
{{- $scaled := or $own.hpa.enabled (dig "keda" "enabled" false $own) -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "tokenstream.metadata" . | nindent 2 }}
spec:
  {{- if not $scaled }}
  replicas: {{ $own.replicas }}
  {{- end }}
  minReadySeconds: 5
  revisionHistoryLimit: 5
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
  selector:
    matchLabels:
      {{- include "tokenstream.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "tokenstream.labels" . | nindent 8 }}
        {{- with $own.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $own.podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "tokenstream.serviceAccountName" $root }}
      {{- include "tokenstream.pod" . | nindent 6 }}
      terminationGracePeriodSeconds: {{ .grace }}
      containers:
        - {{ include "tokenstream.container" $of | nindent 10 | trim }}
          {{- include "tokenstream.serving" $of | nindent 10 }}
          readinessProbe:
            httpGet:
              path: /readyz
              port: tokenstream
            periodSeconds: {{ $root.Values.probePeriodSeconds }}
            timeoutSeconds: 5
            failureThreshold: 2
          {{- if has .role (list "api" "gateway") }}
          # Load balancers go on sending for a moment after a pod was told to stop.
          lifecycle:
            preStop:
              sleep:
                seconds: 5
          {{- end }}
      {{- with include "tokenstream.volumes" $of | fromJsonArray }}
      volumes:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
        {{- if kindIs "invalid" $own.topologySpreadConstraints }}
        {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
        - maxSkew: 1
          topologyKey: {{ . }}
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "tokenstream.selector" $of | nindent 14 }}
          matchLabelKeys: [pod-template-hash]
        {{- end }}
        {{- else }}
        {{- toYaml $own.topologySpreadConstraints | nindent 8 }}
        {{- end }}
      {{- with $own.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $own.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $own.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $own.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
{{- end -}}
