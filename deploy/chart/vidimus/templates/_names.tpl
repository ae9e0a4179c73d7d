{{- define "vidimus.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- /* 50 of 63: a StatefulSet adds its ordinal and a hash. */ -}}
{{- define "vidimus.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "vidimus.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "vidimus.selector" -}}
app.kubernetes.io/name: {{ include "vidimus.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "vidimus.labels" -}}
{{ include "vidimus.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: vidimus
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "vidimus.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "vidimus.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: name the ServiceAccount that is there, or let the chart make one" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "vidimus.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What would install and not work is said here, with what to write. The schema sees single values only. */ -}}
{{- define "vidimus.check" -}}
{{- with .Values -}}
{{- $several := or .autoscaling.enabled (gt (int .replicas) 1) -}}
{{- if and $several (not .standing.existingSecret) -}}
{{- fail "replicas, autoscaling: several take standing.existingSecret: without a store each replica counts limits for itself" -}}
{{- end -}}
{{- if and (not .standing.existingSecret) (or .standing.password .standing.ca .standing.clientCertificate) -}}
{{- fail "standing.existingSecret: password, ca and clientCertificate are of the store whose address is in that Secret; name it" -}}
{{- end -}}
{{- if and .autoscaling.enabled .autoscaling.hpa.enabled (gt (int .autoscaling.hpa.minReplicas) (int .autoscaling.hpa.maxReplicas)) -}}
{{- fail "autoscaling.hpa: minReplicas is more than maxReplicas" -}}
{{- end -}}
{{- if and .autoscaling.enabled .autoscaling.hpa.enabled (not (dig "requests" "cpu" "" .resources)) -}}
{{- fail "autoscaling.hpa.cpu: it is percent of resources.requests.cpu, which is not there" -}}
{{- end -}}
{{- if and (eq .mode "directory") (not .objects) (not .existingObjects) -}}
{{- fail "mode directory: give objects (file name to content) or existingObjects (a ConfigMap)" -}}
{{- end -}}
{{- if and (eq .mode "cluster") (or .objects .existingObjects) -}}
{{- fail "mode cluster: objects are applied to the cluster (kubectl apply), not mounted; or set mode: directory" -}}
{{- end -}}
{{- if and .archive.place (not .ledger.keepRecords) -}}
{{- fail "archive.place: set ledger.keepRecords, or nothing ever goes into it" -}}
{{- end -}}
{{- if and .clickhouse.enabled (not .clickhouse.url) -}}
{{- fail "clickhouse.url: write clickhouse+https://HOST:8443/DATABASE?headers=FILE" -}}
{{- end -}}
{{- if lt (int .terminationGracePeriodSeconds) (add (int .preStopSeconds) 20) -}}
{{- fail "terminationGracePeriodSeconds: preStopSeconds and 20 more at least: 10 s of running calls, and the ledger's last checkpoint" -}}
{{- end -}}
{{- if and .approvalWebhook.existingSecret (not .secrets) -}}
{{- fail "approvalWebhook: `secrets` must name the Secret that has the file that signs it" -}}
{{- end -}}
{{- if and .extAuthz.enabled (not .extAuthz.dataPlanes) -}}
{{- fail "extAuthz.dataPlanes: name who may ask by SPIFFE ID: who asks gets the credentials of calls" -}}
{{- end -}}
{{- if and .admission.enabled $several (not .admission.keysSecret) -}}
{{- fail "admission.keysSecret: several replicas take one CA and one key, or the API server believes one of them alone" -}}
{{- end -}}
{{- if and $several (not .sharedKeys.existingSecret) -}}
{{- fail "sharedKeys.existingSecret: several replicas take one set of keys (vidimus keys generate --secret), or none takes what another gave out" -}}
{{- end -}}
{{- if and .sharedKeys.existingSecret (not .gateway.publicUrl) -}}
{{- fail "gateway.publicUrl: with sharedKeys tokens name the installation, and not the pod that minted them" -}}
{{- end -}}
{{- end -}}
{{- include "vidimus.refused" . -}}
{{- include "vidimus.checkXds" . -}}
{{- include "vidimus.checkWebhook" . -}}
{{- end -}}

{{- /* Whether the issuer of tokens is the API server, whose certificate chains to the cluster's CA; another one's does to the system's roots. */ -}}
{{- define "vidimus.clusterCa" -}}
{{- with .Values.serviceAccountTokens -}}
{{- if and .issuer (or .discoveryBinding (hasPrefix "https://kubernetes.default" .issuer)) -}}
true
{{- end -}}
{{- end -}}
{{- end -}}
