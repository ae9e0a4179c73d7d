use cedar_policy::{Authorizer, Context, Decision, Entities, PolicySet, Request, RestrictedExpression};
use serde_json::{Value, json};

use super::*;

fn checked(spec: &Value) -> (Option<Window>, Problems) {
    let spec: WindowSpec = serde_json::from_value(spec.clone()).unwrap();
    let mut problems = Problems::default();
    let window = spec.check(At::Root.key("window"), &mut problems);
    (window, problems)
}

fn window(spec: &Value) -> Window {
    let (window, problems) = checked(spec);
    assert!(problems.is_empty(), "{spec}: {problems:?}");
    window.unwrap()
}

fn at(text: &str) -> UnixMillis {
    UnixMillis(text.parse::<Timestamp>().unwrap().as_millisecond())
}

/// What the condition of a window comes to in Cedar's own evaluator.
fn in_cedar(policies: &PolicySet, UnixMillis(now): UnixMillis) -> bool {
    let time = Timestamp::from_millisecond(now).unwrap().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
    let context = Context::from_pairs([
        ("now".to_owned(), RestrictedExpression::new_datetime(time)),
        ("weekday".to_owned(), RestrictedExpression::new_string(Day::of(now).as_str().to_owned())),
        ("hour".to_owned(), RestrictedExpression::new_long(now.rem_euclid(DAY) / HOUR)),
    ]);
    let uid = |text: &str| text.parse().unwrap();
    let request =
        Request::new(uid("A::\"a\""), uid("Action::\"x\""), uid("R::\"r\""), context.unwrap(), None).unwrap();
    let response = Authorizer::new().is_authorized(&request, policies, &Entities::empty());
    assert_eq!(response.diagnostics().errors().count(), 0);
    response.decision() == Decision::Allow
}

/// A window is looked at in two ways, for speed here and for proofs in Cedar: they are one.
#[test]
fn a_window_is_open_when_its_condition_in_cedar_holds() {
    for spec in [
        json!({"from": "2026-11-30T22:00:00Z", "until": "2026-12-01T04:00:00+02:00"}),
        json!({"days": ["saturday", "sunday"], "hours": {"from": 22, "until": 4}}),
        json!({"zone": "Europe/Berlin", "days": ["monday"], "hours": {"from": 0, "until": 24}}),
        json!({"zone": "America/New_York", "days": ["monday", "friday"], "hours": {"from": 20, "until": 6}}),
        json!({"zone": "Asia/Kolkata", "days": ["sunday"], "hours": {"from": 9, "until": 17}}),
        json!({"zone": "Australia/Lord_Howe", "hours": {"from": 2, "until": 3}}),
        json!({"zone": "UTC", "days": ["sunday"]}),
    ] {
        let window = window(&spec);
        let policy = format!("permit (principal, action, resource) when {{ {} }};", window.condition());
        let policies: PolicySet = policy.parse().unwrap();
        let around_changes = (0..400).map(|step| at("2026-10-24T00:00:00Z").0 + step * 1_800_000);
        let over_years = (0..300).map(|step| at("2019-12-31T20:00:00Z").0 + step * 5_400_017_000);
        let edges = ["2026-11-30T21:59:59.999Z", "2026-11-30T22:00:00Z", "2069-12-31T23:59:59.999Z"];
        for now in around_changes.chain(over_years).chain(edges.map(|edge| at(edge).0)) {
            let now = UnixMillis(now);
            assert_eq!(window.is_open(now), in_cedar(&policies, now), "{spec} {now:?}");
        }
    }
}

