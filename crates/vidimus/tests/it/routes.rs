//! Every route of the admin address asks who is there, and for the action that it is: to whom nothing else is permitted it answers, and
//! to whom everything else is permitted it does not.

use serde_json::{Value, json};

use super::gateway::{Gateway, upstream_that_hangs_up};
use super::people::operate;
use super::{policy, write};

/// What people can be permitted.
const EVERY: [&str; 14] = [
    "approve",
    "declassify",
    "grant",
    "lift",
    "quarantine",
    "revoke",
    "read-approvals",
    "read-registry",
    "read-standing",
    "read-ledger",
    "read-records",
    "export",
    "shred",
    "evaluate",
];

/// Who is in the group `may-X` may do X, and nothing else.
const PEOPLE: &str = r#"
    permit (principal in UserGroup::"may-approve", action == Action::"approve", resource);
    permit (principal in UserGroup::"may-declassify", action == Action::"declassify", resource);
    permit (principal in UserGroup::"may-evaluate", action == Action::"evaluate", resource);
    permit (principal in UserGroup::"may-export", action == Action::"export", resource == View::"records");
    permit (principal in UserGroup::"may-grant", action == Action::"grant", resource);
    permit (principal in UserGroup::"may-lift", action == Action::"lift", resource);
    permit (principal in UserGroup::"may-quarantine", action == Action::"quarantine", resource);
    permit (principal in UserGroup::"may-revoke", action == Action::"revoke", resource);
    permit (principal in UserGroup::"may-shred", action == Action::"shred", resource);
    permit (principal in UserGroup::"may-read-approvals", action == Action::"read", resource == View::"approvals");
    permit (principal in UserGroup::"may-read-VIEW", action == Action::"read", resource == View::"VIEW");
"#;

/// A route: how it is asked, the view that it shows, and what must be permitted for it to answer.
struct Route {
    method: &'static str,
    path: &'static str,
    body: Value,
    needs: &'static [&'static str],
}

fn routes(approval: &str, grant: &str, act: &str) -> Vec<Route> {
    let route = |method, path, body, needs| Route { method, path, body, needs };
    let bot = "Agent/a/bot";
    let question = || {
        json!({
            "subject": {"type": "Agent", "id": "a/bot"}, "action": {"name": "invokeTool"},
            "resource": {"type": "Tool", "id": "a/tools/get"},
        })
    };
    let terms = json!({"agent": bot, "resources": ["Tool/a/tools/get"], "uses": 1});
    vec![
        route("GET", "/registry", json!(null), &["read-registry"]),
        route("GET", "/registry/refused", json!(null), &["read-registry"]),
        route("GET", "/registry/configuration", json!(null), &["read-registry"]),
        route("GET", "/registry/standing", json!(null), &["read-standing"]),
        route("GET", "/ledger", json!(null), &["read-ledger"]),
        route("GET", "/ledger/checkpoint", json!(null), &["read-ledger"]),
        route("GET", "/ledger/tile/0/000.p/1", json!(null), &["read-ledger"]),
        route("GET", "/ledger/tile/entries/000.p/1", json!(null), &["read-records"]),
        route("GET", "/quarantine", json!(null), &["read-standing"]),
        route("GET", "/approvals", json!(null), &["read-approvals"]),
        route("GET", "/grants", json!(null), &["read-standing"]),
        // Nothing of it is done in this test: why is not said.
        route("POST", "/ledger/export", json!({"asked": {"search": {}}, "why": ""}), &["export"]),
        route("POST", "/quarantine", json!({"subject": "Agent/a/bot", "why": ""}), &["quarantine"]),
        route("POST", "/quarantine/lift", json!({"subject": "User/i#x", "of": act, "why": ""}), &["lift"]),
        route("POST", "/payloads/shred", json!({"subject": "User/i#x", "why": ""}), &["shred"]),
        route("POST", "/declassify", json!({"subject": bot, "label": "x", "why": ""}), &["declassify"]),
        route(
            "POST",
            "/approvals/approve",
            json!({"approval": approval, "shown": "sha256:0", "why": ""}),
            &["approve", "read-approvals"],
        ),
        route(
            "POST",
            "/approvals/deny",
            json!({"approval": approval, "why": ""}),
            &["approve", "read-approvals"],
        ),
        route("POST", "/grants", json!({"terms": terms, "seconds": 9, "why": ""}), &["grant"]),
        route("POST", "/grants/requests", json!({"terms": terms, "why": ""}), &["read-standing"]),
        route("POST", "/grants/revoke", json!({"of": grant, "why": ""}), &["revoke"]),
        route("POST", "/access/v1/evaluation", question(), &["evaluate"]),
        route("POST", "/access/v1/evaluations", question(), &["evaluate"]),
        route("POST", "/access/v1/search/subject", question(), &["evaluate"]),
        route("POST", "/access/v1/search/action", question(), &["evaluate"]),
    ]
}

