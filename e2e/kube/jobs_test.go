package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// The commands run on this machine (standIn); what they do is by the tool that is called.
const ephemeral = `
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {name: shell, namespace: tools}
spec:
  owner: ada.lovelace@example.com
  team: tools
  riskLevel: low
  job:
    template:
      spec:
        containers:
        - name: tool
          image: registry.example/shell@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
          command: [sh, -c]
          args:
          - |
            case "$VIDIMUS_TOOL" in
            echo) echo "::progress reads its arguments"; sleep 1; cat "$VIDIMUS_ARGUMENTS" ;;
            fail) echo "it is wrong"; exit 3 ;;
            loud) head -c 5000 /dev/zero | tr '\0' x ;;
            slow) sleep 120 ;;
            esac
    tools:
      echo: {description: Says what it is given., inputSchema: {type: object}}
      fail: {description: Fails., inputSchema: {type: object}}
      loud: {description: Says too much., inputSchema: {type: object}}
      slow: {description: Takes long., inputSchema: {type: object}}
      secret: {description: Nobody may call it., inputSchema: {type: object}}
    deadline: 60s
    concurrent: 2
    maxOutput: 4096
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {name: hasty, namespace: tools}
spec:
  owner: ada.lovelace@example.com
  team: tools
  riskLevel: low
  job:
    template: {spec: {containers: [{name: tool, image: registry.example/shell, command: [sleep, "120"]}]}}
    tools: {slow: {description: Takes long., inputSchema: {type: object}}}
    deadline: 2s
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {name: private, namespace: tools}
spec:
  owner: ada.lovelace@example.com
  team: tools
  riskLevel: low
  job:
    template:
      spec:
        containers: [{name: tool, image: hub.example/private, command: [echo, it ran]}]
        imagePullSecrets: [{name: hub}]
        tolerations: [{key: pool, value: sandbox}]
    tools: {run: {description: Runs., inputSchema: {type: object}}}
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: tools, namespace: tools}
spec:
  description: Everybody may use the tools but one.
  cedar: permit (principal, action == Action::"invokeTool", resource) unless { resource == Tool::"tools/shell/secret" };
`

// limits are the roles of deploy/rbac/jobs.yaml, and what holds them.
func (c *cluster) limits(t *testing.T) {
	t.Helper()
	paths := map[string]string{
		"ClusterRole":                      "/apis/rbac.authorization.k8s.io/v1/clusterroles",
		"ClusterRoleBinding":               "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
		"ValidatingAdmissionPolicy":        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
		"ValidatingAdmissionPolicyBinding": "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
	}
	all := documents(t, tree+"/deploy/rbac/jobs.yaml")
	if len(all) != 5 {
		t.Fatalf("%d documents", len(all))
	}
	for _, document := range all {
		if a := c.ask(t, http.MethodPost, paths[document.text("kind")]+"?fieldValidation=Strict", document); a.message != "" {
			t.Fatalf("%s: %s", document.text("kind"), a.message)
		}
	}
}

