package kube

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// places are the two kinds of reports, of all namespaces.
var places = []string{"/apis/wgpolicyk8s.io/v1alpha2/policyreports", "/apis/openreports.io/v1alpha1/reports"}

// TestReports: what is found of pods is in the cluster, by the published CRDs, and is gone when nothing is found any more.
func TestReports(t *testing.T) {
	c := start(t)
	cases := podCases(t)
	c.installKinds(t)
	c.governed(t, cases)
	c.apply(t, documents(t, tree+"/e2e/admission/resources/records.yaml")...)
	for _, each := range cases {
		c.mustCreate(t, pods, each.Pod)
	}
	kubeconfig := c.scanner(t)
	code, said := scanned(t, kubeconfig)
	if code != 2 || !strings.Contains(said, "forbidden") {
		t.Fatalf("without a right: %d %s", code, said)
	}
	c.scans(t)
	until(t, "the role is in force", func() bool { return c.mayAs(t, "vidimus-scan", "list", "/pods in default") })
	if code, said = scanned(t, kubeconfig); code != 2 || !strings.Contains(said, "apply the CRDs") {
		t.Fatalf("without the kinds: %d %s", code, said)
	}
	// One of the two kinds is enough.
	c.install(t, documents(t, "reports/openreports.io_reports.yaml")[0])
	// A new kind is not served at once.
	until(t, "with one kind", func() bool { code, said = scanned(t, kubeconfig); return code == 0 })
	c.install(t, documents(t, "reports/wgpolicyk8s.io_policyreports.yaml")[0])
	until(t, "with both", func() bool { code, said = scanned(t, kubeconfig); return code == 0 })
	if !strings.Contains(said, "20 pods, of which 13 break a rule") {
		t.Fatalf("%d %s", code, said)
	}
	for _, place := range places {
		found := c.reports(t, place)
		if len(found) != 1 || found["finance/vidimus-pods"].Summary != (summary{Pass: 7, Fail: 13}) {
			t.Errorf("%s: %v", place, found)
		}
		if managers := found["finance/vidimus-pods"].managers(); !slices.Equal(managers, []string{"vidimus-scan"}) {
			t.Errorf("%s: %v", place, managers)
		}
	}
	t.Run("registrations", func(t *testing.T) { registrationsKept(t, c) })
	t.Run("pruned", func(t *testing.T) { pruned(t, c, kubeconfig) })
	t.Run("rights", func(t *testing.T) { scanRights(t, c) })
}

// pruned: reports of nothing go, and nobody else's.
func pruned(t *testing.T, c *cluster, kubeconfig string) {
	labels := map[string]any{"app.kubernetes.io/managed-by": "vidimus"}
	c.namespace(t, "empty")
	for name, labels := range map[string]map[string]any{"vidimus-pods": labels, "vidimus-pods-1": labels, "theirs": labels, "vidimus-pods-2": nil} {
		for place, kind := range map[string]string{"wgpolicyk8s.io/v1alpha2/namespaces/empty/policyreports": "PolicyReport", "openreports.io/v1alpha1/namespaces/empty/reports": "Report"} {
			version := strings.Join(strings.Split(place, "/")[:2], "/")
			report := object{"apiVersion": version, "kind": kind, "metadata": map[string]any{"name": name, "labels": labels}}
			if kind == "Report" {
				report["source"] = "e2e"
			}
			c.mustCreate(t, "/apis/"+place, report)
		}
	}
	for _, each := range podCases(t)[2:] {
		if a := c.ask(t, http.MethodDelete, pods+"/"+each.Pod.text("metadata", "name")+"?gracePeriodSeconds=0", nil); a.message != "" {
			t.Fatal(a.message)
		}
	}
	if code, said := scanned(t, kubeconfig); code != 0 || !strings.Contains(said, "2 reports written, 4 removed") {
		t.Errorf("%d %s", code, said)
	}
	for _, place := range places {
		found := c.reports(t, place)
		_, theirs := found["empty/theirs"]
		_, unlabelled := found["empty/vidimus-pods-2"]
		if len(found) != 3 || !theirs || !unlabelled || found["finance/vidimus-pods"].Summary != (summary{Pass: 2}) {
			t.Errorf("%s: %v", place, found)
		}
	}
	for _, each := range podCases(t)[:2] {
		c.ask(t, http.MethodDelete, pods+"/"+each.Pod.text("metadata", "name")+"?gracePeriodSeconds=0", nil)
	}
	if code, said := scanned(t, kubeconfig); code != 0 || !strings.Contains(said, "0 reports written, 2 removed") {
		t.Errorf("no pod any more: %d %s", code, said)
	}
}

// scanRights: it may do its row of docs/admission.md, and nothing else.
func scanRights(t *testing.T, c *cluster) {
	writes := []string{"list", "create", "patch", "delete"}
	may := map[string][]string{
		"/pods in default": {"list"}, "wgpolicyk8s.io/policyreports in default": writes, "openreports.io/reports in default": writes,
		"/secrets in vidimus-system": nil, "/configmaps in vidimus-system": nil, "/namespaces in default": nil, "*/* in default": nil,
		"wgpolicyk8s.io/clusterpolicyreports in default": nil, "openreports.io/clusterreports in default": nil,
		"coordination.k8s.io/leases/vidimus-statuses in vidimus-system": nil, "vidimus.dev/agents:status in default": nil,
	}
	for _, kind := range []string{"agents", "mcpservers", "llmproviders", "serviceidentities", "policies"} {
		may["vidimus.dev/"+kind+" in default"] = []string{"list"}
	}
	for what, verbs := range may {
		for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "impersonate"} {
			if allowed := c.mayAs(t, "vidimus-scan", verb, what); allowed != slices.Contains(verbs, verb) {
				t.Errorf("%s %s: %t", verb, what, allowed)
			}
		}
	}
}

