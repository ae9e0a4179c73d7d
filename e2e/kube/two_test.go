package kube

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The two that know each other, and one that neither was told of.
const (
	registryID = "spiffe://corp.example/registry"
	gatewayID  = "spiffe://corp.example/gateway"
	strangerID = "spiffe://corp.example/stranger"
)

// two is a registry that watches the cluster, and a gateway that has neither a kubeconfig nor a token, and hears the registry.
type two struct {
	*keyed
	registry *gateway
	// permits and closed are policies.
	permits, closed object
}

// svid is the directory of an SVID that the CA in root issued.
func svid(t *testing.T, root, id string) string {
	t.Helper()
	out := filepath.Join(root, filepath.Base(id))
	words := []string{"identity", "svid", "--data", filepath.Join(root, "ca"), "--spiffe-id", id, "--out", out}
	if text, err := exec.Command(os.Getenv("VIDIMUS_BIN"), words...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

// TestTwoProcesses: who watches is another process than who serves calls.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	c := governable(t)
	c.roles(t, "ServiceAccount")
	c.roles(t, "")
	root := t.TempDir()
	words := []string{"identity", "init", "--data", filepath.Join(root, "ca"), "--trust-domain", "corp.example"}
	if text, err := exec.Command(os.Getenv("VIDIMUS_BIN"), words...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	w := &two{keyed: &keyed{cluster: c}}
	serve, health := freePort(t), freePort(t)
	w.registry = w.registryOf(t, root, c, serve, health)
	w.gateway = newGatewayOf(t, t.TempDir(), hears(t, root, serve, registryID, gatewayID)...)
	all := parsed(t, fmt.Sprintf(estate, w.upstream(t)))
	w.provider, w.permits, w.closed = all[0], all[2], parsed(t, forbid)[0]
	w.apply(t, all...)
	for _, step := range []struct {
		name string
		test func(*testing.T, *two)
	}{
		{"what is applied is live where nobody reaches the API server", twoApplied},
		{"the registry is killed", twoRegistryKilled},
		{"the registry loses the API server", twoServerKilled},
		{"the gateway starts without the registry", twoKept},
		{"a key is sent, rotated and deleted", twoSecret},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.test(t, w) }) {
			t.Fatal("what follows builds on it")
		}
	}
	t.Run("whoever is another is not spoken to", func(t *testing.T) { twoStrangers(t, w, root, serve) })
}

// registryOf is the registry, as a process that speaks to one gateway.
func (w *two) registryOf(t *testing.T, root string, c *cluster, serve, health int) *gateway {
	t.Helper()
	own := svid(t, root, registryID)
	r := &gateway{
		t: t, log: filepath.Join(root, "registry.log"), admin: fmt.Sprintf("http://127.0.0.1:%d", health),
		http: &http.Client{Timeout: 20 * time.Second},
	}
	r.arguments = []string{"registry", "--serve", fmt.Sprintf("127.0.0.1:%d", serve), "--health", fmt.Sprintf("127.0.0.1:%d", health),
		"--kubeconfig", kubeconfig(t, root, c.url, c.account(t, "vidimus-system", "vidimus-registry")),
		"--cert", filepath.Join(own, "svid.pem"), "--key", filepath.Join(own, "svid-key.pem"),
		"--trust-bundle", "corp.example=" + filepath.Join(own, "bundle.pem"), "--gateway-id", gatewayID}
	r.start()
	return r
}

// hears are the flags of a gateway that is the one, and hears the other.
func hears(t *testing.T, root string, serve int, registry, gateway string) []string {
	own := svid(t, root, gateway)
	return []string{"--registry", fmt.Sprintf("localhost:%d", serve), "--registry-id", registry,
		"--registry-cert", filepath.Join(own, "svid.pem"), "--registry-key", filepath.Join(own, "svid-key.pem"),
		"--registry-bundle", filepath.Join(own, "bundle.pem")}
}

// lost says that the gateway serves, and says that it does not hear of the cluster.
func (w *two) lost() bool {
	code, body := w.get("/readyz")
	return code == http.StatusOK && strings.Contains(body, "configuration from registry, not heard of since ")
}

// heard says that what is live is all there is.
func (w *two) heard() bool {
	code, body := w.get("/readyz")
	return code == http.StatusOK && !strings.Contains(body, "not heard of since")
}

func twoApplied(t *testing.T, w *two) {
	until(t, "the registry is ready", w.registry.isReady)
	until(t, "the gateway is ready", w.heard)
	until(t, "the route is live", w.answers(http.StatusOK))
	for _, o := range []object{w.provider, w.permits} {
		until(t, "its status says so, by the registry", func() bool { status, _ := w.condition(t, o, "Ready"); return status == "True" })
	}
	w.apply(t, w.closed)
	until(t, "a forbid is in force", w.answers(http.StatusForbidden))
	w.delete(t, w.closed)
	until(t, "it is not any more", w.answers(http.StatusOK))
	bad := parsed(t, strings.Replace(forbid, "resource);", "resource) when {", 1))[0]
	w.apply(t, bad)
	until(t, "a bad object is told so", func() bool {
		status, message := w.condition(t, bad, "Accepted")
		return status == "False" && strings.Contains(message, "spec.cedar")
	})
	w.delete(t, bad)
	for _, word := range w.gateway.arguments {
		if strings.Contains(word, "kubeconfig") || strings.Contains(word, "cluster") {
			t.Errorf("the gateway is told of the API server: %s", word)
		}
	}
}

