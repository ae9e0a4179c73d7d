//! The report as OSCAL assessment results (NIST, version 1.2.1).
//!
//! OSCAL knows findings that say `satisfied` or `not-satisfied`. A record shows neither, so there are observations and no findings: these are the
//! assessor's. The same assessment makes the same bytes: identifiers are made of the checkpoint and the question.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Assessment, Control, Evidence, Sample};
use crate::printable;

/// The version of OSCAL.
const VERSION: &str = "1.2.1";
/// Of our names of properties.
const NAMESPACE: &str = "https://vidimus.dev/ns/oscal";

/// The document.
pub fn oscal(assessment: &Assessment) -> Value {
    let uuids = Uuids::of(assessment);
    let Assessment { title, source, from, to, made, log, .. } = assessment;
    let observations: Vec<Value> =
        assessment.controls.iter().map(|control| observation(assessment, control, &uuids)).collect();
    let included: Vec<Value> = assessment
        .controls
        .iter()
        .map(|control| json!({"control-id": token(&assessment.framework, &control.id)}))
        .collect();
    let remarks = assessment.lacks.join("\n\n");
    json!({"assessment-results": {
        "uuid": uuids.of_part("results"),
        "metadata": {
            "title": format!("{title}: what the record of {} shows", line(&log.name)),
            "last-modified": made.at,
            "version": format!("{from}/{to}"),
            "oscal-version": VERSION,
            "props": [property("made-by", &made.by)],
        },
        "import-ap": {
            "href": format!("#{}", uuids.of_part("plan")),
            "remarks": "There is no assessment plan in OSCAL: the resource names the framework, and the observations say what was looked at.",
        },
        "results": [{
            "uuid": uuids.of_part("result"),
            "title": format!("{title} from {from} until before {to}"),
            "description": format!(
                "Evidence that one pass over the log found, for controls of {source}. Whether a control is satisfied is for the assessor to say: there are no findings."
            ),
            "start": from,
            "end": to,
            "props": properties(assessment),
            "reviewed-controls": {"control-selections": [{"include-controls": included}]},
            "observations": observations,
            "remarks": remarks,
        }],
        "back-matter": {"resources": resources(assessment, &uuids)},
    }})
}

/// What was counted, and what is missing.
fn properties(it: &Assessment) -> Vec<Value> {
    let sum = |words: &BTreeMap<String, u64>| words.values().sum::<u64>().to_string();
    let (log, counts, gaps) = (&it.log, &it.counts, &it.gaps);
    let mut all = vec![
        property("sound", &it.sound.to_string()),
        property("records", &log.records.to_string()),
        property("records-proven", &log.proven.to_string()),
        property("log-key", &log.key),
        property("log-key-given", &log.key_given.to_string()),
        property("calls-allowed", &counts.allowed.to_string()),
        property("calls-denied", &sum(&counts.denied)),
        property("calls-held", &counts.held.to_string()),
        property("calls-refused", &sum(&counts.refused)),
        property("approvals", &counts.approved.to_string()),
        property("acts-of-people", &counts.acts_of_people.to_string()),
        property("configurations", &counts.configurations.to_string()),
        property("gap-damaged", &gaps.damaged.to_string()),
        property("gap-unproven", &gaps.unproven.to_string()),
        property("gap-not-signed-yet", &gaps.younger.to_string()),
        property("gap-pruned", gaps.pruned.as_deref().unwrap_or("none")),
        property("gap-of-another-time", &gaps.elsewhere.to_string()),
        property("gap-refusals-not-recorded", &gaps.refusals_not_recorded.to_string()),
        property("gap-without-end", &gaps.without_end.to_string()),
        property("gap-longest-silence-s", &gaps.longest_silence_s.to_string()),
        property("gap-clock-back-ms", &gaps.clock_back_ms.to_string()),
        property("gap-starts", &gaps.runs.starts.to_string()),
        property("gap-starts-without-a-stop-before", &gaps.runs.unstopped.to_string()),
        property("gap-times-not-running", &(gaps.runs.away.len() as u64 + gaps.runs.more_away).to_string()),
    ];
    for (word, count) in &counts.denied {
        all.push(property("calls-denied-by-code", &format!("{word} {count}")));
    }
    all.extend(it.findings.iter().map(|finding| property("finding-of-the-log", finding)));
    all
}