// registrationsKept: what policies look up about pods is what is registered now, whatever stood there.
func registrationsKept(t *testing.T, c *cluster) {
	plurals := map[string]string{
		"ServiceAccount": "/api/v1/namespaces/vidimus-system/serviceaccounts", "ConfigMap": "/api/v1/namespaces/vidimus-system/configmaps",
		"ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles", "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
		"Role":        "/apis/rbac.authorization.k8s.io/v1/namespaces/vidimus-system/roles",
		"RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/vidimus-system/rolebindings",
	}
	var there object
	for _, document := range documents(t, tree+"/deploy/rbac/admission.yaml") {
		if document.text("kind") == "ConfigMap" {
			there = document
			continue
		}
		c.mustCreate(t, plurals[document.text("kind")], document)
	}
	kubeconfig := c.kubeconfig(t, "vidimus-admission")
	write := func() (int, string) {
		command := exec.Command(os.Getenv("VIDIMUS_BIN"), "admission", "manifests", "--form", "registrations", "--cluster", "--write", "--kubeconfig", kubeconfig)
		said, _ := command.CombinedOutput()
		return command.ProcessState.ExitCode(), string(said)
	}
	until(t, "the role is in force", func() bool {
		return c.mayAs(t, "vidimus-admission", "update", "/configmaps/vidimus-admission in vidimus-system") &&
			c.mayAs(t, "vidimus-admission", "list", "vidimus.dev/agents in default")
	})
	if code, said := write(); code != 2 || !strings.Contains(said, "deploy/rbac/admission.yaml") {
		t.Fatalf("without the ConfigMap: %d %s", code, said)
	}
	there["data"] = map[string]any{"finance.nobody": "approved"}
	c.mustCreate(t, plurals["ConfigMap"], there)
	data := func() map[string]any {
		var read struct{ Data map[string]any }
		if err := json.Unmarshal(c.ask(t, http.MethodGet, plurals["ConfigMap"]+"/vidimus-admission", nil).body, &read); err != nil {
			t.Fatal(err)
		}
		return read.Data
	}
	if code, said := write(); code != 0 {
		t.Fatalf("%d %s", code, said)
	}
	wanted, _ := documents(t, tree+"/e2e/admission/registrations.yaml")[0]["data"].(map[string]any)
	if found := data(); len(wanted) == 0 || !maps.Equal(found, wanted) {
		t.Errorf("%v, not %v", found, wanted)
	}
	var written struct {
		Metadata struct{ Annotations map[string]string }
	}
	_ = json.Unmarshal(c.ask(t, http.MethodGet, plurals["ConfigMap"]+"/vidimus-admission", nil).body, &written)
	if at, err := time.Parse(time.RFC3339, written.Metadata.Annotations["vidimus.dev/written"]); err != nil || time.Since(at) > time.Hour {
		t.Errorf("when it was written: %v %v", written, err)
	}
	for verb, what := range map[string]string{
		"create": "/configmaps in vidimus-system", "update": "/configmaps/other in vidimus-system", "get": "/secrets in vidimus-system",
		"patch": "vidimus.dev/agents in default", "list": "/pods in default", "delete": "/configmaps/vidimus-admission in vidimus-system",
	} {
		if c.mayAs(t, "vidimus-admission", verb, what) {
			t.Errorf("it may %s %s", verb, what)
		}
	}
}

// scanner is a kubeconfig of the account that scans, which may do nothing yet.
func (c *cluster) scanner(t *testing.T) string {
	t.Helper()
	account := documents(t, tree+"/deploy/rbac/reports.yaml")[0]
	c.mustCreate(t, "/api/v1/namespaces/vidimus-system/serviceaccounts", account)
	return c.kubeconfig(t, "vidimus-scan")
}

// kubeconfig is a file by which an account of vidimus-system reaches the API server.
func (c *cluster) kubeconfig(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: %q, insecure-skip-tls-verify: true}}]\n"+
		"users: [{name: u, user: {token: %q}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n", c.url, c.account(t, "vidimus-system", name))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// scans gives that account its role.
func (c *cluster) scans(t *testing.T) {
	t.Helper()
	for _, document := range documents(t, tree+"/deploy/rbac/reports.yaml")[1:] {
		plural := map[string]string{"ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings"}[document.text("kind")]
		c.mustCreate(t, "/apis/rbac.authorization.k8s.io/v1/"+plural, document)
	}
}

func scanned(t *testing.T, kubeconfig string) (int, string) {
	t.Helper()
	command := exec.Command(os.Getenv("VIDIMUS_BIN"), "admission", "scan", "--cluster", "--write", "--kubeconfig", kubeconfig)
	said, err := command.CombinedOutput()
	if command.ProcessState == nil {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), string(said)
}

type summary struct{ Pass, Fail, Warn, Error, Skip int }

// report is what is read of one.
type report struct {
	Metadata struct {
		Name, Namespace string
		ManagedFields   []struct{ Manager string }
	}
	Summary summary
}

func (r report) managers() (names []string) {
	for _, one := range r.Metadata.ManagedFields {
		names = append(names, one.Manager)
	}
	return names
}

func (c *cluster) reports(t *testing.T, path string) map[string]report {
	t.Helper()
	a := c.ask(t, http.MethodGet, path, nil)
	var list struct{ Items []report }
	if err := json.Unmarshal(a.body, &list); err != nil || a.message != "" {
		t.Fatal(err, a.message)
	}
	found := map[string]report{}
	for _, one := range list.Items {
		found[one.Metadata.Namespace+"/"+one.Metadata.Name] = one
	}
	return found
}
