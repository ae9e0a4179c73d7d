package kube

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// reaching is a row: what somebody writes who may write everything of the namespace evil, while nobody but the API server is asked; and whether it is taken.
var reaching = []struct {
	name, kind, spec string
	taken            bool
}{
	{"plain", "Agent", `{identities: [{serviceAccount: {name: own}}]}`, true},
	{"own", "Agent", `{identities: [{serviceAccount: {name: own-too, namespace: evil}}, {spiffe: "spiffe://corp.example/ns/evil/sa/own"}]}`, true},
	{"account", "Agent", `{identities: [{serviceAccount: {name: unclaimed, namespace: finance}}]}`, false},
	{"spiffe", "Agent", `{identities: [{spiffe: "spiffe://corp.example/cluster/ns/finance/sa/unclaimed"}]}`, false},
	{"subject", "Agent", `{identities: [{oidc: {issuer: "https://login.example", subject: "system:serviceaccount:finance:unclaimed"}}]}`, false},
	{"service", "ServiceIdentity", `{owner: eve@example.com, team: evil, riskLevel: low, identities: [{serviceAccount: {name: unclaimed, namespace: finance}}]}`, false},
	{"rules", "Policy", `{description: All., cedar: 'permit (principal, action, resource);'}`, true},
	{"rules-all", "Policy", `{description: All., scope: Cluster, cedar: 'forbid (principal, action, resource);'}`, false},
}

// TestReach: without a webhook, and while no Vidimus runs, what reaches beyond its namespace is registered by who may in the whole cluster.
func TestReach(t *testing.T) {
	t.Parallel()
	c := governable(t)
	tenant := evil(t, c)
	c.applied(t, documents(t, tree+"/deploy/admission/reach.yaml"))
	made := func(name, kind, spec string) object {
		o := parsed(t, fmt.Sprintf("apiVersion: vidimus.dev/v1alpha1\nkind: %s\nmetadata: {name: %s, namespace: evil}\nspec: %s", kind, name, spec))[0]
		if kind == "Agent" {
			spec := o["spec"].(map[string]any)
			spec["owner"], spec["team"], spec["purpose"], spec["riskLevel"] = "eve@example.com", "evil", "It spies.", "low"
		}
		return o
	}
	last := reaching[len(reaching)-1]
	everywhere := made(last.name, last.kind, last.spec)
	untilSaid(t, "the rule holds", func() (bool, string) {
		a := c.say(t, http.MethodPost, c.collection(everywhere)+"?dryRun=All", tenant, everywhere)
		return a.code == http.StatusForbidden && strings.Contains(a.message, "no_permit"), fmt.Sprint(a.code, a.message)
	})
	for _, row := range reaching {
		o := made(row.name, row.kind, row.spec)
		a := c.say(t, http.MethodPost, c.collection(o), tenant, o)
		if taken := a.message == ""; taken != row.taken || !taken && (a.code != http.StatusForbidden || !strings.Contains(a.message, "no_permit")) {
			t.Errorf("%s: %d %q", row.name, a.code, a.message)
		}
		// Who has the whole cluster registers all of it, and a tenant may stop what he did not register.
		if !row.taken {
			c.mustCreate(t, c.collection(o), o)
		}
	}
	stop := func(name string, change func(spec map[string]any)) said {
		o := parsed(t, "apiVersion: vidimus.dev/v1alpha1\nkind: Agent\nmetadata: {name: "+name+", namespace: evil}")[0]
		o = c.there(t, o)
		change(o["spec"].(map[string]any))
		return c.say(t, http.MethodPut, c.path(o), tenant, o)
	}
	if a := stop("account", func(spec map[string]any) { spec["quarantined"] = true }); a.message != "" {
		t.Errorf("a quarantine: %d %s", a.code, a.message)
	}
	if a := stop("plain", func(spec map[string]any) {
		spec["identities"] = []any{map[string]any{"serviceAccount": map[string]any{"name": "other", "namespace": "finance"}}}
	}); a.code != http.StatusForbidden {
		t.Errorf("an identity that is added: %d %s", a.code, a.message)
	}
	everywhere = c.there(t, everywhere)
	everywhere["spec"].(map[string]any)["scope"] = "Namespace"
	if a := c.say(t, http.MethodPut, c.path(everywhere), tenant, everywhere); a.code != http.StatusForbidden {
		t.Errorf("a scope that is taken away: %d %s", a.code, a.message)
	}
	// The verb is given by RBAC, in the whole cluster alone.
	role := object{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": map[string]any{"name": "reach"},
		"rules": []any{map[string]any{"apiGroups": []string{"vidimus.dev"}, "resources": []string{"policies"}, "verbs": []string{"reach"}}}}
	c.mustCreate(t, "/apis/rbac.authorization.k8s.io/v1/clusterroles", role)
	c.mustCreate(t, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", object{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
		"metadata": map[string]any{"name": "reach"}, "roleRef": map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reach"},
		"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": "tenant", "namespace": "evil"}}})
	untilSaid(t, "who has the verb does", func() (bool, string) {
		a := c.say(t, http.MethodPut, c.path(everywhere), tenant, everywhere)
		return a.message == "", fmt.Sprint(a.code, a.message)
	})
}

// there is an object as the API server has it.
func (c *cluster) there(t *testing.T, o object) object {
	t.Helper()
	a := c.ask(t, http.MethodGet, c.path(o), nil)
	found := object{}
	if err := json.Unmarshal(a.body, &found); err != nil || a.code != http.StatusOK {
		t.Fatalf("%d %s %v", a.code, a.message, err)
	}
	return found
}
