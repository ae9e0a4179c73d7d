//! Writing evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use vidimus_core::record::{Kept, Record};
use vidimus_core::snapshot::Beside;
use vidimus_ledger::{CheckpointError, Hash, ProveError, Prover, SearchError, SignedCheckpoint};
use vidimus_registry::configurations::Archive;

use super::{
    Configuration, End, EvidenceAsked, Exported, FORMAT, Head, Line, List, OfText, Place, Since, base64,
    canonical, list_text, listed,
};
use crate::audit::show::Gathered;
use crate::audit::{Damage, InLog, Lookup, SearchQuestion, ShowQuestion, Unsearched};

/// What evidence is asked of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportQuestion {
    /// Which records.
    pub asked: EvidenceAsked,
    /// Older checkpoints of the log, signed notes: that it continues each is proven.
    #[serde(default)]
    pub since_checkpoints: Vec<String>,
    /// Whether all is proven to the newest checkpoint that witnesses cosigned, also where the log has a newer one.
    #[serde(default)]
    pub cosigned: bool,
    /// By whom and when.
    pub exported: Exported,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExportAnswer {
    /// How many records are in the file.
    pub records: u64,
    /// The number of records of the checkpoint that they are proven to.
    pub size: u64,
    /// The names on signatures of others than the log on that checkpoint: of witnesses, as they say. Whose they are, verifying tells.
    pub witnesses: Vec<String>,
    /// How many records fit and are younger than the checkpoint, so that nothing proves them yet and they are not in the file.
    pub younger: u64,
    /// How many configurations decided them and are in the file.
    pub configurations: usize,
    /// Those that are not, each with why.
    pub missing: BTreeMap<String, String>,
    /// What of the log could not be read: records may be missing.
    pub damage: Vec<String>,
    /// SHA-256 of all but the last line, which has it too.
    pub sha256: String,
}

/// Why no evidence is written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Unsearched(#[from] Unsearched),
    /// Nothing that can be read is of it; where it may be, beside that.
    #[error(
        "no record is of a call, an act or an approval {id}{}{}",
        damage.as_ref().map(|it| format!("; what cannot be read may be: {it}")).unwrap_or_default(),
        pruned.as_ref().map(|it| format!("; what is not there any more may have been: {it}")).unwrap_or_default()
    )]
    UnknownId { id: String, damage: Option<String>, pruned: Option<String> },
    #[error("the file cannot be written: {0}")]
    File(#[from] io::Error),
    #[error("{0}")]
    Unprovable(ProveError),
    #[error("record {index} cannot be proven: {error}")]
    Record {
        /// Its index in the log.
        index: u64,
        error: ProveError,
    },
    /// Counted from 1 in the order of the question.
    #[error("the older checkpoint {number} is not one of this log: {error}")]
    NotOfThisLog { number: usize, error: CheckpointError },
    #[error("the log does not continue the older checkpoint {number}: {error}")]
    Discontinued { number: usize, error: ProveError },
    /// Which says nothing of whether the log continues it.
    #[error(
        "the newest checkpoint that witnesses cosigned is of {size} records, and the older checkpoint {number} of {older}: leave out \
         --cosigned, or export again when they have cosigned a later one"
    )]
    Uncosigned { number: usize, older: u64, size: u64 },
}

impl ExportError {
    /// Whether it is a record that cannot be proven to be in the log, or that nothing is of what was asked for: where an index looked it up, it may be
    /// one that no log has.
    pub const fn is_unproven(&self) -> bool {
        matches!(self, Self::Record { .. } | Self::UnknownId { .. })
    }
}

impl From<SearchError> for ExportError {
    fn from(error: SearchError) -> Self {
        Self::Unsearched(error.into())
    }
}

/// Writes the records that are asked for, of the log in `dir`, whose configurations are in `archive`. The same question makes the same
/// bytes, as long as the log has the same checkpoint.
///
/// # Errors
/// See [`ExportError`]; what was written until then is no evidence.
pub fn export(
    dir: &Path,
    archive: &Archive,
    question: &ExportQuestion,
    to: impl Write,
) -> Result<ExportAnswer, ExportError> {
    export_by(&InLog(dir.to_owned()), (dir, &[]), archive, question, to)
}

