{{- /*
A value as CEL, typed as admission policies want it: an object at a path of the pod is `Object.<path>{...}`, so that the API
server refuses a field that does not exist. What the API calls a map (of quantities) stays a map. Argument: value, path.
*/}}
{{- define "tokenstream.cel" -}}
{{- if kindIs "map" .value -}}
{{- $map := has (splitList "." .path | last) (list "requests" "limits") -}}
{{- $fields := list -}}
{{- range $name, $field := .value -}}
{{- $text := "" -}}
{{- if kindOf $field | eq "string" | and (hasPrefix "cel: " (toString $field)) -}}
{{- $text = trimPrefix "cel: " $field -}}
{{- else -}}
{{- $text = include "tokenstream.cel" (dict "value" $field "path" (printf "%s.%s" $.path $name)) -}}
{{- end -}}
{{- $fields = append $fields (printf "%s: %s" (ternary ($name | quote) $name $map) $text) -}}
{{- end -}}
{{ if not $map }}{{ .path }}{{ end }}{ {{- join ", " $fields -}} }
{{- else if kindIs "slice" .value -}}
{{- $items := list -}}
{{- range .value -}}
{{- $items = append $items (include "tokenstream.cel" (dict "value" . "path" $.path)) -}}
{{- end -}}
[{{ join ", " $items }}]
{{- else if kindIs "string" .value -}}
{{ .value | quote }}
{{- else if kindIs "float64" .value -}}
{{ .value | int64 }}
{{- else -}}
{{ .value | toJson }}
{{- end -}}
{{- end -}}
