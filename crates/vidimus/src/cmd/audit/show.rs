//! One call, whole: its records, and a proof for each that stands alone.

mod change;
mod many;
mod payload;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};
use vidimus_ledger::{Checkpoint, Cosignature, Proof, VerifierKey, Witnesses};
use vidimus_query::audit::{self, Lookup, ShowQuestion, ShownRecord};
use vidimus_registry::configurations::Archive;

use self::change::Change;
pub(super) use self::many::run as run_logs;
use self::payload::Payloads;
use super::verify::{Cosigners, by};
use crate::output::{self, Format, printable};

/// Shows every record of one call, and of the approval that it waited for or was made with: what was asked, who answered and why.
///
/// The id may also be that of an approval: then its acts are shown, and the calls that it is about.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus audit show 019aa3b0-7c5e-7d11-a8f1-2f0d2f6c9a10
  vidimus audit show APPROVAL # who approved it, when and why, and what was made
  vidimus audit show ID --evidence /tmp/evidence # records and proofs as files
  vidimus audit show ID --payload # and what a policy had it keep (@keep), read
    # with the keys in DATA/payload-keys
  vidimus audit show ID --change # and of an act `register` what the object was
    # before, and what it became
  vidimus audit show ID --chain --ledger A/ledger --ledger B/ledger # and the
    # other hops, of whichever gateway

Exit codes: 0 shown, 1 the log is damaged and what could be read was shown,
2 not shown")]
pub struct Show {
    /// The call's id: header vidimus-call of its answer, or the last column of `audit search`. Or an approval's, or that of another act.
    id: String,
    /// Write each record (record-N.json) and its proof (record-N.tlog-proof) into this directory.
    #[arg(long)]
    evidence: Option<PathBuf>,
    /// Also the other hops of its chain, which share its transaction: at most 1,000 records of each ledger.
    #[arg(long)]
    pub(super) chain: bool,
    /// Also what is kept of its arguments and its answer, where the keys are in the data directory and this user may read them; where a key was
    /// destroyed, when and by whom. One whose key cannot be read is said to be so, with the reason.
    #[arg(long, conflicts_with = "chain")]
    pub(super) payload: bool,
    /// Also, of the change of a registered object, what it was and what it is, by the texts that are kept with the configurations that decided; as a table
    /// what is different.
    #[arg(long, conflicts_with = "chain")]
    pub(super) change: bool,
}

/// Checks one record against its proof, with nothing but the ledger's public key.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  vidimus audit prove --record record-7.json --proof record-7.tlog-proof \\
    --key \"$(cat checkpoint.vkey)\" --witness \"$(cat ada.vkey)\"

Exit codes: 0 proven, 1 not proven, 2 not checked.")]
pub struct Prove {
    /// The record's bytes, as `audit show --evidence` wrote them.
    #[arg(long)]
    record: PathBuf,
    /// The proof (c2sp.org/tlog-proof@v1).
    #[arg(long)]
    proof: PathBuf,
    /// The ledger's public key (C2SP vkey), obtained from somebody you trust. It is in DATA/ledger/keys/checkpoint.vkey, and at
    /// /ledger of the gateway's admin address.
    #[arg(long)]
    key: String,
    #[command(flatten)]
    cosigners: Cosigners,
}