fn code_of(answer: &str) -> String {
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap_or_default();
    body["vidimus"]["code"].as_str().unwrap_or_default().to_owned()
}

const VIEWS: [&str; 4] = ["registry", "standing", "ledger", "records"];

#[test]
fn every_route_asks_for_its_action_and_for_no_other() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    // Whatever is needed to be asked about, while the first administrator may do all of it.
    let ran = operate(
        &gateway,
        &[
            "grant",
            "give",
            "a/bot",
            "--resource",
            "Tool/a/tools/get",
            "--uses",
            "1",
            "--why",
            "x",
            "-o",
            "json",
        ],
    );
    let grant = ran.json()["act"].as_str().unwrap().to_owned();
    let ran = operate(&gateway, &["quarantine", "user", "i#x", "--why", "x", "-o", "json"]);
    let act = ran.json()["act"].as_str().unwrap().to_owned();
    let hold = r#"@approval("payers") forbid (principal, action == Action::"invokeTool", resource)
        unless { context has approval && context.approval.role == "payers" };"#;
    let resources = gateway.path("resources");
    write(resources.as_ref(), "d.yaml", &policy("hold", hold));
    let token = gateway.token();
    gateway.wait("held", |gateway| gateway.call(Some(&token)).contains("approval_required"));
    let all = operate(&gateway, &["approvals", "list", "-o", "json"]).json();
    let approval = all["approvals"][0]["question"]["approval"].as_str().unwrap().to_owned();
    let (rest, line) = PEOPLE.trim_end().rsplit_once('\n').unwrap();
    let views: String = VIEWS.iter().map(|view| line.replace("VIEW", view) + "\n").collect();
    let people = policy("people", &format!("{rest}\n{views}")).replace("spec:", "spec:\n  scope: Cluster");
    write(resources.as_ref(), "p.yaml", &people);
    gateway.wait("in force", |gateway| {
        operate(gateway, &["quarantine", "list"]).err.contains("no policy permits")
    });

    let head = |groups: &[&str]| {
        let groups: Vec<String> = groups.iter().map(|action| format!("may-{action}")).collect();
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        let token = gateway.operator("ada", &groups);
        format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n")
    };
    let nobody = "Content-Type: application/json\r\n";
    let stranger = head(&[]);
    let routes = routes(&approval, &grant, &act);
    for Route { method, path, body, needs } in &routes {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let ask = |head: &str| gateway.admin(method, path, head, &body).unwrap();
        assert_eq!(code_of(&ask(nobody)), "credential_missing", "{method} {path}");
        assert_eq!(code_of(&ask(&stranger)), "no_permit", "{method} {path}");
        // Of what it needs nothing may lack, and all else is of no use.
        for lacks in *needs {
            let others: Vec<&str> = EVERY.into_iter().filter(|action| action != lacks).collect();
            assert_eq!(code_of(&ask(&head(&others))), "no_permit", "{method} {path} without {lacks}");
        }
        let answer = ask(&head(needs));
        let code = code_of(&answer);
        let is_done = answer.starts_with("HTTP/1.1 200");
        assert!(is_done || ["message_invalid", "act_unfit"].contains(&&*code), "{method} {path}: {answer}");
        // A question is done by being answered.
        let asks = *method == "GET" || path.starts_with("/access/");
        assert_eq!(is_done, asks, "{method} {path}: {answer}");
    }
    // These ask nobody, or only who it is.
    let open = ["/healthz", "/readyz", "/metrics"];
    let index = gateway.admin("GET", "/", "", "").unwrap();
    let index: Value = serde_json::from_str(index.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    for path in open {
        assert!(gateway.admin("GET", path, "", "").unwrap().starts_with("HTTP/1.1 200"), "{path}");
    }
    let page = gateway.admin("GET", &format!("/approvals/{approval}"), "", "").unwrap();
    assert!(page.starts_with("HTTP/1.1 200") && !page.contains("a/bot"), "it shows nothing: {page}");
    assert_eq!(code_of(&gateway.admin("GET", "/me", "", "").unwrap()), "credential_missing");
    assert!(gateway.admin("GET", "/me", &stranger, "").unwrap().starts_with("HTTP/1.1 200"));
    for path in index["endpoints"].as_object().unwrap().keys() {
        let is_known = ["/me", "/approvals/{approval}"].contains(&&**path)
            || open.contains(&&**path)
            || routes.iter().any(|route| route.path == path)
            // These show nothing but where questions are asked, and what the policies let be asked about (`authzen`).
            || ["/.well-known/authzen-configuration", "/access/v1/search/resource"].contains(&&**path)
            || path == "/ledger/tile/{tile}";
        assert!(is_known, "{path} is in no row of this test");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        for path in ["/registry", "/ledger", "/me", "/registry/standing"] {
            let answer = gateway.admin(method, path, &head(&EVERY), "{}").unwrap();
            assert!(answer.starts_with("HTTP/1.1 405"), "{method} {path}: {answer}");
        }
    }
}

