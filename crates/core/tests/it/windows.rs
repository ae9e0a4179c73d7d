//! Permits that are in force at some times only.

use serde_json::{Value, json};
use vidimus_core::call::{Action, Target};
use vidimus_core::caller::UnixMillis;
use vidimus_core::refusal::Code;
use vidimus_core::resource::{self, Object, Origin};
use vidimus_core::snapshot::Snapshot;

use crate::world::{Facts, agent, objects, server, snapshot};

const TOOLS: &str = r#"permit (principal, action == Action::"invokeTool", resource);"#;

fn policy(name: &str, cedar: &str, more: &Value) -> Value {
    let mut policy = json!({"apiVersion": "vidimus.dev/v1alpha1", "kind": "Policy", "metadata": {"namespace": "t", "name": name},
        "spec": {"description": "d", "scope": "Cluster", "cedar": cedar}});
    let spec = policy["spec"].as_object_mut().unwrap();
    spec.extend(more.as_object().unwrap().clone());
    policy
}

fn object(policy: &Value) -> Object {
    resource::check(&Origin::default(), policy).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn world(policies: &[Value]) -> Snapshot {
    let policies = policies.iter().map(object).collect();
    snapshot(objects(vec![agent("a", "x")], vec![server("a", "s")], policies))
}

fn code(world: &Snapshot, at: &str) -> Option<Code> {
    let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "t" };
    let time: jiff::Timestamp = at.parse().unwrap();
    let facts = Facts { now: UnixMillis(time.as_millisecond()), ..Facts::of(world, "a/x") };
    facts.authorize(world, Action::InvokeTool, target).code
}

#[test]
fn what_is_permitted_is_permitted_in_its_window() {
    // A Monday.
    for (window, within, outside) in [
        (
            json!({"from": "2026-11-30T22:00:00Z", "until": "2026-12-01T04:00:00+02:00"}),
            &["2026-11-30T22:00:00Z", "2026-12-01T01:59:59.999Z"][..],
            &["2026-11-30T21:59:59.999Z", "2026-12-01T02:00:00Z"][..],
        ),
        (json!({"from": "2026-11-30T22:00:00Z"}), &["2036-01-01T00:00:00Z"], &["2026-11-30T00:00:00Z"]),
        (
            json!({"days": ["saturday", "sunday"]}),
            &["2026-11-28T00:00:00Z", "2026-11-29T23:59:59Z"],
            &["2026-11-30T00:00:00Z"],
        ),
        (
            json!({"hours": {"from": 22, "until": 4}}),
            &["2026-11-30T22:00:00Z", "2026-11-30T03:59:59Z", "2026-11-30T00:00:00Z"],
            &["2026-11-30T04:00:00Z", "2026-11-30T21:59:59Z"],
        ),
        (
            json!({"hours": {"from": 8, "until": 24}, "days": ["monday"]}),
            &["2026-11-30T08:00:00Z", "2026-11-30T23:59:59Z"],
            &["2026-11-30T07:59:59Z", "2026-12-01T09:00:00Z"],
        ),
    ] {
        let windowed = policy("w", TOOLS, &json!({"window": window}));
        let world = world(std::slice::from_ref(&windowed));
        for at in within {
            assert_eq!(code(&world, at), None, "{window} {at}");
        }
        for at in outside {
            assert_eq!(code(&world, at), Some(Code::NoPermit), "{window} {at}");
        }
    }
}

/// What is forbidden is forbidden at all times, and its author is told.
#[test]
fn a_window_opens_no_forbid() {
    let forbid = TOOLS.replace("permit", "forbid");
    let window = json!({"window": {"days": ["sunday"]}});
    let world = world(&[policy("all", TOOLS, &json!({})), policy("w", &forbid, &window)]);
    for at in ["2026-11-29T12:00:00Z", "2026-11-30T12:00:00Z"] {
        assert_eq!(code(&world, at), Some(Code::ForbiddenByPolicy), "{at}");
    }
    assert!(world.warnings().iter().any(|one| one.reason.contains("forbidden at all times")));
}

#[test]
fn a_window_that_is_none_is_refused() {
    for (window, field) in [
        (json!({}), "spec.window"),
        (json!({"from": "tomorrow"}), "spec.window.from"),
        (json!({"from": "2026-11-30T22:00:00"}), "spec.window.from"),
        (json!({"from": "2026-11-30T22:00:00Z", "until": "2026-11-30T22:00:00Z"}), "spec.window.until"),
        (json!({"hours": {"from": 8, "until": 8}}), "spec.window.hours"),
        (json!({"hours": {"from": 24, "until": 8}}), "spec.window.hours"),
        (json!({"hours": {"from": 8}}), "spec.window.hours.until"),
        (json!({"days": ["Montag"]}), "spec.window.days[0]"),
        (json!({"zone": "Europe/Berlin"}), "spec.window.zone"),
    ] {
        let refused = resource::check(&Origin::default(), &policy("w", TOOLS, &json!({"window": window})));
        let fields: Vec<String> = refused.unwrap_err().into_iter().map(|one| one.field).collect();
        assert!(fields.iter().any(|one| one.starts_with(field)), "{window}: {fields:?}");
    }
    // Of what people do the time is known, and not its day.
    let people = r#"permit (principal, action == Action::"read", resource);"#;
    for (window, accepted) in
        [(json!({"from": "2026-11-30T22:00:00Z"}), true), (json!({"days": ["sunday"]}), false)]
    {
        let (_, rejected) = Snapshot::build(vec![object(&policy("w", people, &json!({"window": window})))]);
        assert_eq!(rejected.is_empty(), accepted, "{window}: {rejected:?}");
    }
}
