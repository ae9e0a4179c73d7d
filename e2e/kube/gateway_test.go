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

// create makes objects that are not there yet, sixteen at a time, and says how many could not be made.
func (c *cluster) create(all []object) int64 {
	var next, failed atomic.Int64
	var workers sync.WaitGroup
	for range 16 {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for i := next.Add(1) - 1; int(i) < len(all); i = next.Add(1) - 1 {
				payload, _ := json.Marshal(all[i])
				request, _ := http.NewRequest(http.MethodPost, c.url+c.collection(all[i]), bytes.NewReader(payload))
				request.Header.Set("Authorization", "Bearer "+c.token)
				request.Header.Set("Content-Type", "application/json")
				response, err := c.client.Do(request)
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
	workers.Wait()
	return failed.Load()
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
	return newGatewayOf(t, root, "--cluster", "--kubeconfig", kubeconfig(t, root, server, account))
}

// newGatewayOf has its resources from what these flags say.
func newGatewayOf(t *testing.T, root string, source ...string) *gateway {
	t.Helper()
	listen, admin := freePort(t), freePort(t)
	g := &gateway{
		t: t, data: filepath.Join(root, "data"), log: filepath.Join(root, "gateway.log"),
		url: fmt.Sprintf("http://127.0.0.1:%d", listen), admin: fmt.Sprintf("http://127.0.0.1:%d", admin),
		http: &http.Client{Timeout: 20 * time.Second},
	}
	g.arguments = append([]string{"serve", "--data", g.data, "--listen", fmt.Sprintf("127.0.0.1:%d", listen),
		"--admin", fmt.Sprintf("127.0.0.1:%d", admin)}, source...)
	g.start()
	return g
}

// kubeconfig has the account's token in it.
func kubeconfig(t *testing.T, root, server, account string) string {
	t.Helper()
	kubeconfig := filepath.Join(root, "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "e2e",
"clusters": [{"name": "e2e", "cluster": {"server": %q, "insecure-skip-tls-verify": true}}],
"users": [{"name": "e2e", "user": {"token": %q}}],
"contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e", "namespace": "vidimus-system"}}]}`, server, account)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

// start begins it for as long as the test; what it logged is shown when that failed.
func (g *gateway) start() {
	g.begin()
	g.t.Cleanup(func() {
		g.kill()
		if content := g.said(); g.t.Failed() {
			g.t.Logf("the end of %s:\n%s", g.log, content[max(0, len(content)-6000):])
		}
	})
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

// stop ends it as a kubelet does.
func (g *gateway) stop() {
	_ = g.command.Process.Signal(syscall.SIGTERM)
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

// issued is a token of the gateway's own for this subject. Whoever begins to serve has its identity a moment later, and before that there is none.
func issued(t *testing.T, data, subject string, flags ...string) string {
	t.Helper()
	var token string
	untilSaid(t, "no token for "+subject, func() (bool, string) {
		arguments := append([]string{"identity", "token", "--data", data, "--subject", subject}, flags...)
		made := exec.Command(os.Getenv("VIDIMUS_BIN"), arguments...)
		var why strings.Builder
		made.Stderr = &why
		said, err := made.Output()
		token = strings.TrimSpace(string(said))
		return err == nil, why.String()
	})
	return token
}

// call is a governed call of the agent to the model: its status.
func (g *gateway) call() int {
	if g.bearer == "" {
		g.bearer = issued(g.t, g.data, "invoice-bot")
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
	within(t, soon, what, condition)
}

// within is `until` for what takes longer, and is looked at less often.
func within(t *testing.T, long time.Duration, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(long); !condition(); time.Sleep(long / 1200) {
		if time.Now().After(deadline) {
			t.Fatalf("within %s it did not happen that %s", long, what)
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
