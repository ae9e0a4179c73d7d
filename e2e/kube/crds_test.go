package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// The work tree, as seen from this directory.
const tree = "../.."

type object map[string]any

func (o object) text(path ...string) string {
	var at any = map[string]any(o)
	for _, key := range path {
		members, _ := at.(map[string]any)
		at = members[key]
	}
	text, _ := at.(string)
	return text
}

// documents reads a YAML stream as kubectl does.
func documents(t *testing.T, path string) []object {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var found []object
	decoder := utilyaml.NewYAMLOrJSONDecoder(file, 4096)
	for {
		var document object
		err := decoder.Decode(&document)
		if err == io.EOF {
			return found
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if len(document) > 0 {
			found = append(found, document)
		}
	}
}

func files(t *testing.T, directory string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(directory, func(path string, entry os.DirEntry, err error) error {
		// Cases of `vidimus policy test` stand beside the resources, and are none.
		if err == nil && !entry.IsDir() && strings.HasSuffix(path, ".yaml") && !strings.HasSuffix(path, ".cases.yaml") {
			found = append(found, path)
		}
		return err
	})
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: %d files, %v", directory, len(found), err)
	}
	return found
}

// answer is what the API server said; message is empty when it accepted.
type answer struct {
	code    int
	body    []byte
	message string
}

func (c *cluster) ask(t *testing.T, method, path string, body any) answer {
	t.Helper()
	payload, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest(method, c.url+path, bytes.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := c.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	answered := answer{code: response.StatusCode, body: content}
	if response.StatusCode >= 300 {
		var status struct{ Message string }
		if json.Unmarshal(content, &status); status.Message == "" {
			status.Message = string(content)
		}
		answered.message = status.Message
	}
	return answered
}

// collection is where objects of this kind are created. A kind that no CRD has gets the path that kubectl would try.
func (c *cluster) collection(o object) string {
	kind, namespace := o.text("kind"), o.text("metadata", "namespace")
	plural, known := c.plurals[kind]
	if !known {
		plural = strings.ToLower(kind) + "s"
	}
	if namespace == "" {
		namespace = "default"
	}
	return fmt.Sprintf("/apis/%s/namespaces/%s/%s", o.text("apiVersion"), namespace, plural)
}

// try asks whether the object would be accepted, in the way of `kubectl apply --dry-run=server`.
func (c *cluster) try(t *testing.T, o object) answer {
	t.Helper()
	c.namespace(t, o.text("metadata", "namespace"))
	return c.ask(t, http.MethodPost, c.collection(o)+"?dryRun=All&fieldValidation=Strict", o)
}

func (c *cluster) namespace(t *testing.T, name string) {
	t.Helper()
	if name == "" || c.namespaces[name] {
		return
	}
	namespace := object{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}
	if a := c.ask(t, http.MethodPost, "/api/v1/namespaces", namespace); a.message != "" && a.code != http.StatusConflict {
		t.Fatal(a.message)
	}
	c.namespaces[name] = true
}

// install creates a CRD and waits until it serves.
func (c *cluster) install(t *testing.T, crd object) {
	t.Helper()
	const path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	if a := c.ask(t, http.MethodPost, path+"?fieldValidation=Strict", crd); a.message != "" {
		t.Fatalf("%s: %s", crd.text("metadata", "name"), a.message)
	}
	c.plurals[crd.text("spec", "names", "kind")] = crd.text("spec", "names", "plural")
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		a := c.ask(t, http.MethodGet, path+"/"+crd.text("metadata", "name"), nil)
		var read struct {
			Status struct {
				Conditions []struct{ Type, Status, Message string }
			}
		}
		if err := json.Unmarshal(a.body, &read); err != nil {
			t.Fatal(err)
		}
		established := false
		for _, condition := range read.Status.Conditions {
			if condition.Type == "NonStructuralSchema" && condition.Status == "True" {
				t.Fatalf("%s: %s", crd.text("metadata", "name"), condition.Message)
			}
			established = established || condition.Type == "Established" && condition.Status == "True"
		}
		if established {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not established: %s", crd.text("metadata", "name"), a.body)
		}
	}
}

func TestCustomResources(t *testing.T) {
	c := start(t)
	c.installKinds(t)
	if len(c.plurals) != 5 {
		t.Fatalf("five kinds, not %v", c.plurals)
	}
	t.Run("examples", func(t *testing.T) { examplesAreAccepted(t, c) })
	t.Run("accepted", func(t *testing.T) { goodObjectsAreAccepted(t, c) })
	t.Run("refused", func(t *testing.T) { badObjectsAreRefused(t, c) })
	t.Run("status", func(t *testing.T) { statusIsApart(t, c) })
}

