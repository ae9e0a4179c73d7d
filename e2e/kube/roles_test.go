package kube

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestRoles: the registry may do what its row of docs/kubernetes.md says, and nothing else (`kubectl auth can-i`).
func TestRoles(t *testing.T) {
	c := start(t)
	c.roles(t, "ServiceAccount")
	c.roles(t, "")
	kinds := []string{"agents", "mcpservers", "llmproviders", "serviceidentities", "policies"}
	may := map[string][]string{"coordination.k8s.io/leases/vidimus-statuses in vidimus-system": {"get", "update"}}
	asked := []string{
		"coordination.k8s.io/leases in vidimus-system", "coordination.k8s.io/leases/vidimus-statuses in vidimus-system",
		"coordination.k8s.io/leases/other in vidimus-system", "coordination.k8s.io/leases/vidimus-statuses in default",
		"/secrets in vidimus-system", "/configmaps in default", "/pods in default", "/namespaces in default", "/events in default",
		"/serviceaccounts in vidimus-system", "rbac.authorization.k8s.io/roles in vidimus-system", "rbac.authorization.k8s.io/clusterroles in default",
		"apiextensions.k8s.io/customresourcedefinitions in default", "apps/deployments in default", "batch/jobs in default", "*/* in default",
	}
	for _, kind := range kinds {
		may["vidimus.dev/"+kind+" in default"] = []string{"list", "watch"}
		may["vidimus.dev/"+kind+":status in default"] = []string{"patch"}
		asked = append(asked, "vidimus.dev/"+kind+" in default", "vidimus.dev/"+kind+":status in default", "vidimus.dev/"+kind+":scale in default")
	}
	until(t, "the roles are in force", func() bool {
		return c.canI(t, "list", "vidimus.dev/agents in default") && c.canI(t, "update", "coordination.k8s.io/leases/vidimus-statuses in vidimus-system")
	})
	count := 0
	for _, what := range asked {
		for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "impersonate", "escalate", "bind"} {
			allowed := c.canI(t, verb, what)
			if expected := slices.Contains(may[what], verb); allowed != expected {
				t.Errorf("%s %s: %t, not %t", verb, what, allowed, expected)
			}
			count++
		}
	}
	t.Logf("%d questions", count)
}

// canI asks about "group/resource[:subresource][/name] in namespace".
func (c *cluster) canI(t *testing.T, verb, what string) bool {
	t.Helper()
	return c.mayAs(t, "vidimus-registry", verb, what)
}

// mayAs asks the same of another account of vidimus-system.
func (c *cluster) mayAs(t *testing.T, name, verb, what string) bool {
	t.Helper()
	account := "system:serviceaccount:vidimus-system:" + name
	what, namespace, _ := strings.Cut(what, " in ")
	group, what, _ := strings.Cut(what, "/")
	what, named, _ := strings.Cut(what, "/")
	resource, subresource, _ := strings.Cut(what, ":")
	review := object{"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": map[string]any{
		"user":   account,
		"groups": []string{"system:serviceaccounts", "system:serviceaccounts:vidimus-system", "system:authenticated"},
		"resourceAttributes": map[string]any{
			"verb": verb, "group": group, "resource": resource, "subresource": subresource, "name": named, "namespace": namespace,
		},
	}}
	a := c.ask(t, http.MethodPost, "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
	var read struct{ Status struct{ Allowed bool } }
	if err := json.Unmarshal(a.body, &read); err != nil || a.message != "" {
		t.Fatal(fmt.Sprint(err), a.message)
	}
	return read.Status.Allowed
}
