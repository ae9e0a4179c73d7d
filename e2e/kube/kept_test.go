package kube

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// closes at this age; it is more than a gateway may not know of by what it kept (a watch of 15 s, a write every 10 s) and a start.
const closesAt = 60 * time.Second

// TestKept: the API server is gone, and then the gateway is started again.
func TestKept(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.roles(t, "")
	s.apply(t, s.provider, s.agent, s.permits)
	closing := object{"apiVersion": s.provider["apiVersion"], "kind": s.provider["kind"], "metadata": map[string]any{"name": "closing", "namespace": "platform"}}
	spec := map[string]any{}
	for name, value := range s.provider["spec"].(map[string]any) {
		spec[name] = value
	}
	url := spec["endpoint"].(map[string]any)["url"]
	spec["endpoint"] = map[string]any{"url": url, "staleAfter": map[string]any{"age": "60s", "then": "close"}}
	closing["spec"] = spec
	s.apply(t, closing)
	until(t, "both routes are live", func() bool { return s.callOf("closing") == http.StatusOK && s.call() == http.StatusOK })
	file := filepath.Join(s.data, "registry", "cluster")
	until(t, "it is kept", func() bool {
		content, _ := os.ReadFile(file)
		return bytes.Contains(content, []byte(`"name":"closing"`))
	})
	s.kill()
	// This happens while nobody listens.
	s.apply(t, s.closed)
	_ = s.server.Process.Kill()
	_ = s.server.Wait()

	begun := time.Now()
	s.begin()
	until(t, "it serves by what was kept", s.isReady)
	since := s.keptSince(t)
	if !since.Before(begun) {
		t.Errorf("its age is told from its start: %s, %s", since, begun)
	}
	if s.call() != http.StatusOK || s.callOf("closing") != http.StatusOK {
		t.Errorf("what was permitted is not: %d, %d", s.call(), s.callOf("closing"))
	}
	if _, metrics := s.get("/metrics"); !strings.Contains(metrics, "vidimus_source_kept 1\n") || strings.Contains(metrics, "vidimus_source_age_seconds 0.0\n") {
		t.Error("the metrics do not say so")
	}
	until(t, "the route closes that is to", func() bool { return s.callOf("closing") == http.StatusServiceUnavailable })
	if age := time.Since(since); age < closesAt || age > closesAt+10*time.Second {
		t.Errorf("it closed at an age of %s", age)
	}
	s.stays(t, http.StatusOK, time.Second)

	// Another start makes nothing younger.
	s.kill()
	s.begin()
	until(t, "it serves again by what was kept", s.isReady)
	if again := s.keptSince(t); again.After(since.Add(time.Second)) {
		t.Errorf("it is younger than before: %s, %s", again, since)
	}
	if s.call() != http.StatusOK || s.callOf("closing") != http.StatusServiceUnavailable {
		t.Errorf("after another start: %d, %d", s.call(), s.callOf("closing"))
	}

	// What others wrote is nothing.
	s.kill()
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.Replace(good, []byte(`"60s"`), []byte(`"99s"`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	s.begin()
	until(t, "it says why it serves nothing", func() bool {
		code, body := s.get("/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "changed by others")
	})
	if code := s.call(); code == http.StatusOK {
		t.Error("a call passes by what others wrote")
	}
	s.kill()
	if err := os.WriteFile(file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	s.begin()
	until(t, "it serves by its own", s.isReady)
	if code := s.call(); code != http.StatusOK {
		t.Errorf("a call is answered %d", code)
	}

	s.serve()
	s.waitUntilReady(t)
	until(t, "what happened while nobody listened is in force", s.answers(http.StatusForbidden))
	until(t, "nothing is told of what was kept any more", func() bool {
		code, body := s.get("/readyz")
		_, metrics := s.get("/metrics")
		return code == http.StatusOK && !strings.Contains(body, "kept") && strings.Contains(metrics, "vidimus_source_kept 0\n")
	})
	s.delete(t, s.closed)
	until(t, "both routes are live again", func() bool { return s.callOf("closing") == http.StatusOK && s.call() == http.StatusOK })
	s.delete(t, closing)
	until(t, "what is deleted is gone", func() bool { return s.callOf("closing") != http.StatusOK })
}

// keptSince is since when what was kept is not known to be all there is, as /readyz says.
func (s *stage) keptSince(t *testing.T) time.Time {
	t.Helper()
	_, body := s.get("/readyz")
	_, rest, found := strings.Cut(body, "configuration from kept, not heard of since ")
	text, _, _ := strings.Cut(rest, ": ")
	since, err := time.Parse(time.RFC3339Nano, text)
	if !found || err != nil || !strings.Contains(body, "kept on disk") {
		t.Fatalf("it is not told that it was kept: %s", body)
	}
	return since
}

// callOf is a call of the agent to the model of another provider.
func (s *stage) callOf(provider string) int {
	s.call()
	body := `{"model": "simulator-small", "messages": [{"role": "user", "content": "hello"}]}`
	request, err := http.NewRequest(http.MethodPost, s.gateway.url+"/llm/platform/"+provider+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.bearer)
	request.Header.Set("Content-Type", "application/json")
	response, err := s.gateway.http.Do(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}