pub fn run(
    (data, configurations, dir): (&Path, &Path, &Path),
    lookup: &dyn Lookup,
    show: &Show,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let question = ShowQuestion { id: show.id.clone() };
    let mut call = audit::show_by(lookup, dir, &question)?;
    // An index proves nothing, and not that there is nothing: the log has the last word.
    if call.records.is_empty() || call.records.iter().any(|shown| shown.proof.is_none()) {
        call = audit::show(dir, &question)?;
    }
    for damage in &call.damage {
        output::warning(&format!("{damage}; `vidimus audit verify` tells more"));
    }
    if let Some(evidence) = &show.evidence {
        fs::create_dir_all(evidence).with_context(|| evidence.display().to_string())?;
    }
    let payloads = show.payload.then(|| Payloads::of(data, dir, &call.records)).transpose()?;
    let changes = show.change.then(|| Archive::at(configurations));
    for shown in &call.records {
        if let Some(evidence) = &show.evidence {
            write(evidence, shown)?;
        }
        let payload = payloads.as_ref().map(|payloads| payloads.told(shown)).transpose()?.flatten();
        let change = changes.as_ref().and_then(|archive| Change::told(archive, shown));
        match format {
            Format::Json => output::json(&Whole { shown, payload, change })?,
            Format::Table => {
                print(shown, "");
                print_beside(payload.as_ref(), change.as_ref());
            }
        }
    }
    if let (Some(transaction), Format::Table) = (call.transaction(), format) {
        output::line(&format!(
            "the other hops: vidimus audit search --transaction {}",
            printable(transaction)
        ));
    }
    if call.records.is_empty() {
        super::warn_of_pruned(dir, None)?;
    }
    match (call.records.is_empty(), call.damage.is_empty()) {
        (true, true) => anyhow::bail!("no record of call, approval or act {} in {}", show.id, dir.display()),
        (true, false) => {
            anyhow::bail!(
                "no record of call, approval or act {} in what can be read of {}",
                show.id,
                dir.display()
            )
        }
        (false, true) => Ok(ExitCode::SUCCESS),
        (false, false) => Ok(ExitCode::from(1)),
    }
}

/// A record, with what it keeps and what it is the change of.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    shown: &'a ShownRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<Change>,
}

/// What is asked for beside a record, below it.
fn print_beside(payload: Option<&Value>, change: Option<&Change>) {
    if let Some(payload) = payload {
        let line = payload::line(payload);
        output::line(&format!("  {:<16}{}\n", output::text(payload, "of"), printable(&line)));
    }
    if let Some(change) = change {
        for line in change.lines() {
            output::line(&format!("  {}", printable(&line)));
        }
        output::line("");
    }
}