// TestJobsRoles: what a gateway that runs jobs may do in the namespace of a call, and that it can do nothing of it elsewhere. Needs no gateway.
func TestJobsRoles(t *testing.T) {
	c := start(t)
	c.roles(t, "ServiceAccount")
	c.roles(t, "")
	c.limits(t)
	c.namespace(t, "innocent")
	c.namespace(t, "vidimus-job-open")
	token := c.account(t, "vidimus-system", "vidimus-registry")
	as := func(method, path string, body any) int { return c.say(t, method, path, token, body).code }
	labelled := func(name string, labels map[string]any) object {
		return object{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name, "labels": labels}}
	}
	const standard = "pod-security.kubernetes.io/enforce"
	namespace := func(name string) object {
		return labelled(name, map[string]any{"vidimus.dev/job": "x", standard: "restricted"})
	}
	binding := func(role string) object {
		return object{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": map[string]any{"name": role},
			"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
			"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": "vidimus-registry", "namespace": "vidimus-system"}}}
	}
	const bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/%s/rolebindings"
	// A policy is in force some moments after it was created; what it refuses is not done meanwhile either, being a dry run.
	until(t, "the policy is in force", func() bool {
		return as(http.MethodPost, "/api/v1/namespaces?dryRun=All", namespace("other")) == http.StatusUnprocessableEntity &&
			as(http.MethodPost, fmt.Sprintf(bindings, "innocent")+"?dryRun=All", binding("vidimus-job")) == http.StatusUnprocessableEntity
	})
	if code := as(http.MethodPost, "/api/v1/namespaces", namespace("vidimus-job-a")); code != http.StatusCreated {
		t.Fatalf("the namespace of a call: %d", code)
	}
	for _, one := range []struct {
		method, path string
		body         any
	}{
		{http.MethodDelete, "/api/v1/namespaces/innocent", nil},
		{http.MethodDelete, "/api/v1/namespaces/kube-system", nil},
		{http.MethodPost, "/api/v1/namespaces", namespace("vidimus")},
		// Whoever may make Jobs in one that is held to less has the disks of the nodes.
		{http.MethodPost, "/api/v1/namespaces", labelled("vidimus-job-b", map[string]any{})},
		{http.MethodPost, "/api/v1/namespaces", labelled("vidimus-job-b", map[string]any{standard: "privileged"})},
		{http.MethodPost, "/api/v1/namespaces", labelled("vidimus-job-b", map[string]any{standard: "restricted", standard + "-version": "v1.0"})},
		{http.MethodPost, fmt.Sprintf(bindings, "vidimus-job-open"), binding("vidimus-job")},
		{http.MethodPost, fmt.Sprintf(bindings, "innocent"), binding("vidimus-job")},
		{http.MethodPost, fmt.Sprintf(bindings, "kube-system"), binding("vidimus-job")},
		{http.MethodPost, fmt.Sprintf(bindings, "vidimus-job-a"), binding("cluster-admin")},
		{http.MethodPost, fmt.Sprintf(bindings, "vidimus-job-a"), binding("view")},
		{http.MethodPost, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding("vidimus-job")},
	} {
		if code := as(one.method, one.path, one.body); code != http.StatusForbidden && code != http.StatusUnprocessableEntity {
			t.Errorf("%s %s: %d", one.method, one.path, code)
		}
	}
	if code := as(http.MethodPost, fmt.Sprintf(bindings, "vidimus-job-a"), binding("vidimus-job")); code != http.StatusCreated {
		t.Fatalf("the role in the namespace of a call: %d", code)
	}
	may := map[string][]string{
		"batch/jobs": {"create", "get"}, "/pods": {"list"}, "/pods:log": {"get"}, "/secrets": {"create"}, "/resourcequotas": {"create"},
		"networking.k8s.io/networkpolicies": {"create"}, "rbac.authorization.k8s.io/rolebindings": {"create"},
	}
	until(t, "the role is in force", func() bool { return c.canI(t, "create", "batch/jobs in vidimus-job-a") })
	for _, what := range []string{"batch/jobs", "/pods", "/pods:log", "/pods:exec", "/pods:attach", "/secrets", "/configmaps", "/resourcequotas", "/serviceaccounts",
		"/serviceaccounts:token", "networking.k8s.io/networkpolicies", "rbac.authorization.k8s.io/rolebindings", "rbac.authorization.k8s.io/roles", "/events"} {
		for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"} {
			if allowed := c.canI(t, verb, what+" in vidimus-job-a"); allowed != slices.Contains(may[what], verb) {
				t.Errorf("%s %s: %t", verb, what, allowed)
			}
			// Bindings are what the policy holds to these namespaces.
			if what != "rbac.authorization.k8s.io/rolebindings" && c.canI(t, verb, what+" in innocent") {
				t.Errorf("%s %s elsewhere", verb, what)
			}
		}
	}
	if code := as(http.MethodDelete, "/api/v1/namespaces/vidimus-job-a", nil); code != http.StatusOK {
		t.Errorf("it cannot be taken away: %d", code)
	}
}

