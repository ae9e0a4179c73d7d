//! Believing evidence, or not: with the file and the log's key, and nothing else.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _};

use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use vidimus_core::snapshot::{Beside, Parts};
use vidimus_ledger::{Checkpoint, Hash, SignedCheckpoint, VerifierKey, Witnesses};

use super::report::{EvidenceCosigned, EvidenceFinding, EvidenceReport};
use super::{
    Configuration, End, FORMAT, Head, Line, List, Place, Since, canonical, is_plain, list_text, listed,
    sha256, unbase64, unhex,
};

/// No line is near this, in bytes; an object has at most 64 MiB.
const MAX_LINE: u64 = 256 << 20;
/// What follows from so many faults is not told as well.
const MAX_FINDINGS: usize = 20;

/// What to hold a file against, beside itself.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// The log's public key, from somebody who is trusted. Otherwise the file's own is taken, which proves nothing against whoever made
    /// the file.
    pub key: Option<VerifierKey>,
    /// Older checkpoints of the log, signed notes: the file must prove that the log continues each.
    pub checkpoints: Vec<String>,
    /// Who must have cosigned the checkpoint that all is proven to.
    pub witnesses: Witnesses,
}

/// Checks a file, in one pass.
///
/// # Errors
/// When it cannot be read. What is wrong with it is in the report.
pub fn verify(from: impl BufRead, options: &VerifyOptions) -> io::Result<EvidenceReport> {
    let mut check = Check::new(from, options);
    // What is not of the form ends the reading: what follows cannot be told.
    match check.all() {
        Ok(()) => {}
        Err(Stop::File(error)) => return Err(error),
        Err(Stop::Form(what)) => check.find(what),
    }
    let mut report = check.report;
    report.proven = report.findings.is_empty();
    Ok(report)
}

/// Why a file is not read on.
enum Stop {
    File(io::Error),
    Form(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

fn form<T>(what: &str) -> Result<T, Stop> {
    Err(Stop::Form(what.to_owned()))
}

/// The order of the parts of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Part {
    Head,
    Since,
    Records,
    Objects,
    Lists,
    Configurations,
    End,
}

impl Part {
    fn of(line: &Line) -> Self {
        match line {
            Line::Evidence(_) => Self::Head,
            Line::Since(_) => Self::Since,
            Line::Record(_) => Self::Records,
            Line::Object(_) => Self::Objects,
            Line::List(_) => Self::Lists,
            Line::Configuration(_) => Self::Configurations,
            Line::End(_) => Self::End,
        }
    }
}

struct Check<'o, R> {
    from: R,
    options: &'o VerifyOptions,
    report: EvidenceReport,
    /// The number of the line that was read last.
    line: u64,
    /// Of all lines before it.
    before: Sha256,
    /// That line, which is not hashed yet.
    read: Vec<u8>,
    part: Option<Part>,
    checkpoint: Option<Checkpoint>,
    key: Option<VerifierKey>,
    older: Vec<Checkpoint>,
    /// The proof of the record before.
    last: Vec<Hash>,
    /// Configurations that records name, and whether each was met.
    snapshots: BTreeMap<String, bool>,
    /// Texts, and whether a list names them.
    objects: BTreeMap<String, bool>,
    /// Lists, and whether a configuration names them.
    lists: BTreeMap<String, (Vec<(Hash, bool)>, bool)>,
    configuration: Option<String>,
}

impl<'o, R: BufRead> Check<'o, R> {
    fn new(from: R, options: &'o VerifyOptions) -> Self {
        Self {
            from,
            options,
            report: EvidenceReport::default(),
            line: 0,
            before: Sha256::new(),
            read: Vec::new(),
            part: None,
            checkpoint: None,
            key: None,
            older: Vec::new(),
            last: Vec::new(),
            snapshots: BTreeMap::new(),
            objects: BTreeMap::new(),
            lists: BTreeMap::new(),
            configuration: None,
        }
    }

    fn find(&mut self, what: String) {
        self.report.findings.push(EvidenceFinding { line: self.line, what });
    }

    /// Reads the next line, without its end; false behind the last.
    fn next(&mut self) -> Result<bool, Stop> {
        self.before.update(&self.read);
        self.read.clear();
        self.line += 1;
        self.from.by_ref().take(MAX_LINE).read_until(b'\n', &mut self.read)?;
        match self.read.last() {
            None => Ok(false),
            Some(b'\n') => Ok(true),
            Some(_) => form("the line has no end: the file is cut off here"),
        }
    }