/// The record's bytes, and its proof beside them.
fn write(evidence: &Path, shown: &ShownRecord) -> anyhow::Result<()> {
    let path = evidence.join(format!("record-{}.json", shown.index));
    fs::write(&path, &shown.bytes).with_context(|| path.display().to_string())?;
    if let Some(proof) = &shown.proof {
        let path = path.with_extension("tlog-proof");
        fs::write(&path, proof).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// `of` says of which log it is, where there are several.
fn print(shown: &ShownRecord, of: &str) {
    let kind = shown.kept.as_ref().map_or("not understood", |kept| kept.kind());
    output::line(&format!("record {} ({kind}){}", shown.index, printable(of)));
    for (name, value) in lines(&shown.record) {
        output::line(&row(&name, &value));
    }
    let proof = shown.unproven.as_deref().unwrap_or("proven against the latest checkpoint");
    output::line(&format!("  {:<16}{}\n", "proof", printable(proof)));
}

/// A name, however long, and what it is.
fn row(name: &str, value: &str) -> String {
    format!("  {name:<15} {value}")
}

/// What an auditor asks, in that order: who did what, how it was decided, what came of it. What else there is follows.
///
/// The labels are the names of the record's members, as they stand in JSON and in the flags of `audit search`.
const ORDER: [&str; 40] = [
    "actor",
    "act",
    "why",
    "asked",
    "principal",
    "user",
    "chain",
    "source",
    "method",
    "resource",
    "via",
    "path",
    "outcome",
    "code",
    "would_refuse",
    "message",
    "detail",
    "policies",
    "closest_permits",
    "facts",
    "observed",
    "trace",
    "parent",
    "transaction",
    "id",
    "time",
    "result",
    "status",
    "duration_us",
    "time_to_first_token_us",
    "time_per_output_token_us",
    "bytes_in",
    "bytes_out",
    "tokens_input",
    "tokens_output",
    "tokens_input_cached",
    "tokens_cache_written",
    "tokens_reasoning",
    "token",
    "decision",
];

/// A record as lines of name and value, all of it printable.
fn lines(record: &Value) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for name in ORDER {
        if let Some(value) = record.get(name) {
            add(&mut lines, name, value);
        }
    }
    for (name, value) in record.as_object().into_iter().flatten() {
        if name != "kind" && !ORDER.contains(&name.as_str()) {
            add(&mut lines, name, value);
        }
    }
    lines
}

fn add(lines: &mut Vec<(String, String)>, name: &str, value: &Value) {
    let plain = |value: &Value| match value {
        Value::String(text) => printable(text).into_owned(),
        other => printable(&other.to_string()).into_owned(),
    };
    let label = printable(name).into_owned();
    match value {
        Value::Object(members) if name == "act" => members.iter().for_each(|(what, about)| {
            lines.push((label.clone(), printable(what).into_owned()));
            add_act(lines, about);
        }),
        Value::Array(items) if name == "chain" && !items.is_empty() => {
            lines.push((label, items.iter().map(plain).collect::<Vec<_>>().join(" → ")));
        }
        // What is sealed says nothing to people.
        Value::Object(members) if name == "kept" => {
            let said = members.iter().filter(|(name, _)| *name != "sealed");
            let said: Vec<_> =
                said.map(|(name, value)| format!("{} = {}", printable(name), plain(value))).collect();
            lines.push((label, said.join(", ")));
        }
        Value::Array(items) => lines.extend(items.iter().map(|item| (label.clone(), plain(item)))),
        Value::Object(members) => lines.extend(
            members
                .iter()
                .map(|(name, value)| (label.clone(), format!("{} = {}", printable(name), plain(value)))),
        ),
        Value::Number(micros) if name.ends_with("_us") => lines.push((label, format!("{micros} µs"))),
        Value::Number(index) if name == "decision" => lines.push((label, format!("record {index}"))),
        value => lines.push((label, plain(value))),
    }
}

/// The particulars of an act, each by its own name; of what people are asked, a sentence for each policy.
fn add_act(lines: &mut Vec<(String, String)>, about: &Value) {
    for (name, value) in about.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("asking", Value::Array(all)) => {
                for wanted in all {
                    let text = |name| printable(output::text(wanted, name)).into_owned();
                    let quorum = wanted.get("quorum").and_then(Value::as_u64).unwrap_or(1);
                    let reason = text("reason");
                    let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
                    let sentence = format!("{} asks {quorum} of {}{reason}", text("policy"), text("role"));
                    lines.push(("held by".to_owned(), sentence));
                }
            }
            ("until" | "until_ms", Value::Number(millis)) => {
                let time = millis.as_i64().and_then(vidimus_core::standing::rfc3339);
                lines.push(("until".to_owned(), time.unwrap_or_else(|| millis.to_string())));
            }
            _ => add(lines, name, value),
        }
    }
}

/// The checkpoint that a record is proven to, and who of the witnesses cosigned it; or why it is not proven.
fn proven(
    proof: &Proof,
    record: &[u8],
    (key, witnesses): (&VerifierKey, &Witnesses),
) -> Result<(Checkpoint, Vec<Cosignature>), String> {
    let checkpoint = proof.verify(record, key).map_err(|error| error.to_string())?;
    let by = witnesses.cosigned(proof.note());
    let by = by.map_err(|error| format!("the checkpoint is not what a witness cosigned: {error}"))?;
    if by.len() < witnesses.quorum() {
        let (some, all) = (by.len(), witnesses.quorum());
        return Err(format!("{some} of the witnesses cosigned the checkpoint, not {all}"));
    }
    Ok((checkpoint, by))
}

