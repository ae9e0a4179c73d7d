package kube

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// TestOpenAPI: the document that a real API server writes of its group apps is that of an MCPServer: the API server takes the record, and it compiles.
func TestOpenAPI(t *testing.T) {
	c := start(t)
	c.installKinds(t)
	said := c.ask(t, http.MethodGet, "/openapi/v3/apis/apps/v1", nil)
	if said.message != "" {
		t.Fatal(said.message)
	}
	var document object
	if err := json.Unmarshal(said.body, &document); err != nil {
		t.Fatal(err)
	}
	record := object{
		"apiVersion": "vidimus.dev/v1alpha1", "kind": "MCPServer",
		"metadata": map[string]any{"name": "deployments", "namespace": "default"},
		"spec": map[string]any{
			"owner": "ada.lovelace@example.com", "team": "platform", "riskLevel": "high",
			"openapi": map[string]any{
				"url": c.url, "document": document, "credential": map[string]any{"none": map[string]any{}},
				"operations": []string{
					"listAppsV1NamespacedDeployment", "readAppsV1NamespacedDeployment", "createAppsV1NamespacedDeployment",
					"replaceAppsV1NamespacedDeployment", "deleteAppsV1NamespacedDeployment", "readAppsV1NamespacedDeploymentScale",
				},
			},
		},
	}
	if made := c.try(t, record); made.message != "" {
		t.Errorf("the API server refuses the record: %s", made.message)
	}
	directory := t.TempDir()
	content, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(directory, "deployments.json"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	vidimus(t, "check", directory)
}