// governable is an API server that has the kinds, for a gateway that follows it.
func governable(t *testing.T) *cluster {
	t.Helper()
	if os.Getenv("VIDIMUS_BIN") == "" {
		t.Fatal("VIDIMUS_BIN is not set: run e2e/kube/test.sh")
	}
	c := start(t)
	c.installKinds(t)
	return c
}

// installKinds installs the CRDs of deploy/crds.
func (c *cluster) installKinds(t *testing.T) {
	t.Helper()
	for _, path := range files(t, tree+"/deploy/crds") {
		for _, crd := range documents(t, path) {
			c.install(t, crd)
		}
	}
	c.waitUntilServed(t)
}

// Established is said a moment before the path is served.
func (c *cluster) waitUntilServed(t *testing.T) {
	t.Helper()
	for _, plural := range slices.Sorted(maps.Values(c.plurals)) {
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			a := c.ask(t, http.MethodGet, "/apis/vidimus.dev/v1alpha1/"+plural, nil)
			if a.message == "" {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %s", plural, a.message)
			}
		}
	}
}

func examplesAreAccepted(t *testing.T, c *cluster) {
	for _, path := range files(t, tree+"/examples") {
		for _, document := range documents(t, path) {
			fromDirectory := document.text("spec", "credential", "file") + document.text("spec", "credential", "env") + document.text("spec", "openapi", "credential", "env")
			a := c.try(t, document)
			if fromDirectory != "" && strings.Contains(a.message, "use secretRef") {
				continue // A key from a file is for a directory only, which is what the cluster says.
			}
			if a.message != "" {
				t.Errorf("%s: %s: %s", path, document.text("metadata", "name"), a.message)
			}
		}
	}
}

func goodObjectsAreAccepted(t *testing.T, c *cluster) {
	for _, document := range documents(t, tree+"/crates/core/src/resource/cases/accepted.yaml") {
		directoryOnly := document.text("metadata", "annotations", "cases/only") == "directory"
		if a := c.try(t, document); (a.message == "") == directoryOnly {
			t.Errorf("%s: %q", document.text("metadata", "name"), a.message)
		}
	}
}

func badObjectsAreRefused(t *testing.T, c *cluster) {
	content, err := os.ReadFile(tree + "/crates/core/src/resource/cases/refused.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var table map[string]json.RawMessage
	var cases []struct {
		Base, Cluster string
		Patch         json.RawMessage
	}
	if err := yaml.Unmarshal(content, &table); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(table["cases"], &cases); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, each := range cases {
		if each.Cluster == "skip" {
			continue
		}
		merged, err := jsonpatch.MergePatch(table[each.Base], each.Patch)
		if err != nil {
			t.Fatal(err)
		}
		var document object
		if err := json.Unmarshal(merged, &document); err != nil {
			t.Fatal(err)
		}
		a := c.try(t, document)
		asked++
		switch {
		case each.Cluster == "":
			t.Errorf("%s %s: no expectation", each.Base, each.Patch)
		case each.Cluster == "accepted" && a.message != "":
			t.Errorf("%s %s: refused after all: %s", each.Base, each.Patch, a.message)
		case each.Cluster != "accepted" && !strings.Contains(a.message, each.Cluster):
			t.Errorf("%s %s:\n  expected %q\n  found    %q", each.Base, each.Patch, each.Cluster, a.message)
		}
	}
	t.Logf("%d cases asked of the API server", asked)
}

// statusIsApart: whoever writes the status cannot write the spec, and what is left out gets its default.
func statusIsApart(t *testing.T, c *cluster) {
	document := documents(t, tree+"/crates/core/src/resource/cases/accepted.yaml")[1]
	c.namespace(t, document.text("metadata", "namespace"))
	created := c.ask(t, http.MethodPost, c.collection(document), document)
	if created.message != "" {
		t.Fatal(created.message)
	}
	var read object
	if err := json.Unmarshal(created.body, &read); err != nil {
		t.Fatal(err)
	}
	if read.text("spec", "environment") != "production" {
		t.Errorf("the default of environment: %s", created.body)
	}
	read["spec"].(map[string]any)["riskLevel"] = "critical"
	read["status"] = map[string]any{"observedGeneration": 1, "conditions": []any{map[string]any{
		"type": "Ready", "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
	}}}
	path := c.collection(document) + "/" + document.text("metadata", "name")
	written := c.ask(t, http.MethodPut, path+"/status", read)
	if written.message != "" {
		t.Fatal(written.message)
	}
	var after object
	if err := json.Unmarshal(written.body, &after); err != nil {
		t.Fatal(err)
	}
	if after.text("spec", "riskLevel") != "medium" || after["status"] == nil {
		t.Errorf("after writing the status: %s", written.body)
	}
}