/// As [`export`], looked up in whatever knows the records of that log, which `others` have too, or parts of it: the decisions of effects may be there.
/// All that is written stands in `dir`, which each record is proven by.
///
/// # Errors
/// See [`ExportError`].
pub fn export_by(
    lookup: &dyn Lookup,
    (dir, others): (&Path, &[PathBuf]),
    archive: &Archive,
    question: &ExportQuestion,
    to: impl Write,
) -> Result<ExportAnswer, ExportError> {
    let prover = if question.cosigned { Prover::cosigned(dir) } else { Prover::latest(dir) };
    let prover = prover.map_err(ExportError::Unprovable)?;
    // Before anything is written: of an id that nothing has there is no file.
    let Gathered { records, damage } = match &question.asked {
        EvidenceAsked::Show(asked) => known(lookup, dir, asked)?,
        EvidenceAsked::Search(_) => Gathered::default(),
    };
    let mut writer = Writer::new(to, prover);
    writer.head(question)?;
    writer.damage.extend(damage);
    for (index, bytes) in records {
        match Kept::read(&bytes) {
            Ok(record) => writer.record(index, &bytes, &record)?,
            Err(error) => writer.damage.push(Damage::Record { index, error }.to_string()),
        }
    }
    if let EvidenceAsked::Search(asked) = &question.asked {
        // In the order of the log, whatever was asked for.
        let asked = SearchQuestion { oldest_first: true, ..asked.clone() };
        for found in lookup.fitting(others, &asked)? {
            match found {
                Ok(found) => writer.record(found.index, &found.bytes, &found.record)?,
                Err(Damage::Log(error)) if error.is_denied() => return Err(error.into()),
                Err(damage) => writer.damage.push(damage.to_string()),
            }
        }
    }
    writer.finish(archive)
}

/// The records of a call or an approval that there is.
fn known(lookup: &dyn Lookup, dir: &Path, asked: &ShowQuestion) -> Result<Gathered, ExportError> {
    let gathered = Gathered::of(lookup, asked)?;
    if !gathered.records.is_empty() {
        return Ok(gathered);
    }
    let pruned = vidimus_ledger::pruned(dir)?.map(|pruned| pruned.to_string());
    let damage = gathered.damage.into_iter().next();
    Err(ExportError::UnknownId { id: asked.id.clone(), damage, pruned })
}

struct Writer<W> {
    to: W,
    hash: Sha256,
    prover: Prover,
    records: u64,
    younger: u64,
    damage: Vec<String>,
    /// The proof of the record before.
    last: Vec<Hash>,
    snapshots: BTreeSet<String>,
}

impl<W: Write> Writer<W> {
    fn new(to: W, prover: Prover) -> Self {
        let (last, snapshots, damage) = Default::default();
        Self { to, hash: Sha256::new(), prover, records: 0, younger: 0, damage, last, snapshots }
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.hash.update(b"\n");
        self.to.write_all(bytes)?;
        self.to.write_all(b"\n")
    }

    fn line(&mut self, line: &Line) -> Result<(), ExportError> {
        let value = serde_json::to_value(line).map_err(io::Error::other)?;
        Ok(self.bytes(canonical(value).as_bytes())?)
    }

    fn head(&mut self, question: &ExportQuestion) -> Result<(), ExportError> {
        let head = Head {
            asked: serde_json::to_value(&question.asked).map_err(io::Error::other)?,
            checkpoint: self.prover.signed().note.clone(),
            exported: question.exported.clone(),
            format: FORMAT.to_owned(),
            key: self.prover.key().to_string(),
        };
        self.line(&Line::Evidence(head))?;
        for (number, note) in (1..).zip(&question.since_checkpoints) {
            let older = SignedCheckpoint::open(note.as_bytes(), self.prover.key());
            let older = older.map_err(|error| ExportError::NotOfThisLog { number, error })?;
            let (older_size, size) = (older.checkpoint.size, self.prover.signed().checkpoint.size);
            if question.cosigned && older_size > size {
                return Err(ExportError::Uncosigned { number, older: older_size, size });
            }
            let proof = self.prover.consistency(&older.checkpoint);
            let proof = proof.map_err(|error| ExportError::Discontinued { number, error })?;
            let proof = proof.iter().map(base64).collect();
            self.line(&Line::Since(Since { checkpoint: older.note, proof }))?;
        }
        Ok(())
    }

