package kube

import (
	"bytes"
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

	"sigs.k8s.io/yaml"
)

const (
	admissionLabel = "vidimus.dev/admission"
	system         = "vidimus-system"
)

// podCase is a row of the table that everybody who looks at pods is held to.
type podCase struct {
	About, Refused string
	Pod            object
}

func podCases(t *testing.T) []podCase {
	t.Helper()
	content, err := os.ReadFile(tree + "/e2e/admission/pods.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []podCase
	if err := yaml.Unmarshal(content, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) != 20 {
		t.Fatalf("%d pods", len(cases))
	}
	return cases
}

// said is an answer with the warnings that came with it.
type said struct {
	answer
	warnings string
}

func (c *cluster) say(t *testing.T, method, path, token string, body any) said {
	t.Helper()
	payload, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest(method, c.url+path, bytes.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	kind := "application/json"
	if method == http.MethodPatch {
		kind = "application/strategic-merge-patch+json"
	}
	request.Header.Set("Content-Type", kind)
	response, err := c.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, _ := io.ReadAll(response.Body)
	answered := said{answer: answer{code: response.StatusCode, body: content}, warnings: strings.Join(response.Header.Values("Warning"), "\n")}
	if response.StatusCode >= 300 {
		var status struct{ Message string }
		if json.Unmarshal(content, &status); status.Message == "" {
			status.Message = string(content)
		}
		answered.message = status.Message
	}
	return answered
}

func (c *cluster) mustCreate(t *testing.T, path string, o object) {
	t.Helper()
	if a := c.ask(t, http.MethodPost, path+"?fieldValidation=Strict", o); a.message != "" && a.code != http.StatusConflict {
		t.Fatalf("%s %s: %s", path, o.text("metadata", "name"), a.message)
	}
}

// governed makes the namespace of the pods, with what they name: no controller makes ServiceAccounts here.
func (c *cluster) governed(t *testing.T, cases []podCase) {
	t.Helper()
	c.namespace(t, system)
	c.namespace(t, "finance")
	accounts := map[string]bool{"default": true}
	for _, each := range cases {
		if name := each.Pod.text("spec", "serviceAccountName"); name != "" {
			accounts[name] = true
		}
	}
	for name := range accounts {
		c.mustCreate(t, "/api/v1/namespaces/finance/serviceaccounts", object{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": name}})
	}
	for _, name := range []string{"gvisor", "runc"} {
		c.mustCreate(t, "/apis/node.k8s.io/v1/runtimeclasses", object{"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": name, "metadata": map[string]any{"name": name}})
	}
}

// enforce says what becomes of pods in the namespace; "" is nothing.
func (c *cluster) enforce(t *testing.T, mode string) {
	t.Helper()
	var value any
	if mode != "" {
		value = mode
	}
	labels := map[string]any{"metadata": map[string]any{"labels": map[string]any{admissionLabel: value}}}
	if a := c.say(t, http.MethodPatch, "/api/v1/namespaces/finance", c.token, labels); a.message != "" {
		t.Fatal(a.message)
	}
}

const pods = "/api/v1/namespaces/finance/pods"

// until asks again and again, for the API server takes what was written into use a moment later.
func untilSaid(t *testing.T, what string, done func() (bool, string)) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		ok, last := done()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %s", what, last)
		}
	}
}

// held asks for each pod of the table: refused where enforced, with the code of the rule and what to do; told where it is only warned of.
func (c *cluster) held(t *testing.T, cases []podCase) {
	t.Helper()
	first := cases[2]
	ask := func(each podCase) said { return c.say(t, http.MethodPost, pods+"?dryRun=All", c.token, each.Pod) }
	c.enforce(t, "enforce")
	untilSaid(t, "the rules are in force", func() (bool, string) {
		a := ask(first)
		return strings.Contains(a.message, first.Refused), a.message
	})
	for _, each := range cases {
		a := ask(each)
		switch {
		case each.Refused == "" && a.message != "":
			t.Errorf("%s: refused: %s", each.About, a.message)
		case each.Refused != "" && !strings.Contains(a.message, each.Refused+":"):
			t.Errorf("%s: not refused by %s: %d %s", each.About, each.Refused, a.code, a.message)
		}
	}
	c.enforce(t, "warn")
	untilSaid(t, "a namespace that warns", func() (bool, string) { a := ask(first); return a.message == "", a.message })
	for _, each := range cases {
		a := ask(each)
		if a.message != "" || (each.Refused == "") != (a.warnings == "") || !strings.Contains(a.warnings, each.Refused) {
			t.Errorf("%s: warn: %s %s", each.About, a.message, a.warnings)
		}
	}
	c.templates(t, cases)
	c.enforce(t, "audit")
	untilSaid(t, "a namespace that is only audited", func() (bool, string) { a := ask(first); return a.warnings == "", a.warnings })
	c.enforce(t, "")
	if a := ask(first); a.message != "" {
		t.Errorf("a namespace that is not governed: %s", a.message)
	}
	c.changes(t, cases)
}

// templates: whoever writes what makes pods is told as of the pods, where it is only warned of; nothing is refused that is no pod.
func (c *cluster) templates(t *testing.T, cases []podCase) {
	t.Helper()
	const apps, batch = "/apis/apps/v1/namespaces/finance/", "/apis/batch/v1/namespaces/finance/"
	kinds := []struct{ kind, path string }{{"Deployment", apps + "deployments"}, {"StatefulSet", apps + "statefulsets"}, {"DaemonSet", apps + "daemonsets"},
		{"ReplicaSet", apps + "replicasets"}, {"Job", batch + "jobs"}, {"CronJob", batch + "cronjobs"}}
	for _, of := range kinds {
		for _, each := range cases {
			made := maker(of.kind, each.Pod)
			a := c.say(t, http.MethodPost, of.path+"?dryRun=All", c.token, made)
			if a.message != "" || strings.Contains(a.warnings, "pod_") != (each.Refused != "") || !strings.Contains(a.warnings, each.Refused) {
				t.Errorf("%s of %s: %s %s", of.kind, each.About, a.message, a.warnings)
			}
		}
	}
	// It is told of again where its template changes, and not where something else does.
	unregistered := cases[4]
	deployment := maker("Deployment", unregistered.Pod)
	c.mustCreate(t, apps+"deployments", deployment)
	path := apps + "deployments/" + unregistered.Pod.text("metadata", "name")
	label := map[string]any{"metadata": map[string]any{"labels": map[string]any{"seen": "yes"}}}
	if a := c.say(t, http.MethodPatch, path, c.token, label); a.message != "" || strings.Contains(a.warnings, "pod_") {
		t.Errorf("its labels: %s %s", a.message, a.warnings)
	}
	image := map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "main", "image": "registry.example/other:1"}}}}}}
	if a := c.say(t, http.MethodPatch, path, c.token, image); a.message != "" || !strings.Contains(a.warnings, unregistered.Refused) {
		t.Errorf("another image: %s %s", a.message, a.warnings)
	}
	c.enforce(t, "enforce")
	untilSaid(t, "pods are refused", func() (bool, string) {
		a := c.say(t, http.MethodPost, pods+"?dryRun=All", c.token, unregistered.Pod)
		return a.message != "", "accepted"
	})
	for _, of := range kinds {
		if a := c.say(t, http.MethodPost, of.path+"?dryRun=All", c.token, maker(of.kind, unregistered.Pod)); a.message != "" && !strings.Contains(a.message, "already exists") {
			t.Errorf("%s: %s", of.kind, a.message)
		}
	}
	if a := c.say(t, http.MethodDelete, path, c.token, nil); a.message != "" {
		t.Error(a.message)
	}
}

