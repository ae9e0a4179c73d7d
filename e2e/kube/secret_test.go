package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// keyed is a provider whose key is in a Secret, and who sees which keys are sent to it.
type keyed struct {
	*cluster
	*gateway
	provider object
	mutex    sync.Mutex
	sent     []string
}

// TestSecrets: the key of a provider from a Secret, with RBAC on.
func TestSecrets(t *testing.T) {
	t.Parallel()
	c := governable(t)
	c.roles(t, "ServiceAccount")
	c.roles(t, "")
	k := &keyed{cluster: c}
	k.gateway = newGateway(t, c, c.url, c.account(t, "vidimus-system", "vidimus-registry"))
	all := parsed(t, fmt.Sprintf(estate, k.upstream(t)))
	k.provider = all[0]
	k.named(k.provider, "openai", "apiKey")
	k.apply(t, all...)
	for _, step := range []struct {
		name string
		test func(*testing.T, *keyed)
	}{
		{"without a right the status has the role to apply", secretForbidden},
		{"a Secret and a key that are missing are said", secretMissing},
		{"a key is sent, rotated and deleted", secretRotated},
		{"what is no key is not sent", secretUnusable},
		{"a Secret of another namespace cannot be named", secretOfOthers},
		{"the API server is killed", secretKept},
		{"a key is nowhere but in the call", secretNowhere},
		{"what nobody names is not watched", secretLetGo},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.test(t, k) }) {
			t.Fatal("what follows builds on it")
		}
	}
}