    /// The line that was read.
    fn text(&self) -> &[u8] {
        self.read.strip_suffix(b"\n").unwrap_or_default()
    }

    fn all(&mut self) -> Result<(), Stop> {
        while self.part != Some(Part::End) {
            if !self.next()? {
                return form("the file has no end line: it is cut off");
            }
            let line: Line = match serde_json::from_slice(self.text()) {
                Ok(line) => line,
                Err(error) => return form(&format!("not a line of evidence: {error}")),
            };
            // As it would be written: what else can be read as the same, like an array of the members or one that is null, is refused.
            let written =
                serde_json::to_value(&line).ok().filter(|written| is_plain(written, 0)).map(canonical);
            if written.as_deref().map(str::as_bytes) != Some(self.text()) {
                return form("not canonical JSON (RFC 8785) of a line of evidence");
            }
            let part = Part::of(&line);
            let fits = match self.part {
                None => part == Part::Head,
                Some(before) => part != Part::Head && part >= before,
            };
            if !fits {
                return form("the line does not belong here");
            }
            self.part = Some(part);
            self.check(line)?;
            if self.report.findings.len() >= MAX_FINDINGS {
                return form("there is too much wrong to read on");
            }
        }
        if self.next()? { form("something follows the end") } else { Ok(()) }
    }

    fn check(&mut self, line: Line) -> Result<(), Stop> {
        match line {
            Line::Evidence(head) => self.head(head),
            Line::Since(since) => self.since(&since),
            Line::Record(place) => self.record(&place),
            Line::Object(of) => self.object(of.sha256),
            Line::List(list) => self.list(list),
            Line::Configuration(configuration) => self.configuration(configuration),
            Line::End(end) => {
                self.end(&end);
                Ok(())
            }
        }
    }

    /// Without a key and a checkpoint that it signed, nothing can be checked.
    fn head(&mut self, head: Head) -> Result<(), Stop> {
        if head.format != FORMAT {
            return form(&format!("the file is of the form '{}', and this reads {FORMAT}", head.format));
        }
        let own = head.key.parse::<VerifierKey>().ok().filter(|_| !head.key.contains('\n'));
        let Some(own) = own else { return form("the key in the file is none") };
        let key = self.options.key.clone().unwrap_or_else(|| own.clone());
        self.report.key_given = self.options.key.is_some();
        (self.report.log, self.report.key) = (key.name().to_owned(), key.to_string());
        (self.report.asked, self.report.exported) = (head.asked, Some(head.exported));
        // A file that was exported before another key followed is of the former one.
        if own != key && !key.follows(&own) {
            return form(&format!("the file is of a log with the key {own}, and not of that with {key}"));
        }
        let signed = match SignedCheckpoint::open(head.checkpoint.as_bytes(), &key) {
            Ok(signed) => signed.checkpoint,
            Err(error) => return form(&format!("the checkpoint is not the log's: {error}")),
        };
        self.witnessed(&head.checkpoint)?;
        self.report.size = signed.size;
        (self.checkpoint, self.key) = (Some(signed), Some(key));
        Ok(())
    }

    /// What witnesses say of the checkpoint.
    fn witnessed(&mut self, note: &str) -> Result<(), Stop> {
        let witnesses = &self.options.witnesses;
        let by = match witnesses.cosigned(note) {
            Ok(by) => by,
            Err(error) => return form(&format!("the checkpoint is not what a witness cosigned: {error}")),
        };
        if by.len() < witnesses.quorum() {
            self.find(format!(
                "{} of the witnesses cosigned the checkpoint, not {}",
                by.len(),
                witnesses.quorum()
            ));
        }
        let by = by.into_iter().map(|one| EvidenceCosigned { witness: one.witness, time: one.time });
        self.report.cosigned = by.collect();
        Ok(())
    }

