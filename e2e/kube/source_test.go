package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// How long something may take that is to happen; how soon is no part of these tests.
const soon = 60 * time.Second

const estate = `
apiVersion: vidimus.dev/v1alpha1
kind: LLMProvider
metadata: {name: simulator, namespace: platform}
spec:
  owner: ada.lovelace@example.com
  type: openAICompatible
  endpoint: {url: "%s"}
  credential: {none: {}}
  models: [{name: simulator-small}]
---
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: invoice-bot, namespace: finance}
spec:
  owner: ada.lovelace@example.com
  team: finance
  purpose: Matches invoices to purchase orders
  riskLevel: low
  identities: [{oidc: {issuer: "urn:vidimus:local", subject: invoice-bot}}]
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: small-models, namespace: platform}
spec:
  description: Everybody may use the small model.
  cedar: permit (principal, action == Action::"callModel", resource);
`

const forbid = `
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: closed, namespace: platform}
spec:
  description: Nobody uses a model now.
  cedar: forbid (principal, action == Action::"callModel", resource);
`

func parsed(t *testing.T, text string) []object {
	t.Helper()
	var all []object
	for _, document := range strings.Split(text, "\n---\n") {
		var one object
		if err := yaml.Unmarshal([]byte(document), &one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}

// apply is `kubectl apply --server-side`.
func (c *cluster) apply(t *testing.T, all ...object) {
	t.Helper()
	for _, o := range all {
		c.namespace(t, o.text("metadata", "namespace"))
		payload, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		path := c.path(o) + "?fieldManager=e2e&force=true"
		request, err := http.NewRequest(http.MethodPatch, c.url+path, bytes.NewReader(payload))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+c.token)
		request.Header.Set("Content-Type", "application/apply-patch+yaml")
		response, err := c.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode >= 300 {
			t.Fatalf("%s: %s", path, body)
		}
	}
}

func (c *cluster) path(o object) string {
	return c.collection(o) + "/" + o.text("metadata", "name")
}

func (c *cluster) delete(t *testing.T, all ...object) {
	t.Helper()
	for _, o := range all {
		if a := c.ask(t, http.MethodDelete, c.path(o), nil); a.message != "" && a.code != http.StatusNotFound {
			t.Fatal(a.message)
		}
	}
}

// condition is what the status of an object says: "True", and its message; "" where it says nothing of its present generation.
func (c *cluster) condition(t *testing.T, o object, of string) (string, string) {
	t.Helper()
	var read struct {
		Metadata struct{ Generation int64 }
		Status   struct {
			ObservedGeneration int64
			Conditions         []struct{ Type, Status, Message string }
		}
	}
	if err := json.Unmarshal(c.ask(t, http.MethodGet, c.path(o), nil).body, &read); err != nil {
		t.Fatal(err)
	}
	for _, condition := range read.Status.Conditions {
		if condition.Type == of && read.Status.ObservedGeneration == read.Metadata.Generation {
			return condition.Status, condition.Message
		}
	}
	return "", ""
}

func (c *cluster) version(t *testing.T, o object) string {
	t.Helper()
	var read object
	if err := json.Unmarshal(c.ask(t, http.MethodGet, c.path(o), nil).body, &read); err != nil {
		t.Fatal(err)
	}
	return read.text("metadata", "resourceVersion")
}

// compact has etcd forget all versions but the present ones.
func (c *cluster) compact(t *testing.T) {
	t.Helper()
	post := func(path, body string) []byte {
		response, err := http.Post(c.etcd+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		content, _ := io.ReadAll(response.Body)
		if response.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", path, content)
		}
		return content
	}
	var status struct{ Header struct{ Revision string } }
	if err := json.Unmarshal(post("/v3/maintenance/status", "{}"), &status); err != nil {
		t.Fatal(err)
	}
	post("/v3/kv/compaction", fmt.Sprintf(`{"revision": "%s", "physical": true}`, status.Header.Revision))
}

// account makes a ServiceAccount's token, as a pod has it.
func (c *cluster) account(t *testing.T, namespace, name string) string {
	t.Helper()
	path := fmt.Sprintf("/api/v1/namespaces/%s/serviceaccounts/%s/token", namespace, name)
	a := c.ask(t, http.MethodPost, path, object{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": map[string]any{}})
	var read object
	if err := json.Unmarshal(a.body, &read); err != nil || a.message != "" {
		t.Fatal(err, a.message)
	}
	return read.text("status", "token")
}

// roles are those of deploy/rbac: first the account alone, then all that it may do.
func (c *cluster) roles(t *testing.T, only string) {
	t.Helper()
	paths := map[string]string{
		"ServiceAccount":     "/api/v1/namespaces/vidimus-system/serviceaccounts",
		"ClusterRole":        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
		"ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
		"Role":               "/apis/rbac.authorization.k8s.io/v1/namespaces/vidimus-system/roles",
		"RoleBinding":        "/apis/rbac.authorization.k8s.io/v1/namespaces/vidimus-system/rolebindings",
		"Lease":              "/apis/coordination.k8s.io/v1/namespaces/vidimus-system/leases",
	}
	c.namespace(t, "vidimus-system")
	for _, document := range documents(t, tree+"/deploy/rbac/registry.yaml") {
		kind := document.text("kind")
		if (kind == "ServiceAccount") != (only == "ServiceAccount") {
			continue
		}
		if a := c.ask(t, http.MethodPost, paths[kind]+"?fieldValidation=Strict", document); a.message != "" {
			t.Fatalf("%s: %s", kind, a.message)
		}
	}
}

// wire is a connection to the API server that can be cut (nothing passes, nobody is told) or slow.
type wire struct {
	listener net.Listener
	target   string
	cut      atomic.Bool
	slow     atomic.Bool
}

func newWire(t *testing.T, target string) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: listener, target: target}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			go w.join(from)
		}
	}()
	return w
}