/// What nobody has is no evidence: it is told before anything is on record.
#[test]
fn evidence_of_an_id_that_nothing_has_is_refused_and_no_act() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    let exporters = r#"permit (principal in UserGroup::"may-export", action == Action::"export", resource == View::"records");"#;
    let people = policy("people", exporters).replace("spec:", "spec:\n  scope: Cluster");
    write(gateway.path("resources").as_ref(), "p.yaml", &people);
    let token = gateway.operator("ada", &["may-export"]);
    let head = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
    let ask = |asked: Value| {
        let body = json!({"asked": asked, "why": "audit"}).to_string();
        gateway.admin("POST", "/ledger/export", &head, &body).unwrap()
    };
    gateway.wait("permitted", |_| code_of(&ask(json!({"show": {"id": "nope"}}))) != "no_permit");
    let answer = ask(json!({"show": {"id": "nope"}}));
    assert!(answer.starts_with("HTTP/1.1 404") && code_of(&answer) == "id_unknown", "{answer}");
    let data = gateway.path("data");
    // Its start, and the policy that was written.
    let ran = super::run(&["audit", "search", "--data", &data, "--kind", "act", "-o", "json"]);
    assert!(
        ran.code == Some(0) && ran.out.lines().count() == 2 && !ran.out.contains("\"export\":"),
        "{ran:?}"
    );
}

#[test]
fn who_sends_spans_where_none_are_taken_is_told_of_the_flag() {
    let gateway = Gateway::start(1);
    for path in ["/v1/traces", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"] {
        let answer = gateway.exchange(&format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            gateway.listen
        ));
        assert!(answer.contains("route_unknown") && answer.contains("--traces"), "{answer}");
    }
    let other = gateway.exchange(&format!(
        "POST /v1/other HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        gateway.listen
    ));
    assert!(other.contains("route_unknown") && !other.contains("--traces"), "{other}");
}