pub fn run_prove(prove: &Prove, format: Format) -> anyhow::Result<ExitCode> {
    let key = super::key(&prove.key)?;
    let record = fs::read(&prove.record).with_context(|| prove.record.display().to_string())?;
    let text = fs::read_to_string(&prove.proof).with_context(|| prove.proof.display().to_string())?;
    let proof: Proof = text.parse().with_context(|| prove.proof.display().to_string())?;
    let witnesses = prove.cosigners.witnesses()?;
    let proven = proven(&proof, &record, (&key, &witnesses));
    match (format, &proven) {
        (Format::Json, Ok((checkpoint, by))) => {
            let by = by.iter().map(|one| json!({"time": one.time, "witness": one.witness}));
            output::json(&json!({
                "cosigned": by.collect::<Vec<_>>(), "proven": true, "index": proof.index(), "log": key.name(), "size": checkpoint.size,
            }))?;
        }
        (Format::Json, Err(error)) => output::json(&json!({"proven": false, "reason": error}))?,
        (Format::Table, Ok((checkpoint, cosigned))) => {
            let (index, log) = (proof.index(), key.name());
            let text = format!("record {index} is in the log {log} of {} records", checkpoint.size);
            output::line(&output::verdict(&text, true));
            for one in cosigned {
                output::line(&printable(&format!("cosigned {}", by(&one.witness, one.time))));
            }
        }
        (Format::Table, Err(error)) => {
            output::line(&output::verdict(&format!("not proven: {error}"), false));
        }
    }
    Ok(if proven.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{lines, row};

    #[test]
    fn a_record_begins_with_who_and_what_and_nothing_in_it_steers_the_terminal() {
        let record = json!({
            "action": "invokeTool", "chain": ["Agent/a/b", "Agent/c/d"], "closest_permits": ["p/q"], "code": "no_permit", "facts": {"x\u{1b}": "1\n2", "y": "3"},
            "id": "call", "kind": "decision", "method": "tools/call", "outcome": "deny", "policies": [],
            "principal": "Agent/c/e", "resource": "Tool/a/\u{202e}b", "time": "t", "trace": "tr", "transaction": "tx", "user": "i#u",
        });
        let text: Vec<_> =
            lines(&record).into_iter().map(|(label, value)| format!("{label}: {value}")).collect();
        assert_eq!(
            text,
            [
                "principal: Agent/c/e",
                "user: i#u",
                "chain: Agent/a/b → Agent/c/d",
                "method: tools/call",
                r"resource: Tool/a/\u{202e}b",
                "outcome: deny",
                "code: no_permit",
                "closest_permits: p/q",
                r"facts: x\u{1b} = 1\n2",
                "facts: y = 3",
                "trace: tr",
                "transaction: tx",
                "id: call",
                "time: t",
                "action: invokeTool",
            ]
        );
        let effect =
            json!({"kind": "effect", "result": "ok", "status": 200, "duration_us": 12, "decision": 3});
        let text: Vec<_> = lines(&effect).into_iter().map(|(_, value)| value).collect();
        assert_eq!(text, ["ok", "200", "12 µs", "record 3"]);
        let act = json!({
            "kind": "act", "actor": "vidimus", "why": "a policy holds the call",
            "act": {"ask": {"asking": [{"policy": "a/p", "quorum": 2, "role": "payers", "reason": "money"}], "until": 1_000}},
        });
        let text: Vec<_> =
            lines(&act).into_iter().map(|(label, value)| format!("{label}: {value}")).collect();
        assert_eq!(
            text,
            [
                "actor: vidimus",
                "act: ask",
                "held by: a/p asks 2 of payers: money",
                "until: 1970-01-01T00:00:01.000Z",
                "why: a policy holds the call",
            ]
        );
    }

    #[test]
    fn a_long_name_is_told_from_what_it_is() {
        assert_eq!(row("time_to_first_token_us", "11785 µs"), "  time_to_first_token_us 11785 µs");
        assert_eq!(row("actor", "a"), "  actor           a");
    }
}