    fn record(&mut self, index: u64, bytes: &[u8], record: &Kept) -> Result<(), ExportError> {
        if index >= self.prover.signed().checkpoint.size {
            self.younger += 1;
            return Ok(());
        }
        let proof = self.prover.inclusion(index, bytes);
        let proof = proof.map_err(|error| ExportError::Record { index, error })?;
        let same = proof.iter().rev().zip(self.last.iter().rev()).take_while(|(one, other)| one == other);
        let shared = same.count();
        let own = proof.iter().take(proof.len() - shared).map(base64).collect();
        self.line(&Line::Record(Place { index, proof: own, shared }))?;
        self.bytes(bytes)?;
        self.last = proof;
        self.records += 1;
        if let Record::Decision(decision) = record
            && !self.snapshots.contains(&*decision.snapshot)
        {
            self.snapshots.insert(decision.snapshot.clone().into_owned());
        }
        Ok(())
    }

    /// The configurations that decided, and the end.
    fn finish(mut self, archive: &Archive) -> Result<ExportAnswer, ExportError> {
        let mut texts = Texts { archive, lists: BTreeMap::new(), objects: BTreeSet::new() };
        let mut configurations = Vec::new();
        for snapshot in std::mem::take(&mut self.snapshots) {
            let kept = texts.configuration(&snapshot);
            configurations.push((snapshot, kept));
        }
        let Texts { lists, objects, .. } = texts;
        for sha256 in objects {
            let text = archive.text(&sha256).map_err(io::Error::other)?;
            self.line(&Line::Object(OfText { sha256 }))?;
            self.bytes(&text)?;
        }
        for (sha256, objects) in lists {
            self.line(&Line::List(List { objects, sha256 }))?;
        }
        let (mut missing, mut kept) = (BTreeMap::new(), 0);
        for (snapshot, found) in configurations {
            let (mut lists, mut beside, mut why) = (None, None, None);
            match found {
                Ok((names, what)) => {
                    kept += 1;
                    (lists, beside) =
                        (Some(names), Some(serde_json::to_value(what).map_err(io::Error::other)?));
                }
                Err(reason) => {
                    missing.insert(snapshot.clone(), reason.clone());
                    why = Some(reason);
                }
            }
            self.line(&Line::Configuration(Configuration { beside, lists, missing: why, snapshot }))?;
        }
        let (records, sha256) = (self.records, HEXLOWER.encode(&self.hash.clone().finalize()));
        self.line(&Line::End(End { records, sha256: sha256.clone() }))?;
        self.to.flush()?;
        let Self { younger, damage, prover, .. } = self;
        let (size, witnesses) = (prover.signed().checkpoint.size, prover.signed().others(prover.key()));
        Ok(ExportAnswer { records, size, witnesses, younger, configurations: kept, missing, damage, sha256 })
    }
}

/// The texts of configurations that are whole.
struct Texts<'a> {
    archive: &'a Archive,
    lists: BTreeMap<String, Vec<String>>,
    objects: BTreeSet<String>,
}

impl Texts<'_> {
    /// The lists of a configuration, and what of it stands in no object; or why it is not here.
    fn configuration(&mut self, snapshot: &str) -> Result<(Vec<String>, Beside), String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let texts = self.archive.texts(snapshot).map_err(|error| said(&error))?;
        let mut parts = texts.beside.parts().map_err(|error| said(&error))?;
        let (mut lists, mut objects) = (BTreeMap::new(), BTreeSet::new());
        for sha256 in &texts.lists {
            let lines = match self.lists.get(sha256) {
                Some(lines) => lines.clone(),
                None => self.list(sha256)?,
            };
            for line in &lines {
                parts.objects.push(listed(line).ok_or("a list of its objects is malformed")?);
                if let Some(digits) = line.get(..64)
                    && !self.objects.contains(digits)
                    && objects.insert(digits.to_owned())
                {
                    self.object(digits)?;
                }
            }
            lists.insert(sha256.clone(), lines);
        }
        if parts.digest() != snapshot {
            return Err(
                "its digest is not one of its texts: an earlier version of vidimus made it".to_owned()
            );
        }
        self.lists.append(&mut lists);
        self.objects.append(&mut objects);
        Ok((texts.lists, texts.beside))
    }

    fn list(&self, sha256: &str) -> Result<Vec<String>, String> {
        let text = self.archive.text(sha256).map_err(|error| error.to_string())?;
        let text = String::from_utf8(text).map_err(|error| error.to_string())?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if list_text(&lines) == text {
            Ok(lines)
        } else {
            Err("a list of its objects is malformed".to_owned())
        }
    }

    /// That an object is there, and stands on one line.
    fn object(&self, sha256: &str) -> Result<(), String> {
        let text = self.archive.text(sha256).map_err(|error| error.to_string())?;
        if text.contains(&b'\n') { Err("a text of it is not one line".to_owned()) } else { Ok(()) }
    }
}
