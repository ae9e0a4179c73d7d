//! The one pass.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use vidimus_core::record::Kept;
use vidimus_ledger::{
    Hash, Hit, ProveError, Prover, Query, SignedCheckpoint, VerifierKey, known_key, newest_checkpoint,
};

use super::counts::Counting;
use super::frameworks::{self, Framework, Support};
use super::{
    AssessedLog, Assessment, AssessmentError, AssessmentQuestion, Control, Evidence, LACKS, MOST_SAMPLES,
    Sample, policies, what, who,
};
use crate::Misasked;
use crate::audit::Damage;

/// Most findings that are told one by one.
const MOST_FINDINGS: usize = 64;

/// Reads the window of the log in `dir` once, from its first record to its last, and calls `visit` with each record of it on the way.
///
/// Each record is proven to the checkpoint that stood when this began. Memory is that of one segment of the log, and of the samples.
/// Where the records that a proof needs are damaged, nothing is proven, and what can be read is reported all the same.
///
/// # Errors
/// See [`AssessmentError`]. What is wrong with the log is no error but a finding.
pub fn assess(
    dir: &Path,
    question: &AssessmentQuestion,
    mut visit: impl FnMut(u64, &Kept) -> io::Result<()>,
) -> Result<Assessment, AssessmentError> {
    let framework = asked(question)?;
    let given = question.key.as_deref().map(|text| {
        let key = text.trim().parse::<VerifierKey>();
        key.map_err(|error| Misasked::new("key", &text, error.to_string()))
    });
    let given = given.transpose()?;
    let mut pass = Pass::new(framework, question.samples, Proofs::of(dir)?);
    if let Err(unproven) = &pass.proofs.prover {
        let finding = format!("no record is proven: {unproven}");
        pass.find(finding);
    }
    // As `audit verify` has it: who trusts a key trusts the one that both signed for.
    if let Some(key) = &given
        && !pass.proofs.key.follows(key)
        && let Err(error) = SignedCheckpoint::open(pass.proofs.signed.note.as_bytes(), key)
    {
        pass.find(format!("the log's checkpoint is not one of the key that was given: {error}"));
    }
    let pruned = vidimus_ledger::pruned(dir)?.filter(|pruned| pruned.may_have_any_since(Some(question.from)));
    pass.counting.gaps.pruned = pruned.map(|pruned| pruned.to_string());
    let window = Query { since: Some(question.from), until: Some(question.to), ..Query::default() };
    for hit in vidimus_ledger::search(dir, &window)? {
        match hit {
            Ok(hit) => match Kept::read(&hit.record) {
                Ok(record) => {
                    pass.record(&hit, &record);
                    visit(hit.index, &record)?;
                }
                Err(error) => pass.damaged(&Damage::Record { index: hit.index, error }),
            },
            Err(error) => pass.damaged(&Damage::Log(error)),
        }
    }
    Ok(pass.end(framework, question, given.is_some()))
}

/// The framework that is asked for.
fn asked(question: &AssessmentQuestion) -> Result<&'static Framework, Misasked> {
    let AssessmentQuestion { framework, from, to, samples, .. } = question;
    if from >= to {
        let reason = format!("it is not before --to {to}, so nothing can be between them");
        return Err(Misasked::new("from", from, reason));
    }
    if *samples > MOST_SAMPLES {
        return Err(Misasked::new("samples", samples, format!("at most {MOST_SAMPLES}")));
    }
    let all = frameworks::frameworks();
    all.iter().find(|one| one.name == *framework).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
        Misasked::new("framework", framework, format!("it is none of {}", names.join(", ")))
    })
}

/// A kind of evidence, as it is found.
struct Seen {
    support: &'static Support,
    count: u64,
    first: Option<u64>,
    last: Option<u64>,
    /// Those with the smallest leaf hashes: nobody chooses which records these are, and they do not depend on where a reading begins.
    samples: BTreeMap<(Hash, u64), Vec<u8>>,
}

/// What records are proven to.
struct Proofs {
    key: VerifierKey,
    signed: SignedCheckpoint,
    /// Or why nothing can be proven to it.
    prover: Result<Prover, String>,
}

impl Proofs {
    /// # Errors
    /// Where there is no checkpoint that the log's key signed: what is there may be anything.
    fn of(dir: &Path) -> Result<Self, AssessmentError> {
        match Prover::latest(dir) {
            Ok(prover) => {
                Ok(Self { key: prover.key().clone(), signed: prover.signed().clone(), prover: Ok(prover) })
            }
            Err(error @ (ProveError::Segment(_) | ProveError::Inconsistent)) => Ok(Self {
                key: known_key(dir)?,
                signed: newest_checkpoint(dir)?,
                prover: Err(error.to_string()),
            }),
            Err(error) => Err(AssessmentError::Unprovable(error)),
        }
    }
}

struct Pass {
    proofs: Proofs,
    counting: Counting,
    log: AssessedLog,
    findings: Vec<String>,
    found: u64,
    seen: BTreeMap<&'static str, Seen>,
    most: usize,
}