// jobs is a cluster, what stands in for its nodes, and a gateway that runs jobs.
type jobs struct {
	*cluster
	*gateway
	*standIn
	shell object
}

func TestJobs(t *testing.T) {
	t.Parallel()
	c := governable(t)
	c.roles(t, "ServiceAccount")
	c.roles(t, "")
	c.limits(t)
	stand := newStandIn(t, c)
	g := newGateway(t, c, c.url, c.account(t, "vidimus-system", "vidimus-registry"))
	all := parsed(t, ephemeral)
	c.apply(t, append(all, parsed(t, fmt.Sprintf(estate, "http://127.0.0.1:1"))[1])...)
	programmed := func(says, message string) func() bool {
		return func() bool {
			status, why := c.condition(t, all[0], "Programmed")
			return status == says && strings.Contains(why, message)
		}
	}
	until(t, "a job that nothing runs is not programmed", programmed("False", "--jobs"))
	until(t, "it serves", g.isReady)
	g.stop()
	// Another may write statuses at once, and need not wait until the Lease has ended.
	var lease object
	held := c.ask(t, http.MethodGet, "/apis/coordination.k8s.io/v1/namespaces/vidimus-system/leases/vidimus-statuses", nil)
	if err := json.Unmarshal(held.body, &lease); err != nil || held.code != http.StatusOK || lease.text("spec", "holderIdentity") != "" {
		t.Fatalf("the Lease was not given back: %v %s", err, held.body)
	}
	g.arguments = append(g.arguments, "--jobs")
	g.begin()
	until(t, "it is ready", g.isReady)
	until(t, "a job that is run is programmed", programmed("True", ""))
	j := &jobs{cluster: c, gateway: g, standIn: stand, shell: all[0]}
	until(t, "the tools are there", func() bool {
		return strings.Contains(j.rpc("shell", "tools/list", `{}`).body, "Says what it is given.")
	})
	for _, step := range []struct {
		name string
		test func(*testing.T, *jobs)
	}{
		{"the tools are those of the record and of who asks", toolsOfTheRecord},
		{"an allowed call runs, is answered, and is gone", allowedCall},
		{"progress is told to who wants it", progressTold},
		{"a tool that fails says so", toolFails},
		{"a refused call makes nothing", refusedCall},
		{"a pod that opens the sandbox is not taken", openPod},
		{"an image is pulled by a Secret of the server's namespace, where a Role gives it", privateImage},
		{"a longer output than is allowed is an error", tooLoud},
		{"a deadline ends it", tooSlow},
		{"more at once than is allowed are refused", tooMany},
		{"a client that leaves ends it", clientLeaves},
		{"what a killed gateway left is taken away", gatewayKilled},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.test(t, j) }) {
			t.Fatal("what follows builds on it")
		}
	}
	if len(stand.refused) > 0 {
		t.Errorf("pods were refused: %v", stand.refused)
	}
}

type told struct {
	code       int
	call, body string
	err        error
}

func (j *jobs) send(ctx context.Context, server, method, params string) told {
	if j.bearer == "" {
		j.bearer = issued(j.gateway.t, j.data, "invoice-bot", "--ttl", "1h")
	}
	body := fmt.Sprintf(`{"jsonrpc": "2.0", "id": 7, "method": %q, "params": %s}`, method, params)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, j.gateway.url+"/mcp/tools/"+server, strings.NewReader(body))
	if err != nil {
		return told{err: err}
	}
	request.Header.Set("Authorization", "Bearer "+j.bearer)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	request.Header.Set("MCP-Protocol-Version", "2025-11-25")
	response, err := (&http.Client{Timeout: 90 * time.Second}).Do(request)
	if err != nil {
		return told{err: err}
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return told{code: response.StatusCode, call: response.Header.Get("vidimus-call"), body: string(content), err: err}
}

func (j *jobs) rpc(server, method, params string) told {
	return j.send(context.Background(), server, method, params)
}

func (j *jobs) tool(server, tool, arguments string) told {
	return j.rpc(server, "tools/call", fmt.Sprintf(`{"name": %q, "arguments": %s}`, tool, arguments))
}