fn observation(it: &Assessment, control: &Control, uuids: &Uuids) -> Value {
    let evidence: Vec<(&String, &Evidence)> =
        control.evidence.iter().filter_map(|name| it.evidence.get_key_value(name)).collect();
    let records: std::collections::BTreeSet<u64> =
        evidence.iter().flat_map(|(_, kind)| kind.samples.iter().copied()).collect();
    let mut props: Vec<Value> = vec![property("control-id", &token(&it.framework, &control.id))];
    props.extend(evidence.iter().map(|(name, kind)| property("records", &format!("{name} {}", kind.count))));
    let mut relevant: Vec<Value> = evidence
        .iter()
        .map(|(_, kind)| json!({"description": format!("{} records: {}. To find them: {}", kind.count, kind.says, kind.query)}))
        .collect();
    for sample in it.samples.iter().filter(|sample| records.contains(&sample.index)) {
        let Sample { index, time, who, what, outcome, .. } = sample;
        relevant.push(json!({
            "href": format!("#{}", uuids.of_part(&format!("record {index}"))),
            "description": line(&format!("Record {index}, {time}: {who}, {what}, {outcome}")),
        }));
    }
    json!({
        "uuid": uuids.of_part(&format!("observation {}", control.id)),
        "title": format!("{} {}", control.id, control.name),
        "description": control.asks,
        "props": props,
        "methods": ["EXAMINE"],
        "types": ["control-objective"],
        "relevant-evidence": relevant,
        "collected": it.made.at,
        "remarks": format!("Not covered: {}", control.lacks),
    })
}

/// The framework, the checkpoint, and of each sample its bytes and its proof.
fn resources(it: &Assessment, uuids: &Uuids) -> Vec<Value> {
    let mut all = vec![
        json!({
            "uuid": uuids.of_part("plan"),
            "title": it.title,
            "description": format!("{}. Names and questions of controls are in the words of Vidimus.", it.source),
        }),
        json!({
            "uuid": uuids.of_part("checkpoint"),
            "title": "The signed checkpoint of the log",
            "description": format!("Of {} records, by the key {}.", it.log.size, line(&it.log.key)),
            "base64": attached("checkpoint", "text/plain", &it.log.checkpoint),
        }),
    ];
    for Sample { index, record, proof, .. } in &it.samples {
        let name = format!("record-{index}");
        all.push(json!({
            "uuid": uuids.of_part(&format!("record {index}")),
            "title": format!("Record {index}, as it stands in the log"),
            "base64": attached(&format!("{name}.json"), "application/json", record),
        }));
        if let Some(proof) = proof {
            all.push(json!({
                "uuid": uuids.of_part(&format!("proof {index}")),
                "title": format!("Inclusion proof of record {index} (c2sp.org/tlog-proof@v1)"),
                "base64": attached(&format!("{name}.tlog-proof"), "text/plain", proof),
            }));
        }
    }
    all
}

fn attached(name: &str, media: &str, text: &str) -> Value {
    json!({"filename": name, "media-type": media, "value": STANDARD.encode(text)})
}

fn property(name: &str, value: &str) -> Value {
    json!({"name": name, "ns": NAMESPACE, "value": line(value)})
}

/// A text as one line, neither empty nor with blanks around it.
fn line(text: &str) -> String {
    let text = printable(text.trim());
    if text.is_empty() { "-".to_owned() } else { text.into_owned() }
}

/// A control's id as OSCAL takes it: `hipaa_164.312-b`. It begins with a letter, and has letters, digits, dots, dashes and underscores.
fn token(framework: &str, id: &str) -> String {
    let parts = id.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').filter(|part| !part.is_empty());
    format!("{framework}_{}", parts.collect::<Vec<_>>().join("-"))
}

/// Identifiers that follow from what is shown.
struct Uuids(String);

impl Uuids {
    fn of(it: &Assessment) -> Self {
        let Assessment { framework, from, to, made, log, .. } = it;
        Self(format!(
            "{}\n{framework}\n{from}\n{to}\n{}\n{}\n{}",
            log.checkpoint, log.records, made.at, made.by
        ))
    }

    /// Of version 4, whose bits are those of a digest: OSCAL takes versions 4 and 5, and the digest of version 5 is SHA-1.
    fn of_part(&self, part: &str) -> String {
        let digest = Sha256::new().chain_update(&self.0).chain_update("\n").chain_update(part).finalize();
        let digits: Vec<char> = HEXLOWER.encode(&digest).chars().collect();
        let mut uuid = String::with_capacity(36);
        for (at, digit) in digits.into_iter().take(32).enumerate() {
            if matches!(at, 8 | 12 | 16 | 20) {
                uuid.push('-');
            }
            uuid.push(match at {
                12 => '4',
                16 => 'a',
                _ => digit,
            });
        }
        uuid
    }
}
