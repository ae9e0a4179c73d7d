//! What is registered at the gateway that is attacked: little, so that what may not happen is plain.

use std::net::SocketAddr;

use crate::issuer;

/// The environment variable of the gateway that holds the providers' key.
pub const KEY_VARIABLE: &str = "REDTEAM_PROVIDER_KEY";

/// The providers' key, which no caller ever sees.
pub const KEY: &str = "provider-key-that-nobody-may-see";

/// A tool that nobody is permitted.
pub const HIDDEN: &str = "hidden_tool";

/// The origin whose pages may call.
pub const ORIGIN: &str = "http://app.example";

fn object(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: vidimus.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, namespace: r}}\nspec:\n{spec}---\n"
    )
}

fn agent(name: &str, more: &str) -> String {
    let identity = format!("identities: [{{oidc: {{issuer: \"urn:vidimus:local\", subject: {name}}}}}]");
    agent_of(name, &identity, more)
}

fn agent_of(name: &str, identities: &str, more: &str) -> String {
    object(
        "Agent",
        name,
        &format!(
            "  owner: ada.lovelace@example.com\n  team: t\n  purpose: is attacked, or attacks\n  riskLevel: low\n  {identities}\n{more}"
        ),
    )
}

/// The objects. `upstream` is behind all of them, but for the agent that calls itself through the gateway at `listen`.
pub fn resources(upstream: SocketAddr, listen: SocketAddr, issuer: &str) -> String {
    let at = |path: &str| format!("endpoint: {{url: \"http://{upstream}{path}\", timeout: 3s}}");
    let owned = "  owner: ada.lovelace@example.com\n  team: t\n";
    let provider =
        |name: &str, kind: &str, path: &str, credential: &str| provider(name, kind, &at(path), credential);
    let key = format!("{{env: {KEY_VARIABLE}}}");
    let oscar = format!("identities: [{{oidc: {{issuer: \"{issuer}\", subject: {}}}}}]", issuer::SUBJECT);
    [
        agent("alice", "  actsFor: [{issuer: \"urn:vidimus:local\"}]\n"),
        agent("bob", ""),
        agent("nobody", ""),
        agent("quincy", "  quarantined: true\n"),
        agent_of("oscar", &oscar, ""),
        agent(
            "callee",
            &format!(
                "  endpoint: {{url: \"http://{upstream}/a2a\", rest: \"http://{upstream}/rest\", timeout: 3s}}\n"
            ),
        ),
        agent("shallow", &format!("  delegation: {{maxDepth: 1}}\n  {}\n", at("/a2a"))),
        agent("looper", &format!("  endpoint: {{url: \"http://{listen}/a2a/r/looper\"}}\n")),
        object(
            "MCPServer",
            "tools",
            &format!("{owned}  riskLevel: low\n  {}\n  toolSets: {{good: [ok, other]}}\n", at("/mcp")),
        ),
        object(
            "MCPServer",
            "second",
            &format!("{owned}  riskLevel: low\n  {}\n  toolSets: {{good: [ok]}}\n", at("/mcp-second")),
        ),
        provider("openai", "openAICompatible", "/openai", &key),
        provider("anthropic", "anthropic", "/anthropic", &key),
        POLICIES.to_owned(),
    ]
    .concat()
}

/// Providers whose key would be a secret of the gateway. They are registered when it serves, since a record that is refused may keep
/// a new gateway from getting ready.
pub fn thieves(upstream: SocketAddr, data: &str) -> String {
    let at = format!("endpoint: {{url: \"http://{upstream}/openai\", timeout: 3s}}");
    let thief =
        |name: &str, file: &str| provider(name, "openAICompatible", &at, &format!("{{file: \"{file}\"}}"));
    [
        thief("thief", &format!("{data}/ledger/keys/checkpoint.key")),
        thief("thief-of-tokens", &format!("{data}/identity/../identity/session.key")),
        thief("thief-by-link", LINK),
        thief("thief-of-passwords", "/etc/shadow"),
    ]
    .concat()
}

/// A link in the directory of secrets to the ledger's key, which is one line, as those of providers are.
pub const LINK: &str = "link-to-the-key";

fn provider(name: &str, kind: &str, endpoint: &str, credential: &str) -> String {
    let spec = format!(
        "  owner: ada.lovelace@example.com\n  team: t\n  type: {kind}\n  {endpoint}\n  credential: {credential}\n  \
         models: [{{name: small}}, {{name: large}}]\n"
    );
    object("LLMProvider", name, &spec)
}

const POLICIES: &str = r#"apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: attacked, namespace: r}
spec:
  description: Little is permitted.
  cedar: |
    permit (principal, action == Action::"invokeTool", resource in ToolSet::"good")
      unless { principal == Agent::"r/nobody" };
    permit (principal == Agent::"r/alice", action == Action::"invokeTool", resource == Tool::"r/tools/pay");
    forbid (principal, action == Action::"invokeTool", resource == Tool::"r/tools/pay")
      when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") > 100 };
    permit (principal == Agent::"r/alice", action == Action::"invokeTool", resource == Tool::"r/tools/fetch");
    forbid (principal, action == Action::"invokeTool", resource == Tool::"r/tools/fetch")
      when { context.args.hasTag("/id") && context.args.getTag("/id") == "7" };
    permit (principal == Agent::"r/alice", action == Action::"readResource", resource) when { resource.uri == "file:///ok" };
    permit (principal == Agent::"r/alice", action == Action::"getPrompt", resource) when { resource.name == "ok" };
    permit (principal is Agent, action == Action::"callAgent", resource is Agent)
      unless { principal in [Agent::"r/bob", Agent::"r/nobody", Agent::"r/oscar"] };
    permit (principal == Agent::"r/bob", action == Action::"callAgent", resource == Skill::"r/callee/read");
    forbid (principal, action == Action::"callAgent", resource)
      when { context has push_notification_url && !(context.push_notification_url like "https://hooks.example.com/*") };
    permit (principal == Agent::"r/alice", action == Action::"callModel", resource) when { resource.name == "small" };
"#;
