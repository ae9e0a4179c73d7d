{{- /* What of the command line is of agentgateways (docs/agentgateway.md). */ -}}
{{- define "vidimus.xds" -}}
{{- if .Values.xds.enabled }}
{{- $host := printf "%s.%s.svc" (include "vidimus.fullname" .) .Release.Namespace }}
{{- with .Values.xds }}
- --xds=0.0.0.0:{{ .port }}
- {{ printf "--xds-name=%s" $host | quote }}
{{- range .gateways }}
- {{ printf "--xds-gateway=%s" . | quote }}
{{- end }}
- --xds-port={{ .gatewayPort }}
- {{ printf "--xds-ext-authz=%s" (default (printf "%s:%v" $host $.Values.extAuthz.port) .extAuthzAddress) | quote }}
- {{ printf "--xds-ext-authz-id=%s" .extAuthzId | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "vidimus.checkXds" -}}
{{- with .Values.xds -}}
{{- if .enabled -}}
{{- if not $.Values.extAuthz.enabled -}}
{{- fail "xds: set extAuthz.enabled: gateways ask there about each call" -}}
{{- end -}}
{{- if not .gateways -}}
{{- fail "xds.gateways: name who may have routes by NAMESPACE/NAME of its ServiceAccount" -}}
{{- end -}}
{{- if not $.Values.serviceAccountTokens.issuer -}}
{{- fail "xds: gateways are known by tokens of ServiceAccounts: set serviceAccountTokens.issuer" -}}
{{- end -}}
{{- if not (and .extAuthzId $.Values.tls.existingSecret) -}}
{{- fail "xds.extAuthzId: the SPIFFE ID of tls.existingSecret, or somebody between could say yes in its place; both are set" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
