use std::fs;
use std::path::{Path, PathBuf};

use super::*;

fn reviewed(directory: &Path) -> Review {
    let state = State::new(vidimus_registry::load(directory), "here".to_owned());
    review(&state, UnixMillis(0)).expect("a review")
}

/// Class, policy, the line's number, and the others that it is about.
fn lines(review: &Review) -> Vec<String> {
    let line = |one: &Finding| {
        let by: String = one.by.iter().map(|by| format!(" {by}")).collect();
        format!("{} {} {}{by}", one.class.as_str(), one.policy, one.line)
    };
    review.findings.iter().map(line).collect()
}

const OBJECTS: &str = r#"apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: bot, namespace: a}
spec: {owner: ada.l@example.com, team: red, purpose: p, riskLevel: low, groups: [readers], identities: [{oidc: {issuer: "urn:vidimus:local", subject: bot}}]}
---
apiVersion: vidimus.dev/v1alpha1
kind: Agent
metadata: {name: other, namespace: a}
spec: {owner: ada.l@example.com, team: blue, purpose: p, riskLevel: high, identities: [{oidc: {issuer: "urn:vidimus:local", subject: other}}]}
---
apiVersion: vidimus.dev/v1alpha1
kind: MCPServer
metadata: {name: tools, namespace: a}
spec: {owner: ada.l@example.com, team: red, riskLevel: low, endpoint: {url: "http://127.0.0.1:1/mcp"}, toolSets: {read: [get, list]}}
"#;

fn in_directory(objects: &str, cedar: &str) -> Review {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("a.yaml"), objects).expect("written");
    let indented: String = cedar.lines().map(|line| format!("    {line}\n")).collect();
    let policy = format!(
        "apiVersion: vidimus.dev/v1alpha1\nkind: Policy\nmetadata: {{name: p, namespace: a}}\nspec:\n  description: d\n  scope: Cluster\n  cedar: |\n{indented}"
    );
    fs::write(directory.path().join("b.yaml"), policy).expect("written");
    let review = reviewed(directory.path());
    assert!(review.rejections.is_empty(), "{cedar}: {:?}", review.rejections);
    review
}

