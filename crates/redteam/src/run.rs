//! Probes, one after another, and what came of each.

use std::net::TcpStream;
use std::time::Duration;

use crate::crowd;
use crate::expect::Record;
use crate::http2;
use crate::known;
use crate::probe::{Door, Probe, Request};
use crate::stage::Stage;
use crate::wire::{self, Answer};

/// What came of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it must be.
    Held,
    /// Not as it must be.
    Broken,
    /// Not as it must be, and [`known::KNOWN`] says so.
    Known,
    /// As it must be, though [`known::KNOWN`] says that it is not.
    Mended,
}

impl Verdict {
    /// As it stands in tables and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Broken => "BROKEN",
            Self::Known => "known",
            Self::Mended => "mended",
        }
    }
}

/// One line of the report.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub name: String,
    pub tries: String,
    pub protocol: &'static str,
    pub verdict: Verdict,
    /// The code that the caller was told, or the status.
    pub answer: String,
    /// What is wrong; empty where nothing is.
    pub faults: Vec<String>,
}

struct Tried {
    probe: Probe,
    answer: Answer,
    /// Why it could not be made: something that it begins with did not come about.
    unmade: Option<String>,
    /// What had reached the upstream before anything of it was made, and before it was sent.
    begin: usize,
    mark: usize,
    counted: bool,
}

/// Tries all, and judges when the last has been tried: what reaches the upstream late is seen as well.
///
/// # Errors
/// When the stage does not stand: records that cannot be read, a gateway that ended.
pub fn run(stage: &mut Stage, probes: Vec<Probe>) -> anyhow::Result<Vec<Outcome>> {
    let mut tried = Vec::new();
    for probe in probes {
        tried.push(attempt(stage, probe));
        stage.gateway.alive()?;
    }
    let records = stage.gateway.records()?;
    let ends = tried.iter().skip(1).map(|next| next.begin).chain([stage.upstream.count()]);
    let ends: Vec<usize> = ends.collect();
    let mut outcomes = Vec::new();
    for (one, end) in tried.iter().zip(ends) {
        let mut seen = stage.upstream.since(one.mark);
        seen.truncate(end.saturating_sub(one.mark));
        let mut faults = Vec::from_iter(one.unmade.clone());
        faults.extend(one.probe.expect.faults(&one.answer, &seen));
        let of_call = one.answer.id().and_then(|id| records.get(id)).map(Vec::as_slice).unwrap_or_default();
        faults.extend(one.probe.expect.record_faults(&one.answer, of_call, one.counted));
        outcomes.push(Outcome {
            name: one.probe.name.clone(),
            tries: one.probe.tries.clone(),
            protocol: one.probe.protocol.as_str(),
            verdict: verdict(&one.probe.name, faults.is_empty()),
            answer: one.answer.code().map_or_else(|| one.answer.status.to_string(), str::to_owned),
            faults,
        });
    }
    Ok(outcomes)
}

/// The verdict on a probe that held or did not.
pub fn verdict(name: &str, held: bool) -> Verdict {
    match (held, known::why(name).is_some()) {
        (true, false) => Verdict::Held,
        (false, false) => Verdict::Broken,
        (false, true) => Verdict::Known,
        (true, true) => Verdict::Mended,
    }
}

fn attempt(stage: &mut Stage, mut probe: Probe) -> Tried {
    let begin = stage.upstream.count();
    let made = made(stage, &mut probe);
    let counts = matches!(probe.expect.record, Record::Counted | Record::Denied);
    let before = if counts { stage.gateway.refusals_counted() } else { None };
    let mark = stage.upstream.count();
    let address = match probe.door {
        Door::Listen => stage.gateway.listen,
        Door::Admin => stage.gateway.admin,
    };
    let (answer, unmade) = match &made {
        Ok((bytes, _)) if matches!(probe.request, Request::Streams(_)) => {
            (http2::exchange(address, bytes), None)
        }
        Ok((bytes, _)) => {
            let behind = !probe.manner.behind.is_empty();
            (wire::exchange(address, &pieces(bytes, &probe.manner.cuts), behind), None)
        }
        Err(error) => (Answer::default(), Some(format!("cannot be made: {error:#}"))),
    };
    let counted = counts && until_counted(stage, before, answer.id().is_none());
    drop(made);
    Tried { probe, answer, unmade, begin, mark, counted }
}

/// Whether a counter moves; one of what has no record may do so only when its connection has ended.
fn until_counted(stage: &Stage, before: Option<f64>, patient: bool) -> bool {
    // Where they could not be read before, nothing tells that they have moved.
    let Some(before) = before else { return false };
    for _ in 0..if patient { 15 } else { 1 } {
        if stage.gateway.refusals_counted().is_some_and(|now| now > before) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// What is sent, and the connections that are held meanwhile; the probe's own texts filled in.
fn made(stage: &mut Stage, probe: &mut Probe) -> anyhow::Result<(Vec<u8>, Vec<TcpStream>)> {
    let bytes = stage.bytes(&probe.request)?;
    let behind = stage.bytes(&Request::Raw(probe.manner.behind.clone()))?;
    for text in probe.expect.texts() {
        *text = String::from_utf8(stage.bytes(&Request::Raw(text.clone().into_bytes()))?)?;
    }
    stage.upstream.answer(probe.reply.clone());
    let held = probe.manner.crowd.as_ref().map(|crowd| crowd::gather(stage, crowd)).transpose()?;
    Ok(([bytes, behind].concat(), held.unwrap_or_default()))
}

/// Cut at these offsets from the end.
fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut begin = 0;
    let mut pieces = Vec::new();
    for cut in cuts.iter().map(|cut| bytes.len().saturating_sub(*cut)).chain([bytes.len()]) {
        pieces.extend(bytes.get(begin..cut));
        begin = begin.max(cut);
    }
    pieces
}
