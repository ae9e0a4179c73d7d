package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stage is a cluster, a gateway that follows it over a wire, and what is registered.
type stage struct {
	*cluster
	*gateway
	wire            *wire
	provider, agent object
	permits, closed object
}

const observing = `
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: observe, namespace: platform}
spec:
  description: Until all have policies.
  mode: rollout
  window: {until: "%s"}
  cedar: permit (principal, action, resource);
`

// newStage has nothing registered, and the account of the gateway has no right yet.
func newStage(t *testing.T) *stage {
	t.Helper()
	c := governable(t)
	c.roles(t, "ServiceAccount")
	w := newWire(t, strings.TrimPrefix(c.url, "https://"))
	server := "https://" + w.listener.Addr().String()
	g := newGateway(t, c, server, c.account(t, "vidimus-system", "vidimus-registry"))
	all := parsed(t, fmt.Sprintf(estate, model(t)))
	return &stage{cluster: c, gateway: g, wire: w, provider: all[0], agent: all[1], permits: all[2], closed: parsed(t, forbid)[0]}
}

func TestSource(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for _, step := range []struct {
		name string
		test func(*testing.T, *stage)
	}{
		{"without a right it says which", withoutARight},
		{"what is applied is live and what is deleted is not", appliedAndDeleted},
		{"a bad object is told so and holds what it refused", badObject},
		{"what a rollout lets pass is counted in its status", observes},
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

func observes(t *testing.T, s *stage) {
	s.delete(t, s.permits)
	until(t, "nothing permits it", s.answers(http.StatusForbidden))
	end := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	rollout := parsed(t, fmt.Sprintf(observing, end))[0]
	s.apply(t, rollout)
	within(t, soon, "it passes", s.answers(http.StatusOK))
	within(t, 2*soon, "its status says how many passed", func() bool {
		status, message := s.condition(t, rollout, "Observing")
		return status == "True" && strings.Contains(message, "calls pass since") && !strings.Contains(message, "no call pass")
	})
	doctor := exec.Command(os.Getenv("VIDIMUS_BIN"), "doctor", "--cluster", "--kubeconfig", kubeconfig(t, t.TempDir(), s.cluster.url, s.token))
	if said, _ := doctor.CombinedOutput(); !strings.Contains(string(said), "cluster_rollout: policies "+rollout.text("metadata", "namespace")+"/observe") {
		t.Errorf("%s", said)
	}
	s.delete(t, rollout)
	within(t, soon, "nothing lets it pass", s.answers(http.StatusForbidden))
	s.apply(t, s.permits)
	within(t, soon, "it is permitted again", s.answers(http.StatusOK))
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
	if code, body := s.get("/readyz"); code != http.StatusOK || !strings.Contains(body, "configuration from cluster, not heard of since ") {
		t.Errorf("what is live stays so, and it is said: %d %s", code, body)
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
	done := make(chan int64, 1)
	go func() { done <- s.create(all) }()
	var failed int64
	for waiting := true; waiting; {
		select {
		case failed = <-done:
			waiting = false
		case <-time.After(100 * time.Millisecond):
			if code := s.call(); code != http.StatusOK {
				t.Errorf("a call meanwhile is answered %d", code)
			}
		}
	}
	if failed != 0 {
		t.Fatalf("%d were not created", failed)
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