#[test]
fn each_kind_of_finding_is_found_and_nothing_else() {
    const READ: &str = r#"permit (principal in Group::"readers", action == Action::"invokeTool", resource in ToolSet::"read");"#;
    for (cedar, found) in [
        (READ, vec![]),
        // Dead.
        (
            r#"permit (principal in Group::"nobody", action == Action::"invokeTool", resource in ToolSet::"read");"#,
            vec!["dead a/p 8"],
        ),
        (
            r#"permit (principal in Group::"readers", action == Action::"invokeTool", resource in ToolSet::"none");"#,
            vec!["dead a/p 8"],
        ),
        (
            "// a comment; of two\n\npermit (principal in Group::\"readers\", action == Action::\"invokeTool\", resource in ToolSet::\"read\")\nwhen { principal.risk > resource.risk };",
            vec!["dead a/p 10"],
        ),
        (
            r#"forbid (principal == Agent::"a/gone", action == Action::"invokeTool", resource);"#,
            vec!["dead a/p 8"],
        ),
        // Tools need not be listed to be called, and what they are called is not known.
        (
            r#"permit (principal == Agent::"a/bot", action == Action::"invokeTool", resource == Tool::"a/tools/pay");"#,
            vec![],
        ),
        (
            r#"permit (principal in Group::"readers", action == Action::"invokeTool", resource) when { resource.name like "x_*" };"#,
            vec![],
        ),
        (
            r#"permit (principal in Group::"readers", action == Action::"invokeTool", resource) when { resource.name == "x" };"#,
            vec![],
        ),
        (
            r#"permit (principal is Agent, action == Action::"exec", resource) when { resource.path == "/bin/ls" };"#,
            vec![],
        ),
        // Contradicted, by one forbid and by two together.
        (
            &format!(
                "@id(\"read\") {READ}\n@id(\"stop\") forbid (principal, action, resource in MCPServer::\"a/tools\");"
            ),
            vec!["contradicted a/p#read 8 a/p#stop"],
        ),
        (
            &format!(
                "@id(\"read\")\n{READ}\n@id(\"one\") forbid (principal is Agent, action == Action::\"invokeTool\", resource == Tool::\"a/tools/get\");\n\
                 @id(\"two\") forbid (principal is Agent, action == Action::\"invokeTool\", resource == Tool::\"a/tools/list\");"
            ),
            vec!["contradicted a/p#read 8 a/p#one a/p#two"],
        ),
        (
            &format!(
                "@id(\"read\") {READ}\n@id(\"some\") forbid (principal is Agent, action == Action::\"invokeTool\", resource == Tool::\"a/tools/get\");"
            ),
            vec![],
        ),
        (
            &format!(
                "@id(\"read\") {READ}\n@id(\"deep\") forbid (principal, action in Action::\"mcp\", resource) when {{ context.chain.depth > 5 }};"
            ),
            vec![],
        ),
        // What tools are called that nobody lists is not known: some may pass.
        (
            "@id(\"all\") permit (principal == Agent::\"a/bot\", action == Action::\"invokeTool\", resource in MCPServer::\"a/tools\");\n\
             @id(\"but\") forbid (principal == Agent::\"a/bot\", action == Action::\"invokeTool\", resource in MCPServer::\"a/tools\") unless { resource.name like \"list_*\" };",
            vec![],
        ),
        // Shadowed: by a broader scope, by fewer conditions, by a wider limit; of two that are the same the first stays.
        (
            &format!(
                "@id(\"read\") {READ}\n@id(\"one\") permit (principal == Agent::\"a/bot\", action == Action::\"invokeTool\", resource in ToolSet::\"read\");"
            ),
            vec!["shadowed a/p#one 9 a/p#read"],
        ),
        // One that has a payload kept says more.
        (
            &format!(
                "@id(\"read\") {READ}\n@id(\"one\") @keep(\"answer\") permit (principal == Agent::\"a/bot\", action == Action::\"invokeTool\", resource in ToolSet::\"read\");"
            ),
            vec![],
        ),
        (
            &format!(
                "@id(\"read\") @keep(\"answer\") {READ}\n@id(\"one\") @keep(\"answer\") permit (principal == Agent::\"a/bot\", action == Action::\"invokeTool\", resource in ToolSet::\"read\");"
            ),
            vec!["shadowed a/p#one 9 a/p#read"],
        ),
        (
            &format!(
                "@id(\"read\") {READ}\n@id(\"when\") {} when {{ context.delegation_depth <= 3 }};",
                READ.trim_end_matches(';')
            ),
            vec!["shadowed a/p#when 9 a/p#read"],
        ),
        (
            &format!(
                "@id(\"five\") {0} when {{ context.delegation_depth <= 5 }};\n@id(\"three\") {0} when {{ context.delegation_depth < 3 && principal.team == \"red\" }};",
                READ.trim_end_matches(';')
            ),
            vec!["shadowed a/p#three 9 a/p#five"],
        ),
        (&format!("{READ}\n{READ}"), vec!["shadowed a/p#1 9 a/p#0"]),
        (
            &format!(
                "@id(\"five\") {0} when {{ context.delegation_depth <= 5 }};\n@id(\"other\") {0} when {{ context.chain.depth <= 3 }};",
                READ.trim_end_matches(';')
            ),
            vec![],
        ),
        // Over-broad.
        (
            r#"permit (principal, action in [Action::"operate", Action::"read"], resource);"#,
            vec!["over-broad a/p 8"],
        ),
        (r#"permit (principal, action == Action::"approve", resource);"#, vec!["over-broad a/p 8"]),
        (r#"permit (principal, action == Action::"quarantine", resource);"#, vec!["over-broad a/p 8"]),
        (
            r#"permit (principal, action == Action::"approve", resource) when { context.role == "payers" };"#,
            vec!["over-broad a/p 8"],
        ),
        (r#"permit (principal in UserGroup::"soc", action in Action::"operate", resource);"#, vec![]),
        (r#"permit (principal, action == Action::"quarantine", resource == Agent::"a/bot");"#, vec![]),
        (r#"forbid (principal, action == Action::"approve", resource);"#, vec![]),
        ("permit (principal, action, resource);", vec!["over-broad a/p 8"]),
        (r#"permit (principal, action == Action::"invokeTool", resource);"#, vec!["over-broad a/p 8"]),
        (r#"permit (principal in Group::"readers", action, resource);"#, vec!["over-broad a/p 8"]),
        (
            r#"permit (principal, action == Action::"invokeTool", resource) when { context.delegation_depth < 3 && !principal.quarantined };"#,
            vec!["over-broad a/p 8"],
        ),
        (r#"permit (principal, action == Action::"invokeTool", resource in ToolSet::"read");"#, vec![]),
        (
            r#"permit (principal, action in Action::"mcp", resource) when { principal.team == resource.team };"#,
            vec![],
        ),
        (r#"forbid (principal, action in Action::"a2a", resource) when { context.chain.cycle };"#, vec![]),
    ] {
        let review = in_directory(OBJECTS, cedar);
        assert_eq!(lines(&review), found, "{cedar}\n{:#?}", review.findings);
        assert!(review.findings.iter().all(|one| !one.reason.is_empty() && !one.fix.is_empty()));
        let text = serde_json::to_string(&review).expect("JSON");
        assert_eq!(serde_json::from_str::<Review>(&text).expect("read"), review);
    }
}

/// What is registered elsewhere is not dead.
#[test]
fn what_is_not_registered_here_is_not_judged() {
    let cedar = r#"permit (principal in Group::"nobody", action == Action::"invokeTool", resource in ToolSet::"none");"#;
    let review = in_directory("", cedar);
    assert_eq!(lines(&review), Vec::<String>::new());
    assert_eq!(review.not_judged, ["principals", "MCPServer", "LLMProvider"]);
    let (agents, _) =
        OBJECTS.split_once("---\napiVersion: vidimus.dev/v1alpha1\nkind: MCPServer").expect("a server");
    assert_eq!(lines(&in_directory(agents, cedar)), ["dead a/p 8"]);
    let cedar = r#"permit (principal in Group::"readers", action == Action::"invokeTool", resource in ToolSet::"none");"#;
    assert_eq!(lines(&in_directory(agents, cedar)), Vec::<String>::new());
}

/// No false alarm on what is shipped, nor on the policies of the documentation.
#[test]
fn examples_are_clean() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let directories: Vec<PathBuf> =
        ["demo", "quickstart", "policies"].iter().map(|name| root.join("examples").join(name)).collect();
    for directory in &directories {
        let review = reviewed(directory);
        assert!(review.policies > 0 && review.rejections.is_empty(), "{review:#?}");
        assert_eq!(lines(&review), Vec::<String>::new(), "{}: {:#?}", directory.display(), review.findings);
    }
}

#[test]
fn where_policies_begin_is_known() {
    for (cedar, found) in [
        ("permit (principal, action, resource);", vec![0]),
        ("", vec![]),
        ("// nothing; at all\n", vec![]),
        (
            "  @id(\"a;b\\\"\")\npermit (principal, action, resource); // x;\n\nforbid (principal, action, resource);",
            vec![2, 60],
        ),
        (
            "permit (principal, action, resource) when { \"a//;\" == \"\\\\\" };forbid (principal, action, resource);",
            vec![0, 61],
        ),
    ] {
        assert_eq!(beginnings(cedar), found, "{cedar}");
    }
}

/// Of a policy that tells more apart than is tried it is said that nothing was found out.
#[test]
fn what_was_not_found_out_is_said() {
    let objects: String = (0..33)
        .map(|number| {
            format!(
                "---\napiVersion: vidimus.dev/v1alpha1\nkind: Agent\nmetadata: {{name: bot{number}, namespace: a}}\nspec: {{owner: a{number}@example.com, \
                 team: a{number}, purpose: p, riskLevel: low, identities: [{{oidc: {{issuer: \"urn:vidimus:local\", subject: bot{number}}}}}]}}\n---\n\
                 apiVersion: vidimus.dev/v1alpha1\nkind: MCPServer\nmetadata: {{name: tools{number}, namespace: a}}\nspec: {{owner: b{number}@example.com, \
                 team: b{number}, riskLevel: low, endpoint: {{url: \"http://127.0.0.1:1/mcp\"}}}}\n"
            )
        })
        .collect();
    let same_team = r#"permit (principal is Agent, action == Action::"connectServer", resource) when { principal.team == resource.team };"#;
    let review = in_directory(&objects, same_team);
    assert_eq!((lines(&review), review.untold), (vec![], vec!["a/p".to_owned()]));
    let review = in_directory(OBJECTS, same_team);
    assert_eq!((lines(&review), review.untold), (vec![], vec![]));
}
