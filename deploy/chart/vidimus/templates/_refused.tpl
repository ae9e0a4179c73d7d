{{- /* What would render, and be refused by the API server, or by the gateway when it starts. */ -}}
{{- define "vidimus.refused" -}}
{{- if not (regexMatch "^[a-z]([a-z0-9-]*[a-z0-9])?$" (include "vidimus.fullname" .)) -}}
{{- fail (printf "fullnameOverride: Services are called by it, so it begins with a letter, and has letters, digits and '-' alone; '%s' is none" (include "vidimus.fullname" .)) -}}
{{- end -}}
{{- include "vidimus.refusedLabels" . -}}
{{- include "vidimus.refusedPorts" . -}}
{{- include "vidimus.refusedTwice" . -}}
{{- with .Values -}}
{{- if and (eq .mode "directory") .pods.enabled -}}
{{- fail "pods.enabled: pods are watched in mode: cluster alone; a directory has none" -}}
{{- end -}}
{{- if and (eq .mode "directory") .namespaces -}}
{{- fail "namespaces: it is of mode: cluster; a directory is read as a whole" -}}
{{- end -}}
{{- if and .service.externalTrafficPolicy (eq .service.type "ClusterIP") -}}
{{- fail "service.externalTrafficPolicy: nobody outside of the cluster reaches a Service of type ClusterIP; set service.type to LoadBalancer or NodePort, or leave it out" -}}
{{- end -}}
{{- if gt (int .witnessQuorum) (len .witnesses) -}}
{{- fail (printf "witnessQuorum: %v of %d witnesses can never cosign" .witnessQuorum (len .witnesses)) -}}
{{- end -}}
{{- if and .serviceAccountTokens.discoveryBinding (not .serviceAccountTokens.issuer) -}}
{{- fail "serviceAccountTokens.discoveryBinding: it opens the keys of an issuer that is not read; set serviceAccountTokens.issuer" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Two listeners of the pod, or two ports of the Service of callers, at one number. */ -}}
{{- define "vidimus.refusedPorts" -}}
{{- $pod := list (list 8443 "tls") (list 9901 "admin") -}}
{{- $service := list (list (int .Values.service.port) "service.port") -}}
{{- with .Values -}}
{{- if .plainHttp.enabled -}}
{{- $pod = append $pod (list 8080 "plainHttp") -}}
{{- $service = append $service (list (int .service.plainPort) "service.plainPort") -}}
{{- end -}}
{{- if .admission.enabled -}}
{{- $pod = append $pod (list 9443 "admission") -}}
{{- end -}}
{{- range $name := list "extAuthz" "xds" -}}
{{- $one := index $.Values $name -}}
{{- if $one.enabled -}}
{{- $pod = append $pod (list (int $one.port) (printf "%s.port" $name)) -}}
{{- $service = append $service (list (int $one.port) (printf "%s.port" $name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $place, $ports := dict "the pod" $pod "the Service of callers" $service -}}
{{- $taken := dict -}}
{{- range $port := $ports -}}
{{- $number := toString (first $port) -}}
{{- with get $taken $number -}}
{{- fail (printf "%s: port %s of %s is that of %s; write another" (last $port) $number $place .) -}}
{{- end -}}
{{- $_ := set $taken $number (last $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What may be there once, and the chart, or another value, has it. */ -}}
{{- define "vidimus.refusedTwice" -}}
{{- $domains := dict -}}
{{- range .Values.trustBundles -}}
{{- if hasKey $domains .trustDomain -}}
{{- fail (printf "trustBundles: %s is there twice; put both bundles into one file" .trustDomain) -}}
{{- end -}}
{{- $_ := set $domains .trustDomain true -}}
{{- end -}}
{{- $own := omit .Values.gateway "extraArgs" "extraEnv" -}}
{{- $without := merge (dict "Values" (merge (dict "gateway" $own) (omit .Values "gateway"))) (omit . "Values") -}}
{{- $several := list "--audience" "--allow-origin" "--allow-upstream" "--deny-upstream" "--ext-authz-data-plane" "--issuer-ca" "--namespace" "--operator-audience" "--operator-issuer" "--sink" "--trust-bundle" "--witness" "--xds-gateway" "--xds-name" "--admin-name" "--admission-name" -}}
{{- $given := dict -}}
{{- range include "vidimus.args" $without | fromYamlArray -}}
{{- $_ := set $given (first (splitList "=" .)) true -}}
{{- end -}}
{{- range .Values.gateway.extraArgs -}}
{{- $flag := first (splitList "=" .) -}}
{{- if and (hasKey $given $flag) (not (has $flag $several)) -}}
{{- fail (printf "gateway.extraArgs: the chart gives %s, and once is the most; there is a value for it" $flag) -}}
{{- end -}}
{{- $_ := set $given $flag true -}}
{{- end -}}
{{- $names := dict -}}
{{- range concat (include "vidimus.env" $without | fromYamlArray) (default list .Values.gateway.extraEnv) -}}
{{- if hasKey $names .name -}}
{{- fail (printf "gateway.extraEnv: %s is there twice; the chart, or another entry, gives it" .name) -}}
{{- end -}}
{{- $_ := set $names .name true -}}
{{- end -}}
{{- end -}}

{{- /* Keys that no label or annotation may have, and those that are the chart's. Here, since Helm says another place where the schema refuses a key. */ -}}
{{- define "vidimus.refusedLabels" -}}
{{- $own := append (keys (include "vidimus.labels" (merge (dict "Values" (omit .Values "labels")) (omit . "Values")) | fromYaml)) "vidimus.dev/service" -}}
{{- $metrics := .Values.metrics -}}
{{- $places := dict "labels" .Values.labels "annotations" .Values.annotations "nodeSelector" .Values.nodeSelector "service.annotations" .Values.service.annotations "serviceAccount.annotations" .Values.serviceAccount.annotations -}}
{{- range $one := list "serviceMonitor" "prometheusRule" "dashboards" -}}
{{- $_ := set $places (printf "metrics.%s.labels" $one) (index $metrics $one).labels -}}
{{- end -}}
{{- range $place, $given := $places -}}
{{- range $key, $_ := $given -}}
{{- if not (regexMatch "^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$" $key) -}}
{{- fail (printf "%s: '%s' is no key that Kubernetes takes; write NAME or DOMAIN/NAME" $place $key) -}}
{{- end -}}
{{- if or (and (hasSuffix "labels" $place) (has $key $own)) (eq $key "kubectl.kubernetes.io/default-container") -}}
{{- fail (printf "%s: %s is the chart's own, by which its objects are found; leave it out" $place $key) -}}
{{- end -}}
{{- if and (hasPrefix "metrics." $place) (hasKey $.Values.labels $key) -}}
{{- fail (printf "%s: %s is in labels, which all objects have" $place $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
