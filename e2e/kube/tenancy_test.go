package kube

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What the platform has registered: each way in which a policy may name who may call. The model is platform's, the agent that may call it finance's.
const landlord = `
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: invoice-bot, namespace: finance}
spec:
  owner: ada.lovelace@example.com
  team: finance
  purpose: Matches invoices to purchase orders
  riskLevel: low
  groups: [analysts]
  identities: [{oidc: {issuer: "urn:vidimus:local", subject: invoice-bot}}]
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: analysts, namespace: platform}
spec:
  description: Who may use the model, and by what it is named.
  members: [finance]
  cedar: |
    @id("group")
    permit (principal in Group::"analysts", action == Action::"callModel", resource);
    @id("class")
    permit (principal in AgentClass::"gvisor", action == Action::"callModel", resource);
    @id("team")
    permit (principal in Team::"finance", action == Action::"callModel", resource);
    @id("team-by-its-word")
    permit (principal, action == Action::"callModel", resource) when { principal.team == "finance" };
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: registrars, namespace: platform}
spec:
  description: What reaches beyond a namespace is the platform's.
  scope: Cluster
  cedar: |
    @id("reach")
    forbid (principal, action == Action::"registerObject", resource)
      when { resource.kind == "Policy" && ((resource has scope && resource.scope == "Cluster") || !resource.members.isEmpty()) }
      unless { principal in UserGroup::"system:masters" };
    @id("team")
    forbid (principal, action == Action::"registerObject", resource)
      when { resource has team && resource.team != resource.namespace }
      unless { principal in UserGroup::"system:masters" };
    @id("people")
    forbid (principal, action == Action::"registerObject", resource) when { !resource.acts_for.isEmpty() }
      unless { principal in UserGroup::"system:masters" };
    @id("hosts")
    forbid (principal, action == Action::"registerObject", resource) when { resource has host && resource.host like "*.svc" }
      unless { (resource has host && resource.host like "*.evil.svc") || principal in UserGroup::"system:masters" };
    @id("webhooks")
    forbid (principal, action == Action::"registerObject", resource) unless { ["dlp.platform.svc"].containsAll(resource.webhooks) };
    @id("cards")
    forbid (principal, action == Action::"registerObject", resource) when { resource has card_host && resource.card_host like "*.finance.svc" };
    @id("secrets")
    forbid (principal, action == Action::"registerObject", resource) when { !resource.secrets.isEmpty() }
      unless { principal in UserGroup::"system:masters" };
    @id("networks")
    forbid (principal, action == Action::"registerObject", resource) when { !resource.egress.isEmpty() };
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {name: ledger, namespace: finance}
spec:
  owner: ada.lovelace@example.com
  team: finance
  riskLevel: low
  endpoint: {url: "http://127.0.0.1:2/mcp"}
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: operators, namespace: platform}
spec:
  description: Who operates the installation.
  scope: Cluster
  cedar: |
    permit (principal == User::"https://login.example#ada", action in [Action::"operate", Action::"read"], resource);
    permit (principal == User::"urn:vidimus:local#admin", action in [Action::"operate", Action::"read"], resource);
`

// tenancy is a row: what somebody writes who may write everything of the namespace evil, and why it is not taken; "" where it is, and has no effect elsewhere.
type tenancy struct {
	field, refused, kind, spec string
}