func (w *wire) join(from net.Conn) {
	defer from.Close()
	for w.cut.Load() {
		time.Sleep(10 * time.Millisecond)
	}
	to, err := net.Dial("tcp", w.target)
	if err != nil {
		return
	}
	defer to.Close()
	done := make(chan struct{}, 2)
	pass := func(out, in net.Conn) {
		defer func() { done <- struct{}{} }()
		buffer := make([]byte, 32*1024)
		for {
			part := buffer
			if w.slow.Load() {
				part = buffer[:512]
			}
			n, err := in.Read(part)
			for w.cut.Load() {
				time.Sleep(10 * time.Millisecond)
			}
			if w.slow.Load() {
				time.Sleep(50 * time.Millisecond)
			}
			if _, failed := out.Write(part[:n]); failed != nil || err != nil {
				return
			}
		}
	}
	go pass(to, from)
	go pass(from, to)
	<-done
}

// gateway is the binary, with the account of deploy/rbac.
type gateway struct {
	t          *testing.T
	data, log  string
	command    *exec.Cmd
	arguments  []string
	url, admin string
	bearer     string
	http       *http.Client
}

func newGateway(t *testing.T, c *cluster, server, account string) *gateway {
	t.Helper()
	root := t.TempDir()
	kubeconfig := filepath.Join(root, "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "e2e",
"clusters": [{"name": "e2e", "cluster": {"server": %q, "insecure-skip-tls-verify": true}}],
"users": [{"name": "e2e", "user": {"token": %q}}],
"contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e", "namespace": "vidimus-system"}}]}`, server, account)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	listen, admin := freePort(t), freePort(t)
	g := &gateway{
		t: t, data: filepath.Join(root, "data"), log: filepath.Join(root, "gateway.log"),
		url: fmt.Sprintf("http://127.0.0.1:%d", listen), admin: fmt.Sprintf("http://127.0.0.1:%d", admin),
		http: &http.Client{Timeout: 20 * time.Second},
	}
	g.arguments = []string{"serve", "--cluster", "--kubeconfig", kubeconfig, "--data", g.data,
		"--listen", fmt.Sprintf("127.0.0.1:%d", listen), "--admin", fmt.Sprintf("127.0.0.1:%d", admin)}
	g.begin()
	t.Cleanup(func() {
		g.kill()
		if content := g.said(); t.Failed() {
			t.Logf("the end of the gateway's log:\n%s", content[max(0, len(content)-6000):])
		}
	})
	return g
}

func (g *gateway) begin() {
	g.t.Helper()
	log, err := os.OpenFile(g.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		g.t.Fatal(err)
	}
	defer log.Close()
	g.command = exec.Command(os.Getenv("VIDIMUS_BIN"), g.arguments...)
	g.command.Stdout, g.command.Stderr = log, log
	g.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := g.command.Start(); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gateway) kill() {
	_ = g.command.Process.Kill()
	_ = g.command.Wait()
}

func (g *gateway) said() string {
	content, _ := os.ReadFile(g.log)
	return string(content)
}

func (g *gateway) get(path string) (int, string) {
	response, err := g.http.Get(g.admin + path)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

func (g *gateway) isReady() bool {
	code, _ := g.get("/readyz")
	return code == http.StatusOK
}

// call is a governed call of the agent to the model: its status.
func (g *gateway) call() int {
	if g.bearer == "" {
		token, err := exec.Command(os.Getenv("VIDIMUS_BIN"), "identity", "token", "--data", g.data, "--subject", "invoice-bot").Output()
		if err != nil {
			g.t.Fatal(err)
		}
		g.bearer = strings.TrimSpace(string(token))
	}
	body := `{"model": "simulator-small", "messages": [{"role": "user", "content": "hello"}]}`
	request, err := http.NewRequest(http.MethodPost, g.url+"/llm/platform/simulator/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+g.bearer)
	request.Header.Set("Content-Type", "application/json")
	response, err := g.http.Do(request)
	if err != nil {
		g.t.Logf("a call: %v", err)
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

func (g *gateway) answers(code int) func() bool {
	return func() bool { return g.call() == code }
}

// stays says that calls are answered so for a while.
func (g *gateway) stays(t *testing.T, code int, during time.Duration) {
	t.Helper()
	for deadline := time.Now().Add(during); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if found := g.call(); found != code {
			t.Fatalf("a call is answered %d, not %d", found, code)
		}
	}
}

func (g *gateway) objects() string {
	_, metrics := g.get("/metrics")
	for _, line := range strings.Split(metrics, "\n") {
		if text, found := strings.CutPrefix(line, "vidimus_registry_objects "); found {
			return text
		}
	}
	return ""
}

func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !condition(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("within %s it did not happen that %s", soon, what)
		}
	}
}

// model answers as a provider of models does.
func model(t *testing.T) string {
	answer := `{"id": "x", "object": "chat.completion", "created": 1, "model": "simulator-small",
"choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// stage is a cluster, a gateway that follows it over a wire, and what is registered.
type stage struct {
	*cluster
	*gateway
	wire            *wire
	provider, agent object
	permits, closed object
}

func TestSource(t *testing.T) {
	if os.Getenv("VIDIMUS_BIN") == "" {
		t.Fatal("VIDIMUS_BIN is not set: run e2e/kube/test.sh")
	}
	c := start(t)
	for _, path := range files(t, tree+"/deploy/crds") {
		for _, crd := range documents(t, path) {
			c.install(t, crd)
		}
	}
	c.waitUntilServed(t)
	c.roles(t, "ServiceAccount")
	w := newWire(t, strings.TrimPrefix(c.url, "https://"))
	server := "https://" + w.listener.Addr().String()
	g := newGateway(t, c, server, c.account(t, "vidimus-system", "vidimus-registry"))
	all := parsed(t, fmt.Sprintf(estate, model(t)))
	s := &stage{cluster: c, gateway: g, wire: w, provider: all[0], agent: all[1], permits: all[2], closed: parsed(t, forbid)[0]}
	for _, step := range []struct {
		name string
		test func(*testing.T, *stage)
	}{
		{"without a right it says which", withoutARight},
		{"what is applied is live and what is deleted is not", appliedAndDeleted},
		{"a bad object is told so and holds what it refused", badObject},
		{"a status that is written is followed by nothing", noLoop},
		{"the API server is killed", killed},
		{"the API server is stopped", stopped},
		{"the past is forgotten behind a cut wire", expired},
		{"a slow wire", slow},
		{"the other replica writes when the one is gone", otherReplica},
		{"5000 objects at once", crowd},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.test(t, s) }) {
			t.Fatal("what follows builds on it")
		}
	}
}

