package kube

import (
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

const records = `
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: invoice-bot, namespace: finance}
spec:
  owner: ada.lovelace@example.com
  team: finance
  purpose: Matches invoices to purchase orders
  riskLevel: low
  identities: [{serviceAccount: {name: invoice-bot}}]
---
apiVersion: vidimus.dev/v1alpha1
kind: ServiceIdentity
metadata: {name: idle, namespace: finance}
spec:
  owner: ada.lovelace@example.com
  team: finance
  identities: [{spiffe: "spiffe://corp.example/ns/finance/sa/idle"}]
`

// joined is what a status says of what runs.
type joined struct {
	Conditions []struct{ Type, Status, Reason string }
	Instances  *struct {
		Count int
		Pods  []struct {
			Name, Uid, Phase, Node, Version, Since string
			Images                                 []string
		}
	}
	LastCall *struct{ Time, Identity, Instance, Gateway string }
}

func (j joined) running() string {
	for _, condition := range j.Conditions {
		if condition.Type == "Running" {
			return condition.Status + " " + condition.Reason
		}
	}
	return ""
}

// herd is a cluster with pods, and a gateway that watches them.
type herd struct {
	*cluster
	*gateway
	// Tokens and UIDs of pods by name.
	tokens, uids map[string]string
}

// TestPods: which pods run as which record, which as none, and what becomes of one of two under one ServiceAccount, and of one that is gone.
func TestPods(t *testing.T) {
	t.Parallel()
	c := governable(t)
	c.roles(t, "ServiceAccount")
	c.roles(t, "")
	// Nobody but a ServiceAccount may read the keys of its tokens, as a cluster comes.
	if code := c.anonymously(t, "/openid/v1/jwks"); code != http.StatusForbidden {
		t.Fatalf("without a credential the keys are answered %d", code)
	}
	g := newGateway(t, c, c.url, c.account(t, "vidimus-system", "vidimus-registry"))
	g.kill()
	g.arguments = append(g.arguments, "--pods", "--service-account-issuer", c.url, "--issuer-ca", c.url+"="+c.ca)
	g.begin()
	h := &herd{cluster: c, gateway: g, tokens: map[string]string{}, uids: map[string]string{}}
	for _, o := range append(parsed(t, fmt.Sprintf(estate, model(t))), parsed(t, records)...) {
		if o.text("metadata", "name") == "invoice-bot" && !strings.Contains(fmt.Sprint(o), "serviceAccount") {
			continue
		}
		c.namespace(t, o.text("metadata", "namespace"))
		if a := c.ask(t, http.MethodPost, c.collection(o), o); a.message != "" {
			t.Fatal(a.message)
		}
	}
	for _, step := range []struct {
		name string
		test func(*testing.T, *herd)
	}{
		{"without the right it says so, and governs", withoutPods},
		{"an orphan pod and a record without a pod both show", orphanAndIdle},
		{"the last call shows", lastCall},
		{"one of two under one ServiceAccount is cut off alone", oneOfTwo},
		{"a quarantine by an act is in what policies look up", quarantinedByAct},
		{"the token of a pod that is gone is refused", podGone},
		{"a namespace is governed by its label", governedByLabel},
		{"the API server is killed", unheard},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.test(t, h) }) {
			t.Fatal("what follows builds on it")
		}
	}
}