var tenancies = []tenancy{
	{"plain", "", "Agent", `{team: evil}`},
	{"groups", "", "Agent", `{team: evil, groups: [analysts]}`},
	{"sandboxClass", "", "Agent", `{team: evil, sandboxClass: gvisor}`},
	{"team", "forbidden_by_policy", "Agent", `{team: finance}`},
	{"actsFor", "forbidden_by_policy", "Agent", `{team: evil, actsFor: [{issuer: "https://login.example"}]}`},
	{"identities.oidc", "claims this identity too", "Agent", `{team: evil, identities: [{oidc: {issuer: "urn:vidimus:local", subject: invoice-bot}}]}`},
	{"identities.serviceAccount.namespace", "", "Agent", `{team: evil, identities: [{serviceAccount: {name: unclaimed, namespace: finance}}]}`},
	{"cedar", "", "Policy", `{description: All., cedar: 'permit (principal, action, resource);'}`},
	{"cedar.resource", "", "Policy", `{description: All of it., cedar: 'permit (principal, action == Action::"callModel", resource in LLMProvider::"platform/simulator");'}`},
	{"scope", "forbidden_by_policy", "Policy", `{description: All., scope: Cluster, cedar: 'permit (principal, action, resource);'}`},
	{"members", "forbidden_by_policy", "Policy", `{description: All., members: ["*"], cedar: 'permit (principal in Group::"analysts", action, resource);'}`},
	{"name", "", "LLMProvider", `{owner: eve@example.com, team: evil, type: openAICompatible, endpoint: {url: "http://127.0.0.1:1"}, credential: {none: {}}, models: [{name: simulator-small}]}`},
	{"endpoint.url", "objects of namespace finance have this audience", "MCPServer", `{owner: eve@example.com, team: evil, riskLevel: low, endpoint: {url: "http://127.0.0.1:2/mcp"}}`},
	{"endpoint.audience", "objects of namespace finance have this audience", "MCPServer", `{owner: eve@example.com, team: evil, riskLevel: low, endpoint: {url: "http://127.0.0.1:1/", audience: "http://127.0.0.1:2/mcp"}}`},
	{"endpoint.agent", "objects of namespace finance have this audience", "Agent", `{team: evil, endpoint: {url: "http://127.0.0.1:2/mcp"}}`},
	{"endpoint.host", "forbidden_by_policy", "MCPServer", `{owner: eve@example.com, team: evil, riskLevel: low, endpoint: {url: "http://ledger.finance.svc/mcp"}}`},
	{"endpoint.ca-file", "no object names a file of the gateway", "MCPServer", `{owner: eve@example.com, team: evil, riskLevel: low, endpoint: {url: "https://127.0.0.1:1/", caFile: /etc/passwd}}`},
	{"identities.oidc.operator", "a policy for people names this subject", "Agent", `{team: evil, identities: [{oidc: {issuer: "https://login.example", subject: ada}}]}`},
	{"identities.oidc.admin", "claims this identity too", "Agent", `{team: evil, identities: [{oidc: {issuer: "urn:vidimus:local", subject: admin}}]}`},
	{"identities.spiffe", "", "Agent", `{team: evil, identities: [{spiffe: "spiffe://corp.example/ns/finance/sa/unclaimed"}]}`},
	{"members.server.namespace", "", "MCPServer", `{owner: eve@example.com, team: evil, riskLevel: low, members: [{name: ledger, server: {namespace: finance, name: ledger}}]}`},
	{"agent.namespace", "the agent is of another namespace", "MCPServer", `{owner: eve@example.com, team: evil, riskLevel: low, agent: {name: invoice-bot, namespace: finance}}`},
	{"job.egress", "forbidden_by_policy", "MCPServer", `{owner: eve@example.com, team: evil, riskLevel: low, job: {template: {spec: {containers: [{name: t, image: "hub.example/t:1"}]}}, tools: {run: {description: d, inputSchema: {type: object}}}, egress: [{cidr: 10.1.0.0/16, ports: [443]}]}}`},
	{"openapi.url", "forbidden_by_policy", "MCPServer", `{owner: eve@example.com, team: evil, riskLevel: low, openapi: {url: "http://ledger.finance.svc/api", document: {openapi: 3.0.3, info: {title: t, version: "1"}, paths: {/a: {get: {operationId: a, responses: {"200": {description: d}}}}}}}}`},
	{"grpc.url", "forbidden_by_policy", "MCPServer", `{owner: eve@example.com, team: evil, riskLevel: low, grpc: {url: "http://ledger.finance.svc:50051", descriptors: CjAKB2EucHJvdG8SAWEiAwoBTTIVCgFTEhAKAkRvEgQuYS5NGgQuYS5NYgZwcm90bzM=}}`},
	{"provider.endpoint", "forbidden_by_policy", "LLMProvider", `{owner: eve@example.com, team: evil, type: openAICompatible, endpoint: {url: "http://models.finance.svc/v1"}, credential: {none: {}}, models: [{name: a}]}`},
	{"endpoint.card", "forbidden_by_policy", "Agent", `{team: evil, endpoint: {url: "http://127.0.0.1:3/", card: "http://reports.finance.svc/card.json"}}`},
	{"guards.webhook.url", "forbidden_by_policy", "Policy", `{description: It tells., guards: [{name: spy, webhook: {url: "https://collect.example/"}}], cedar: '@guard("spy") forbid (principal, action == Action::"callModel", resource);'}`},
	{"credential.secret-ref", "forbidden_by_policy", "LLMProvider", `{owner: eve@example.com, team: evil, type: openAICompatible, endpoint: {url: "http://127.0.0.1:4"}, credential: {secretRef: {name: openai, key: apiKey}}, models: [{name: b}]}`},
}