#[test]
fn when_a_window_opens_next_is_known() {
    for (spec, from, opens) in [
        // A Monday.
        (
            json!({"days": ["tuesday"], "hours": {"from": 9, "until": 17}}),
            "2026-11-30T12:00:00Z",
            Some("2026-12-01T09:00:00Z"),
        ),
        (
            json!({"zone": "Europe/Berlin", "hours": {"from": 9, "until": 17}}),
            "2026-11-30T17:00:00Z",
            Some("2026-12-01T08:00:00Z"),
        ),
        // It is open.
        (
            json!({"zone": "Asia/Kolkata", "hours": {"from": 9, "until": 17}}),
            "2026-11-30T03:30:00Z",
            Some("2026-11-30T03:30:00Z"),
        ),
        // On the last Sunday of March there are no such hours.
        (
            json!({"zone": "Europe/Berlin", "days": ["sunday"], "hours": {"from": 2, "until": 3}}),
            "2026-03-23T00:00:00Z",
            Some("2026-04-05T00:00:00Z"),
        ),
        (json!({"from": "2027-01-01T00:00:00Z"}), "2026-11-30T00:00:00Z", Some("2027-01-01T00:00:00Z")),
        (json!({"until": "2026-11-30T00:00:00Z"}), "2026-11-30T00:00:00Z", None),
        (json!({"until": "2026-11-30T00:00:00Z", "days": ["monday"]}), "2026-11-29T00:00:00Z", None),
        (json!({"zone": "Europe/Berlin", "days": ["monday"]}), "2070-01-01T00:00:00Z", None),
    ] {
        assert_eq!(window(&spec).opens(at(from)), opens.map(at), "{spec} {from}");
    }
}

/// The windows of the property: hours of the day, over midnight too, on some days, on all and on none in particular, and all there are.
fn windows(zone: &str, (from, until): (UnixMillis, UnixMillis)) -> Vec<Window> {
    let text = |UnixMillis(at)| Timestamp::from_millisecond(at).unwrap().to_string();
    let all = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    [
        json!({"hours": {"from": 9, "until": 17}, "days": all[..5]}),
        json!({"hours": {"from": 22, "until": 4}}),
        json!({"hours": {"from": 22, "until": 4}, "days": ["saturday"]}),
        json!({"hours": {"from": 1, "until": 2}}),
        json!({"hours": {"from": 2, "until": 3}, "days": ["sunday"]}),
        json!({"hours": {"from": 3, "until": 2}}),
        json!({"hours": {"from": 0, "until": 24}, "days": ["friday", "sunday"]}),
        json!({"days": ["saturday", "sunday"]}),
        json!({"days": all, "until": text(until)}),
        json!({"days": all, "hours": {"from": 0, "until": 24}, "from": text(from), "until": text(until)}),
    ]
    .into_iter()
    .map(|mut spec| {
        spec["zone"] = json!(zone);
        window(&spec)
    })
    .collect()
}

/// When a window opens and closes next is what minute by minute shows, in zones that change their clocks by hours, by half an hour, at
/// midnight, at a minute past it, and not at all.
#[test]
fn a_window_opens_and_closes_when_it_is_open_minute_by_minute_and_not() {
    const MINUTE: i64 = 60_000;
    for (zone, begins) in [
        ("Europe/Berlin", "2026-03-20T00:00:00Z"),
        ("Europe/Berlin", "2026-10-16T00:00:00Z"),
        ("America/New_York", "2026-10-24T00:00:00Z"),
        ("Australia/Lord_Howe", "2026-03-28T00:00:00Z"),
        ("Australia/Lord_Howe", "2026-09-26T00:00:00Z"),
        // At a minute past midnight, by three hours.
        ("Antarctica/Casey", "2020-09-26T00:00:00Z"),
        ("Antarctica/Troll", "2026-03-20T00:00:00Z"),
        // At midnight: the day begins at one o'clock, or has two ends.
        ("Africa/Cairo", "2026-04-17T00:00:00Z"),
        ("Asia/Beirut", "2026-10-17T00:00:00Z"),
        ("Pacific/Chatham", "2026-03-28T00:00:00Z"),
        ("Asia/Kolkata", "2026-11-20T00:00:00Z"),
        ("UTC", "2026-11-20T00:00:00Z"),
    ] {
        let UnixMillis(begins) = at(begins);
        let until = UnixMillis(begins + 12 * DAY + 17 * MINUTE);
        for window in windows(zone, (UnixMillis(begins + 30 * HOUR), until)) {
            let minutes: Vec<i64> = (0..20 * 24 * 60).map(|minute| begins + minute * MINUTE).collect();
            let open: Vec<bool> = minutes.iter().map(|now| window.is_open(UnixMillis(*now))).collect();
            let (mut opens, mut closes) = (None, None);
            for minute in (0..minutes.len() - 1).rev() {
                let now = UnixMillis(minutes[minute]);
                let turns = open[minute] != open[minute + 1];
                if open[minute] && !open[minute + 1] {
                    closes = Some(UnixMillis(minutes[minute + 1]));
                }
                if open[minute] {
                    opens = Some(now);
                }
                // All of what turns, and some of the rest.
                if !turns && minute % 97 != 0 {
                    continue;
                }
                if opens.is_some() {
                    assert_eq!(window.opens(now), opens, "{zone} {} {now:?}", window.spec());
                }
                if closes.is_some() {
                    assert_eq!(window.closes(now), closes, "{zone} {} {now:?}", window.spec());
                }
            }
            assert!(closes.is_some(), "{zone} {}", window.spec());
        }
    }
}