// anonymously is what the API server answers to who presents nothing.
func (c *cluster) anonymously(t *testing.T, path string) int {
	t.Helper()
	response, err := c.client.Get(c.url + path)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

func (c *cluster) bind(t *testing.T, o object) {
	t.Helper()
	path := "/apis/rbac.authorization.k8s.io/v1/" + strings.ToLower(o.text("kind")) + "s?fieldValidation=Strict"
	if a := c.ask(t, http.MethodPost, path, o); a.message != "" {
		t.Fatal(a.message)
	}
}

// pod makes a pod that runs, as far as the API server is told: there is no kubelet.
func (h *herd) pod(t *testing.T, namespace, name, account string) {
	t.Helper()
	h.namespace(t, namespace)
	accounts := "/api/v1/namespaces/" + namespace + "/serviceaccounts"
	if a := h.ask(t, http.MethodPost, accounts, object{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": account}}); a.message != "" && a.code != http.StatusConflict {
		t.Fatal(a.message)
	}
	of := "/api/v1/namespaces/" + namespace + "/pods"
	labels := map[string]any{"app.kubernetes.io/version": "1.2"}
	container := map[string]any{"name": "main", "image": "registry.example/bot:1.2"}
	a := h.ask(t, http.MethodPost, of, object{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": name, "labels": labels},
		"spec": map[string]any{"serviceAccountName": account, "containers": []any{container}}})
	var made object
	if err := json.Unmarshal(a.body, &made); err != nil || a.message != "" {
		t.Fatal(err, a.message)
	}
	uid := made.text("metadata", "uid")
	made["status"] = map[string]any{"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "containerStatuses": []any{map[string]any{
		"name": "main", "image": "registry.example/bot:1.2", "imageID": "registry.example/bot@sha256:" + strings.Repeat("a", 64), "ready": true, "restartCount": 0}}}
	if a := h.ask(t, http.MethodPut, of+"/"+name+"/status", made); a.message != "" {
		t.Fatal(a.message)
	}
	bound := map[string]any{"kind": "Pod", "apiVersion": "v1", "name": name, "uid": uid}
	a = h.ask(t, http.MethodPost, accounts+"/"+account+"/token", object{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
		"spec": map[string]any{"audiences": []string{"vidimus"}, "boundObjectRef": bound}})
	var request object
	if err := json.Unmarshal(a.body, &request); err != nil || a.message != "" {
		t.Fatal(err, a.message)
	}
	h.tokens[name], h.uids[name] = request.text("status", "token"), uid
}

// as is a governed call by a pod: the status, and the code of a refusal.
func (h *herd) as(name string) string {
	body := `{"model": "simulator-small", "messages": [{"role": "user", "content": "hello"}]}`
	request, err := http.NewRequest(http.MethodPost, h.gateway.url+"/llm/platform/simulator/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+h.tokens[name])
	request.Header.Set("Content-Type", "application/json")
	response, err := h.http.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return strings.TrimSpace(fmt.Sprint(response.StatusCode, " ", response.Header.Get("Vidimus-Code")))
}

// operate is a command of a person, with what it prints and its exit code.
func (h *herd) operate(words ...string) (string, int) {
	words = append(words, "--admin", strings.TrimPrefix(h.admin, "http://"), "--data", h.data)
	command := exec.Command(os.Getenv("VIDIMUS_BIN"), words...)
	output, _ := command.CombinedOutput()
	return string(output), command.ProcessState.ExitCode()
}

func (h *herd) joined(t *testing.T, kind, name string) joined {
	t.Helper()
	var read struct{ Status joined }
	path := "/apis/vidimus.dev/v1alpha1/namespaces/finance/" + kind + "/" + name
	if err := json.Unmarshal(h.ask(t, http.MethodGet, path, nil).body, &read); err != nil {
		t.Fatal(err)
	}
	return read.Status
}

// unclaimed are the names of pods that no record claims.
func (h *herd) unclaimed(t *testing.T) []string {
	t.Helper()
	output, code := h.operate("pods", "-o", "json")
	var read struct {
		Unclaimed []struct{ Namespace, Name, ServiceAccount string }
	}
	if code == 2 {
		return []string{"?"}
	}
	if err := json.Unmarshal([]byte(output), &read); err != nil {
		t.Fatal(err, output)
	}
	names := []string{}
	for _, pod := range read.Unclaimed {
		names = append(names, pod.Namespace+"/"+pod.Name)
	}
	return names
}

// eventually says what happens; the last of it is shown where it does not.
func eventually[T any](t *testing.T, what string, look func() T, is func(T) bool) {
	t.Helper()
	var last T
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if last = look(); is(last) {
			return
		}
	}
	t.Fatalf("it did not happen that %s: %+v", what, last)
}

func same(expected string) func(string) bool {
	return func(found string) bool { return found == expected }
}