    fn since(&mut self, since: &Since) -> Result<(), Stop> {
        let (Some(checkpoint), Some(key)) = (&self.checkpoint, &self.key) else { return form("no head") };
        let older = match SignedCheckpoint::open(since.checkpoint.as_bytes(), key) {
            Ok(signed) => signed.checkpoint,
            Err(error) => return form(&format!("the older checkpoint is not the log's: {error}")),
        };
        let Some(proof) = hashes(&since.proof) else { return form("the proof has what is no hash") };
        if !checkpoint.continues(&older, &proof) {
            self.find(format!("the log does not continue the checkpoint of {} records", older.size));
        }
        self.report.continues.push(older.size);
        self.older.push(older);
        Ok(())
    }

    fn record(&mut self, place: &Place) -> Result<(), Stop> {
        let Some(checkpoint) = self.checkpoint.clone() else { return form("no head") };
        let Place { index, proof, shared } = place;
        if self.report.last.is_some_and(|last| last >= *index) {
            return form("the records are not in the order of the log");
        }
        let Some(mut proof) = hashes(proof) else { return form("the proof has what is no hash") };
        let Some(from) = self.last.len().checked_sub(*shared) else {
            return form("the proof has more of the one before than that has");
        };
        proof.extend(self.last.get(from..).unwrap_or_default());
        if !self.next()? {
            return form("the record is missing: the file is cut off");
        }
        if !checkpoint.includes(*index, self.text(), &proof) {
            self.find(format!("this is not record {index} of the log"));
        }
        match serde_json::from_slice::<Of<'_>>(self.text()) {
            Ok(Of { kind, snapshot }) if kind == "decision" => {
                let snapshot = snapshot.unwrap_or_default().into_owned();
                self.snapshots.entry(snapshot).or_insert(false);
            }
            Ok(_) => {}
            Err(error) => self.find(format!("record {index} is not one: {error}")),
        }
        self.last = proof;
        let report = &mut self.report;
        report.first.get_or_insert(*index);
        report.last = Some(*index);
        report.records += 1;
        // As one less than both: an index that nothing proves may be the largest number there is.
        report.gapless = report.first.is_some_and(|first| index - first == report.records - 1);
        Ok(())
    }

    fn object(&mut self, name: String) -> Result<(), Stop> {
        if self.objects.last_key_value().is_some_and(|(last, _)| *last >= name) {
            return form("the objects are not in the order of their digests");
        }
        if !self.next()? {
            return form("the object is missing: the file is cut off");
        }
        if sha256(self.text()) != name {
            self.find(format!("this is not the text of the object {name}"));
        }
        self.objects.insert(name, false);
        Ok(())
    }

    fn list(&mut self, list: List) -> Result<(), Stop> {
        let List { objects, sha256: name } = list;
        if self.lists.last_key_value().is_some_and(|(last, _)| *last >= name) {
            return form("the lists are not in the order of their digests");
        }
        if sha256(list_text(&objects).as_bytes()) != name {
            self.find(format!("this is not the list {name}"));
        }
        let mut all = Vec::with_capacity(objects.len());
        for line in &objects {
            let digits = line.get(..64).unwrap_or_default();
            let (Some(object), Some(used)) = (listed(line), self.objects.get_mut(digits)) else {
                return form("the list names an object that is not in the file");
            };
            *used = true;
            all.push(object);
        }
        self.lists.insert(name, (all, false));
        Ok(())
    }

    fn configuration(&mut self, configuration: Configuration) -> Result<(), Stop> {
        let Configuration { beside, lists, missing, snapshot } = configuration;
        if self.configuration.as_ref().is_some_and(|last| *last >= snapshot) {
            return form("the configurations are not in the order of their digests");
        }
        match self.snapshots.get_mut(&snapshot) {
            Some(met) => *met = true,
            None => return form("no record names this configuration"),
        }
        match (beside, lists, missing) {
            (Some(beside), Some(lists), None) => {
                let Some(digest) = self.digest(&beside, &lists) else {
                    return form(
                        "the configuration is not of the form, or names a list that is not in the file",
                    );
                };
                if digest != snapshot {
                    self.find(format!("these are not the texts of the configuration {snapshot}"));
                }
                self.report.configurations += 1;
                let refuses =
                    beside.get("refusing").and_then(Value::as_array).is_some_and(|all| !all.is_empty());
                self.report.restated += usize::from(refuses || beside.get("standing").is_some());
            }
            (None, None, Some(why)) => drop(self.report.missing.insert(snapshot.clone(), why)),
            _ => return form("the configuration is neither in the file nor missing"),
        }
        self.configuration = Some(snapshot);
        Ok(())
    }

    /// The digest of a configuration, as records have it.
    fn digest(&mut self, beside: &Value, lists: &[String]) -> Option<String> {
        // Of what refuses only the digests count: its words are restated, and have no form that was promised.
        let mut beside = beside.clone();
        let refusing = beside.get_mut("refusing").and_then(Value::as_array_mut).map(std::mem::take)?;
        let read = Beside::deserialize(&beside).ok()?;
        // The digest is of what is read: all else that is written must be that.
        if serde_json::to_value(&read).ok().as_ref() != Some(&beside) || !read.names_what_stood() {
            return None;
        }
        let mut parts: Parts = read.parts().ok()?;
        for one in &refusing {
            parts.refusing.push(unhex(one.get("digest")?.as_str()?)?);
        }
        for list in lists {
            let (objects, used) = self.lists.get_mut(list)?;
            *used = true;
            parts.objects.extend(objects.iter().copied());
        }
        Some(parts.digest())
    }

    fn end(&mut self, end: &End) {
        if end.sha256 != HEXLOWER.encode(&self.before.clone().finalize()) {
            self.find("the file is not as it was written: its digest is another one".to_owned());
        }
        if end.records != self.report.records {
            self.find(format!("{} records were written, and {} are here", end.records, self.report.records));
        }
        let unmet = self.snapshots.iter().find(|(_, met)| !**met).map(|(snapshot, _)| snapshot.clone());
        if let Some(snapshot) = unmet {
            self.find(format!(
                "a record was decided by the configuration {snapshot}, of which the file says nothing"
            ));
        }
        let unused = self.objects.iter().find(|(_, used)| !**used).map(|(name, _)| name.clone());
        let unused =
            unused.or_else(|| self.lists.iter().find(|(_, (_, used))| !*used).map(|(name, _)| name.clone()));
        if let Some(name) = unused {
            self.find(format!("the text {name} is of no configuration"));
        }
        for (number, note) in (1..).zip(&self.options.checkpoints) {
            match self.pinned(note) {
                Ok(()) => {}
                Err(what) => self.find(format!("the checkpoint {number} that was given: {what}")),
            }
        }
    }

    /// Whether the file proves that the log continues a checkpoint that is known from elsewhere.
    fn pinned(&self, note: &str) -> Result<(), String> {
        let (Some(key), Some(checkpoint)) = (&self.key, &self.checkpoint) else {
            return Err("there is none to compare it with".to_owned());
        };
        let known =
            SignedCheckpoint::open(note.as_bytes(), key).map_err(|error| error.to_string())?.checkpoint;
        if known == *checkpoint || self.older.contains(&known) {
            return Ok(());
        }
        Err(format!(
            "the file does not prove that the log continues the one of {} records; export it with --since-checkpoint",
            known.size
        ))
    }
}

