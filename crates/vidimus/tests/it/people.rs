//! People at the admin address: who asks, what they may do, and what then stands.

use super::gateway::{Gateway, upstream_that_hangs_up};
use super::{Ran, explain, policy, run, write};

/// An operator's command against a gateway.
pub(super) fn operate(gateway: &Gateway, words: &[&str]) -> Ran {
    let data = gateway.path("data");
    run(&[words, &["--admin", &gateway.admin, "--data", &data]].concat())
}

fn json(answer: &str) -> serde_json::Value {
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}

fn refused(answer: &str) -> String {
    json(answer)["vidimus"]["code"].as_str().unwrap().to_owned()
}

#[test]
fn the_admin_address_asks_who_you_are() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    for path in ["/healthz", "/readyz", "/metrics", "/"] {
        let answer = gateway.admin("GET", path, "", "").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    let person = gateway.operator("admin", &[]);
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let data = gateway.path("data");
    let issued = |words: &[&str]| {
        run(&[&["identity", "token", "--data", &data], words].concat()).out.trim().to_owned()
    };
    let other = gateway.operator("bob", &["soc"]);
    let forged = format!("{}.{}", person.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1);
    let two = format!("{}{}", bearer(&person), bearer(&person));
    for (what, head, code) in [
        ("nobody", String::new(), "credential_missing"),
        ("an agent", bearer(&gateway.token()), "token_audience"),
        (
            "an agent that asks for this audience",
            bearer(&issued(&["--subject", "bot", "--audience", "vidimus-admin"])),
            "person_required",
        ),
        (
            "an agent for a person",
            bearer(&issued(&["--subject", "bot", "--user", "admin", "--audience", "vidimus-admin"])),
            "person_required",
        ),
        ("forged", bearer(&forged), "token_signature"),
        ("two", two, "credential_ambiguous"),
        ("basic", "Authorization: Basic YWRtaW46\r\n".to_owned(), "token_malformed"),
        ("a page", format!("{}Origin: http://{}\r\n", bearer(&person), gateway.admin), "origin_refused"),
        ("another person", bearer(&gateway.operator("bob", &["admin"])), "no_permit"),
    ] {
        for path in ["/registry", "/registry/refused", "/registry/standing", "/ledger", "/quarantine"] {
            let answer = gateway.admin("GET", path, &head, "").unwrap();
            assert!(answer.starts_with("HTTP/1.1 40"), "{what} {path}: {answer}");
            assert_eq!(refused(&answer), code, "{what} {path}");
        }
        let json_head = format!("{head}Content-Type: application/json\r\n");
        let body = r#"{"subject":"Agent/a/bot","why":"x"}"#;
        let answer = gateway.admin("POST", "/quarantine", &json_head, body).unwrap();
        assert_eq!(refused(&answer), code, "{what}");
    }
    // An expired token is none.
    let short = run(&["identity", "operator", "--data", &data, "--ttl", "1s"]).out.trim().to_owned();
    gateway.wait("expired", |gateway| {
        let answer = gateway.admin("GET", "/registry", &bearer(&short), "").unwrap();
        answer.starts_with("HTTP/1.1 401") && refused(&answer) == "token_expired"
    });
    let answer = gateway.admin("GET", "/registry", &bearer(&person), "").unwrap();
    assert!(json(&answer)["objects"].is_array(), "{answer}");
    // The refusals are on record, by whoever was proven.
    let ran = run(&["audit", "search", "--data", &data, "--kind", "refusal", "--limit", "0", "-o", "json"]);
    for says in
        ["credential_missing", "person_required", "token_expired", "urn:vidimus:local#bob", "/quarantine"]
    {
        assert!(ran.out.contains(says), "{says}: {ran:?}");
    }
}