// effect is what the record says came of a call; nil as long as nothing does.
func (j *jobs) effect(t *testing.T, call string) object {
	t.Helper()
	for _, record := range j.records(t, call) {
		if record.text("kind") == "effect" {
			return record
		}
	}
	return nil
}

// records are those of a call that are there now.
func (j *jobs) records(t *testing.T, call string) (found []object) {
	t.Helper()
	// It fails where there is none.
	output, _ := exec.Command(os.Getenv("VIDIMUS_BIN"), "audit", "show", "--data", j.data, "-o", "json", call).Output()
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var shown struct{ Record object }
		if decoder.Decode(&shown) != nil {
			return found
		}
		found = append(found, shown.Record)
	}
}

func (j *jobs) gone(t *testing.T) {
	t.Helper()
	until(t, "nothing is left", func() bool { left, running := j.left(); return len(left) == 0 && running == 0 })
}

func toolsOfTheRecord(t *testing.T, j *jobs) {
	list := j.rpc("shell", "tools/list", `{}`)
	if !strings.Contains(list.body, `"echo"`) || strings.Contains(list.body, `"secret"`) {
		t.Error(list.body)
	}
	begun := j.rpc("shell", "initialize", `{"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "e2e", "version": "1"}}`)
	if begun.code != http.StatusOK || !strings.Contains(begun.body, `"2025-06-18"`) {
		t.Error(begun)
	}
	if pinged := j.rpc("shell", "ping", `{}`); pinged.code != http.StatusOK {
		t.Error(pinged)
	}
	if j.seen() != 0 {
		t.Error("that ran a job")
	}
}

func allowedCall(t *testing.T, j *jobs) {
	answered := j.tool("shell", "echo", `{"a": 9007199254740991, "b": "é"}`)
	var read struct {
		Id     int
		Result struct {
			Content []struct{ Text string }
			IsError bool
		}
	}
	if err := json.Unmarshal([]byte(answered.body), &read); err != nil || read.Id != 7 || len(read.Result.Content) != 1 {
		t.Fatal(err, answered)
	}
	// As the caller wrote it, to the last digit; and without what was progress.
	if text := read.Result.Content[0].Text; text != `{"a": 9007199254740991, "b": "é"}` || read.Result.IsError {
		t.Errorf("%q", text)
	}
	j.gone(t)
	effect := j.effect(t, answered.call)
	if effect.text("result") != "ok" || len(effect.text("job", "uid")) != 36 || len(effect.text("job", "output")) != 64 ||
		!strings.Contains(effect.text("job", "image"), "@sha256:9f86d081") || member(effect, "job", "exit") != float64(0) {
		t.Error(effect)
	}
	pod := j.pods[len(j.pods)-1]
	container := object(member(pod, "spec", "containers").([]any)[0].(map[string]any))
	if member(pod, "spec", "automountServiceAccountToken") != false || member(pod, "spec", "securityContext", "runAsNonRoot") != true ||
		member(container, "securityContext", "readOnlyRootFilesystem") != true || len(member(pod, "spec", "volumes").([]any)) != 1 {
		t.Error(pod)
	}
}

func progressTold(t *testing.T, j *jobs) {
	answered := j.rpc("shell", "tools/call", `{"name": "echo", "arguments": {}, "_meta": {"progressToken": "p1"}}`)
	progress := strings.Index(answered.body, "reads its arguments")
	result := strings.Index(answered.body, `"result"`)
	if progress < 0 || result < progress || !strings.Contains(answered.body, `"progressToken":"p1"`) || strings.Contains(answered.body[result:], "::progress") {
		t.Error(answered)
	}
	j.gone(t)
}

func toolFails(t *testing.T, j *jobs) {
	answered := j.tool("shell", "fail", `{}`)
	if !strings.Contains(answered.body, `"isError":true`) || !strings.Contains(answered.body, "it is wrong") {
		t.Error(answered)
	}
	if effect := j.effect(t, answered.call); effect.text("result") != "error" || member(effect, "job", "exit") != float64(3) {
		t.Error(effect)
	}
	j.gone(t)
}

