//! `vidimus approvals watch`: what happens, as it happens. The gateway is asked for the list in which something has happened since the
//! last one, and lets the answer wait for that.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};
use vidimus_core::approval::happened::{Happening, Mark};
use vidimus_gateway::rfc3339;
use vidimus_query::approvals::{Approval, ApprovalEvent, Approvals as All, Given};

use super::super::admin_client::{Asking, Unanswered};
use super::{asked, became, because};
use crate::output::{self, Format, printable};

/// How long the gateway is to let an answer wait, in seconds: less than is waited for one.
const WAIT: u64 = 20;
/// Between two questions, where the gateway has no place for one that waits.
const LEAST: Duration = Duration::from_millis(500);
/// Before a gateway that is away is asked again: at first, and at last.
const AWAY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

pub(super) fn run(asking: &Asking, format: Format) -> anyhow::Result<ExitCode> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupted, mut told) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            ended = follow(asking, format) => ended,
            _ = interrupted.recv() => Ok(ExitCode::SUCCESS),
            _ = told.recv() => Ok(ExitCode::SUCCESS),
        }
    })
}

async fn follow(asking: &Asking, format: Format) -> anyhow::Result<ExitCode> {
    let mut seen: Option<All> = None;
    let mut away: Option<Duration> = None;
    while !output::is_gone() {
        let path = match &seen {
            None => "/approvals".to_owned(),
            Some(all) => format!("/approvals?since={}&wait={WAIT}", all.revision),
        };
        let begun = Instant::now();
        match asking.look::<All>(&path).await {
            Ok(now) => {
                if away.take().is_some() {
                    output::warning("the gateway answers again");
                }
                show(seen.as_ref(), &now, format)?;
                seen = Some(now);
                sleep(LEAST.saturating_sub(begun.elapsed())).await;
            }
            Err(Unanswered::Unreached(error)) if seen.is_some() => {
                if away.is_none() {
                    output::warning(&format!("{error:#}; it is asked again"));
                }
                let pause = away.map_or(AWAY.0, |pause| (pause * 2).min(AWAY.1));
                away = Some(pause);
                sleep(pause).await;
            }
            Err(refused) => return Err(refused.into()),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what happened between two lists; without a first one, what waits.
fn show(before: Option<&All>, now: &All, format: Format) -> anyhow::Result<()> {
    if before.is_none() && format == Format::Table {
        output::line(&row(["TIME", "EVENT", "APPROVAL", "WHO", "WHAT", "HOW"]));
    }
    let time = rfc3339(SystemTime::now());
    for event in happened(before, now, &time) {
        match format {
            Format::Json => output::json(&event)?,
            Format::Table => output::line(&line(&event)),
        }
    }
    Ok(())
}

/// What happened between two lists, in order; without a first one, what waits.
fn happened(before: Option<&All>, now: &All, time: &str) -> Vec<ApprovalEvent> {
    let event = |happened, one: &Approval| ApprovalEvent::of(&happened, one.clone(), time);
    let Some(before) = before else {
        let waits = now.approvals.iter().filter(|one| one.state == "asked");
        return waits.filter_map(|one| Some(event(one.mark()?.stands(), one))).collect();
    };
    let marks: BTreeMap<&str, Mark> =
        before.approvals.iter().filter_map(|one| Some((&*one.question.approval, one.mark()?))).collect();
    let mut events = Vec::new();
    for one in &now.approvals {
        let Some(mark) = one.mark() else { continue };
        let since = mark.since(marks.get(&*one.question.approval));
        events.extend(since.into_iter().map(|happened| event(happened, one)));
    }
    let is_gone =
        |one: &&Approval| now.approvals.iter().all(|other| other.question.approval != one.question.approval);
    for one in before.approvals.iter().filter(is_gone) {
        if let Some(gone) = one.mark().and_then(|mark| mark.gone()) {
            events.push(event(gone, &Approval { state: "expired".to_owned(), ..one.clone() }));
        }
    }
    events
}

fn line(event: &ApprovalEvent) -> String {
    let (one, what) = (&event.data, event.what.trim_start_matches("approval."));
    let last = |which: Happening| which.as_str() == what;
    let how = if last(Happening::Voted) {
        let given = one.given.iter().find(|given| given.time == event.timestamp).or(one.given.last());
        given.map(voted).unwrap_or_default()
    } else if last(Happening::Approved) {
        one.given.iter().map(voted).collect::<Vec<_>>().join(", ")
    } else if last(Happening::Denied) {
        let denied = one.denied.as_ref();
        denied.map(|denied| format!("{}{}", denied.by, because(&denied.why))).unwrap_or_default()
    } else if last(Happening::Escalated) {
        format!("also {}", one.escalated.join(", "))
    } else if last(Happening::Void) {
        one.changed.as_ref().map(|changed| format!("{changed} {}", became(changed))).unwrap_or_default()
    } else if last(Happening::Used) {
        one.made.last().map(|made| format!("call {}", made.call)).unwrap_or_default()
    } else {
        asked(one)
    };
    let question = &one.question;
    row([&event.timestamp, what, &question.approval, &question.principal, &question.resource, &how])
}

/// Who approved, in which role, and why.
fn voted(given: &Given) -> String {
    let of = given.escalation.as_ref().map(|role| format!(" ({role})")).unwrap_or_default();
    format!("{} as {}{of}{}", given.by, given.role, because(&given.why))
}

/// Columns of one width for rows that come one after another.
fn row([time, event, approval, who, what, how]: [&str; 6]) -> String {
    let text = format!("{time:<27}  {event:<9}  {approval:<36}  {who:<28}  {what:<36}  {how}");
    printable(text.trim_end()).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(approvals: &serde_json::Value) -> All {
        serde_json::from_value(json!({"approvals": approvals, "revision": "1"})).expect("a list")
    }

    fn one(id: &str, state: &str, given: &serde_json::Value, escalated: &[&str]) -> serde_json::Value {
        let question = json!({
            "action": "invokeTool", "approval": id, "asking": [{"policy": "t/p", "quorum": 2, "role": "payers"}], "call": "c",
            "chain": [], "digest": "d", "endpoint": "e", "method": "m", "owner": "o", "principal": "Agent/a/x\u{1b}[31m",
            "resource": "Tool/a/s/pay", "until": 1,
        });
        json!({"given": given, "made": [], "question": question, "state": state, "until": "u", "escalated": escalated})
    }

    #[test]
    fn what_happened_between_two_lists_is_a_row_each() {
        let vote = json!([{"by": "User/i#b", "role": "payers", "time": "2026-01-01T00:00:01Z"}]);
        let first = list(&json!([one("1", "asked", &json!([]), &[]), one("2", "denied", &json!([]), &[])]));
        let second = list(&json!([
            one("1", "asked", &vote, &["managers"]),
            one("2", "denied", &json!([]), &[]),
            one("3", "asked", &json!([]), &[])
        ]));
        let third = list(&json!([one("2", "denied", &json!([]), &[]), one("3", "denied", &json!([]), &[])]));
        let mut void = one("1", "expired", &vote, &["managers"]);
        void["changed"] = json!("Tool/a/s/pay");
        let changed = list(&json!([void]));
        let ids = |before: Option<&All>, now: &All| {
            let events = happened(before, now, "t");
            events.into_iter().map(|event| event.id).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(ids(None, &first), "1-asked", "what is over is no news");
        assert_eq!(ids(Some(&first), &first), "");
        assert_eq!(ids(Some(&first), &second), "1-voted-1 1-escalated-1 3-asked");
        assert_eq!(ids(Some(&second), &third), "3-denied 1-expired");
        assert_eq!(ids(Some(&second), &changed), "1-void 3-expired");
        let rows: Vec<String> = happened(Some(&second), &changed, "t").iter().map(line).collect();
        assert!(
            rows[0].contains("void")
                && rows[0].ends_with("Tool/a/s/pay is not what it was when this was asked"),
            "{rows:?}"
        );
        let rows: Vec<String> = happened(Some(&first), &second, "t").iter().map(line).collect();
        assert!(
            rows[0].starts_with("2026-01-01T00:00:01Z") && rows[0].ends_with("User/i#b as payers"),
            "{rows:?}"
        );
        assert!(rows[1].ends_with("also managers") && rows[2].ends_with("payers 0/2"), "{rows:?}");
        assert!(!rows.concat().contains('\u{1b}'), "{rows:?}");
    }

    /// Who says yes or no, and why, is in the line that tells of it.
    #[test]
    fn an_answer_says_who_gave_it_and_why() {
        let vote = |by: &str, why: &str| json!({"by": by, "role": "payers", "time": "t", "why": why});
        let asked = list(&json!([one("1", "asked", &json!([]), &[]), one("2", "asked", &json!([]), &[])]));
        let votes = json!([vote("User/i#b", "PO-4711"), vote("User/i#c", "")]);
        let mut denied = one("2", "denied", &json!([]), &[]);
        denied["denied"] = json!({"by": "User/i#b", "time": "t", "why": "unknown\u{1b}[31m"});
        let answered = list(&json!([one("1", "approved", &votes, &[]), denied]));
        let rows: Vec<String> = happened(Some(&asked), &answered, "t").iter().map(line).collect();
        let of = |event: &str| rows.iter().find(|row| row.contains(&format!("  {event} "))).expect(event);
        assert!(of("approved").ends_with("User/i#b as payers: PO-4711, User/i#c as payers"), "{rows:?}");
        assert!(of("denied").contains("User/i#b: unknown"), "{rows:?}");
        assert!(of("voted").contains("User/i#"), "{rows:?}");
        assert!(!rows.concat().contains('\u{1b}'), "{rows:?}");
    }
}