#[test]
fn a_quarantine_refuses_at_once_and_survives_a_kill() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    let token = gateway.token();
    assert!(gateway.call(Some(&token)).contains("upstream_interrupted"), "it is allowed");
    let ran = operate(&gateway, &["quarantine", "agent", "a/bot", "--why", "INC-7"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let answer = gateway.call(Some(&token));
    assert!(answer.contains("forbidden_by_policy") && answer.contains("vidimus/quarantine"), "{answer}");

    let gateway = gateway.killed_and_started();
    let answer = gateway.call(Some(&token));
    assert!(answer.contains("forbidden_by_policy"), "{answer}");
    let (resources, data) = (gateway.path("resources"), gateway.path("data"));
    for more in [&["--data", &*data, "--admin", &*gateway.admin][..], &["--data", &*data]] {
        let ran = explain(&[&["--resources", &*resources, "-o", "json"][..], more].concat());
        assert_eq!(ran.json()["code"], "forbidden_by_policy", "{ran:?}");
        assert_eq!(ran.json()["policies"][0], "vidimus/quarantine", "{ran:?}");
        assert!(!ran.err.contains("snapshot"), "the same snapshot: {ran:?}");
    }
    let listed = operate(&gateway, &["quarantine", "list", "-o", "json"]).json();
    let row = &listed["quarantined"][0];
    assert_eq!(row["subject"], "Agent/a/bot", "{listed}");
    assert_eq!((&row["by"], &row["why"]), (&"act".into(), &"INC-7".into()), "{listed}");
    assert_eq!(row["actor"], "User/urn:vidimus:local#admin", "{listed}");
    assert_eq!(json(&gateway.get("/registry").unwrap())["quarantined"], listed["quarantined"]);
    let ran = run(&["audit", "search", "--data", &data, "--kind", "act"]);
    assert!(ran.out.contains("Agent/a/bot") && ran.out.contains("INC-7"), "{ran:?}");

    let ran = operate(&gateway, &["quarantine", "lift", "agent", "a/bot", "--why", "closed"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(gateway.call(Some(&token)).contains("upstream_interrupted"));
    let ran = operate(&gateway, &["quarantine", "lift", "agent", "a/bot", "--why", "again"]);
    assert!(ran.code == Some(2) && ran.err.contains("is not quarantined"), "{ran:?}");
    assert!(operate(&gateway, &["quarantine", "list"]).out.contains("nothing is quarantined"));

    // A lift that is sent again undoes nothing that was done since.
    operate(&gateway, &["quarantine", "agent", "a/bot", "--why", "INC-8"]);
    let replayed = format!(r#"{{"subject":"Agent/a/bot","of":{},"why":"closed"}}"#, row["act"]);
    let head = format!(
        "Authorization: Bearer {}\r\nContent-Type: application/json\r\n",
        gateway.operator("admin", &[])
    );
    let answer = gateway.admin("POST", "/quarantine/lift", &head, &replayed).unwrap();
    assert_eq!(refused(&answer), "act_unfit", "{answer}");
    assert!(answer.starts_with("HTTP/1.1 409"), "{answer}");
    assert!(gateway.call(Some(&token)).contains("forbidden_by_policy"));
    let gateway = gateway.killed_and_started();
    assert!(gateway.call(Some(&token)).contains("forbidden_by_policy"));
}

#[test]
fn either_switch_suffices() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    let token = gateway.token();
    let resources = gateway.path("resources");
    let quarantined = super::AGENT.replace("riskLevel: low", "riskLevel: low\n  quarantined: true");
    write(resources.as_ref(), "a.yaml", &quarantined);
    gateway.wait("quarantined", |gateway| gateway.call(Some(&token)).contains("forbidden_by_policy"));
    operate(&gateway, &["quarantine", "agent", "a/bot", "--why", "INC-7"]);
    let both = operate(&gateway, &["quarantine", "list", "-o", "json"]).json();
    let by: Vec<_> =
        both["quarantined"].as_array().unwrap().iter().map(|row| row["by"].as_str().unwrap()).collect();
    assert_eq!(by, ["act", "record"], "{both}");
    let ran = operate(&gateway, &["quarantine", "lift", "agent", "a/bot", "--why", "closed"]);
    assert!(ran.code == Some(0) && ran.err.contains("stays quarantined by its own record"), "{ran:?}");
    assert!(gateway.call(Some(&token)).contains("forbidden_by_policy"));
    let ran = operate(&gateway, &["quarantine", "lift", "agent", "a/bot", "--why", "closed"]);
    assert!(ran.code == Some(2) && ran.err.contains("its own record"), "{ran:?}");
    // The other way round.
    operate(&gateway, &["quarantine", "agent", "a/bot", "--why", "INC-7"]);
    write(resources.as_ref(), "a.yaml", super::AGENT);
    gateway.wait("lifted in the record", |gateway| {
        let listed = operate(gateway, &["quarantine", "list", "-o", "json"]).json();
        listed["quarantined"].as_array().unwrap().len() == 1
    });
    assert!(gateway.call(Some(&token)).contains("forbidden_by_policy"));
    operate(&gateway, &["quarantine", "lift", "agent", "a/bot", "--why", "closed"]);
    assert!(gateway.call(Some(&token)).contains("upstream_interrupted"));
}

#[test]
fn policies_say_who_may_and_odd_acts_are_refused() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    write(
        gateway.path("resources").as_ref(),
        "p.yaml",
        &policy(
            "people",
            "permit (principal in UserGroup::\"soc\", action in Action::\"operate\", resource);",
        )
        .replace("spec:", "spec:\n  scope: Cluster"),
    );
    gateway.wait("in force", |gateway| {
        operate(gateway, &["quarantine", "agent", "a/bot", "--why", "x"]).err.contains("no_permit")
    });
    let ran = operate(
        &gateway,
        &["quarantine", "server", "a/tools", "--why", "x", "--as", "ada", "--as-group", "soc"],
    );
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let answer = gateway.call(Some(&gateway.token()));
    assert!(answer.contains("vidimus/quarantine#MCPServer/a/tools"), "{answer}");
    let head = format!(
        "Authorization: Bearer {}\r\nContent-Type: application/json\r\n",
        gateway.operator("ada", &["soc"])
    );
    let huge = format!(r#"{{"subject":"User/i#{}","why":"x"}}"#, "x".repeat(4000));
    let flood = format!(r#"{{"subject":"User/i#x","why":"{}"}}"#, "x".repeat(100_000));
    for (body, code) in [
        (r#"{"subject":"Agent/a/nobody","why":"x"}"#, "resource_unknown"),
        (r#"{"subject":"Agent/a/bot","why":" "}"#, "message_invalid"),
        (r#"{"subject":"Tool/a/b/c","why":"x"}"#, "message_invalid"),
        (r#"{"subject":"User/i#\u0000","why":"x"}"#, "message_invalid"),
        (r#"{"subject":"Identity/garbage","why":"x"}"#, "message_invalid"),
        (r#"{"subject":"Chain/not-a-uuid","why":"x"}"#, "message_invalid"),
        (r#"{"subject":"Agent/a/bot","why":"x","force":true}"#, "message_invalid"),
        (r#"{"subject":"Agent/a/bot","subject":"Agent/a/other","why":"x"}"#, "message_invalid"),
        (&huge, "message_invalid"),
        (&flood, "message_invalid"),
        ("[]", "message_invalid"),
    ] {
        let answer = gateway.admin("POST", "/quarantine", &head, body).unwrap();
        assert_eq!(refused(&answer), code, "{}: {answer}", body.get(..80).unwrap_or(body));
    }
    // Odd names are as good as others, and stand for themselves alone.
    for odd in
        ["User/https://i.example#a\\\"b' || true", "Identity/spiffe://a/\u{202e}b", "Chain/ext-${x}\\u{41}"]
    {
        let body = serde_json::json!({"subject": odd, "why": "odd"}).to_string();
        let answer = gateway.admin("POST", "/quarantine", &head, &body).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{odd}: {answer}");
    }
    let ran = operate(
        &gateway,
        &["quarantine", "lift", "server", "a/tools", "--why", "x", "--as", "ada", "--as-group", "soc"],
    );
    assert!(ran.err.contains("no_permit"), "to read is another action: {ran:?}");
}

/// Attack: what was mistyped is said to be quarantined, what is quarantined is called by another record, and whoever has two issuers puts
/// itself back.
#[test]
fn a_quarantine_says_where_it_may_be_about_nothing_or_not_about_all() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    let copy = std::fs::read_to_string(format!("{}/b.yaml", gateway.path("resources"))).unwrap();
    write(gateway.path("resources").as_ref(), "copy.yaml", &copy.replace("name: tools", "name: copy"));
    gateway.wait("registered", |gateway| {
        operate(gateway, &["quarantine", "server", "a/copy", "--why", "x"]).code == Some(0)
    });
    gateway.call(Some(&gateway.token()));
    let data = gateway.path("data");
    let found =
        run(&["audit", "search", "--data", &data, "--kind", "decision", "--limit", "1", "-o", "json"]);
    let transaction = found.json()["transaction"].as_str().unwrap().to_owned();
    for (words, says) in [
        (["chain", "019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10"], "records of this gateway is of it"),
        (["chain", &*transaction], ""),
        (["user", "https://nowhere.example#dave"], "is no issuer here"),
        (["user", "urn:vidimus:local/#dave"], "is no issuer here"),
        (["identity", "oidc:urn:vidimus:local#bto"], "nothing that is registered has this identity"),
        (["server", "a/tools"], "is called by MCPServer/a/copy too"),
        (["user", "urn:vidimus:local#dave"], ""),
        (["identity", "oidc:urn:vidimus:local#bot"], ""),
        (["agent", "a/bot"], ""),
    ] {
        let ran = operate(&gateway, &[&["quarantine"][..], &words, &["--why", "x"]].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(
            (ran.err.contains(says), ran.err.contains("warning")),
            (true, !says.is_empty()),
            "{ran:?}"
        );
    }
    let ran = operate(&gateway, &["quarantine", "user", "urn:vidimus:local#dave ", "--why", "x"]);
    assert!(ran.code != Some(0) && ran.err.contains("issuer#subject"), "{ran:?}");
    // Another issuer knows the administrator by the same name.
    let other = ["user", "https://nowhere.example#admin", "--why", "x"];
    assert_eq!(operate(&gateway, &[&["quarantine"][..], &other].concat()).code, Some(0));
    let ran = operate(&gateway, &[&["quarantine", "lift"][..], &other].concat());
    assert!(ran.code == Some(2) && ran.err.contains("act_unfit") && ran.err.contains("409"), "{ran:?}");
    assert!(ran.err.contains("Have somebody else who may lift it do so."), "{ran:?}");
}

/// Attack: whoever may grant grants it to an agent of its own.
#[test]
fn nobody_grants_anything_to_what_he_answers_for() {
    let gateway = without_permits();
    let permit = "permit (principal in UserGroup::\"soc\", action in [Action::\"operate\", Action::\"read\"], resource);";
    write(
        gateway.path("resources").as_ref(),
        "p.yaml",
        &policy("people", permit).replace("spec:", "spec:\n  scope: Cluster"),
    );
    let grant = |gateway: &Gateway, by: &str| {
        let of =
            ["grant", "give", "a/bot", "--resource", "Tool/a/tools/get", "--uses", "1", "--why", "CASE-12"];
        operate(gateway, &[&of[..], &["--as", by, "--as-group", "soc"]].concat())
    };
    gateway.wait("in force", |gateway| grant(gateway, "bob").code == Some(0));
    let ran = grant(&gateway, "Ada.L@example.com");
    assert!(ran.code != Some(0) && ran.err.contains("act_unfit"), "{ran:?}");
}

/// The tool is not permitted until somebody grants it.
fn without_permits() -> Gateway {
    let gateway = Gateway::start(upstream_that_hangs_up());
    std::fs::remove_file(format!("{}/c.yaml", gateway.path("resources"))).unwrap();
    let token = gateway.token();
    gateway.wait("refused", |gateway| gateway.call(Some(&token)).contains("no_permit"));
    gateway
}

#[test]
fn a_grant_used_twice_is_refused_the_third_time() {
    let gateway = without_permits();
    let token = gateway.token();
    let of = ["grant", "give", "a/bot", "--resource", "Tool/a/tools/get", "--why", "CASE-12"];
    let ran = operate(&gateway, &[&of[..], &["--uses", "2", "-o", "json"]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let id = ran.json()["act"].as_str().unwrap().to_owned();
    let (resources, data) = (gateway.path("resources"), gateway.path("data"));
    let explained = explain(&["--resources", &resources, "--data", &data, "-o", "json"]);
    assert_eq!(explained.json()["policies"][0], format!("vidimus/grant#{id}"), "{explained:?}");
    assert!(gateway.call(Some(&token)).contains("upstream_interrupted"), "the first use");
    let gateway = gateway.killed_and_started();
    assert!(gateway.call(Some(&token)).contains("upstream_interrupted"), "the second use");
    let answer = gateway.call(Some(&token));
    assert!(answer.contains("no_permit") || answer.contains("grant_spent"), "{answer}");
    gateway.wait("out of force", |gateway| gateway.call(Some(&token)).contains("no_permit"));
    let listed = operate(&gateway, &["grant", "list", "-o", "json"]).json();
    assert_eq!(listed["grants"][0]["used"], 2, "{listed}");
    let ran = run(&["audit", "search", "--data", &data, "--kind", "act", "-o", "json"]);
    assert_eq!(ran.out.matches("useGrant").count(), 2, "{ran:?}");
    // What was lent for a task is no use to be permitted for good. Before the grant a policy permitted the same.
    let given = listed["grants"][0]["time"].as_str().unwrap();
    let ran = run(&["policy", "suggest", "--data", &data, "--since", given]);
    let says = ran.err.contains("left out: Agent/a/bot invokeTool Tool/a/tools/get, 2 calls by grants alone");
    assert!(ran.code == Some(1) && says && !ran.out.contains("permit ("), "{ran:?}");
    // Over: it does not stand any more.
    let ran = operate(&gateway, &[&of[..], &["--uses", "9", "--for", "1s"]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    gateway.wait("over", |gateway| {
        let listed = operate(gateway, &["grant", "list", "-o", "json"]).json();
        listed["grants"].as_array().unwrap().len() == 1
    });
    assert!(gateway.call(Some(&token)).contains("no_permit"));
    // Revoked.
    let ran = operate(&gateway, &[&of[..], &["--uses", "9", "-o", "json"]].concat());
    assert!(gateway.call(Some(&token)).contains("upstream_interrupted"));
    let id = ran.json()["act"].as_str().unwrap().to_owned();
    let ran = operate(&gateway, &["grant", "revoke", &id, "--why", "done"]);
    assert!(ran.code == Some(0) && ran.out.contains(&format!("Grant/{id} is revoked")), "{ran:?}");
    assert!(gateway.call(Some(&token)).contains("no_permit"));
    // By whom, and that there is nothing more to revoke; of what never stood that it is not there.
    let ran = operate(&gateway, &["grant", "revoke", &id, "--why", "done"]);
    let says = format!("the grant {id} was revoked by User/urn:vidimus:local#admin at ");
    assert!(ran.code == Some(2) && ran.err.contains("409") && ran.err.contains(&says), "{ran:?}");
    // Attack: whoever may not see what stands asks about what is over, to learn who ended it.
    let ran = operate(&gateway, &["grant", "revoke", &id, "--why", "done", "--as", "bob"]);
    assert!(ran.code == Some(2) && ran.err.contains("404") && !ran.err.contains("#admin"), "{ran:?}");
    let of =
        ["grant", "request", "a/bot", "--resource", "Tool/a/tools/get", "--uses", "1", "--why", "CASE-12"];
    let ran = operate(&gateway, &[&of[..], &["-o", "json"]].concat());
    let request = ran.json()["act"].as_str().unwrap().to_owned();
    let ran = operate(&gateway, &["grant", "revoke", &request, "--why", "no"]);
    assert!(ran.code == Some(0) && ran.out.contains(&format!("Request/{request} is declined")), "{ran:?}");
    let ran = operate(&gateway, &["grant", "approve", &request, "--why", "ok"]);
    let says = format!("the request {request} was declined by User/urn:vidimus:local#admin at ");
    assert!(ran.code == Some(2) && ran.err.contains(&says), "{ran:?}");
}

/// A request that is over is not granted, and who ended it is told to whom may see what stands.
#[test]
fn who_ended_a_request_is_told_to_who_would_grant_it_and_may_see_that() {
    let gateway = without_permits();
    let of =
        ["grant", "request", "a/bot", "--resource", "Tool/a/tools/get", "--uses", "1", "--why", "CASE-12"];
    let ran = operate(&gateway, &[&of[..], &["-o", "json"]].concat());
    let request = ran.json()["act"].as_str().unwrap().to_owned();
    let ran = operate(&gateway, &["grant", "revoke", &request, "--why", "no"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let terms = serde_json::json!({"agent": "Agent/a/bot", "resources": ["Tool/a/tools/get"], "uses": 1});
    let body =
        serde_json::json!({"terms": terms, "seconds": 60, "request": request, "why": "ok"}).to_string();
    let grant = |token: &str| {
        let head = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
        gateway.admin("POST", "/grants", &head, &body).unwrap()
    };
    let answer = grant(&gateway.operator("admin", &[]));
    let says = format!("the request {request} was declined by User/urn:vidimus:local#admin at ");
    assert!(answer.starts_with("HTTP/1.1 409") && answer.contains(&says), "{answer}");
    assert_eq!(refused(&answer), "act_unfit");
    // Attack: whoever may grant, and not see what stands, asks about what is over to learn who ended it.
    let permit = "permit (principal in UserGroup::\"soc\", action == Action::\"grant\", resource);";
    write(
        gateway.path("resources").as_ref(),
        "p.yaml",
        &policy("people", permit).replace("spec:", "spec:\n  scope: Cluster"),
    );
    let bob = gateway.operator("bob", &["soc"]);
    gateway.wait("in force", |_| refused(&grant(&bob)) != "no_permit");
    let answer = grant(&bob);
    assert!(answer.starts_with("HTTP/1.1 404") && !answer.contains("#admin"), "{answer}");
    assert_eq!(refused(&answer), "id_unknown");
}

/// What is not there is not done, whatever command is asked: exit code 2, and what to look at.
#[test]
fn what_is_not_there_is_not_done_by_any_command() {
    const ID: &str = "019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10";
    let gateway = Gateway::start(1);
    for (line, says) in [
        ("approvals show ID", "no approval ID stands"),
        ("approvals approve ID --why x", "no approval ID stands"),
        ("approvals approve ID --why x --shown sha256:0", "404"),
        ("approvals deny ID --why x", "404"),
        ("grant approve ID --why x", "no request ID stands"),
        ("grant revoke ID --why x", "no grant or request ID stands"),
        ("quarantine lift agent a/bot --why x", "is not quarantined"),
        ("quarantine agent a/nobody --why x", "nothing is registered as Agent/a/nobody"),
        ("declassify agent a/nobody --label x --why x", "nothing is registered as Agent/a/nobody"),
        ("declassify agent a/bot --label x --why x", "nothing was removed"),
    ] {
        let (line, says) = (line.replace("ID", ID), says.replace("ID", ID));
        for format in ["table", "json"] {
            let words: Vec<&str> = line.split(' ').chain(["-o", format]).collect();
            let ran = operate(&gateway, &words);
            assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{line}: {ran:?}");
            assert!(ran.err.contains(&says) && ran.err.contains("error"), "{line}: {ran:?}");
        }
    }
    let data = gateway.path("data");
    assert_eq!(run(&["audit", "show", ID, "--data", &data]).code, Some(2));
}

#[test]
fn an_agent_asks_with_the_call_that_is_refused() {
    let gateway = without_permits();
    let token = gateway.token();
    let asking =
        gateway.request(Some(&token)).replacen("Host:", "Vidimus-Request-Grant: CASE-12\r\nHost:", 1);
    let answer = gateway.exchange(&asking);
    assert!(answer.contains("no_permit") && answer.contains("a grant is asked for"), "{answer}");
    // Once is enough.
    let again = gateway.exchange(&asking);
    assert!(again.contains("is asked for already"), "{again}");
    let listed = operate(&gateway, &["grant", "list", "-o", "json"]).json();
    let request = &listed["requests"][0];
    assert_eq!(request["agent"], "Agent/a/bot", "{listed}");
    assert_eq!(
        (&request["resources"][0], &request["uses"]),
        (&"Tool/a/tools/get".into(), &1.into()),
        "{listed}"
    );
    let id = request["id"].as_str().unwrap();
    let refused = operate(&gateway, &["grant", "approve", id, "--why", "ok", "--as", "bob"]);
    assert!(refused.err.contains("no_permit"), "{refused:?}");
    let ran = operate(&gateway, &["grant", "approve", id, "--why", "ok"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(gateway.call(Some(&token)).contains("upstream_interrupted"));
    gateway.wait("spent", |gateway| gateway.call(Some(&token)).contains("no_permit"));
    let ran = operate(&gateway, &["grant", "approve", id, "--why", "ok"]);
    let says = format!("the request {id} was granted by User/urn:vidimus:local#admin at ");
    assert!(ran.code == Some(2) && ran.err.contains(&says), "{ran:?}");
    // What is not registered may come later, and is warned of; what can be no chain is refused.
    let of = ["grant", "give", "a/bot", "--resource", "Tool/a/nobank/x", "--why", "x"];
    let ran = operate(&gateway, &[&of[..], &["--uses", "1"]].concat());
    assert!(
        ran.code == Some(0) && ran.err.contains("nothing is registered as MCPServer/a/nobank"),
        "{ran:?}"
    );
    let ran = operate(&gateway, &[&of[..], &["--transaction", "garbage"]].concat());
    assert!(ran.code == Some(2) && ran.err.contains("'garbage' is no transaction"), "{ran:?}");
    let ran = operate(&gateway, &of);
    assert!(
        ran.code == Some(2) && ran.err.contains("--uses") && ran.err.contains("--transaction"),
        "{ran:?}"
    );
    let ran = operate(&gateway, &["quarantine", "agent", "a/bot", "--why", " "]);
    assert!(ran.err.contains("Say why in a few words (--why)"), "{ran:?}");
    let request =
        ["grant", "request", "a/nobody", "--resource", "Tool/a/tools/get", "--uses", "1", "--why", "x"];
    let ran = operate(&gateway, &request);
    assert!(ran.code == Some(2) && ran.err.contains("nothing is registered as Agent/a/nobody"), "{ran:?}");
}

#[test]
fn a_person_is_told_what_it_may() {
    let gateway = Gateway::start(1);
    let head = |name: &str| format!("Authorization: Bearer {}\r\n", gateway.operator(name, &["soc"]));
    let me = |name: &str| json(&gateway.admin("GET", "/me?about=Agent/a/bot", &head(name), "").unwrap());
    let (admin, bob) = (me("admin"), me("bob"));
    assert_eq!(
        (&admin["person"], &admin["groups"][0]),
        (&"User/urn:vidimus:local#admin".into(), &"soc".into())
    );
    for (who, allowed) in [(&admin, true), (&bob, false)] {
        let may = who["may"].as_array().unwrap();
        assert_eq!(may.len(), 8, "{who}");
        assert!(may.iter().all(|one| one["allowed"] == allowed), "{who}");
    }
}

#[test]
fn what_only_refuses_is_of_its_own_kind() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    write(
        gateway.path("resources").as_ref(),
        "a.yaml",
        &super::AGENT.replace("riskLevel: low", "riskLevel: odd"),
    );
    gateway.wait("held", |gateway| {
        let registry = json(&gateway.get("/registry").unwrap());
        registry["only_refusing"].as_array().is_some_and(|all| !all.is_empty())
    });
    let ran = operate(&gateway, &["quarantine", "service", "a/bot", "--why", "x"]);
    assert!(ran.code == Some(2) && ran.err.contains("nothing is registered as Service/a/bot"), "{ran:?}");
    let ran = operate(&gateway, &["quarantine", "agent", "a/bot", "--why", "x"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_label_is_taken_away_by_whom_policies_permit_it() {
    let gateway = Gateway::start(upstream_that_hangs_up());
    let resources = gateway.path("resources");
    let server = std::fs::read_to_string(std::path::Path::new(&resources).join("b.yaml")).unwrap();
    let labelled = server.replace("riskLevel: low", "riskLevel: low, labels: {reads: [confidential]}");
    write(resources.as_ref(), "b.yaml", &labelled);
    let forbid = "forbid (principal, action == Action::\"invokeTool\", resource)
        when { context.labels.contains(\"confidential\") };";
    write(resources.as_ref(), "d.yaml", &policy("flow", forbid));
    let token = gateway.token();
    gateway.wait("read", |gateway| gateway.call(Some(&token)).contains("forbidden_by_policy"));
    let of = ["declassify", "agent", "a/bot", "--label", "confidential", "--why", "it was published"];
    let ran = operate(&gateway, &[&of[..], &["--as", "bob"]].concat());
    assert!(ran.code == Some(2) && ran.err.contains("no policy permits"), "{ran:?}");
    assert!(gateway.call(Some(&token)).contains("forbidden_by_policy"));
    let ran = operate(&gateway, &of);
    assert!(ran.code == Some(0) && ran.out.contains("has not read 'confidential' any more"), "{ran:?}");
    assert!(gateway.call(Some(&token)).contains("upstream_interrupted"), "it is allowed, and reads it again");
    gateway.wait("read again", |gateway| gateway.call(Some(&token)).contains("forbidden_by_policy"));
    let ran = operate(&gateway, &[&of[..], &["-o", "json"]].concat());
    assert_eq!(ran.json()["subject"], "Agent/a/bot", "{ran:?}");
    for (words, says) in [
        (&["declassify", "agent", "a/nobody", "--label", "x", "--why", "x"][..], "nothing is registered"),
        (&["declassify", "agent", "nobody", "--label", "x", "--why", "x"], "as in finance/nobody"),
        (&["declassify", "chain", "tx-1", "--label", "x", "--why", "x"], "is no transaction"),
        (&["declassify", "chain", "ext-1", "--label", "x", "--why", " "], "why it is done must be said"),
    ] {
        let ran = operate(&gateway, words);
        assert!(ran.code == Some(2) && ran.err.contains(says), "{ran:?}");
    }
    // What nobody has is taken away from nobody: that is said, and no act is on record.
    for (words, says) in [
        (
            ["agent", "a/bot", "--label", "nevr-read"],
            "Agent/a/bot has read nothing with the label 'nevr-read'",
        ),
        (["chain", "ext-1", "--label", "x"], "Chain/ext-1 has read nothing with the label 'x'"),
        // It was taken away just now.
        (["agent", "a/bot", "--label", "confidential"], "nothing was removed"),
    ] {
        let ran = operate(&gateway, &[&["declassify"][..], &words, &["--why", "of-nothing"]].concat());
        assert!(ran.code == Some(2) && ran.out.is_empty(), "{ran:?}");
        assert!(ran.err.contains(says) && ran.err.contains("409"), "{ran:?}");
    }
    let ran = run(&["audit", "search", "--data", &gateway.path("data"), "--kind", "act"]);
    assert!(ran.out.contains("declassify") && ran.out.contains("it was published"), "{ran:?}");
    assert!(!ran.out.contains("of-nothing"), "{ran:?}");
}