// What is registered without the webhook, as by who may write objects where it is off: it takes nothing from others either.
const unasked = `
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {name: mine, namespace: evil}
spec:
  owner: eve@example.com
  team: evil
  riskLevel: low
  endpoint: {url: "http://127.0.0.1:2/mcp"}
---
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: lock, namespace: evil}
spec:
  owner: eve@example.com
  team: evil
  purpose: It keeps others out.
  riskLevel: low
  identities: [{oidc: {issuer: "urn:vidimus:local", subject: admin}}]
`

// What stays in the store when somebody deletes it.
const kept = `
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: kept, namespace: evil, finalizers: [evil.example/keep]}
spec:
  owner: eve@example.com
  team: evil
  purpose: It stays.
  riskLevel: low
  groups: [analysts]
  identities: [{oidc: {issuer: "urn:vidimus:local", subject: kept}}]
`

// What the API server names itself.
const generated = `
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {generateName: stop-, namespace: platform}
spec:
  description: Nobody calls any more.
  cedar: forbid (principal, action, resource);
`

// operates says whether the first administrator may still look at the registry.
func (g *gateway) operates() bool {
	g.t.Helper()
	token, err := exec.Command(os.Getenv("VIDIMUS_BIN"), "identity", "operator", "--data", g.data).Output()
	if err != nil {
		g.t.Fatal(err)
	}
	request, err := http.NewRequest(http.MethodGet, g.admin+"/registry", nil)
	if err != nil {
		g.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	response, err := g.http.Do(request)
	if err != nil {
		g.t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func (row tenancy) object(t *testing.T) object {
	t.Helper()
	name := strings.ToLower(strings.ReplaceAll(row.field, ".", "-"))
	if row.field == "name" {
		name = "simulator"
	}
	o := parsed(t, fmt.Sprintf("apiVersion: vidimus.dev/v1alpha1\nkind: %s\nmetadata: {name: %s, namespace: evil}\nspec: %s", row.kind, name, row.spec))[0]
	if row.kind == "Agent" {
		spec := o["spec"].(map[string]any)
		spec["owner"], spec["purpose"], spec["riskLevel"] = "eve@example.com", "It spies.", "low"
		if spec["identities"] == nil {
			spec["identities"] = []any{map[string]any{"oidc": map[string]any{"issuer": "urn:vidimus:local", "subject": name}}}
		}
	}
	return o
}

// callBy is a call of whoever has this subject.
func (g *gateway) callBy(subject string) int {
	g.t.Helper()
	g.bearer = issued(g.t, g.data, subject)
	return g.call()
}

// TestTenancy: who may write everything of one namespace gains no call in another, by any field that names something of others.
func TestTenancy(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	c, g := s.cluster, s.gateway
	s.roles(t, "")
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	g.kill()
	g.arguments = append(g.arguments, "--admission", address)
	g.begin()
	until(t, "it is ready", g.isReady)
	s.apply(t, append([]object{s.provider}, parsed(t, landlord)...)...)
	until(t, "who may call does", func() bool { return g.callBy("invoice-bot") == http.StatusOK })

	tenant := evil(t, c)
	ledger := parsed(t, landlord)[3]
	accepted := func() bool { status, _ := c.condition(t, ledger, "Accepted"); return status == "True" }
	until(t, "whose the address is, is in force", accepted)
	for _, o := range parsed(t, unasked) {
		if a := c.say(t, http.MethodPost, c.collection(o), tenant, o); a.message != "" {
			t.Fatalf("while nobody asks: %s", a.message)
		}
	}
	until(t, "who registers the address of others is not in force", func() bool {
		status, message := c.condition(t, parsed(t, unasked)[0], "Accepted")
		return status == "False" && strings.Contains(message, "namespace finance")
	})
	until(t, "whose the address is, stays", accepted)
	until(t, "a record that claims the operator is there", func() bool {
		status, message := c.condition(t, parsed(t, unasked)[1], "Programmed")
		return status == "False" && strings.Contains(message, "names this subject")
	})
	if !g.operates() {
		t.Error("a record keeps the operator out")
	}
	manifest := filepath.Join(t.TempDir(), "webhook.yaml")
	said := vidimus(t, "admission", "manifests", "--form", "webhook", "--data", g.data, "--url", "https://"+address)
	if err := os.WriteFile(manifest, said, 0o600); err != nil {
		t.Fatal(err)
	}
	c.applied(t, documents(t, manifest))
	cluster := tenancies[9].object(t)
	untilSaid(t, "the API server asks", func() (bool, string) {
		a := c.say(t, http.MethodPost, c.collection(cluster)+"?dryRun=All", tenant, cluster)
		return a.message != "", "it is taken"
	})

	callers := []string{}
	for _, row := range tenancies {
		o := row.object(t)
		a := c.say(t, http.MethodPost, c.collection(o), tenant, o)
		if (row.refused == "") != (a.message == "") || !strings.Contains(a.message, row.refused) {
			t.Errorf("%s: %d %q", row.field, a.code, a.message)
		}
		if a.message == "" {
			until(t, row.field+" is in force", func() bool { status, _ := c.condition(t, o, "Accepted"); return status == "True" })
		}
		if row.kind == "Agent" {
			callers = append(callers, o.text("metadata", "name"))
		}
		// Where it may write nothing, it may not write this either.
		o["metadata"].(map[string]any)["namespace"] = "platform"
		if a := c.say(t, http.MethodPost, c.collection(o), tenant, o); a.code != http.StatusForbidden {
			t.Errorf("%s in platform: %d %s", row.field, a.code, a.message)
		}
	}
	for _, caller := range callers {
		if code := g.callBy(caller); code != http.StatusForbidden && code != http.StatusUnauthorized {
			t.Errorf("%s: its call is answered %d", caller, code)
		}
	}
	if code := g.callBy("invoice-bot"); code != http.StatusOK {
		t.Errorf("who may call is answered %d", code)
	}
	// The platform alone gives it.
	s.apply(t, parsed(t, strings.Replace(landlord, "members: [finance]", "members: [finance, evil]", 1))[1])
	until(t, "what the platform permits passes", func() bool { return g.callBy("groups") == http.StatusOK })

	// What is deleted is gone, whatever keeps it in the store; and what the API server names is as good as what people name.
	stays := parsed(t, kept)[0]
	if a := c.say(t, http.MethodPost, c.collection(stays), tenant, stays); a.message != "" {
		t.Fatal(a.message)
	}
	until(t, "it is registered", func() bool { return g.callBy("kept") == http.StatusOK })
	c.delete(t, stays)
	until(t, "it is gone", func() bool { return g.callBy("kept") == http.StatusUnauthorized })
	if a := c.ask(t, http.MethodGet, c.path(stays), nil); a.code != http.StatusOK {
		t.Errorf("the API server does not have it any more: %d", a.code)
	}
	stop := parsed(t, generated)[0]
	c.mustCreate(t, c.collection(stop), stop)
	until(t, "what forbids by a name that was generated does", func() bool { return g.callBy("invoice-bot") == http.StatusForbidden })
}

// evil is the token of somebody who may do everything in one namespace.
func evil(t *testing.T, c *cluster) string {
	t.Helper()
	c.namespace(t, "evil")
	c.mustCreate(t, "/api/v1/namespaces/evil/serviceaccounts", object{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": "tenant"}})
	const rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/evil/"
	c.mustCreate(t, rbac+"roles", object{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": map[string]any{"name": "all"},
		"rules": []any{map[string]any{"apiGroups": []string{"*"}, "resources": []string{"*"}, "verbs": []string{"*"}}}})
	c.mustCreate(t, rbac+"rolebindings", object{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": map[string]any{"name": "all"},
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "all"},
		"subjects": []any{map[string]any{"kind": "ServiceAccount", "name": "tenant", "namespace": "evil"}}})
	return c.account(t, "evil", "tenant")
}
