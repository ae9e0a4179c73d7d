{{- /* The command line of `vidimus serve`, one list; e2e/chart holds it to what the binary knows. */ -}}
{{- define "vidimus.args" -}}
{{- $name := include "vidimus.fullname" . -}}
- serve
{{- if eq .Values.mode "cluster" }}
{{- if .Values.registry.separate }}
- --registry={{ $name }}-registry.{{ .Release.Namespace }}.svc:9444
- {{ printf "--registry-id=%s" .Values.registry.id | quote }}
- --registry-cert=/etc/vidimus/registry/tls.crt
- --registry-key=/etc/vidimus/registry/tls.key
- --registry-bundle=/etc/vidimus/registry/ca.crt
{{- else }}
- --cluster
{{- end }}
{{- range .Values.namespaces }}
- {{ printf "--namespace=%s" . | quote }}
{{- end }}
{{- if .Values.pods.enabled }}
- --pods
{{- end }}
{{- else }}
- --resources=/etc/vidimus/objects
{{- end }}
- --data=/var/lib/vidimus
- --tls-listen=0.0.0.0:8443
{{- if .Values.tls.existingSecret }}
- --tls-cert=/etc/vidimus/tls/tls.crt
- --tls-key=/etc/vidimus/tls/tls.key
{{- end }}
{{- if .Values.plainHttp.enabled }}
- --listen=0.0.0.0:8080
- --insecure-listen
{{- end }}
- --admin=0.0.0.0:9901
- --admin-name={{ $name }}-admin.{{ .Release.Namespace }}.svc
{{- with .Values.admin }}
{{- with .url }}
- {{ printf "--admin-url=%s" . | quote }}
{{- end }}
{{- range .operatorIssuers }}
- {{ printf "--operator-issuer=%s" . | quote }}
{{- end }}
{{- range .operatorAudiences }}
- {{ printf "--operator-audience=%s" . | quote }}
{{- end }}
{{- if and .operatorIssuers (ne .groupsClaim "groups") }}
- {{ printf "--operator-groups-claim=%v" .groupsClaim | quote }}
{{- end }}
{{- end }}
{{- with .Values.serviceAccountTokens.issuer }}
- {{ printf "--service-account-issuer=%s" . | quote }}
{{- if include "vidimus.clusterCa" $ }}
- {{ printf "--issuer-ca=%s=/etc/vidimus/cluster-ca/ca.crt" . | quote }}
{{- end }}
{{- end }}
{{- range .Values.trustBundles }}
- {{ printf "--trust-bundle=%s=/etc/vidimus/trust-bundles/%s" .trustDomain .trustDomain | quote }}
{{- end }}
{{- if .Values.secrets }}
- --secrets=/etc/vidimus/secrets
{{- end }}
{{- with .Values.gateway }}
{{- with .publicUrl }}
- {{ printf "--public-url=%s" . | quote }}
{{- end }}
{{- range .audiences }}
- {{ printf "--audience=%s" . | quote }}
{{- end }}
{{- range .allowOrigins }}
- {{ printf "--allow-origin=%s" . | quote }}
{{- end }}
{{- range .denyUpstream }}
- {{ printf "--deny-upstream=%s" . | quote }}
{{- end }}
{{- range .allowUpstream }}
- {{ printf "--allow-upstream=%s" . | quote }}
{{- end }}
- {{ printf "--max-body=%v" .maxBody | quote }}
- {{ printf "--durability=%v" .durability | quote }}
{{- with .threads }}
- {{ printf "--threads=%v" . | quote }}
{{- end }}
- {{ printf "--log=%v" .log | quote }}
- --log-json
{{- end }}
{{- with .Values.ledger }}
{{- with .reserve }}
- {{ printf "--disk-reserve=%s" . | quote }}
{{- end }}
{{- with .keepRecords }}
- {{ printf "--keep-records=%s" . | quote }}
{{- end }}
{{- end }}
{{- with .Values.archive.place }}
- {{ printf "--archive=%s" . | quote }}
{{- end }}
{{- range .Values.witnesses }}
- {{ printf "--witness=%s %s" .key .url | quote }}
{{- end }}
{{- with .Values.witnessQuorum }}
- {{ printf "--witness-quorum=%v" . | quote }}
{{- end }}
{{- range .Values.sinks }}
- {{ printf "--sink=%s" . | quote }}
{{- end }}
{{- if .Values.clickhouse.enabled }}
- {{ printf "--sink=%v" .Values.clickhouse.url | quote }}
{{- end }}
{{- with .Values.otlp.endpoint }}
- {{ printf "--otlp-endpoint=%s" . | quote }}
{{- end }}
{{- if .Values.jobs.enabled }}
- --jobs
{{- end }}
{{- if .Values.traces.enabled }}
- --traces
- {{ printf "--trace-retention=%v" .Values.traces.retention | quote }}
- {{ printf "--trace-bytes=%v" .Values.traces.bytes | quote }}
{{- end }}
{{- if not .Values.index.enabled }}
- --no-index
{{- end }}
{{- if .Values.approvalWebhook.existingSecret }}
- {{ printf "--webhook-secret=%v" .Values.approvalWebhook.signingFile | quote }}
{{- end }}
{{- if .Values.sharedKeys.existingSecret }}
- --shared-keys=/etc/vidimus/shared-keys
{{- end }}
{{- with .Values.standing }}
{{- if .password }}
- --standing-password=/etc/vidimus/standing/password
{{- end }}
{{- if .ca }}
- --standing-ca=/etc/vidimus/standing/ca.crt
{{- end }}
{{- if .clientCertificate }}
- --standing-cert=/etc/vidimus/standing/tls.crt
- --standing-key=/etc/vidimus/standing/tls.key
{{- end }}
{{- end }}
{{- if .Values.admission.enabled }}
- --admission=0.0.0.0:9443
- --admission-name={{ $name }}-admission.{{ .Release.Namespace }}.svc
{{- if .Values.admission.clientCaSecret }}
- --admission-client-ca=/etc/vidimus/admission-client-ca/ca.crt
{{- end }}
{{- end }}
{{- if .Values.extAuthz.enabled }}
- --ext-authz=0.0.0.0:{{ .Values.extAuthz.port }}
{{- range .Values.extAuthz.dataPlanes }}
- {{ printf "--ext-authz-data-plane=%s" . | quote }}
{{- end }}
{{- if .Values.extAuthz.certificates }}
- --ext-authz-certificates
{{- end }}
{{- if .Values.extAuthz.rawSessions }}
- --ext-authz-raw-sessions
{{- end }}
{{- end }}
{{- include "vidimus.xds" . }}
{{- with .Values.gateway.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* What has a secret in it comes by the environment, out of a Secret. */ -}}
{{- define "vidimus.env" -}}
# What its log is called in checkpoints: by the pod, which has it on its claim.
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
- {name: VIDIMUS_LOG_NAME, value: vidimus.local/$(POD_NAMESPACE)/$(POD_NAME)}
{{- with .Values.standing.existingSecret }}
- name: VIDIMUS_STANDING
  valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: url}}
{{- end }}
{{- with .Values.approvalWebhook.existingSecret }}
- name: VIDIMUS_WEBHOOK
  valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: url}}
{{- end }}
{{- with .Values.archive.region }}
- {name: AWS_REGION, value: {{ . | quote }}}
{{- end }}
{{- with .Values.archive.endpoint }}
- {name: AWS_ENDPOINT_URL_S3, value: {{ . | quote }}}
{{- end }}
{{- if and .Values.admission.enabled .Values.admission.keysSecret }}
# Not a flag: `vidimus admission manifests` in the pod prints what is there, too.
- {name: VIDIMUS_ADMISSION_KEYS, value: /etc/vidimus/admission-keys}
{{- end }}
{{- with .Values.gateway.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The Secrets with keys of the installation, by where they are mounted. */ -}}
{{- define "vidimus.keyMounts" -}}
{{- if .Values.registry.separate }}
registry: {{ .Values.registry.gatewaySecret }}
{{- end }}
{{- with .Values.sharedKeys.existingSecret }}
shared-keys: {{ . | quote }}
{{- end }}
{{- with .Values.standing }}
{{- if or .password .ca .clientCertificate }}
standing: {{ .existingSecret | quote }}
{{- end }}
{{- end }}
{{- with .Values.admission }}
{{- if and .enabled .keysSecret }}
admission-keys: {{ .keysSecret | quote }}
{{- end }}
{{- if and .enabled .clientCaSecret }}
admission-client-ca: {{ .clientCaSecret | quote }}
{{- end }}
{{- end }}
{{- end -}}
