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
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const registered = `apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: bot, namespace: registering, annotations: {ci/run: "7"}}
spec:
  owner: ada.lovelace@example.com
  team: finance
  purpose: Matches invoices to purchase orders
  riskLevel: low
  identities: [{serviceAccount: {name: bot}}]
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: open, namespace: registering}
spec:
  description: Everything, to begin with.
  cedar: permit (principal, action == Action::"invokeTool", resource);
`

// sends asks the API server for something in the way of a control plane.
func (c *cluster) sends(method, path, kind string, body any) ([]byte, error) {
	payload, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequest(method, c.url+path, bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	request.Header.Set("Content-Type", kind)
	response, err := c.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(response.Body)
}

// statusWriter stands in for the gateway that follows a cluster: it says of each new version of an object what refuses returns, or that it is in force.
func (c *cluster) statusWriter(ctx context.Context, namespace string, refuses func(object) string) {
	for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		for plural, kind := range map[string]string{"agents": "Agent", "policies": "Policy"} {
			path := "/apis/vidimus.dev/v1alpha1/namespaces/" + namespace + "/" + plural
			content, err := c.sends(http.MethodGet, path, "application/json", nil)
			var list struct{ Items []object }
			if err != nil || json.Unmarshal(content, &list) != nil {
				continue
			}
			for _, item := range list.Items {
				generation := item["metadata"].(map[string]any)["generation"]
				if status, _ := item["status"].(map[string]any); status != nil && status["observedGeneration"] == generation {
					continue
				}
				value, reason, message := "True", "Accepted", ""
				if why := refuses(item); why != "" {
					value, reason, message = "False", "Invalid", why
				}
				condition := func(of string) map[string]any {
					return map[string]any{"type": of, "status": value, "reason": reason, "message": message,
						"observedGeneration": generation, "lastTransitionTime": time.Now().UTC().Format(time.RFC3339)}
				}
				name := item.text("metadata", "name")
				status := map[string]any{"apiVersion": "vidimus.dev/v1alpha1", "kind": kind,
					"metadata": map[string]any{"name": name, "namespace": namespace},
					"status": map[string]any{"observedGeneration": generation,
						"conditions": []any{condition("Accepted"), condition("Programmed")}}}
				_, _ = c.sends(http.MethodPatch, path+"/"+name+"/status?fieldManager=vidimus&force=true", "application/apply-patch+yaml", status)
			}
		}
	}
}

type registerAnswer struct {
	Ready   bool
	Objects []struct {
		Object, Applied, Refused string
		Generation               int
		Conditions               []struct {
			Type, Status, Message string
			WrittenBy             []string
		}
	}
	Rejections []struct{ Field string }
}

func (c *cluster) register(t *testing.T, file string, words ...string) (int, registerAnswer, string) {
	t.Helper()
	binary := os.Getenv("VIDIMUS_BIN")
	if binary == "" {
		binary = tree + "/target/debug/vidimus"
	}
	config := filepath.Join(t.TempDir(), "config")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: %q, insecure-skip-tls-verify: true}}]\n"+
		"users: [{name: u, user: {token: %q}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n", c.url, c.token)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(binary, append([]string{"register", file, "-o", "json", "--kubeconfig", config}, words...)...)
	var out, errors bytes.Buffer
	command.Stdout, command.Stderr = &out, &errors
	_ = command.Run()
	var answer registerAnswer
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil && out.Len() > 0 {
		t.Fatalf("%s: %v", out.String(), err)
	}
	return command.ProcessState.ExitCode(), answer, errors.String() + out.String()
}