impl Pass {
    fn new(framework: &Framework, most: usize, proofs: Proofs) -> Self {
        let all = framework.controls.iter().flat_map(|control| &control.supports);
        let seen = all.filter_map(|name| frameworks::support(name)).map(|(name, support)| {
            (name, Seen { support, count: 0, first: None, last: None, samples: BTreeMap::new() })
        });
        let log = AssessedLog {
            name: proofs.key.name().to_owned(),
            key: proofs.key.to_string(),
            checkpoint: proofs.signed.note.clone(),
            size: proofs.signed.checkpoint.size,
            witnesses: proofs.signed.others(&proofs.key),
            ..AssessedLog::default()
        };
        let (counting, findings) = (Counting::default(), Vec::new());
        Self { counting, log, findings, found: 0, seen: seen.collect(), most, proofs }
    }

    fn find(&mut self, finding: String) {
        self.found += 1;
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(finding);
        }
    }

    fn damaged(&mut self, damage: &Damage) {
        self.counting.gaps.damaged += 1;
        self.find(damage.to_string());
    }

    fn record(&mut self, hit: &Hit, record: &Kept) {
        let Hit { index, record: bytes } = hit;
        self.log.records += 1;
        self.log.first.get_or_insert(*index);
        self.log.last = Some(*index);
        // Why there is no prover was found once, for all of them.
        let included = self.proofs.prover.as_mut().ok().map(|prover| prover.inclusion(*index, bytes));
        match included {
            Some(Ok(_)) => self.log.proven += 1,
            Some(Err(ProveError::NotCovered { .. })) => self.counting.gaps.younger += 1,
            Some(Err(error)) => {
                self.counting.gaps.unproven += 1;
                self.find(format!("record {index} is not proven: {error}"));
            }
            None => self.counting.gaps.unproven += 1,
        }
        let is_new = self.counting.take(*index, record);
        let kinds = self.seen.iter().filter(|(_, seen)| seen.support.fits(record, is_new));
        self.counting.share(&self.log.name, record, kinds.map(|(name, _)| *name));
        let place = (leaf(bytes), *index);
        for seen in self.seen.values_mut().filter(|seen| seen.support.fits(record, is_new)) {
            seen.count += 1;
            seen.first.get_or_insert(*index);
            seen.last = Some(*index);
            let is_full = seen.samples.len() >= self.most;
            let is_among = seen.samples.last_key_value().is_some_and(|(last, _)| place < *last);
            if !is_full || is_among {
                seen.samples.insert(place, bytes.clone());
            }
            if seen.samples.len() > self.most {
                seen.samples.pop_last();
            }
        }
    }

    fn end(mut self, framework: &Framework, question: &AssessmentQuestion, key_given: bool) -> Assessment {
        if self.found > self.findings.len() as u64 {
            let more = self.found - self.findings.len() as u64;
            self.findings.push(format!("and {more} more"));
        }
        let mut records = BTreeMap::new();
        let evidence = std::mem::take(&mut self.seen).into_iter().map(|(name, seen)| {
            let mut samples = Vec::new();
            for ((_, index), bytes) in seen.samples {
                samples.push(index);
                records.insert(index, bytes);
            }
            samples.sort_unstable();
            let evidence = Evidence {
                says: seen.support.says.clone(),
                query: seen.support.query(question.from, question.to),
                count: seen.count,
                first: seen.first,
                last: seen.last,
                samples,
            };
            (name.to_owned(), evidence)
        });
        let evidence = evidence.collect();
        let samples =
            records.into_iter().filter_map(|(index, bytes)| sample(&mut self.proofs.prover, index, &bytes));
        let samples = samples.collect();
        let shared = std::mem::take(&mut self.counting.shared);
        let (counts, gaps) = self.counting.end(self.log.records);
        let controls = framework.controls.iter().map(|control| Control {
            id: control.id.clone(),
            name: control.name.clone(),
            asks: control.asks.clone(),
            evidence: control.supports.clone(),
            lacks: control.lacks.clone(),
        });
        Assessment {
            framework: framework.name.clone(),
            title: framework.title.clone(),
            source: framework.source.clone(),
            from: question.from.to_string(),
            to: question.to.to_string(),
            made: question.made.clone(),
            sound: self.findings.is_empty(),
            findings: self.findings,
            log: AssessedLog { key_given, ..self.log },
            counts,
            gaps,
            evidence,
            controls: controls.collect(),
            samples,
            lacks: LACKS.iter().map(ToString::to_string).collect(),
            shared,
        }
    }
}

/// A record that was read before.
fn sample(prover: &mut Result<Prover, String>, index: u64, bytes: &[u8]) -> Option<Sample> {
    let record = Kept::read(bytes).ok()?;
    let (proof, unproven) = match prover.as_mut().map(|prover| prover.prove(index, bytes)) {
        Ok(Ok(proof)) => (Some(proof.to_string()), None),
        Ok(Err(error)) => (None, Some(error.to_string())),
        Err(unproven) => (None, Some(unproven.clone())),
    };
    let outcome = frameworks::outcome(&record);
    let outcome = match frameworks::code(&record) {
        Some(code) => format!("{outcome} {code}"),
        None => outcome.to_owned(),
    };
    Some(Sample {
        index,
        time: record.time().to_owned(),
        kind: record.kind().to_owned(),
        id: record.id().to_owned(),
        who: who(&record),
        what: what(&record),
        outcome,
        policies: policies(&record),
        // JSON is UTF-8, and it was read as such.
        record: String::from_utf8(bytes.to_vec()).ok()?,
        proof,
        unproven,
    })
}

/// RFC 6962, 2.1.
fn leaf(record: &[u8]) -> Hash {
    Sha256::new().chain_update([0_u8]).chain_update(record).finalize().into()
}
