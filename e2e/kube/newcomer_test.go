package kube

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// newcomers are the commands of docs/kubernetes.md, as they are pasted, and how many they are.
func newcomers(t *testing.T) (string, int) {
	t.Helper()
	page, err := os.ReadFile(tree + "/docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "## From an empty cluster to a refused call\n")
	_, rest, begun := strings.Cut(rest, "```sh\n")
	script, _, ended := strings.Cut(rest, "```\n")
	if !found || !begun || !ended {
		t.Fatal("docs/kubernetes.md has no such commands")
	}
	whole := strings.ReplaceAll(script, "\\\n", "")
	return script, strings.Count(strings.TrimSpace(whole), "\n") + 1
}

// TestNewcomer: from an empty cluster to a refused call in the audit, by ten commands of a page.
func TestNewcomer(t *testing.T) {
	script, count := newcomers(t)
	if count != 10 {
		t.Errorf("%d commands", count)
	}
	c := start(t)
	root := t.TempDir()
	at := func(path ...string) string { return filepath.Join(append([]string{root}, path...)...) }
	here, err := filepath.Abs(tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, directory := range []string{at("bin"), at("home", ".kube")} {
		if err := os.MkdirAll(directory, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		at("bin", "vidimus"): os.Getenv("VIDIMUS_BIN"), at("bin", "kubectl"): os.Getenv("VIDIMUS_KUBECTL"),
		at("deploy"): filepath.Join(here, "deploy"), at("examples"): filepath.Join(here, "examples"),
	} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	config := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: %q, certificate-authority: %q}}]\n"+
		"users: [{name: u, user: {token: %q}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n", c.url, c.ca, c.token)
	if err := os.WriteFile(at("home", ".kube", "config"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	// The ports of the page may be taken here.
	listen, admin := fmt.Sprint(freePort(t)), fmt.Sprint(freePort(t))
	if !strings.Contains(script, ":8080/") {
		t.Fatal("nothing is called")
	}
	script = regexp.MustCompile(`:8080\b`).ReplaceAllString(script, ":"+listen)

	ctx, stop := context.WithTimeout(context.Background(), 3*time.Minute)
	defer stop()
	command := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"+script)
	command.Dir = root
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "VIDIMUS_") && !strings.HasPrefix(variable, "KUBE") {
			command.Env = append(command.Env, variable)
		}
	}
	command.Env = append(command.Env, "PATH="+at("bin")+":"+os.Getenv("PATH"), "HOME="+at("home"), "XDG_STATE_HOME="+at("state"),
		"VIDIMUS_LISTEN=127.0.0.1:"+listen, "VIDIMUS_ADMIN=127.0.0.1:"+admin)
	var out, errors bytes.Buffer
	command.Stdout, command.Stderr = &out, &errors
	// What it begins ends with it, also where one of the commands fails.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	if err := command.Run(); err != nil {
		t.Errorf("it does not run to its end: %v", err)
	}
	said := out.String()
	answered := strings.Index(said, `"jsonrpc"`)
	for _, expected := range []string{"customresourcedefinition.apiextensions.k8s.io/agents.vidimus.dev created", "agent.vidimus.dev/bookkeeper condition met", `"no_permit"`} {
		if !strings.Contains(said, expected) {
			t.Errorf("it does not say %s", expected)
		}
	}
	// The record is what is printed behind the answer.
	if record := said[max(0, answered):]; answered < 0 || !regexp.MustCompile(`books/bookkeeper.*transfer`).MatchString(record[strings.Index(record, "\n")+1:]) {
		t.Error("the call is not in the audit")
	}
	// The page says what is to be taken away again.
	if a := c.ask(t, http.MethodGet, "/apis/coordination.k8s.io/v1/namespaces/default/leases/vidimus-statuses", nil); a.code != http.StatusOK {
		t.Errorf("the Lease is not where the page says: %s", a.message)
	}
	if t.Failed() {
		t.Logf("%s\n%s", said, errors.String())
	}
}