#[test]
fn a_window_that_closes_at_its_end_or_never_says_so() {
    for (spec, after, closes) in [
        (json!({"until": "2026-12-02T04:00:00Z"}), "2026-11-30T00:00:00Z", Some("2026-12-02T04:00:00Z")),
        (json!({"until": "2026-12-02T04:00:00Z"}), "2026-12-02T04:00:00Z", None),
        // It has yet to open.
        (
            json!({"from": "2027-01-01T00:00:00Z", "until": "2027-01-01T00:00:00.250Z"}),
            "2026-11-30T00:00:00Z",
            Some("2027-01-01T00:00:00.25Z"),
        ),
        (json!({"from": "2026-11-30T00:00:00Z"}), "2026-11-30T00:00:00Z", None),
        (json!({"hours": {"from": 0, "until": 24}}), "2026-11-30T00:00:00Z", None),
        (
            json!({"hours": {"from": 0, "until": 24}, "until": "2030-01-01T00:00:00Z"}),
            "2026-11-30T00:00:00Z",
            Some("2030-01-01T00:00:00Z"),
        ),
        // What clocks show is known no longer.
        (
            json!({"zone": "Europe/Berlin", "hours": {"from": 0, "until": 24}}),
            "2026-11-30T00:00:00Z",
            Some("2070-01-01T00:00:00Z"),
        ),
        // A Monday: it is shut, and closes once it was open.
        (
            json!({"days": ["tuesday"], "hours": {"from": 9, "until": 17}}),
            "2026-11-30T12:00:00Z",
            Some("2026-12-01T17:00:00Z"),
        ),
    ] {
        assert_eq!(window(&spec).closes(at(after)), closes.map(at), "{spec} {after}");
    }
}

#[test]
fn a_window_is_told_as_a_person_says_it() {
    for (spec, told) in [
        (
            json!({"zone": "Europe/Berlin", "days": ["monday", "tuesday", "wednesday", "thursday", "friday"], "hours": {"from": 9, "until": 17}}),
            "monday to friday, 09:00 to 17:00 in Europe/Berlin",
        ),
        (json!({"days": ["sunday", "monday"]}), "monday, sunday in UTC"),
        (
            json!({"from": "2026-11-30T22:00:00Z", "until": "2026-12-01T04:00:00Z"}),
            "from 2026-11-30T22:00:00Z, until 2026-12-01T04:00:00Z",
        ),
    ] {
        assert_eq!(window(&spec).spec().to_string(), told);
    }
}

/// Attack: a window that looks as if it opened, so that nobody sees that the permit is dead.
#[test]
fn a_window_in_which_there_is_no_time_is_none() {
    for (spec, field, value) in [
        (
            json!({"from": "2026-11-30T00:00:00Z", "until": "2026-12-01T00:00:00Z", "days": ["sunday"]}),
            "window",
            "sunday in UTC, from 2026-11-30T00:00:00Z, until 2026-12-01T00:00:00Z",
        ),
        (json!({"hours": {"from": 22, "until": 25}}), "window.hours.until", "25"),
        (json!({"hours": {"from": 24, "until": 4}}), "window.hours.from", "24"),
        (json!({"hours": {"from": 8, "until": 8}}), "window.hours.until", "8"),
        (
            json!({"zone": "Europe/Berlin", "days": ["sunday"], "from": "2070-01-01T00:00:00Z"}),
            "window",
            "sunday in Europe/Berlin, from 2070-01-01T00:00:00Z",
        ),
    ] {
        let (_, problems) = checked(&spec);
        let said = problems.into_rejections(&super::super::Origin::default(), &super::super::Subject::Source);
        let said: Vec<(&str, &str)> = said.iter().map(|one| (&*one.field, &*one.value)).collect();
        assert_eq!(said, [(field, value)], "{spec}");
    }
}
