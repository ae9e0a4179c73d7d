//! Evidence: one file that has the records of a question with all that it takes to believe them, for who has nothing else.
//!
//! It is JSON, a document a line; docs/ledger-format.md has its form, and docs/verify-evidence.py reads it without any of this. It is
//! written and read in one pass, so that its size needs no memory but for the configurations in it.

mod export;
mod report;
mod verify;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use vidimus_ledger::Hash;

use super::{SearchQuestion, ShowQuestion};

pub use export::{ExportAnswer, ExportError, ExportQuestion, export, export_by};
pub use report::{EvidenceCosigned, EvidenceFinding, EvidenceReport, EvidenceVerified};
pub use verify::{VerifyOptions, verify};

/// The form of the file; a reader refuses another one.
const FORMAT: &str = "vidimus-evidence@v1";

/// What stands behind the digest of an object in quarantine, as in a list that is kept.
const QUARANTINED: &str = " quarantined";

/// What evidence is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "there is one of them, once a command")]
pub enum EvidenceAsked {
    /// Records by what they say.
    Search(SearchQuestion),
    /// One call, or one approval, whole.
    Show(ShowQuestion),
}

/// By whom a file was made, and when: as they say, which nothing proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exported {
    /// RFC 3339.
    pub at: String,
    /// Who ran the command.
    pub by: String,
}

/// The first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    /// [`EvidenceAsked`]. A reader need not understand it.
    asked: Value,
    /// The signed note that all records are proven to.
    checkpoint: String,
    exported: Exported,
    format: String,
    /// The log's public key.
    key: String,
}

/// A control line. Behind those of a record and of an object stands a line with its bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Evidence(Head),
    Since(Since),
    Record(Place),
    Object(OfText),
    List(List),
    Configuration(Configuration),
    End(End),
}

/// An older checkpoint, and the proof that the log continues it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    checkpoint: String,
    proof: Vec<String>,
}

/// Where a record is in the log, and its proof.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    index: u64,
    /// The first hashes of its inclusion proof, lowest first.
    proof: Vec<String>,
    /// How many follow, which are the last ones of the proof of the record before.
    shared: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfText {
    sha256: String,
}

/// Objects of configurations, as they are kept together.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    objects: Vec<String>,
    /// Of the lines of its objects.
    sha256: String,
}

/// A configuration that decided.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Configuration {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    beside: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lists: Option<Vec<String>>,
    /// Why it is not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
    /// As in records.
    snapshot: String,
}

/// The last line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    records: u64,
    /// Of all bytes before this line.
    sha256: String,
}

/// How deep arrays and objects of a line stand in each other at most.
const MAX_DEPTH: usize = 64;

/// Whether all readers read a value as the same, and can: it has no numbers but whole ones below 2^53, and is not [`MAX_DEPTH`] deep. `at`: how
/// deep it stands itself.
fn is_plain(value: &Value, at: usize) -> bool {
    match value {
        Value::Number(number) => number.as_i64().is_some_and(|number| number.unsigned_abs() < 1 << 53),
        Value::Array(all) => at < MAX_DEPTH && all.iter().all(|one| is_plain(one, at + 1)),
        Value::Object(all) => at < MAX_DEPTH && all.values().all(|one| is_plain(one, at + 1)),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// A value as it stands in a file: canonical JSON (RFC 8785) of what [`is_plain`].
fn canonical(mut value: Value) -> String {
    value.sort_all_objects();
    value.to_string()
}

fn sha256(text: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(text))
}

/// 32 bytes of 64 hexadecimal digits in lower case.
fn unhex(text: &str) -> Option<Hash> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

fn base64(hash: &Hash) -> String {
    STANDARD.encode(hash)
}

fn unbase64(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// An object of a list: SHA-256 of its text, and whether it is in quarantine.
fn listed(line: &str) -> Option<(Hash, bool)> {
    let (digits, quarantined) = line.strip_suffix(QUARANTINED).map_or((line, false), |text| (text, true));
    Some((unhex(digits)?, quarantined))
}

/// The text of a list, which its digest is of.
fn list_text(objects: &[String]) -> String {
    objects.iter().flat_map(|object| [object, "\n"]).collect()
}

#[cfg(test)]
mod tests;
