{{- /*
Which roles a setting concerns, by the beginning of its name: credentials go where they are needed and nowhere else.
Argument: root, role, name. Empty where it does not concern the role.
*/}}
{{- define "tokenstream.concerns" -}}
{{- $roles := list "relay" "archive" "api" "gateway" "bridge" "topics" "migrate" "test" -}}
{{- if hasPrefix "STORE_" .name -}}
{{- $roles = list "archive" "api" "gateway" "migrate" "test" -}}
{{- else if hasPrefix "ABLY_" .name -}}
{{- $roles = list "relay" "api" "test" -}}
{{- else if or (hasPrefix "API_" .name) (hasPrefix "CORS_" .name) -}}
{{- $roles = list "api" "gateway" -}}
{{- else if hasPrefix "GATEWAY_" .name -}}
{{- $roles = list "gateway" -}}
{{- else if hasPrefix "BRIDGE_" .name -}}
{{- $roles = list "bridge" -}}
{{- else if hasPrefix "KAFKA_" .name -}}
{{- $roles = without $roles "migrate" -}}
{{- end -}}
{{- if has .role $roles }}yes{{ end -}}
{{- end -}}

{{- /*
A secret that concerns a role but is not needed there. With verification keys of its own the api needs no key that may publish, unless
it probes. Argument: root, role, name.
*/}}
{{- define "tokenstream.spared" -}}
{{- if and (eq .role "api") (eq .name "ABLY_KEY") -}}
{{- $keys := or (hasKey .root.Values.secrets "API_ABLY_KEYS") (hasKey .root.Values.secretValues "API_ABLY_KEYS") -}}
{{- $probes := get (include "tokenstream.settings" (dict "root" .root "role" "api") | fromJson) "PROBE_CHANNEL" -}}
{{- if and $keys (not $probes) }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{- /* Plain settings of a role, by name, as JSON. Argument: root, role. */}}
{{- define "tokenstream.settings" -}}
{{- $root := .root -}}
{{- $role := .role -}}
{{- $own := dict -}}
{{- if .sidecar -}}
{{- $own = $root.Values.sidecar.settings -}}
{{- else if hasKey $root.Values $role -}}
{{- $own = (index $root.Values $role).settings | default dict -}}
{{- end -}}
{{- /* Not sprig's merge, which takes false, 0 and "" of a role for not given; null is not given. */}}
{{- $given := dict -}}
{{- range $settings := list $root.Values.settings $own -}}
{{- range $name, $value := $settings -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $given $name $value -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $found := dict -}}
{{- range $name, $value := $given -}}
{{- $text := ternary (int64 $value | toString) (toString $value) (and (kindIs "float64" $value) (eq (floor $value) $value)) -}}
{{- if and (ne $text "") (include "tokenstream.concerns" (dict "name" $name "role" $role)) -}}
{{- $_ := set $found $name $text -}}
{{- end -}}
{{- end -}}
{{- $found | toJson -}}
{{- end -}}

{{- /* Secret settings of a role: name -> {name, key}, as JSON. Argument: root, role. */}}
{{- define "tokenstream.secrets" -}}
{{- $found := dict -}}
{{- range $name, $_ := .root.Values.secretValues -}}
{{- if and (include "tokenstream.concerns" (dict "name" $name "role" $.role)) (not (include "tokenstream.spared" (dict "name" $name "role" $.role "root" $.root))) -}}
{{- $_ := set $found $name (dict "name" ($.secretName | default (include "tokenstream.fullname" $.root)) "key" ($name | lower | replace "_" "-")) -}}
{{- end -}}
{{- end -}}
{{- range $name, $source := .root.Values.secrets -}}
{{- if and (include "tokenstream.concerns" (dict "name" $name "role" $.role)) (not (include "tokenstream.spared" (dict "name" $name "role" $.role "root" $.root))) -}}
{{- $_ := set $found $name (dict "name" $source.name "key" ($source.key | default ($name | lower | replace "_" "-"))) -}}
{{- end -}}
{{- end -}}
{{- $found | toJson -}}
{{- end -}}

{{- define "tokenstream.secretsPath" -}}
/run/secrets/tokenstream
{{- end -}}

{{- /* The environment of a role, as JSON list. Argument: root, role, sidecar. */}}
{{- define "tokenstream.env" -}}
{{- $env := list -}}
{{- range $name, $value := include "tokenstream.settings" . | fromJson -}}
{{- $env = append $env (dict "name" (printf "TOKENSTREAM_%s" $name) "value" $value) -}}
{{- end -}}
{{- range $env_ := include "tokenstream.secretEnv" . | fromJsonArray -}}
{{- $env = append $env $env_ -}}
{{- end -}}
{{- range .root.Values.extraEnv -}}
{{- $env = append $env . -}}
{{- end -}}
{{- $env | toJson -}}
{{- end -}}

{{- /* Where the secret settings lie. Settings that are themselves the path of a file are given as they are. */}}
{{- define "tokenstream.secretEnv" -}}
{{- $env := list -}}
{{- range $name, $_ := include "tokenstream.secrets" . | fromJson -}}
{{- $variable := ternary $name (printf "%s_FILE" $name) (has $name (list "KAFKA_SSL_CAFILE" "KAFKA_SSL_CERTFILE" "KAFKA_SSL_KEYFILE")) -}}
{{- $path := printf "%s/%s" (include "tokenstream.secretsPath" $) ($name | lower | replace "_" "-") -}}
{{- $env = append $env (dict "name" (printf "TOKENSTREAM_%s" $variable) "value" $path) -}}
{{- end -}}
{{- $env | toJson -}}
{{- end -}}

{{- /*
Volumes of a role, as JSON list: its secrets as files, and nothing else. They are readable for all, as the pod's group is not
ours in a sidecar; only the containers that mount the volume see it. Argument: root, role, volume.
*/}}
{{- define "tokenstream.volumes" -}}
{{- $sources := dict -}}
{{- range $name, $source := include "tokenstream.secrets" . | fromJson -}}
{{- $item := dict "key" $source.key "path" ($name | lower | replace "_" "-") -}}
{{- $_ := set $sources $source.name (append (get $sources $source.name | default list) $item) -}}
{{- end -}}
{{- $projected := list -}}
{{- range $secret, $items := $sources -}}
{{- $projected = append $projected (dict "secret" (dict "name" $secret "items" $items)) -}}
{{- end -}}
{{- if $projected -}}
{{- list (dict "name" (.volume | default "tokenstream-secrets") "projected" (dict "defaultMode" 292 "sources" $projected)) | toJson -}}
{{- else -}}
[]
{{- end -}}
{{- end -}}