func withoutPods(t *testing.T, h *herd) {
	h.pod(t, "finance", "bot-0", "invoice-bot")
	eventually(t, "what needs no pods is in force", func() string { return h.as("bot-0") }, same("200"))
	eventually(t, "it says that it may not", func() string { output, _ := h.operate("pods"); return output },
		func(output string) bool { return strings.Contains(output, "forbidden") })
	if said := h.joined(t, "agents", "invoice-bot"); said.running() != "Unknown PodsNotHeard" {
		t.Errorf("what is not known is said to be so: %+v", said)
	}
	for _, document := range documents(t, tree+"/deploy/rbac/pods.yaml") {
		h.bind(t, document)
	}
	eventually(t, "the role is in force", func() bool { return h.canI(t, "list", "/pods in default") }, func(may bool) bool { return may })
	for _, what := range []string{"/pods in default", "/namespaces in default", "/pods:log in default", "/pods:exec in default", "/pods:status in default", "/secrets in default", "/serviceaccounts:token in default"} {
		for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete"} {
			expected := (verb == "list" || verb == "watch") && !strings.Contains(what, ":") && what != "/secrets in default"
			if allowed := h.canI(t, verb, what); allowed != expected {
				t.Errorf("%s %s: %t", verb, what, allowed)
			}
		}
	}
}

func orphanAndIdle(t *testing.T, h *herd) {
	h.pod(t, "finance", "bot-1", "invoice-bot")
	h.pod(t, "finance", "bot-2", "invoice-bot")
	h.pod(t, "finance", "stranger", "nobody")
	h.pod(t, "elsewhere", "other", "nobody")
	eventually(t, "the orphan shows, and no other", func() []string { return h.unclaimed(t) },
		func(names []string) bool { return slices.Equal(names, []string{"finance/stranger"}) })
	if _, text := h.get("/metrics"); !strings.Contains(text, `vidimus_pods_unclaimed{namespace="finance"} 1`) {
		t.Error("it is not counted")
	} else if strings.Contains(text, "vidimus_issuer_keys_failed{") {
		t.Error("the keys of the issuer were not to be had")
	}
	eventually(t, "the record without a pod says so", func() joined { return h.joined(t, "serviceidentities", "idle") },
		func(said joined) bool {
			return said.running() == "False NoPod" && said.Instances != nil && said.Instances.Count == 0
		})
	eventually(t, "the other one has three", func() joined { return h.joined(t, "agents", "invoice-bot") },
		func(said joined) bool { return said.running() == "True Running" && said.Instances.Count == 3 })
	one := h.joined(t, "agents", "invoice-bot").Instances.Pods[0]
	digest := "registry.example/bot:1.2@sha256:" + strings.Repeat("a", 64)
	if one.Uid != h.uids["bot-0"] || one.Version != "1.2" || one.Phase != "Running" || !slices.Equal(one.Images, []string{digest}) {
		t.Errorf("%+v", one)
	}
	output, code := h.operate("pods")
	if code != 1 || !strings.Contains(output, "finance/stranger") || !strings.Contains(output, "ServiceIdentity finance/idle") {
		t.Errorf("%d: %s", code, output)
	}
}

func lastCall(t *testing.T, h *herd) {
	eventually(t, "the last call is told", func() joined { return h.joined(t, "agents", "invoice-bot") }, func(said joined) bool {
		return said.LastCall != nil && strings.Contains(said.LastCall.Identity, "system:serviceaccount:finance:invoice-bot")
	})
	first := h.joined(t, "agents", "invoice-bot")
	if !strings.Contains(first.LastCall.Instance, h.uids["bot-0"]) {
		t.Errorf("%+v", first.LastCall)
	}
	// Calls are not followed one by one: there is a write a minute.
	written := map[string]bool{}
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		h.as("bot-1")
		written[h.joined(t, "agents", "invoice-bot").LastCall.Time] = true
	}
	if len(written) > 2 {
		t.Errorf("%d writes in 15 s", len(written))
	}
}

func oneOfTwo(t *testing.T, h *herd) {
	if output, code := h.operate("quarantine", "instance", h.uids["bot-0"], "--why", "INC-7"); code != 0 {
		t.Fatal(output)
	}
	for name, expected := range map[string]string{"bot-0": "403 forbidden_by_policy", "bot-1": "200", "bot-2": "200"} {
		if found := h.as(name); found != expected {
			t.Errorf("%s: %s", name, found)
		}
	}
}

