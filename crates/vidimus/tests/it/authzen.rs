//! The door for other enforcement points, as one of them has it: OpenID AuthZEN Authorization API 1.0.

use serde_json::{Value, json};

use super::gateway::{Gateway, upstream_that_hangs_up};
use super::people::operate;
use super::{policy, run, write};

/// Who asks about what is in namespace `a`; and one who asks about nothing.
const ASKERS: &str = r#"permit (principal in UserGroup::"points", action == Action::"evaluate", resource);"#;

struct Door<'a> {
    gateway: &'a Gateway,
    head: String,
}

impl<'a> Door<'a> {
    fn of(gateway: &'a Gateway, groups: &[&str]) -> Self {
        let token = gateway.operator("kong", groups);
        Self { gateway, head: format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n") }
    }

    fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let answer = self.gateway.admin("POST", &format!("/access/v1/{path}"), &self.head, body).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap_or_default())
    }

    fn ask(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.post(path, &body.to_string());
        assert_eq!(status, 200, "{path} {body}: {answer}");
        answer
    }
}

fn asked(tool: &str) -> Value {
    json!({
        "subject": {"type": "Agent", "id": "a/bot"}, "action": {"name": "invokeTool"},
        "resource": {"type": "Tool", "id": format!("a/tools/{tool}")},
    })
}

fn with(mut question: Value, name: &str, value: Value) -> Value {
    question.as_object_mut().unwrap().insert(name.to_owned(), value);
    question
}