func refusedCall(t *testing.T, j *jobs) {
	before := j.seen()
	if answered := j.tool("shell", "secret", `{}`); !strings.Contains(answered.body, "no_permit") {
		t.Error(answered)
	}
	if answered := j.tool("shell", "nonsense", `{}`); strings.Contains(answered.body, `"result"`) {
		t.Error(answered)
	}
	time.Sleep(500 * time.Millisecond)
	if j.seen() != before {
		t.Error("a namespace was made")
	}
}

// openPod: also where somebody else makes a pod in the namespace of a call, the API server holds it to the sandbox.
func openPod(t *testing.T, j *jobs) {
	done := make(chan told)
	go func() { done <- j.tool("shell", "echo", `{}`) }()
	var namespace string
	until(t, "the call runs", func() bool {
		left, running := j.left()
		if len(left) == 1 && running == 1 {
			namespace = left[0]
		}
		return namespace != ""
	})
	pod := object{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "open"}, "spec": map[string]any{"hostNetwork": true,
		"containers": []any{map[string]any{"name": "a", "image": "b", "securityContext": map[string]any{"runAsUser": 0}}}}}
	if a := j.cluster.ask(t, http.MethodPost, "/api/v1/namespaces/"+namespace+"/pods", pod); !strings.Contains(a.message, "restricted") && !strings.Contains(a.message, "exceeded quota") {
		t.Error(a.code, a.message)
	}
	if answered := <-done; answered.code != http.StatusOK {
		t.Error(answered)
	}
	j.gone(t)
}

// privateImage: nothing is run as long as the Secret may not be read, is not there, or is none of that kind; and no other Secret is moved so.
func privateImage(t *testing.T, j *jobs) {
	c := j.cluster
	before := j.seen()
	refused := func(why string) {
		t.Helper()
		if answered := j.tool("private", "run", `{}`); !strings.Contains(answered.body, "tools/hub") || strings.Contains(answered.body, `"result"`) {
			t.Errorf("%s: %v", why, answered)
		}
	}
	secrets := "/api/v1/namespaces/tools/secrets"
	secret := func(kind, key string) object {
		return object{"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": map[string]any{"name": "hub"}, "stringData": map[string]any{key: `{"auths":{}}`}}
	}
	c.mustCreate(t, secrets, secret("Opaque", ".dockerconfigjson"))
	refused("no Role gives it")
	const rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/tools/"
	c.mustCreate(t, rbac+"roles", object{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": map[string]any{"name": "hub"},
		"rules": []any{map[string]any{"apiGroups": []string{""}, "resources": []string{"secrets"}, "resourceNames": []string{"hub"}, "verbs": []string{"list", "watch"}}}})
	c.mustCreate(t, rbac+"rolebindings", object{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": map[string]any{"name": "hub"},
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "hub"},
		"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": "vidimus-registry", "namespace": "vidimus-system"}}})
	until(t, "the Role is in force", func() bool { return c.canI(t, "list", "/secrets/hub in tools") })
	refused("it is not of that type")
	c.ask(t, http.MethodDelete, secrets+"/hub", nil)
	refused("it is not there")
	if j.seen() != before {
		t.Error("a namespace was made")
	}
	c.mustCreate(t, secrets, secret("kubernetes.io/dockerconfigjson", ".dockerconfigjson"))
	if answered := j.tool("private", "run", `{}`); !strings.Contains(answered.body, "it ran") {
		t.Fatal(answered)
	}
	pod := j.pods[len(j.pods)-1]
	pulled, _ := member(pod, "spec", "imagePullSecrets").([]any)
	if len(pulled) != 1 || pulled[0].(map[string]any)["name"] != "pull-0" || len(member(pod, "spec", "volumes").([]any)) != 1 {
		t.Error(pod)
	}
	j.gone(t)
}