// quarantinedByAct: who asks no gateway about pods hears of it by the status of the record.
func quarantinedByAct(t *testing.T, h *herd) {
	file := kubeconfig(t, t.TempDir(), h.cluster.url, h.cluster.token)
	word := func() string {
		said := vidimus(t, "admission", "manifests", "--form", "registrations", "--cluster", "--follow", "finance", "--kubeconfig", file)
		for _, line := range strings.Split(string(said), "\n") {
			if _, found, ok := strings.Cut(line, `"finance.invoice-bot": `); ok {
				return strings.Trim(found, `"`)
			}
		}
		return ""
	}
	if found := word(); found != "approved" {
		t.Errorf("before: %s", found)
	}
	if output, code := h.operate("quarantine", "agent", "finance/invoice-bot", "--why", "INC-8"); code != 0 {
		t.Fatal(output)
	}
	eventually(t, "its pods are held", word, same("held"))
	if output, code := h.operate("quarantine", "lift", "agent", "finance/invoice-bot", "--why", "INC-8"); code != 0 {
		t.Fatal(output)
	}
	eventually(t, "they are approved again", word, same("approved"))
	if found := h.as("bot-2"); found != "200" {
		t.Errorf("it is lifted: %s", found)
	}
}

func podGone(t *testing.T, h *herd) {
	h.remove(t, "finance", "bot-1")
	eventually(t, "its token is refused", func() string { return h.as("bot-1") }, same("401 pod_gone"))
	if found := h.as("bot-2"); found != "200" {
		t.Errorf("its sibling: %s", found)
	}
	eventually(t, "two are left", func() joined { return h.joined(t, "agents", "invoice-bot") },
		func(said joined) bool { return said.Instances.Count == 2 })
	// Made anew by the same name, it is another one.
	gone := h.tokens["bot-1"]
	h.pod(t, "finance", "bot-1", "invoice-bot")
	eventually(t, "the new one calls", func() string { return h.as("bot-1") }, same("200"))
	h.tokens["old"] = gone
	if found := h.as("old"); found != "401 pod_gone" {
		t.Errorf("the token of the old one: %s", found)
	}
}

func (h *herd) remove(t *testing.T, namespace, name string) {
	t.Helper()
	path := "/api/v1/namespaces/" + namespace + "/pods/" + name + "?gracePeriodSeconds=0"
	if a := h.ask(t, http.MethodDelete, path, nil); a.message != "" {
		t.Fatal(a.message)
	}
}

func governedByLabel(t *testing.T, h *herd) {
	label := func(mode any) {
		path := h.cluster.url + "/api/v1/namespaces/elsewhere"
		patch, _ := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{"vidimus.dev/admission": mode}}})
		request, _ := http.NewRequest(http.MethodPatch, path, strings.NewReader(string(patch)))
		request.Header.Set("Authorization", "Bearer "+h.cluster.token)
		request.Header.Set("Content-Type", "application/merge-patch+json")
		response, err := h.client.Do(request)
		if err != nil || response.StatusCode >= 300 {
			t.Fatal(err, response)
		}
		response.Body.Close()
	}
	label("warn")
	eventually(t, "its pods are looked at", func() []string { return h.unclaimed(t) },
		func(names []string) bool { return slices.Equal(names, []string{"elsewhere/other", "finance/stranger"}) })
	label(nil)
	h.remove(t, "finance", "stranger")
	eventually(t, "no orphan is left", func() []string { return h.unclaimed(t) }, func(names []string) bool { return len(names) == 0 })
}

// unheard: a loss makes no pod gone, and lets none back.
func unheard(t *testing.T, h *herd) {
	_ = h.server.Process.Kill()
	_ = h.server.Wait()
	eventually(t, "it is told that pods are not heard", func() string { output, _ := h.operate("pods"); return output },
		func(output string) bool { return strings.Contains(output, "not heard now") })
	for name, expected := range map[string]string{"bot-2": "200", "bot-1": "200", "old": "401 pod_gone", "bot-0": "403 forbidden_by_policy"} {
		if found := h.as(name); found != expected {
			t.Errorf("%s: %s", name, found)
		}
	}
	h.serve()
	h.waitUntilReady(t)
	eventually(t, "they are heard again", func() string { output, _ := h.operate("pods"); return output },
		func(output string) bool { return !strings.Contains(output, "not heard now") })
}