/// A gateway whose bot may `get` anything, `pay` at most 100, and with approval `burn`; and whose `secret` is redacted.
fn started() -> Gateway {
    let gateway = Gateway::start(upstream_that_hangs_up());
    let resources = gateway.path("resources");
    let resources = resources.as_ref();
    let tool = |name: &str| format!(r#"resource == Tool::"a/tools/{name}""#);
    let (get, pay, burn, secret) = (tool("get"), tool("pay"), tool("burn"), tool("secret"));
    let cedar = format!(
        r#"@id("get") permit (principal, action == Action::"invokeTool", {get});
        @id("pay") permit (principal, action == Action::"invokeTool", {pay})
            when {{ context.numbers.hasTag("/amount") && context.numbers.getTag("/amount") <= 100 }};
        @id("burn") permit (principal, action == Action::"invokeTool", {burn});
        @id("secret") permit (principal, action == Action::"invokeTool", {secret});
        @id("asks") @approval("payers") forbid (principal, action == Action::"invokeTool", {burn})
            unless {{ context has approval && context.approval.role == "payers" }};
        @id("hides") @redact_answer("/iban") forbid (principal, action == Action::"invokeTool", {secret});"#
    );
    write(resources, "c.yaml", &policy("open", &cedar));
    write(resources, "e.yaml", &policy("points", ASKERS));
    gateway.wait("in force", |gateway| {
        Door::of(gateway, &["points"]).post("evaluation", &asked("get").to_string()).0 == 200
    });
    gateway
}

fn records(gateway: &Gateway) -> Vec<Value> {
    let ran = run(&[
        "audit",
        "search",
        "--data",
        &gateway.path("data"),
        "--kind",
        "all",
        "--limit",
        "0",
        "-o",
        "json",
    ]);
    let found = ran.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    found.map(|one| one.get("record").cloned().unwrap_or(one)).collect()
}

#[test]
fn an_answer_is_the_decision_of_a_call_and_on_record_as_a_question() {
    let gateway = started();
    let door = Door::of(&gateway, &["points"]);
    let pay = |amount: Value| with(asked("pay"), "context", json!({"arguments": {"amount": amount}}));
    let unknown =
        |name: &str, kind: &str, id: &str| with(asked("get"), name, json!({"type": kind, "id": id}));
    for (question, decision, outcome, code) in [
        (asked("get"), true, "allow", Value::Null),
        (pay(json!(100)), true, "allow", Value::Null),
        (pay(json!(101)), false, "deny", json!("no_permit")),
        (asked("pay"), false, "deny", json!("no_permit")),
        (asked("other"), false, "deny", json!("no_permit")),
        // A person would have to be asked, and nobody would make the call that was approved.
        (asked("burn"), false, "hold", json!("approval_required")),
        // What is to be changed is changed by the gateway alone.
        (asked("secret"), false, "allow-with-obligations", json!("change_impossible")),
        (unknown("subject", "Agent", "a/nobody"), false, "deny", json!("principal_unknown")),
        (unknown("subject", "user", "alice"), false, "deny", json!("principal_unknown")),
        (unknown("resource", "record", "record-1"), false, "deny", json!("resource_unknown")),
        (with(asked("get"), "action", json!({"name": "can_read"})), false, "deny", json!("method_unknown")),
    ] {
        let answer = door.ask("evaluation", &question);
        let context = &answer["context"];
        assert_eq!(
            (&answer["decision"], &context["outcome"], &context["code"]),
            (&json!(decision), &json!(outcome), &code),
            "{question}: {answer}"
        );
        // What is not there is told apart from what is not permitted.
        let is_error = code.as_str().is_some_and(|code| code.ends_with("_unknown"));
        assert_eq!(context["error"]["status"].is_u64(), is_error, "{answer}");
        assert!(!is_error || context["error"]["status"] == 404, "{answer}");
    }
    let answer = door.ask("evaluation", &asked("get"));
    let all = records(&gateway);
    let record = all.iter().find(|record| record["id"] == answer["context"]["id"]).unwrap();
    for (member, value) in [
        ("kind", "decision"),
        ("protocol", "authzen"),
        ("asked_by", "User/urn:vidimus:local#kong"),
        ("principal", "Agent/a/bot"),
        ("resource", "Tool/a/tools/get"),
        ("identity", "authzen"),
        ("outcome", "allow"),
    ] {
        assert_eq!(record[member], value, "{member}: {record}");
    }
    assert!(all.iter().all(|record| record["kind"] != "effect"), "nothing was carried out here");
}

/// Members of the context that Vidimus knows itself, and properties, decide nothing.
#[test]
fn what_an_asker_says_of_the_caller_opens_nothing() {
    let gateway = started();
    let door = Door::of(&gateway, &["points"]);
    let approved = json!({"approval": {"role": "payers", "by": "User::\"x\"", "at": 0}, "labels": [], "method": "tasks/get"});
    assert_eq!(door.ask("evaluation", &with(asked("burn"), "context", approved))["decision"], false);
    let mut question = asked("other");
    for entity in ["subject", "resource", "action"] {
        question[entity]["properties"] = json!({"risk_level": "low", "quarantined": false, "name": "get"});
    }
    assert_eq!(door.ask("evaluation", &question)["decision"], false);
    let ran = operate(&gateway, &["quarantine", "agent", "a/bot", "--why", "INC-7"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let answer = door.ask("evaluation", &asked("get"));
    assert_eq!(
        (&answer["decision"], &answer["context"]["code"]),
        (&json!(false), &json!("forbidden_by_policy"))
    );
}

#[test]
fn who_may_not_ask_is_told_nothing() {
    let gateway = started();
    let ask = |head: &str, body: &Value| {
        let answer = gateway.admin("POST", "/access/v1/evaluation", head, &body.to_string()).unwrap();
        let status = answer.split(' ').nth(1).unwrap().to_owned();
        (status, serde_json::from_str::<Value>(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap_or_default())
    };
    let (status, _) = ask("Content-Type: application/json\r\n", &asked("get"));
    assert_eq!(status, "401");
    let workload = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", gateway.token());
    assert_eq!(
        ask(&workload, &asked("get")).0,
        "401",
        "a workload is no point of enforcement by its own token"
    );
    let stranger = Door::of(&gateway, &[]);
    // The same whether it is there or not.
    for resource in ["a/tools/get", "a/none/get", "b/tools/get"] {
        let question = with(asked("get"), "resource", json!({"type": "Tool", "id": resource}));
        let (status, refused) = stranger.post("evaluation", &question.to_string());
        assert_eq!(
            (status, &refused["vidimus"]["code"]),
            (403, &json!("no_permit")),
            "{resource}: {refused}"
        );
    }
    let batch = json!({"evaluations": [asked("get")]});
    let answer = stranger.ask("evaluations", &batch);
    assert_eq!(answer["evaluations"][0]["decision"], false);
    assert_eq!(answer["evaluations"][0]["context"]["error"]["status"], 403);
    let search = |path: &str, body: &Value| stranger.post(path, &body.to_string());
    assert_eq!(search("search/subject", &with(asked("get"), "subject", json!({"type": "Agent"}))).0, 403);
    assert_eq!(search("search/action", &asked("get")).0, 403);
    let what = with(asked("get"), "resource", json!({"type": "Tool"}));
    assert_eq!(search("search/resource", &what).1["results"], json!([]));
    // Who asks about what is of another namespace than the policy's.
    let door = Door::of(&gateway, &["points"]);
    let other = with(asked("get"), "resource", json!({"type": "Tool", "id": "b/tools/get"}));
    assert_eq!(door.post("evaluation", &other.to_string()).0, 403);
}

/// Attack: who may ask about its own namespace reads out by its own policies what the records of others say.
#[test]
fn of_callers_of_other_namespaces_nothing_is_told_without_a_permit() {
    let gateway = started();
    let resources = gateway.path("resources");
    let stranger = super::AGENT
        .replace("name: bot, namespace: a", "name: bot, namespace: b")
        .replace("subject: bot", "subject: stranger");
    assert!(stranger.contains("namespace: b"), "{stranger}");
    write(resources.as_ref(), "g.yaml", &stranger);
    let door = Door::of(&gateway, &["points"]);
    let of = |id: &str| with(asked("get"), "subject", json!({"type": "Agent", "id": id}));
    let admin = format!("Authorization: Bearer {}\r\n", gateway.operator("admin", &[]));
    gateway.wait("registered", |gateway| {
        gateway.admin("GET", "/registry", &admin, "").unwrap().contains("b/bot")
    });
    // The same whether it is there or not.
    for id in ["b/bot", "b/none"] {
        let (status, refused) = door.post("evaluation", &of(id).to_string());
        assert_eq!((status, &refused["vidimus"]["code"]), (403, &json!("no_permit")), "{id}: {refused}");
        let what = with(of(id), "resource", json!({"type": "Tool"}));
        assert_eq!(door.ask("search/resource", &what)["results"], json!([]));
        assert_eq!(door.ask("search/action", &of(id))["results"], json!([]));
    }
    let subjects = |door: &Door<'_>| {
        let found = door.ask("search/subject", &of("x"))["results"].clone();
        found.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(subjects(&door), ["a/bot"]);
    // Where a policy of its namespace permits that, it is told.
    let permit = policy("callers", ASKERS).replace("namespace: a", "namespace: b");
    assert!(permit.contains("namespace: b"), "{permit}");
    write(resources.as_ref(), "h.yaml", &permit);
    gateway.wait("told", |_| subjects(&door) == ["a/bot", "b/bot"]);
    assert_eq!(door.ask("evaluation", &of("b/bot"))["decision"], true);
}

#[test]
fn several_questions_have_defaults_an_order_and_an_end() {
    let gateway = started();
    let door = Door::of(&gateway, &["points"]);
    let tool = |name: &str| json!({"resource": {"type": "Tool", "id": format!("a/tools/{name}")}});
    let batch = |semantic: &str, items: Value| {
        let question = json!({
            "subject": {"type": "Agent", "id": "a/bot"}, "action": {"name": "invokeTool"},
            "options": {"evaluations_semantic": semantic}, "evaluations": items,
        });
        let answer = door.ask("evaluations", &question);
        assert!(answer.get("decision").is_none(), "{answer}");
        let answers = answer["evaluations"].as_array().unwrap();
        answers.iter().map(|one| one["decision"].as_bool().unwrap()).collect::<Vec<bool>>()
    };
    let items = || json!([tool("other"), tool("get"), {}, tool("get")]);
    assert_eq!(batch("execute_all", items()), [false, true, false, true], "one without a resource is a no");
    assert_eq!(batch("deny_on_first_deny", json!([tool("get"), tool("other"), tool("get")])), [true, false]);
    assert_eq!(batch("permit_on_first_permit", items()), [false, true]);
    // As a single question.
    for lone in [asked("get"), with(asked("get"), "evaluations", json!([]))] {
        assert_eq!(door.ask("evaluations", &lone)["decision"], true);
    }
    let many: Vec<Value> = (0..101).map(|_| tool("get")).collect();
    for wrong in [
        with(asked("get"), "evaluations", json!(many)),
        with(asked("get"), "evaluations", json!({})),
        json!({"evaluations": [asked("get")], "options": {"evaluations_semantic": "some"}}),
    ] {
        assert_eq!(door.post("evaluations", &wrong.to_string()).0, 400);
    }
}

/// The cases of the certification scenario: what is no question is an error of HTTP, and none is a decision.
#[test]
fn what_is_no_question_is_an_error_and_its_id_comes_back() {
    let gateway = started();
    let door = Door::of(&gateway, &["points"]);
    let twice = r#"{"subject": {"type": "Agent", "id": "a/bot"}, "Subject": {}, "action": {"name": "invokeTool"}, "resource": {"type": "Tool", "id": "a/tools/get"}}"#;
    for (body, status) in [("", 400), ("{", 400), ("[]", 400), ("\"alice\"", 400), (twice, 400), ("{}", 400)]
    {
        assert_eq!(door.post("evaluation", body).0, status, "{}", body.chars().take(80).collect::<String>());
    }
    let token = gateway.operator("kong", &["points"]);
    let head = |more: &str| format!("Authorization: Bearer {token}\r\n{more}");
    let body = asked("get").to_string();
    let ask = |head: &str| gateway.admin("POST", "/access/v1/evaluation", head, &body).unwrap();
    assert!(ask(&head("Content-Type: text/plain\r\n")).starts_with("HTTP/1.1 400"));
    assert!(ask(&head("")).starts_with("HTTP/1.1 400"));
    let json = "Content-Type: application/json; charset=utf-8\r\nX-Request-ID: bfe9eb29\r\n";
    for head in [head(json), json.to_owned()] {
        let answer = ask(&head).to_ascii_lowercase();
        assert!(answer.contains("\r\nx-request-id: bfe9eb29\r\n"), "{answer}");
    }
    assert!(!ask(&head("Content-Type: application/json\r\n")).to_ascii_lowercase().contains("x-request-id"));
}

#[test]
fn a_search_finds_what_would_be_answered_yes_page_by_page() {
    let gateway = started();
    let resources = gateway.path("resources");
    let more = |name: &str| {
        super::AGENT
            .replace("name: bot", &format!("name: {name}"))
            .replace("subject: bot", &format!("subject: {name}"))
    };
    let server =
        super::server(1).replace("spec: {", "spec: {toolSets: {all: [burn, get, other, pay, secret]}, ");
    write(resources.as_ref(), "b.yaml", &server);
    write(resources.as_ref(), "f.yaml", &[more("ant"), more("bee")].join("---\n"));
    let door = Door::of(&gateway, &["points"]);
    let who = |tool: &str| with(asked(tool), "subject", json!({"type": "Agent", "id": "passed over"}));
    gateway.wait("registered", |_| {
        door.post("search/subject", &who("get").to_string()).1["results"].as_array().map(Vec::len) == Some(3)
    });
    let agents =
        |ids: &[&str]| -> Value { ids.iter().map(|id| json!({"type": "Agent", "id": id})).collect() };
    let found = door.ask("search/subject", &who("get"));
    assert_eq!(found["results"], agents(&["a/ant", "a/bee", "a/bot"]));
    assert_eq!(found["page"], json!({"next_token": "", "count": 3}));
    // Page by page, with the limit said once.
    let first = door.ask("search/subject", &with(who("get"), "page", json!({"limit": 2})));
    assert_eq!((&first["results"], &first["page"]["count"]), (&agents(&["a/ant", "a/bee"]), &json!(2)));
    let token = first["page"]["next_token"].clone();
    let second = door.ask("search/subject", &with(who("get"), "page", json!({"token": token})));
    assert_eq!(second["results"], agents(&["a/bot"]));
    assert_eq!(second["page"]["next_token"], "");
    for page in [
        json!({"token": token, "limit": 3}),
        json!({"token": "x"}),
        json!({"limit": -1}),
        json!({"token": ""}),
    ] {
        assert_eq!(
            door.post("search/subject", &with(who("get"), "page", page.clone()).to_string()).0,
            400,
            "{page}"
        );
    }
    let of_another = with(who("pay"), "page", json!({"token": token}));
    assert_eq!(door.post("search/subject", &of_another.to_string()).0, 400, "a token of another search");
    // What depends on the context is found where what is stated of it permits it.
    assert_eq!(door.ask("search/subject", &who("pay"))["results"], json!([]));
    let small = with(who("pay"), "context", json!({"arguments": {"amount": 7}}));
    assert_eq!(door.ask("search/subject", &small)["results"].as_array().unwrap().len(), 3);

    let what = |kind: &str| with(asked("get"), "resource", json!({"type": kind}));
    let tools: Value = json!([{"type": "Tool", "id": "a/tools/get"}]);
    assert_eq!(
        door.ask("search/resource", &what("Tool"))["results"],
        tools,
        "held and changed is not permitted"
    );
    for found in door.ask("search/resource", &what("Tool"))["results"].as_array().unwrap() {
        assert_eq!(door.ask("evaluation", &with(asked("get"), "resource", found.clone()))["decision"], true);
    }
    assert_eq!(door.ask("search/action", &asked("get"))["results"], json!([{"name": "invokeTool"}]));
    assert_eq!(door.ask("search/action", &asked("burn"))["results"], json!([]));
    // Nobody and nothing of that name is nothing found.
    let nobody = with(asked("get"), "subject", json!({"type": "Agent", "id": "a/none"}));
    for (path, question) in [
        ("search/action", nobody.clone()),
        ("search/resource", with(nobody, "resource", json!({"type": "Tool"}))),
        ("search/subject", with(asked("get"), "subject", json!({"type": "spaceship"}))),
        ("search/resource", what("spaceship")),
    ] {
        assert_eq!(door.ask(path, &question)["results"], json!([]), "{path} {question}");
    }
    // What is given has an id, and what is searched for a type.
    for (path, question) in [
        ("search/subject", with(who("get"), "resource", json!({"type": "Tool"}))),
        ("search/resource", with(what("Tool"), "subject", json!({"type": "Agent"}))),
        ("search/action", with(asked("get"), "subject", json!({"type": "Agent"}))),
        (
            "search/subject",
            json!({"subject": {"type": "Agent"}, "resource": {"type": "Tool", "id": "a/tools/get"}}),
        ),
    ] {
        assert_eq!(door.post(path, &question.to_string()).0, 400, "{path} {question}");
    }
}

#[test]
fn what_is_served_is_told_to_whoever_asks() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    let answer = gateway.admin("GET", "/.well-known/authzen-configuration", "", "").unwrap();
    let told: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let here = format!("http://{}", gateway.admin);
    assert_eq!(told["policy_decision_point"], here);
    assert_eq!(told["access_evaluation_endpoint"], format!("{here}/access/v1/evaluation"));
    assert_eq!(told["search_action_endpoint"], format!("{here}/access/v1/search/action"));
    let gateway = Gateway::start_with(upstream_that_hangs_up(), |command| {
        command.args(["--admin-url", "https://pdp.example.com/"]);
    });
    let answer = gateway.admin("GET", "/.well-known/authzen-configuration", "", "").unwrap();
    assert!(answer.contains(r#""policy_decision_point":"https://pdp.example.com""#), "{answer}");
}