func withoutARight(t *testing.T, s *stage) {
	until(t, "it says what it may not", func() bool {
		code, body := s.get("/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "vidimus.dev") && strings.Contains(body, "forbidden")
	})
	s.roles(t, "")
	until(t, "it is ready", s.isReady)
}

func appliedAndDeleted(t *testing.T, s *stage) {
	s.apply(t, s.provider, s.permits)
	s.apply(t, s.agent)
	until(t, "the route is live", s.answers(http.StatusOK))
	for _, o := range []object{s.provider, s.agent, s.permits} {
		for _, of := range []string{"Accepted", "Programmed", "Ready"} {
			until(t, o.text("metadata", "name")+" is "+of, func() bool {
				status, _ := s.condition(t, o, of)
				return status == "True"
			})
		}
	}
	s.delete(t, s.agent)
	until(t, "nobody calls any more", func() bool { code := s.call(); return code == http.StatusUnauthorized || code == http.StatusForbidden })
	s.apply(t, s.agent)
	until(t, "it is back", s.answers(http.StatusOK))
	s.delete(t, s.permits)
	until(t, "nothing permits it", s.answers(http.StatusForbidden))
	s.apply(t, s.permits)
	until(t, "it is permitted again", s.answers(http.StatusOK))
}

func badObject(t *testing.T, s *stage) {
	s.apply(t, s.closed)
	until(t, "it is forbidden", s.answers(http.StatusForbidden))
	until(t, "its status says that it is good", func() bool { status, _ := s.condition(t, s.closed, "Ready"); return status == "True" })
	others := []object{s.provider, s.agent, s.permits}
	for _, o := range others {
		until(t, "the others are ready", func() bool { status, _ := s.condition(t, o, "Ready"); return status == "True" })
	}
	before := []string{s.version(t, others[0]), s.version(t, others[1]), s.version(t, others[2])}
	bad := parsed(t, strings.Replace(forbid, "resource);", "resource) when {", 1))[0]
	s.apply(t, bad)
	for _, of := range []string{"Accepted", "Programmed", "Ready"} {
		until(t, "its status says what is wrong", func() bool {
			status, message := s.condition(t, bad, of)
			return status == "False" && (of == "Programmed" || strings.Contains(message, "spec.cedar"))
		})
	}
	s.stays(t, http.StatusForbidden, time.Second)
	for i, o := range others {
		if version := s.version(t, o); version != before[i] {
			t.Errorf("%s was written too: %s, %s", o.text("metadata", "name"), before[i], version)
		}
	}
	s.kill()
	s.begin()
	until(t, "it is ready again", s.isReady)
	s.stays(t, http.StatusForbidden, time.Second)
	s.delete(t, bad)
	until(t, "a deletion is meant", s.answers(http.StatusOK))
}

func noLoop(t *testing.T, s *stage) {
	all := []object{s.provider, s.agent, s.permits}
	for _, o := range all {
		until(t, "all are ready", func() bool { status, _ := s.condition(t, o, "Ready"); return status == "True" })
	}
	var before []string
	for _, o := range all {
		before = append(before, s.version(t, o))
	}
	reloads := strings.Count(s.said(), "resources reloaded")
	// Somebody else's condition is left alone.
	status := object{"apiVersion": s.agent["apiVersion"], "kind": "Agent", "metadata": s.agent["metadata"], "status": map[string]any{"conditions": []any{map[string]any{
		"type": "example.com/Audited", "status": "True", "reason": "Audited", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}}}}
	payload, _ := json.Marshal(status)
	request, _ := http.NewRequest(http.MethodPatch, s.cluster.url+s.path(s.agent)+"/status?fieldManager=auditor", bytes.NewReader(payload))
	request.Header.Set("Authorization", "Bearer "+s.token)
	request.Header.Set("Content-Type", "application/apply-patch+yaml")
	response, err := s.client.Do(request)
	if err != nil || response.StatusCode >= 300 {
		t.Fatal(err, response)
	}
	response.Body.Close()
	audited := s.version(t, s.agent)
	time.Sleep(3 * time.Second)
	if found := s.version(t, s.agent); found != audited {
		t.Errorf("the agent was written again: %s, %s", audited, found)
	}
	for i, o := range all {
		if found := s.version(t, o); i != 1 && found != before[i] {
			t.Errorf("%s was written again: %s, %s", o.text("metadata", "name"), before[i], found)
		}
	}
	if found := strings.Count(s.said(), "resources reloaded"); found != reloads {
		t.Errorf("a status made %d configurations", found-reloads)
	}
	if status, _ := s.condition(t, s.agent, "example.com/Audited"); status != "True" {
		t.Error("the condition of others is gone")
	}
}

// closes says that what happens in the cluster is in force again, and what is undone too.
func (s *stage) closes(t *testing.T) {
	t.Helper()
	s.apply(t, s.closed)
	until(t, "a forbid is in force", s.answers(http.StatusForbidden))
	s.delete(t, s.closed)
	until(t, "it is not any more", s.answers(http.StatusOK))
}

func killed(t *testing.T, s *stage) {
	lost := strings.Count(s.said(), "is not heard any more")
	_ = s.server.Process.Kill()
	_ = s.server.Wait()
	until(t, "it is noticed", func() bool { return strings.Count(s.said(), "is not heard any more") > lost })
	s.stays(t, http.StatusOK, 3*time.Second)
	if !s.isReady() {
		t.Error("what is live stays so")
	}
	s.serve()
	s.waitUntilReady(t)
	s.closes(t)
}

func stopped(t *testing.T, s *stage) {
	lost := strings.Count(s.said(), "is not heard any more")
	_ = s.server.Process.Signal(syscall.SIGSTOP)
	until(t, "it is noticed", func() bool { return strings.Count(s.said(), "is not heard any more") > lost })
	s.stays(t, http.StatusOK, time.Second)
	_ = s.server.Process.Signal(syscall.SIGCONT)
	s.waitUntilReady(t)
	s.closes(t)
}

// expired: what was deleted while nothing was heard is gone, although nobody tells of it any more.
func expired(t *testing.T, s *stage) {
	anew := strings.Count(s.said(), "is listed anew")
	s.wire.cut.Store(true)
	s.delete(t, s.permits)
	s.stays(t, http.StatusOK, 2*time.Second)
	s.compact(t)
	_ = s.server.Process.Kill()
	_ = s.server.Wait()
	// What it has in memory begins now.
	s.serve()
	s.waitUntilReady(t)
	s.wire.cut.Store(false)
	until(t, "what was deleted is gone", s.answers(http.StatusForbidden))
	until(t, "all was listed anew", func() bool { return strings.Count(s.said(), "is listed anew") > anew })
	s.apply(t, s.permits)
	until(t, "it is back", s.answers(http.StatusOK))
	s.closes(t)
}

func slow(t *testing.T, s *stage) {
	s.wire.slow.Store(true)
	defer s.wire.slow.Store(false)
	s.closes(t)
}

func otherReplica(t *testing.T, s *stage) {
	other := newGateway(t, s.cluster, s.cluster.url, s.account(t, "vidimus-system", "vidimus-registry"))
	until(t, "the other one is ready", other.isReady)
	time.Sleep(4 * time.Second)
	if strings.Contains(other.said(), "this replica writes statuses now") {
		t.Fatal("two replicas write")
	}
	s.kill()
	until(t, "the other one writes", func() bool { return strings.Contains(other.said(), "this replica writes statuses now") })
	s.apply(t, s.closed)
	until(t, "a status says so", func() bool { status, _ := s.condition(t, s.closed, "Ready"); return status == "True" })
	s.delete(t, s.closed)
	s.begin()
	until(t, "the first one is ready again", s.isReady)
	until(t, "the call passes", s.answers(http.StatusOK))
}

func crowd(t *testing.T, s *stage) {
	const count = 5000
	before, reloads := s.objects(), strings.Count(s.said(), "resources reloaded")
	template := func(i int) object {
		text := fmt.Sprintf(`
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: bot-%d, namespace: crowd}
spec:
  owner: ada.lovelace@example.com
  team: crowd
  purpose: One of many
  riskLevel: low
  identities: [{oidc: {issuer: "urn:vidimus:local", subject: bot-%d}}]`, i, i)
		return parsed(t, text)[0]
	}
	s.namespace(t, "crowd")
	s.namespace(t, "finance")
	all := make([]object, count)
	for i := range all {
		all[i] = template(i)
	}
	begun := time.Now()
	var next atomic.Int64
	var workers sync.WaitGroup
	var failed atomic.Int64
	for range 16 {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for i := next.Add(1) - 1; i < count; i = next.Add(1) - 1 {
				payload, _ := json.Marshal(all[i])
				request, _ := http.NewRequest(http.MethodPost, s.cluster.url+s.collection(all[i]), bytes.NewReader(payload))
				request.Header.Set("Authorization", "Bearer "+s.token)
				request.Header.Set("Content-Type", "application/json")
				response, err := s.client.Do(request)
				if err != nil || response.StatusCode >= 300 {
					failed.Add(1)
				}
				if err == nil {
					_, _ = io.Copy(io.Discard, response.Body)
					response.Body.Close()
				}
			}
		}()
	}
	done := make(chan struct{})
	go func() { workers.Wait(); close(done) }()
	for waiting := true; waiting; {
		select {
		case <-done:
			waiting = false
		case <-time.After(100 * time.Millisecond):
			if code := s.call(); code != http.StatusOK {
				t.Errorf("a call meanwhile is answered %d", code)
			}
		}
	}
	if failed.Load() != 0 {
		t.Fatalf("%d were not created", failed.Load())
	}
	created := time.Since(begun)
	var expected int
	if _, err := fmt.Sscan(before, &expected); err != nil {
		t.Fatal(err, before)
	}
	until(t, "all are live", func() bool { return s.objects() == fmt.Sprint(expected+count) })
	made := strings.Count(s.said(), "resources reloaded") - reloads
	t.Logf("%d objects created in %s, live after %s, in %d configurations", count, created, time.Since(begun), made)
	if made > count/5 {
		t.Errorf("%d configurations for %d objects", made, count)
	}
	until(t, "the first one is told", func() bool { status, _ := s.condition(t, all[0], "Ready"); return status == "True" })
	const gone = 100
	s.delete(t, all[:gone]...)
	until(t, "those that were deleted are gone", func() bool { return s.objects() == fmt.Sprint(expected+count-gone) })
	until(t, "the call passes", s.answers(http.StatusOK))
}
