//! The report as OCSF events, one JSON document a line: each decision, refusal and act of the window as API Activity, and each control as a
//! Compliance Finding. Version 1.8.0 of the schema.
//!
//! The mapping of sinks (`gateway/sinks/ocsf.rs`) is another one on purpose: it is of the whole record, for a SIEM, effects among them, and this one is of
//! what a report says. A record has one `metadata.uid` in both, so that who has both has it once.

use jiff::Timestamp;
use serde_json::{Value, json};
use vidimus_core::decision::Outcome;
use vidimus_core::record::{DecisionRecord, Kept, Record, RefusalRecord};

use super::{Assessment, what};

/// The version of the schema.
const VERSION: &str = "1.8.0";
const API_ACTIVITY: u32 = 6003;
const COMPLIANCE_FINDING: u32 = 2003;
/// `activity_id`: other, and of a finding: create.
const OTHER: u32 = 99;
const CREATE: u32 = 1;
/// `status_id`: success and failure.
const SUCCESS: u32 = 1;
const FAILURE: u32 = 2;
/// `severity_id`: informational and low.
const INFORMATIONAL: u32 = 1;
const LOW: u32 = 2;
/// `compliance.status_id`: the check gave no result, since information is missing. Whether a control passes, a record does not say.
const WARNING: u32 = 2;

/// A record of the log `log` as API Activity. An effect has none: it says what came of a decision, and nothing of who asked for what.
pub fn event(log: &str, index: u64, record: &Kept) -> Option<Value> {
    let (actor, source, status, code) = match record {
        Record::Decision(it) => (of_decision(it), it.source.as_deref(), permitted(it), it.code.as_deref()),
        Record::Refusal(it) => (of_refusal(it), it.source.as_deref(), FAILURE, Some(&*it.code)),
        Record::Act(it) => (json!({"user": {"uid": it.actor}}), None, SUCCESS, None),
        Record::Effect(_) => return None,
    };
    let (operation, resource) = match record {
        Record::Decision(it) => (it.method.to_string(), it.resource.to_string()),
        Record::Refusal(it) => match &it.asked {
            Some(asked) => (asked.method.to_string(), asked.resource.to_string()),
            None => ("unknown".to_owned(), it.path.to_string()),
        },
        Record::Act(it) => (it.act.as_str().to_owned(), it.act.subject()),
        Record::Effect(_) => return None,
    };
    let mut event = json!({
        "activity_id": OTHER, "activity_name": operation,
        "actor": actor,
        "api": {"operation": operation, "request": {"uid": record.id()}, "service": {"name": "vidimus"}},
        "category_uid": 6, "class_uid": API_ACTIVITY, "type_uid": API_ACTIVITY * 100 + OTHER,
        "message": what(record),
        "metadata": metadata(log, Some(index), &format!("{log}#{index}")),
        "resources": [{"uid": resource}],
        "severity_id": if status == SUCCESS { INFORMATIONAL } else { LOW },
        "src_endpoint": match source {
            Some(address) => json!({"ip": address}),
            None => json!({"svc_name": "unknown"}),
        },
        "status_id": status,
        "time": millis(record.time()),
    });
    if let Some(members) = event.as_object_mut() {
        if let Some(code) = code {
            members.insert("status_code".to_owned(), code.into());
        }
        if let Record::Decision(it) = record {
            let policies: Vec<&str> = it.policies.iter().map(|policy| &**policy).collect();
            let more = json!({"chain": it.chain, "facts": it.facts.len(), "outcome": it.outcome, "policies": policies, "snapshot": it.snapshot, "transaction": it.transaction});
            members.insert("unmapped".to_owned(), more);
        }
    }
    Some(event)
}

/// One finding for each control.
pub fn findings(assessment: &Assessment) -> impl Iterator<Item = Value> + '_ {
    let Assessment { framework, title, source, from, to, log, .. } = assessment;
    assessment.controls.iter().map(move |control| {
        let uid = format!("{framework} {} {from} {to} {}", control.id, log.size);
        let found = control.evidence.iter().filter_map(|name| assessment.evidence.get_key_value(name));
        let counts: serde_json::Map<String, Value> =
            found.map(|(name, kind)| (name.clone(), json!({"count": kind.count, "query": kind.query, "samples": kind.samples}))).collect();
        json!({
            "activity_id": CREATE, "activity_name": "Create",
            "category_uid": 2, "class_uid": COMPLIANCE_FINDING, "type_uid": COMPLIANCE_FINDING * 100 + CREATE,
            "compliance": {
                "control": format!("{} {}", control.id, control.name), "desc": control.asks, "standards": [title],
                "status_id": WARNING, "status": "Warning", "status_detail": format!("Not covered: {}", control.lacks),
            },
            "finding_info": {
                "uid": uid, "title": format!("{title} {}: what the record shows", control.id), "desc": source,
            },
            "metadata": metadata(&log.name, None, &uid),
            "severity_id": INFORMATIONAL,
            "start_time": millis(from), "end_time": millis(to), "time": millis(&assessment.made.at),
            "unmapped": {"evidence": counts, "log": log, "sound": assessment.sound, "gaps": assessment.gaps},
        })
    })
}

/// The agent, and the person on whose behalf.
fn of_decision(it: &DecisionRecord<'_>) -> Value {
    match &it.user {
        Some(user) => json!({"app_uid": it.principal, "user": {"uid": user}}),
        None => json!({"app_uid": it.principal}),
    }
}

fn of_refusal(it: &RefusalRecord<'_>) -> Value {
    let proven = it.principal.as_deref().or(it.identity.as_deref()).unwrap_or("not proven");
    match &it.user {
        Some(user) => json!({"app_uid": proven, "user": {"uid": user}}),
        None => json!({"app_uid": proven}),
    }
}

fn permitted(it: &DecisionRecord<'_>) -> u32 {
    let permitted =
        [Outcome::Allow, Outcome::AllowWithObligations].iter().any(|one| it.outcome == one.as_str());
    if permitted { SUCCESS } else { FAILURE }
}

fn metadata(log: &str, sequence: Option<u64>, uid: &str) -> Value {
    let mut metadata = json!({
        "log_name": log,
        "product": {"name": "Vidimus", "vendor_name": "Vidimus", "version": env!("CARGO_PKG_VERSION")},
        "uid": uid,
        "version": VERSION,
    });
    if let (Some(members), Some(sequence)) = (metadata.as_object_mut(), sequence) {
        members.insert("sequence".to_owned(), sequence.into());
    }
    metadata
}

/// A time of RFC 3339 in milliseconds since 1970, as OCSF has it; 0 where it is none.
fn millis(time: &str) -> i64 {
    time.parse::<Timestamp>().map_or(0, Timestamp::as_millisecond)
}
