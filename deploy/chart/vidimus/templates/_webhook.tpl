{{- /* The key in the path (hex), and the CA (base64 of PEM): of the values, or of the Secret that the gateway has them from. */ -}}
{{- define "vidimus.webhookKeys" -}}
{{- $webhook := .Values.admission.webhook -}}
{{- $secret := dict -}}
{{- if not $webhook.key -}}
{{- $secret = default dict (lookup "v1" "Secret" .Release.Namespace .Values.admission.keysSecret).data -}}
{{- if not (index $secret "path") -}}
{{- fail (printf "admission.webhook: there is no Secret %s/%s with `path` and `ca.pem` (vidimus admission ca --data keys; kubectl create secret generic %s --from-file keys/admission), or no cluster is read: give admission.webhook.key and caBundle" .Release.Namespace .Values.admission.keysSecret .Values.admission.keysSecret) -}}
{{- end -}}
{{- end -}}
key: {{ default (printf "%x" (index $secret "path" | default "" | b64dec)) $webhook.key | quote }}
{{- if not $webhook.certManager }}
caBundle: {{ $webhook.caBundle | b64enc | default (index $secret "ca.pem") | required "admission.webhook.caBundle: the CA that signs the webhook's certificate, as PEM (vidimus admission ca), or certManager" | quote }}
{{- end }}
{{- end -}}

{{- define "vidimus.checkWebhook" -}}
{{- with .Values.admission -}}
{{- if .webhook.enabled -}}
{{- if not (and .enabled .keysSecret) -}}
{{- fail "admission.webhook: set admission.enabled and admission.keysSecret, or nobody answers by the keys that the API server is given" -}}
{{- end -}}
{{- if and .webhook.key (not (or .clientCaSecret $.Values.networkPolicy.apiServer)) -}}
{{- fail "admission.webhook.key: whoever reads these values is taken for the API server by it; set admission.clientCaSecret or networkPolicy.apiServer, or leave it out" -}}
{{- end -}}
{{- if and .webhook.certManager .webhook.caBundle -}}
{{- fail "admission.webhook: caBundle or certManager, and not both: they would undo each other" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
