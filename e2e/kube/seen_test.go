package kube

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// register is an act of the ledger.
type register struct {
	Actor string
	Act   struct {
		Register *struct{ Object, Operation, Before, After, Manager, Written, Request string }
	}
}

// TestSeen: an API server that asks nobody. Each change is on record all the same, with the name that managed fields have, which is nobody's proof.
func TestSeen(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.apply(t, s.provider)
	s.roles(t, "")
	until(t, "it is ready", s.isReady)
	if found := s.registered(t, ""); len(found) != 0 {
		t.Fatalf("what was there at the start: %v", found)
	}
	s.apply(t, s.agent)
	until(t, "the creation", func() bool { return len(s.registered(t, "create")) == 1 })
	created := s.registered(t, "create")[0]
	if r := created.Act.Register; created.Actor != "vidimus" || r.Object != "Agent/finance/invoice-bot" || r.Manager != "e2e" || r.Before != "" ||
		!strings.HasPrefix(r.After, "sha256:") || r.Written == "" || r.Request != "" {
		t.Errorf("%+v %+v", created, r)
	}
	// Whoever writes calls himself what he likes.
	path := s.path(s.agent) + "?fieldManager=User/kubernetes%23ada"
	if _, err := s.sends(http.MethodPatch, path, "application/merge-patch+json", map[string]any{"spec": map[string]any{"team": "treasury"}}); err != nil {
		t.Fatal(err)
	}
	until(t, "the change", func() bool { return len(s.registered(t, "update")) == 1 })
	changed := s.registered(t, "update")[0]
	if r := changed.Act.Register; changed.Actor != "vidimus" || r.Manager != "User/kubernetes#ada" || r.Before != created.Act.Register.After || r.After == r.Before {
		t.Errorf("%+v %+v", changed, r)
	}
	s.delete(t, s.agent)
	until(t, "the deletion", func() bool { return len(s.registered(t, "delete")) == 1 })
	if r := s.registered(t, "delete")[0].Act.Register; r.Manager != "" || r.Before != changed.Act.Register.After || r.After != "" {
		t.Errorf("%+v", r)
	}
	// Statuses are written all the while, and are no changes.
	if found := s.registered(t, ""); len(found) != 3 {
		t.Errorf("%d acts: %+v", len(found), found)
	}
}

// registered are the acts of an operation, or of all.
func (s *stage) registered(t *testing.T, operation string) (found []register) {
	t.Helper()
	// It fails where there is none.
	output, _ := exec.Command(os.Getenv("VIDIMUS_BIN"), "audit", "search", "--data", s.data, "--kind", "act", "-o", "json").Output()
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var shown register
		if decoder.Decode(&shown) != nil {
			return found
		}
		if r := shown.Act.Register; r != nil && (operation == "" || r.Operation == operation) {
			found = append(found, shown)
		}
	}
}
