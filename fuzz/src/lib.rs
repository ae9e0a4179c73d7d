//! What several targets need: registered objects, and an input cut in two.

use std::sync::Arc;

use vidimus_core::snapshot::Snapshot;

/// One object of each kind that can be called, and policies that look at a call's arguments.
pub const OBJECTS: &str = r#"
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: a, namespace: fin}
spec:
  owner: a@b.example
  team: t
  purpose: To be called
  riskLevel: low
  environment: production
  delegation: {maxDepth: 3, maxFanOut: 2}
  identities: [{oidc: {issuer: "urn:vidimus:local", subject: bot}}, {oidc: {issuer: "ISSUER", subject: bot}}]
  actsFor: [{issuer: "ISSUER"}]
  endpoint: {url: "http://127.0.0.1:1/"}
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {name: s, namespace: fin}
spec:
  owner: a@b.example
  team: t
  riskLevel: low
  endpoint: {url: "http://127.0.0.1:1/mcp"}
  toolSets: {readers: [get]}
---
apiVersion: vidimus.dev/v1alpha1
kind: LLMProvider
metadata: {name: p, namespace: fin}
spec:
  owner: a@b.example
  type: openAI
  credential: {env: VIDIMUS_FUZZ_KEY}
  endpoint: {url: "http://127.0.0.1:1"}
  models: [{name: m}]
---
apiVersion: vidimus.dev/v1alpha1
kind: Policy
metadata: {name: arguments, namespace: fin}
spec:
  description: Looks at what callers send.
  cedar: |
    permit (principal, action == Action::"invokeTool", resource)
    when { context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") + 1 < 10 };
    forbid (principal, action == Action::"invokeTool", resource)
    when { context.args.hasTag("/path") && context.args.getTag("/path") like "*..*" };
    permit (principal, action in [Action::"callAgent", Action::"callModel", Action::"connectServer"], resource);
"#;

/// The snapshot of [`OBJECTS`], whose people and tokens `issuer` issues.
pub fn world(issuer: &str) -> Arc<Snapshot> {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("objects.yaml"), OBJECTS.replace("ISSUER", issuer)).expect("a file");
    let loaded = vidimus_registry::load(dir.path());
    assert!(loaded.rejections.is_empty(), "{:?}", loaded.rejections);
    loaded.snapshot
}

/// The input before and after its first zero byte; all of it is behind where there is none.
pub fn cut(input: &[u8]) -> (&[u8], &[u8]) {
    match input.iter().position(|byte| *byte == 0) {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (&[], input),
    }
}