func twoRegistryKilled(t *testing.T, w *two) {
	w.registry.kill()
	until(t, "it is told", w.lost)
	w.stays(t, http.StatusOK, time.Second)
	// This happens while nobody listens.
	w.apply(t, w.closed)
	w.stays(t, http.StatusOK, time.Second)
	w.registry.begin()
	until(t, "nothing was missed", w.answers(http.StatusForbidden))
	until(t, "it is heard again", w.heard)
	w.registry.kill()
	w.delete(t, w.closed)
	w.registry.begin()
	until(t, "what was deleted is gone", w.answers(http.StatusOK))
	until(t, "it is heard again", w.heard)
}

func twoServerKilled(t *testing.T, w *two) {
	_ = w.server.Process.Kill()
	_ = w.server.Wait()
	until(t, "the gateway says that the registry does not hear it", func() bool {
		_, body := w.get("/readyz")
		return w.lost() && strings.Contains(body, "the registry does not hear it")
	})
	if code, body := w.registry.get("/readyz"); code != http.StatusOK || !strings.Contains(body, "vidimus.dev") {
		t.Errorf("the registry has what it heard, and says that it is old: %d %s", code, body)
	}
	w.stays(t, http.StatusOK, time.Second)
	w.serve()
	w.waitUntilReady(t)
	w.apply(t, w.closed)
	until(t, "what happens is in force again", w.answers(http.StatusForbidden))
	w.delete(t, w.closed)
	until(t, "and what is undone too", w.answers(http.StatusOK))
	until(t, "it is heard again", w.heard)
}

func twoKept(t *testing.T, w *two) {
	file := filepath.Join(w.data, "registry", "cluster")
	refused := filepath.Join(w.data, "registry", "refused")
	until(t, "it is kept, and what is refused as well", func() bool {
		content, _ := os.ReadFile(file)
		forbidden, _ := os.ReadFile(refused)
		return bytes.Contains(content, []byte(`"name":"small-models"`)) && !bytes.Contains(content, []byte(`"name":"closed"`)) &&
			!bytes.Contains(forbidden, []byte("closed"))
	})
	w.registry.kill()
	w.gateway.kill()
	w.gateway.begin()
	until(t, "it serves by what was kept", func() bool {
		code, body := w.get("/readyz")
		return code == http.StatusOK && strings.Contains(body, "configuration from kept, not heard of since ")
	})
	w.stays(t, http.StatusOK, time.Second)
	w.registry.begin()
	until(t, "it is heard", w.heard)
	w.stays(t, http.StatusOK, time.Second)
}

func twoSecret(t *testing.T, w *two) {
	w.named(w.provider, "openai", "apiKey")
	w.apply(t, w.provider)
	w.openai(t, "sk-first")
	w.grant(t, rights(t, w.keyed.closed(t, "SecretForbidden")))
	w.opens(t, "sk-first")
	w.openai(t, "sk-second")
	w.opens(t, "sk-second")
	// What was read stays while the registry is away, and while it begins.
	w.registry.kill()
	until(t, "it is told", w.lost)
	w.stays(t, http.StatusOK, time.Second)
	w.openai(t, "sk-third")
	w.registry.begin()
	w.opens(t, "sk-third")
	if a := w.ask(t, http.MethodDelete, "/api/v1/namespaces/platform/secrets/openai", nil); a.message != "" {
		t.Fatal(a.message)
	}
	w.keyed.closed(t, "SecretNotFound")
	w.openai(t, "sk-fourth")
	w.opens(t, "sk-fourth")
	// Of a gateway that starts without the registry, keys are nowhere.
	w.registry.kill()
	w.gateway.kill()
	err := filepath.WalkDir(filepath.Dir(w.data), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if content, _ := os.ReadFile(path); bytes.Contains(content, []byte("sk-fourth")) {
			t.Errorf("the key is in %s", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.gateway.begin()
	until(t, "it serves by what was kept", w.isReady)
	until(t, "what needs a key is closed", w.answers(http.StatusServiceUnavailable))
	w.registry.begin()
	w.opens(t, "sk-fourth")
}

func twoStrangers(t *testing.T, w *two, root string, serve int) {
	stranger := newGatewayOf(t, t.TempDir(), hears(t, root, serve, registryID, strangerID)...)
	until(t, "the registry says whom it does not speak to", func() bool { return strings.Contains(w.registry.said(), strangerID) })
	misled := newGatewayOf(t, t.TempDir(), hears(t, root, serve, strangerID, gatewayID)...)
	until(t, "the gateway says whom it does not speak to", func() bool { return strings.Contains(misled.said(), registryID) })
	for _, g := range []*gateway{stranger, misled} {
		if code, body := g.get("/readyz"); code == http.StatusOK {
			t.Errorf("it is ready: %s", body)
		}
	}
	w.stays(t, http.StatusOK, time.Second)
}