/// What of a record is looked at.
#[derive(Deserialize)]
struct Of<'a> {
    #[serde(borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    snapshot: Option<std::borrow::Cow<'a, str>>,
}

fn hashes(proof: &[String]) -> Option<Vec<Hash>> {
    proof.iter().map(|text| unbase64(text)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// docs/ledger-format.md promises no more of it, and verify-evidence.py, which is written from that page, looks at no more.
    #[test]
    fn of_what_refuses_the_digest_alone_is_looked_at() {
        let digest = |refusing: Value| {
            let beside = json!({"closed": false, "refusing": refusing, "version": 1, "withdrawn": {}});
            Check::new(&b""[..], &VerifyOptions::default()).digest(&beside, &[])
        };
        let name = "07".repeat(32);
        let parts = Parts { refusing: vec![[7; 32]], ..Parts::default() };
        for words in [json!({"digest": name}), json!({"digest": name, "kind": "Policy", "more": 1})] {
            assert_eq!(digest(json!([words])), Some(parts.digest()));
        }
        assert_eq!(digest(json!([])), Some(Parts::default().digest()));
        let bad = [json!([{}]), json!([name]), json!([{"digest": "07"}]), json!([{"digest": 7}]), json!({})];
        for refusing in bad {
            assert_eq!(digest(refusing.clone()), None, "{refusing}");
        }
    }
}