func TestRegister(t *testing.T) {
	c := start(t)
	c.installKinds(t)
	file := filepath.Join(t.TempDir(), "all.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(registered)
	applied := func(answer registerAnswer) string {
		var all []string
		for _, one := range answer.Objects {
			all = append(all, one.Object+" "+one.Applied)
		}
		return strings.Join(all, ", ")
	}
	expect := func(what string, code, wanted int, found, says, shown string) {
		t.Helper()
		if code != wanted || found != says {
			t.Fatalf("%s: exit %d, not %d; %q, not %q\n%s", what, code, wanted, found, says, shown)
		}
	}

	code, answer, shown := c.register(t, file)
	expect("without the namespace", code, 1, applied(answer), "Policy registering/open refused, Agent registering/bot refused", shown)
	c.namespace(t, "registering")
	code, answer, shown = c.register(t, file, "--dry-run")
	expect("a try", code, 0, applied(answer), "Policy registering/open created, Agent registering/bot created", shown)
	agent := "/apis/vidimus.dev/v1alpha1/namespaces/registering/agents/bot"
	if a := c.ask(t, http.MethodGet, agent, nil); a.code != http.StatusNotFound {
		t.Fatalf("a try has an effect: %s", a.body)
	}
	// Nobody says anything of it.
	code, answer, shown = c.register(t, file, "--timeout", "1s")
	expect("nobody serves", code, 2, applied(answer), "Policy registering/open created, Agent registering/bot created", shown)

	// Somebody who may write statuses says that all is in force.
	forged := func(of string) map[string]any {
		return map[string]any{"type": of, "status": "True", "reason": "Accepted", "message": "", "observedGeneration": 1,
			"lastTransitionTime": time.Now().UTC().Format(time.RFC3339)}
	}
	both := map[string]any{"status": map[string]any{"conditions": []any{forged("Accepted"), forged("Programmed")}}}
	for _, path := range []string{agent, "/apis/vidimus.dev/v1alpha1/namespaces/registering/policies/open"} {
		if content, err := c.sends(http.MethodPatch, path+"/status?fieldManager=forger", "application/merge-patch+json", both); err != nil {
			t.Fatalf("%s %v", content, err)
		}
	}
	code, answer, shown = c.register(t, file, "--timeout", "1s")
	expect("a forged status", code, 2, applied(answer), "Policy registering/open unchanged, Agent registering/bot unchanged", shown)
	if len(answer.Objects[1].Conditions) != 2 || answer.Objects[1].Conditions[0].WrittenBy[0] != "forger" {
		t.Fatalf("it is not said who wrote it: %s", shown)
	}

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go c.statusWriter(ctx, "registering", func(o object) string {
		if o.text("spec", "riskLevel") == "critical" {
			return "spec.riskLevel critical: not here"
		}
		return ""
	})
	code, answer, shown = c.register(t, file)
	expect("the same again", code, 0, applied(answer), "Policy registering/open unchanged, Agent registering/bot unchanged", shown)
	for _, one := range answer.Objects {
		if one.Generation != 1 || len(one.Conditions) != 2 || one.Conditions[0].Status != "True" {
			t.Fatalf("%+v", one)
		}
	}
	var read object
	if err := json.Unmarshal(c.ask(t, http.MethodGet, agent, nil).body, &read); err != nil || read.text("metadata", "annotations", "ci/run") != "7" {
		t.Fatalf("what was written is not there: %v %v", err, read)
	}

	// Another version: what was said of the one before does not count.
	write(strings.Replace(registered, "riskLevel: low", "riskLevel: critical", 1))
	code, answer, shown = c.register(t, file)
	expect("refused by the gateway", code, 1, applied(answer), "Policy registering/open unchanged, Agent registering/bot configured", shown)
	if one := answer.Objects[1]; one.Generation != 2 || one.Conditions[0].Message != "spec.riskLevel critical: not here" {
		t.Fatalf("%+v", one)
	}
	write(registered)
	code, answer, shown = c.register(t, file)
	expect("good again", code, 0, applied(answer), "Policy registering/open unchanged, Agent registering/bot configured", shown)

	// What somebody else has applied is taken over only where that is said.
	other := map[string]any{"apiVersion": "vidimus.dev/v1alpha1", "kind": "Agent", "metadata": map[string]any{"name": "bot"},
		"spec": map[string]any{"purpose": "Another"}}
	if content, err := c.sends(http.MethodPatch, agent+"?fieldManager=other&force=true", "application/apply-patch+yaml", other); err != nil {
		t.Fatalf("%s %v", content, err)
	}
	code, answer, shown = c.register(t, file)
	expect("a conflict", code, 1, applied(answer), "Policy registering/open unchanged, Agent registering/bot refused", shown)
	if !strings.Contains(answer.Objects[1].Refused, "--force-conflicts") {
		t.Fatal(shown)
	}
	code, answer, shown = c.register(t, file, "--force-conflicts")
	expect("taken over", code, 0, applied(answer), "Policy registering/open unchanged, Agent registering/bot configured", shown)

	// What the files alone tell is told before anything is asked, and what only the server knows before anything is applied.
	write(strings.Replace(registered, "riskLevel: low", "riskLevel: LOW", 1))
	code, answer, shown = c.register(t, file)
	expect("a malformed file", code, 1, fmt.Sprint(len(answer.Objects), answer.Rejections), "0 [{spec.riskLevel}]", shown)
}