// maker is an object of a kind that makes pods like this one.
func maker(kind string, pod object) object {
	spec := map[string]any{}
	given, _ := pod["spec"].(map[string]any)
	for name, value := range given {
		spec[name] = value
	}
	labels := map[string]any{"app": "x"}
	template := map[string]any{"metadata": map[string]any{"labels": labels}, "spec": spec}
	whole := map[string]any{"selector": map[string]any{"matchLabels": labels}, "template": template}
	version := "apps/v1"
	switch kind {
	case "StatefulSet":
		whole["serviceName"] = "x"
	case "Job":
		spec["restartPolicy"], version = "Never", "batch/v1"
		whole = map[string]any{"template": template}
	case "CronJob":
		spec["restartPolicy"], version = "Never", "batch/v1"
		whole = map[string]any{"schedule": "* * * * *", "jobTemplate": map[string]any{"spec": map[string]any{"template": template}}}
	}
	return object{"apiVersion": version, "kind": kind, "metadata": map[string]any{"name": pod.text("metadata", "name"), "namespace": "finance"}, "spec": whole}
}

// changes: what runs already can be changed and ended; only a new image is asked about.
func (c *cluster) changes(t *testing.T, cases []podCase) {
	t.Helper()
	unregistered, pinned := cases[4], cases[15]
	c.mustCreate(t, pods, unregistered.Pod)
	c.mustCreate(t, pods, pinned.Pod)
	c.enforce(t, "enforce")
	untilSaid(t, "the rules are in force again", func() (bool, string) {
		a := c.say(t, http.MethodPost, pods+"?dryRun=All", c.token, cases[2].Pod)
		return a.message != "", "accepted"
	})
	label := map[string]any{"metadata": map[string]any{"labels": map[string]any{"seen": "yes"}}}
	for _, each := range []podCase{unregistered, pinned} {
		path := pods + "/" + each.Pod.text("metadata", "name")
		if a := c.say(t, http.MethodPatch, path, c.token, label); a.message != "" {
			t.Errorf("%s: its labels cannot be changed: %s", each.About, a.message)
		}
	}
	image := map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "main", "image": "registry.example/other:1"}}}}
	name := pinned.Pod.text("metadata", "name")
	if a := c.say(t, http.MethodPatch, pods+"/"+name, c.token, image); !strings.Contains(a.message, "pod_image") {
		t.Errorf("another image by its tag: %s", a.message)
	}
	ephemeral := map[string]any{"spec": map[string]any{"ephemeralContainers": []any{map[string]any{"name": "debug", "image": "registry.example/debug:1"}}}}
	if a := c.say(t, http.MethodPatch, pods+"/"+name+"/ephemeralcontainers", c.token, ephemeral); !strings.Contains(a.message, "pod_image") {
		t.Errorf("a debug container by its tag: %s", a.message)
	}
	for _, each := range []podCase{unregistered, pinned} {
		path := pods + "/" + each.Pod.text("metadata", "name") + "?gracePeriodSeconds=0"
		if a := c.say(t, http.MethodDelete, path, c.token, nil); a.message != "" {
			t.Errorf("%s: it cannot be deleted: %s", each.About, a.message)
		}
	}
	c.enforce(t, "")
}

