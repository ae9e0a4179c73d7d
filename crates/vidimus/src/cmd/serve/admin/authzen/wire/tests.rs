use serde_json::{Value, json};

use super::*;

fn said(question: &Value, read: impl Fn(Members<'_>) -> Result<String, Malformed>) -> String {
    let text = question.to_string();
    let json = Json::parse(text.as_bytes()).unwrap();
    read(Members::of(&json)).unwrap_or_else(|malformed| malformed.0)
}

fn whole(members: Members<'_>) -> Result<String, Malformed> {
    let (subject, action, resource) =
        (members.entity("subject")?, members.action()?, members.entity("resource")?);
    members.stated()?;
    Ok(format!("{} {action} {}", subject.text(), resource.text()))
}

/// The cases of the certification scenario of the OpenID AuthZEN working group (C-2.4), and those of our own context.
#[test]
fn what_is_missing_or_of_another_type_is_named() {
    let good = || {
        json!({
            "subject": {"type": "Agent", "id": "a/bot"}, "action": {"name": "invokeTool"},
            "resource": {"type": "Tool", "id": "a/tools/get"},
        })
    };
    assert_eq!(said(&good(), whole), "Agent/a/bot invokeTool Tool/a/tools/get");
    for (pointer, value, says) in [
        ("subject", None, "subject is missing"),
        ("action", None, "action is missing"),
        ("resource", None, "resource is missing"),
        ("subject", Some(json!("alice")), "subject is not an object"),
        ("subject", Some(json!({"id": "a/bot"})), "subject.type is missing"),
        ("subject", Some(json!({"type": "Agent"})), "subject.id is missing"),
        (
            "subject",
            Some(json!({"type": "", "id": "x"})),
            "subject.type is not a string with something in it",
        ),
        ("action", Some(json!({})), "action.name is missing"),
        ("action", Some(json!({"name": 123})), "action.name is not a string with something in it"),
        ("action", Some(json!({"name": "x", "properties": 1})), "action.properties is not an object"),
        ("resource", Some(json!({"type": "Tool"})), "resource.id is missing"),
        (
            "resource",
            Some(json!({"type": "Tool", "id": null})),
            "resource.id is not a string with something in it",
        ),
        ("context", Some(json!([])), "context is not an object"),
        ("context", Some(json!({"arguments": []})), "context.arguments is not an object"),
        ("context", Some(json!({"on_behalf_of": "ada"})), "context.on_behalf_of is not issuer#subject"),
        (
            "context",
            Some(json!({"delegation_depth": 0})),
            "context.delegation_depth is not the number of a hop",
        ),
        (
            "context",
            Some(json!({"delegation_depth": 99})),
            "context.delegation_depth is not the number of a hop",
        ),
        ("context", Some(json!({"source_ip": "here"})), "context.source_ip is not an IP address"),
        ("context", Some(json!({"tokens_estimated": -1})), "context.tokens_estimated is not a number"),
        ("context", Some(json!({"streaming": "yes"})), "context.streaming is not true or false"),
    ] {
        let mut question = good();
        let members = question.as_object_mut().unwrap();
        match value {
            Some(value) => drop(members.insert(pointer.to_owned(), value)),
            None => drop(members.remove(pointer)),
        }
        assert_eq!(said(&question, whole), says, "{question}");
    }
}

#[test]
fn what_nobody_knows_and_what_a_record_says_is_passed_over() {
    let text = r#"{"subject": {"type": "Agent", "id": "a/b", "properties": {"risk_level": "low"}}, "foo": [1],
        "context": {"labels": [], "now": "1985-10-26", "approval": {"role": "x"}, "quarantined": false}}"#;
    let json = Json::parse(text.as_bytes()).unwrap();
    let members = Members::of(&json);
    assert_eq!(members.entity("subject").unwrap(), Entity { kind: "Agent", id: Some("a/b") });
    assert_eq!(members.stated().unwrap(), Stated::default());
}

#[test]
fn what_is_said_once_is_a_default_as_a_whole() {
    let text = r#"{"subject": {"type": "Agent", "id": "a/b"}, "context": {"source_ip": "10.0.0.1"},
        "evaluations": [{}, {"subject": {"type": "Agent"}}, {"context": {}}]}"#;
    let json = Json::parse(text.as_bytes()).unwrap();
    let items = json.get("evaluations").unwrap().as_array().unwrap();
    let of = |own| Members { own, defaults: Some(&json) };
    assert_eq!(of(&items[0]).entity("subject").unwrap().text(), "Agent/a/b");
    assert_eq!(of(&items[0]).stated().unwrap().source_ip, Some([10, 0, 0, 1].into()));
    // Its own stands alone: nothing of the default is mixed into it.
    assert_eq!(of(&items[1]).entity("subject").unwrap_err().0, "subject.id is missing");
    assert_eq!(of(&items[2]).stated().unwrap(), Stated::default());
}

#[test]
fn an_answer_ends_what_it_is_said_to_end() {
    for (named, after_yes, after_no) in [
        (json!({}), false, false),
        (json!({"options": {}}), false, false),
        (json!({"options": {"evaluations_semantic": "execute_all", "other": 1}}), false, false),
        (json!({"options": {"evaluations_semantic": "deny_on_first_deny"}}), false, true),
        (json!({"options": {"evaluations_semantic": "permit_on_first_permit"}}), true, false),
    ] {
        let text = named.to_string();
        let semantic = Semantic::of(&Json::parse(text.as_bytes()).unwrap()).unwrap();
        assert_eq!((semantic.ends_with(true), semantic.ends_with(false)), (after_yes, after_no), "{named}");
    }
    for wrong in [json!({"options": 1}), json!({"options": {"evaluations_semantic": "any"}})] {
        let text = wrong.to_string();
        assert!(Semantic::of(&Json::parse(text.as_bytes()).unwrap()).is_err(), "{wrong}");
    }
}