// upstream answers as a provider does, and notes the key of each call.
func (k *keyed) upstream(t *testing.T) string {
	answer := `{"id": "x", "object": "chat.completion", "created": 1, "model": "simulator-small",
"choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.mutex.Lock()
		k.sent = append(k.sent, r.Header.Get("Authorization"))
		k.mutex.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// last is the key of the last call, and seen whether one was ever sent.
func (k *keyed) last() string {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if len(k.sent) == 0 {
		return ""
	}
	return k.sent[len(k.sent)-1]
}

func (k *keyed) seen(key string) bool {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	for _, sent := range k.sent {
		if strings.Contains(sent, key) {
			return true
		}
	}
	return false
}

// named has a provider take its key from a Secret.
func (k *keyed) named(provider object, name, key string) {
	provider["spec"].(map[string]any)["credential"] = map[string]any{"secretRef": map[string]any{"name": name, "key": key}}
}

func (k *keyed) secret(t *testing.T, namespace, name string, data map[string][]byte) {
	t.Helper()
	k.namespace(t, namespace)
	at := fmt.Sprintf("/api/v1/namespaces/%s/secrets", namespace)
	secret := object{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name, "namespace": namespace}, "data": data}
	a := k.ask(t, http.MethodPut, at+"/"+name, secret)
	if a.code == http.StatusNotFound {
		a = k.ask(t, http.MethodPost, at, secret)
	}
	if a.message != "" {
		t.Fatal(a.message)
	}
}

func (k *keyed) openai(t *testing.T, key string) {
	t.Helper()
	k.secret(t, "platform", "openai", map[string][]byte{"apiKey": []byte(key), "other": []byte("sk-other")})
}

// why is the reason and the message of a condition, of the present generation.
func (k *keyed) why(t *testing.T, o object, of string) (string, string) {
	t.Helper()
	var read struct {
		Metadata struct{ Generation int64 }
		Status   struct {
			ObservedGeneration int64
			Conditions         []struct{ Type, Reason, Message string }
		}
	}
	if err := json.Unmarshal(k.ask(t, http.MethodGet, k.path(o), nil).body, &read); err != nil {
		t.Fatal(err)
	}
	for _, condition := range read.Status.Conditions {
		if condition.Type == of && read.Status.ObservedGeneration == read.Metadata.Generation {
			return condition.Reason, condition.Message
		}
	}
	return "", ""
}

// closed says that no call passes, and that the status says why.
func (k *keyed) closed(t *testing.T, reason string) string {
	t.Helper()
	until(t, "the status says "+reason, func() bool { is, _ := k.why(t, k.provider, "Programmed"); return is == reason })
	until(t, "calls are refused", k.answers(http.StatusServiceUnavailable))
	k.stays(t, http.StatusServiceUnavailable, 500*time.Millisecond)
	if is, _ := k.why(t, k.provider, "Accepted"); is != "Accepted" {
		t.Errorf("the object is good all the same: %s", is)
	}
	if is, _ := k.why(t, k.provider, "Ready"); is != reason {
		t.Errorf("Ready says %s", is)
	}
	_, message := k.why(t, k.provider, "Programmed")
	return message
}

// opens says that calls pass with this key and no other, and that the status says so.
func (k *keyed) opens(t *testing.T, key string) {
	t.Helper()
	until(t, "calls pass with the key", func() bool { return k.call() == http.StatusOK && k.last() == "Bearer "+key })
	k.stays(t, http.StatusOK, 500*time.Millisecond)
	if k.last() != "Bearer "+key {
		t.Fatalf("another key was sent: %q", k.last())
	}
	until(t, "the status says so", func() bool { is, _ := k.why(t, k.provider, "Programmed"); return is == "Programmed" })
}

// rights are the objects that the status of a forbidden Secret has.
func rights(t *testing.T, message string) []object {
	t.Helper()
	_, rest, found := strings.Cut(message, "apply: ")
	text, _, ended := strings.Cut(rest, " (the API server says:")
	var list struct{ Items []object }
	if err := json.Unmarshal([]byte(text), &list); !found || !ended || err != nil || len(list.Items) != 2 {
		t.Fatal(err, message)
	}
	return list.Items
}

func (k *keyed) grant(t *testing.T, items []object) {
	t.Helper()
	for _, item := range items {
		if a := k.ask(t, http.MethodPost, k.collection(item)+"?fieldValidation=Strict", item); a.message != "" {
			t.Fatal(a.message)
		}
	}
}

func secretForbidden(t *testing.T, k *keyed) {
	k.openai(t, "sk-hidden")
	items := rights(t, k.closed(t, "SecretForbidden"))
	example := documents(t, tree+"/deploy/rbac/secret.yaml")
	for i, item := range items {
		told, _ := json.Marshal(item)
		written, _ := json.Marshal(example[i])
		var a, b any
		if json.Unmarshal(told, &a) != nil || json.Unmarshal(written, &b) != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("the example is not what the status says:\n%s\n%s", told, written)
		}
	}
	k.grant(t, items)
	k.opens(t, "sk-hidden")
	for _, what := range []string{"/secrets/other in platform", "/secrets in platform", "/secrets/openai in finance"} {
		for _, verb := range []string{"get", "list", "watch"} {
			if k.canI(t, verb, what) {
				t.Errorf("it may %s %s", verb, what)
			}
		}
	}
}

func secretMissing(t *testing.T, k *keyed) {
	k.secret(t, "platform", "openai", map[string][]byte{"other": []byte("sk-other")})
	if message := k.closed(t, "KeyNotFound"); !strings.Contains(message, "apiKey") {
		t.Error(message)
	}
	if a := k.ask(t, http.MethodDelete, "/api/v1/namespaces/platform/secrets/openai", nil); a.message != "" {
		t.Fatal(a.message)
	}
	if message := k.closed(t, "SecretNotFound"); !strings.Contains(message, "kubectl -n platform create secret generic openai") {
		t.Error(message)
	}
}

func secretRotated(t *testing.T, k *keyed) {
	for _, key := range []string{"sk-first", "sk-second\n", "sk-third"} {
		k.openai(t, key)
		k.opens(t, strings.TrimSpace(key))
	}
	if a := k.ask(t, http.MethodDelete, "/api/v1/namespaces/platform/secrets/openai", nil); a.message != "" {
		t.Fatal(a.message)
	}
	k.closed(t, "SecretNotFound")
	k.openai(t, "sk-fourth")
	k.opens(t, "sk-fourth")
	k.kill()
	k.begin()
	until(t, "it is ready again", k.isReady)
	k.opens(t, "sk-fourth")
}

func secretUnusable(t *testing.T, k *keyed) {
	for _, key := range []string{"", "sk-odd\r\nx-injected: 1", "\x1b[31msk-odd", "sk-odd sk-odd", "sk-odd\x00", "\xff\xfe", strings.Repeat("x", 1_000_000)} {
		k.openai(t, key)
		if message := k.closed(t, "KeyInvalid"); strings.Contains(message, "sk-odd") || strings.Contains(message, "xxxx") {
			t.Error(message)
		}
		k.openai(t, "sk-good")
		k.opens(t, "sk-good")
	}
	if k.seen("sk-odd") || k.seen("xxxx") || k.seen("sk-other") {
		t.Error("it was sent")
	}
}

// secretOfOthers: the registry may read the Secret of finance, for finance; nobody else gets it.
func secretOfOthers(t *testing.T, k *keyed) {
	k.secret(t, "finance", "treasury", map[string][]byte{"apiKey": []byte("sk-of-finance")})
	k.grant(t, []object{
		{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": map[string]any{"name": "treasury", "namespace": "finance"},
			"rules": []any{map[string]any{"apiGroups": []string{""}, "resources": []string{"secrets"}, "verbs": []string{"list", "watch"}}}},
		{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": map[string]any{"name": "treasury", "namespace": "finance"},
			"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "treasury"},
			"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": "vidimus-registry", "namespace": "vidimus-system"}}},
	})
	for credential, says := range map[string]string{
		`{"secretRef": {"name": "treasury", "key": "apiKey", "namespace": "finance"}}`: "unknown field",
		`{"secretRef": {"name": "finance/treasury", "key": "apiKey"}}`:                 "should match",
		`{"secretRef": {"name": "a,metadata.namespace=finance", "key": "apiKey"}}`:     "should match",
		`{"secretRef": {"name": "treasury", "key": "../apiKey"}}`:                      "should match",
		`{"file": "openai.key"}`: "use secretRef",
		`{"env": "HOME"}`:        "use secretRef",
	} {
		var odd object
		content, _ := json.Marshal(k.provider)
		_ = json.Unmarshal(content, &odd)
		var given any
		_ = json.Unmarshal([]byte(credential), &given)
		odd["spec"].(map[string]any)["credential"] = given
		odd["metadata"].(map[string]any)["name"] = "odd"
		if a := k.try(t, odd); !strings.Contains(a.message, says) {
			t.Errorf("%s: %q", credential, a.message)
		}
	}
	k.named(k.provider, "treasury", "apiKey")
	k.apply(t, k.provider)
	if message := k.closed(t, "SecretForbidden"); !strings.Contains(message, "Secret platform/treasury may not be read") {
		t.Error(message)
	}
	if k.seen("sk-of-finance") {
		t.Fatal("the key of another namespace was sent")
	}
	k.named(k.provider, "openai", "apiKey")
	k.apply(t, k.provider)
	k.opens(t, "sk-good")
}

func secretKept(t *testing.T, k *keyed) {
	_ = k.server.Process.Kill()
	_ = k.server.Wait()
	k.stays(t, http.StatusOK, 3*time.Second)
	k.serve()
	// One that begins may say for a moment that nobody may anything.
	k.stays(t, http.StatusOK, 5*time.Second)
	k.waitUntilReady(t)
	k.openai(t, "sk-after")
	k.opens(t, "sk-after")
}

func secretNowhere(t *testing.T, k *keyed) {
	keys := []string{"sk-hidden", "sk-first", "sk-second", "sk-third", "sk-fourth", "sk-odd", "sk-good", "sk-after", "sk-other", "sk-of-finance"}
	where := map[string][]byte{"the log": []byte(k.said())}
	for _, path := range []string{"/registry", "/metrics", "/readyz"} {
		_, body := k.get(path)
		where[path] = []byte(body)
	}
	for _, o := range []object{k.provider} {
		where["the object"] = k.ask(t, http.MethodGet, k.path(o), nil).body
	}
	err := filepath.WalkDir(k.data, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			where[path], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil || len(where) < 8 {
		t.Fatal(err, len(where))
	}
	for at, content := range where {
		for _, key := range keys {
			if bytes.Contains(content, []byte(key)) {
				t.Errorf("%s is in %s", key, at)
			}
		}
	}
}

// watched is how many watches of one Secret the API server has open.
func (k *keyed) watched(t *testing.T) string {
	t.Helper()
	for _, line := range strings.Split(string(k.ask(t, http.MethodGet, "/metrics", nil).body), "\n") {
		if strings.HasPrefix(line, "apiserver_longrunning_requests{") && strings.Contains(line, `resource="secrets"`) && strings.Contains(line, `scope="resource"`) {
			return line[strings.LastIndex(line, " ")+1:]
		}
	}
	return "0"
}

func secretLetGo(t *testing.T, k *keyed) {
	until(t, "its Secret is watched, and no other", func() bool { return k.watched(t) == "1" })
	k.delete(t, k.provider)
	until(t, "no Secret is watched", func() bool { return k.watched(t) == "0" })
	k.apply(t, k.provider)
	k.opens(t, "sk-after")
}