func tooLoud(t *testing.T, j *jobs) {
	answered := j.tool("shell", "loud", `{}`)
	if !strings.Contains(answered.body, "upstream_invalid") || !strings.Contains(answered.body, "4096 bytes") || strings.Contains(answered.body, "xxxx") {
		t.Error(answered)
	}
	j.gone(t)
}

func tooSlow(t *testing.T, j *jobs) {
	begun := time.Now()
	answered := j.tool("hasty", "slow", `{}`)
	if !strings.Contains(answered.body, "upstream_timeout") || time.Since(begun) > 30*time.Second {
		t.Error(answered, time.Since(begun))
	}
	if effect := j.effect(t, answered.call); effect.text("code") != "upstream_timeout" || effect.text("job", "uid") == "" {
		t.Error(effect)
	}
	j.gone(t)
}

func tooMany(t *testing.T, j *jobs) {
	ctx, leave := context.WithCancel(context.Background())
	done := make(chan told, 2)
	for range 2 {
		go func() { done <- j.send(ctx, "shell", "tools/call", `{"name": "slow", "arguments": {}}`) }()
	}
	until(t, "both run", func() bool { _, running := j.left(); return running == 2 })
	if answered := j.tool("shell", "echo", `{}`); !strings.Contains(answered.body, "overloaded") {
		t.Error(answered)
	}
	leave()
	<-done
	<-done
	j.gone(t)
}

func clientLeaves(t *testing.T, j *jobs) {
	ctx, leave := context.WithCancel(context.Background())
	done := make(chan told, 1)
	go func() { done <- j.send(ctx, "shell", "tools/call", `{"name": "slow", "arguments": {}}`) }()
	var call string
	until(t, "it runs", func() bool {
		left, running := j.left()
		if len(left) == 1 && running == 1 {
			call = strings.TrimPrefix(left[0], "vidimus-job-")
		}
		return call != ""
	})
	leave()
	<-done
	j.gone(t)
	until(t, "its effect is recorded", func() bool { return j.effect(t, call) != nil })
	if effect := j.effect(t, call); effect.text("result") != "cancelled" || effect.text("job", "uid") == "" {
		t.Error(effect)
	}
}

func gatewayKilled(t *testing.T, j *jobs) {
	innocent := object{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "innocent", "labels": map[string]any{"vidimus.dev/job": "x"}}}
	if a := j.cluster.ask(t, http.MethodPost, "/api/v1/namespaces", innocent); a.message != "" {
		t.Fatal(a.message)
	}
	done := make(chan told, 1)
	go func() { done <- j.tool("shell", "slow", `{}`) }()
	var namespace string
	until(t, "it runs", func() bool {
		left, running := j.left()
		if len(left) == 1 && running == 1 {
			namespace = left[0]
		}
		return namespace != ""
	})
	j.gateway.kill()
	<-done
	time.Sleep(time.Second)
	if left, running := j.left(); !slices.Equal(left, []string{namespace}) || running != 1 {
		t.Fatalf("nobody was to take it away: %v %d", left, running)
	}
	j.gateway.begin()
	j.gone(t)
	until(t, "it is ready again", j.isReady)
	call := strings.TrimPrefix(namespace, "vidimus-job-")
	if records := j.records(t, call); len(records) == 0 {
		t.Error("its decision is not on record")
	}
	// What came of it nobody knows; which job it was is known.
	if effect := j.effect(t, call); effect.text("result") != "unknown" || len(effect.text("job", "uid")) != 36 {
		t.Error(effect)
	}
	j.gateway.kill()
	j.gateway.begin()
	until(t, "it is ready once more", j.isReady)
	if records := j.records(t, call); len(records) != 2 {
		t.Errorf("it is recorded once: %v", records)
	}
	if a := j.cluster.ask(t, http.MethodGet, "/api/v1/namespaces/innocent", nil); a.code != http.StatusOK {
		t.Error("the namespace of somebody else is gone")
	}
	if answered := j.tool("shell", "echo", `{"again": true}`); !strings.Contains(answered.body, "again") {
		t.Error(answered)
	}
	j.gone(t)
}