func (c *cluster) applied(t *testing.T, documents []object) {
	t.Helper()
	for _, document := range documents {
		group := "/apis/" + document.text("apiVersion")
		kind := document.text("kind")
		plural := map[string]string{
			"ConfigMap": "configmaps", "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
			"ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings", "ValidatingWebhookConfiguration": "validatingwebhookconfigurations",
		}[kind]
		if plural == "" {
			t.Fatalf("a %s", kind)
		}
		path := group + "/" + plural
		if kind == "ConfigMap" {
			path = "/api/v1/namespaces/" + document.text("metadata", "namespace") + "/configmaps"
		}
		c.mustCreate(t, path, document)
	}
}

// TestAdmissionPolicy: the twenty pods, before an API server that has the generated policy and does not ask Vidimus.
func TestAdmissionPolicy(t *testing.T) {
	c := start(t)
	cases := podCases(t)
	c.governed(t, cases)
	c.applied(t, documents(t, tree+"/e2e/admission/registrations.yaml"))
	c.applied(t, documents(t, tree+"/deploy/admission/validating-admission-policy.yaml"))
	c.held(t, cases)
	// Without what is registered nobody is.
	path := "/api/v1/namespaces/" + system + "/configmaps/vidimus-admission"
	if a := c.ask(t, http.MethodDelete, path, nil); a.message != "" {
		t.Fatal(a.message)
	}
	c.enforce(t, "enforce")
	untilSaid(t, "the ConfigMap is gone", func() (bool, string) {
		a := c.say(t, http.MethodPost, pods+"?dryRun=All", c.token, cases[0].Pod)
		return a.message != "", "a pod is let in"
	})
	// Where nothing is enforced, nothing is refused either.
	for _, mode := range []string{"warn", "audit"} {
		c.enforce(t, mode)
		untilSaid(t, "a namespace that only says "+mode, func() (bool, string) {
			a := c.say(t, http.MethodPost, pods+"?dryRun=All", c.token, cases[0].Pod)
			return a.message == "", a.message
		})
	}
}

// vidimus runs the binary to its end.
func vidimus(t *testing.T, arguments ...string) []byte {
	t.Helper()
	bin := os.Getenv("VIDIMUS_BIN")
	if bin == "" {
		t.Fatal("VIDIMUS_BIN is not set: run e2e/kube/test.sh")
	}
	command := exec.Command(bin, arguments...)
	var errors bytes.Buffer
	command.Stderr = &errors
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", arguments, err, errors.String())
	}
	return out
}

// TestAdmissionWebhook: the same pods, and records, before an API server that asks Vidimus.
func TestAdmissionWebhook(t *testing.T) {
	c := start(t)
	cases := podCases(t)
	c.installKinds(t)
	c.governed(t, cases)
	port, data := freePort(t), t.TempDir()
	resources, keep := filepath.Join(data, "resources"), filepath.Join(data, "data")
	if err := os.CopyFS(resources, os.DirFS(tree+"/e2e/admission/resources")); err != nil {
		t.Fatal(err)
	}
	registrar := `apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: registrars, namespace: platform}
spec:
  description: Who registers what.
  scope: Cluster
  cedar: |
    @id("platform")
    permit (principal in UserGroup::"system:masters", action == Action::"registerObject", resource);
    @id("finance")
    permit (principal == User::"kubernetes#fina", action == Action::"registerObject", resource in Namespace::"finance")
      unless { resource.groups.contains("treasury") };
`
	if err := os.WriteFile(filepath.Join(resources, "registrars.yaml"), []byte(registrar), 0o600); err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	run(t, data, os.Getenv("VIDIMUS_BIN"), "serve", "--resources", resources, "--data", keep, "--admission", address,
		"--listen", fmt.Sprintf("127.0.0.1:%d", freePort(t)), "--admin", fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	untilSaid(t, "the webhook's keys", func() (bool, string) {
		_, err := os.Stat(filepath.Join(keep, "admission", "path"))
		return err == nil, fmt.Sprint(err)
	})
	manifest := filepath.Join(data, "webhook.yaml")
	said := vidimus(t, "admission", "manifests", "--form", "webhook", "--data", keep, "--url", "https://"+address)
	if err := os.WriteFile(manifest, said, 0o600); err != nil {
		t.Fatal(err)
	}
	c.applied(t, documents(t, manifest))
	c.held(t, cases)
	t.Run("records", func(t *testing.T) { recordsAreAsked(t, c, keep) })
	t.Run("strangers", func(t *testing.T) { strangersAreNotAnswered(t, c, string(said), keep) })
}

// strangersAreNotAnswered: whoever is not the API server does not know the path, and what is no question has no answer.
func strangersAreNotAnswered(t *testing.T, c *cluster, manifest, data string) {
	_, rest, _ := strings.Cut(manifest, `"url":"`)
	records, _, _ := strings.Cut(rest, `"`)
	if !strings.Contains(records, "/admission/") || !strings.HasSuffix(records, "/records") {
		t.Fatalf("no path in %s", manifest)
	}
	before := string(vidimus(t, "audit", "search", "--ledger", filepath.Join(data, "ledger"), "-o", "json"))
	question := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","kind":{"group":"vidimus.dev","kind":"Agent"},"namespace":"finance","name":"forged","operation":"DELETE","userInfo":{"username":"ada"}}}`
	other := strings.Replace(records, "/admission/", "/admission/00", 1)
	for _, each := range []struct {
		about, method, url, body string
		code                     int
	}{
		{"another key", http.MethodPost, other, question, http.StatusNotFound},
		{"no key", http.MethodPost, strings.SplitN(records, "/admission/", 2)[0] + "/admission/records", question, http.StatusNotFound},
		{"another way of enforcement", http.MethodPost, strings.Replace(records, "/records", "/pods/hope", 1), question, http.StatusNotFound},
		{"nothing", http.MethodPost, records, "", http.StatusBadRequest},
		{"garbage", http.MethodPost, records, "{{{", http.StatusBadRequest},
		{"of another version", http.MethodPost, records, strings.Replace(question, "k8s.io/v1", "k8s.io/v2", 1), http.StatusBadRequest},
		{"without an id", http.MethodPost, records, strings.Replace(question, `"uid":"u"`, `"uid":""`, 1), http.StatusBadRequest},
		{"too large", http.MethodPost, records, strings.Repeat(" ", 8<<20+1), http.StatusRequestEntityTooLarge},
		{"by GET", http.MethodGet, records, "", http.StatusMethodNotAllowed},
	} {
		request, err := http.NewRequest(each.method, each.url, strings.NewReader(each.body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := c.client.Do(request)
		if err != nil {
			t.Errorf("%s: %v", each.about, err)
			continue
		}
		response.Body.Close()
		if response.StatusCode != each.code {
			t.Errorf("%s: %d, not %d", each.about, response.StatusCode, each.code)
		}
	}
	after := string(vidimus(t, "audit", "search", "--ledger", filepath.Join(data, "ledger"), "-o", "json"))
	if before != after {
		t.Errorf("something is on record:\n%s", after)
	}
}

func agent(name string, groups ...any) object {
	return object{
		"apiVersion": "vidimus.dev/v1alpha1", "kind": "Agent", "metadata": map[string]any{"name": name, "namespace": "finance"},
		"spec": map[string]any{
			"owner": "ada.l@example.com", "team": "finance", "purpose": "It is new.", "riskLevel": "low", "groups": groups,
			"identities": []any{map[string]any{"serviceAccount": map[string]any{"name": name}}},
		},
	}
}

// recordsAreAsked: who registers what, and that it is on record.
func recordsAreAsked(t *testing.T, c *cluster, data string) {
	role := object{
		"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": map[string]any{"name": "fina"},
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
		"subjects": []any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "fina"}},
	}
	c.mustCreate(t, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", role)
	const agents = "/apis/vidimus.dev/v1alpha1/namespaces/finance/agents"
	as := func(user, path string, o object) said {
		request, _ := json.Marshal(o)
		asked, err := http.NewRequest(http.MethodPost, c.url+path, bytes.NewReader(request))
		if err != nil {
			t.Fatal(err)
		}
		asked.Header.Set("Authorization", "Bearer "+c.token)
		asked.Header.Set("Content-Type", "application/json")
		asked.Header.Set("Impersonate-User", user)
		response, err := c.client.Do(asked)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		content, _ := io.ReadAll(response.Body)
		a := said{answer: answer{code: response.StatusCode, body: content}, warnings: strings.Join(response.Header.Values("Warning"), "\n")}
		if response.StatusCode >= 300 {
			a.message = string(content)
		}
		return a
	}
	// A binding is in force some moments after it was made.
	untilSaid(t, "fina may create agents", func() (bool, string) {
		a := as("fina", agents+"?dryRun=All", agent("dry"))
		return !strings.Contains(a.message, "cannot create resource"), a.message
	})
	for _, each := range []struct {
		about, user, refused string
		agent                object
	}{
		{"an identity that another agent has", "fina", "claims this identity too", agent("invoice-bot-two")},
		{"into a group of others", "fina", "no_permit", agent("mover", "treasury")},
		{"by nobody who may", "mallory", "forbidden", agent("mallory")},
		{"dry", "fina", "", agent("dry")},
		{"by who may", "fina", "", agent("new")},
	} {
		path := agents
		if each.about == "dry" {
			path += "?dryRun=All"
		}
		if each.about == "an identity that another agent has" {
			each.agent["spec"].(map[string]any)["identities"] = []any{map[string]any{"serviceAccount": map[string]any{"name": "invoice-bot"}}}
		}
		a := as(each.user, path, each.agent)
		if (each.refused == "") != (a.message == "") || !strings.Contains(a.message, each.refused) {
			t.Errorf("%s: %q", each.about, a.message)
		}
	}
	if a := c.say(t, http.MethodDelete, agents+"/new", c.token, nil); a.message != "" {
		t.Error(a.message)
	}
	found := string(vidimus(t, "audit", "search", "--ledger", filepath.Join(data, "ledger"), "--kind", "act", "-o", "json"))
	for _, wanted := range []string{"User/kubernetes#fina", "User/kubernetes#admin", "Agent/finance/new", `"create"`, `"delete"`} {
		if !strings.Contains(found, wanted) {
			t.Errorf("no %s in %s", wanted, found)
		}
	}
	if strings.Contains(found, "finance/dry") {
		t.Errorf("a dry run is on record: %s", found)
	}
}
