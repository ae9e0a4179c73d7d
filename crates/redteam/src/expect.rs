//! What must come of a probe, and whether it did.

use serde_json::Value;

use crate::upstream::Received;
use crate::wire::Answer;

/// What the caller is told.
#[derive(Clone, Debug)]
pub enum Told {
    /// A refusal of ours, with one of these codes; with any where none is named.
    Refused(&'static [&'static str]),
    /// Turned away by HTTP itself, with one of these statuses, or by a closed connection, or by a refusal of ours.
    TurnedAway(&'static [u16]),
    /// The upstream's answer.
    Passed,
    /// Either: what counts is elsewhere.
    Whatever,
    /// One of these statuses, and nothing of ours or the upstream's is looked for.
    Status(&'static [u16]),
}

/// What the upstream's log has.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Nothing at all.
    None,
    /// One request. These texts are in none of its bytes, and those are.
    Once { without: Vec<String>, with: Vec<String> },
    /// At most one, and none of these texts in it.
    AtMostOnce { without: Vec<String> },
    /// Not looked at: calls beside the probe's own reach it too.
    NotLooked,
}

/// What is found by the id of the call.
#[derive(Clone, Debug)]
pub enum Record {
    /// One decision or refusal, with outcome deny and the code that the caller was told; or at least counted.
    Denied,
    /// One decision that allows, and one effect with one of these results; any result where none is named.
    Allowed(&'static [&'static str]),
    /// What has no call id is at least counted: some counter of refusals moved.
    Counted,
    /// Not looked at.
    NotLooked,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Expect {
    pub effect: Effect,
    pub told: Told,
    pub record: Record,
    /// Texts that may not be in the answer, head or body.
    pub hidden: Vec<String>,
    /// Texts that must be in it.
    pub shown: Vec<String>,
}

impl Expect {
    fn of(effect: Effect, told: Told, record: Record) -> Self {
        Self { effect, told, record, hidden: Vec::new(), shown: Vec::new() }
    }

    /// Nothing happened, the caller is told one of these codes (any, where none is named), and it is on record.
    pub fn refused(codes: &'static [&'static str]) -> Self {
        Self::of(Effect::None, Told::Refused(codes), Record::Denied)
    }

    /// Nothing happened; HTTP itself turns it away with one of these statuses, and that is counted.
    pub fn turned_away(statuses: &'static [u16]) -> Self {
        Self::of(Effect::None, Told::TurnedAway(statuses), Record::Counted)
    }

    /// It went through, once, and its effect is on record.
    pub fn passed() -> Self {
        let effect = Effect::Once { without: Vec::new(), with: Vec::new() };
        Self::of(effect, Told::Passed, Record::Allowed(&[]))
    }

    /// It went through, and what came of it is recorded as one of these.
    pub fn ended(results: &'static [&'static str]) -> Self {
        let effect = Effect::Once { without: Vec::new(), with: Vec::new() };
        Self::of(effect, Told::Whatever, Record::Allowed(results))
    }

    /// It went up, the upstream's answer did not come down: the caller gets one of these codes, and the effect says so.
    pub fn kept_back(codes: &'static [&'static str]) -> Self {
        let effect = Effect::Once { without: Vec::new(), with: Vec::new() };
        Self::of(effect, Told::Refused(codes), Record::Allowed(&["failed", "unknown", "error"]))
    }

    /// Nothing reaches the upstream, the answer is one of these statuses; nothing is looked for in the record.
    pub fn answered(statuses: &'static [u16]) -> Self {
        Self::of(Effect::None, Told::Status(statuses), Record::NotLooked)
    }

    /// May go through or be refused, but what goes through is as the other members say.
    pub fn either() -> Self {
        Self::of(Effect::AtMostOnce { without: Vec::new() }, Told::Whatever, Record::NotLooked)
    }

    /// None of these goes up.
    #[must_use]
    pub fn without(mut self, texts: &[&str]) -> Self {
        if let Effect::Once { without, .. } | Effect::AtMostOnce { without } = &mut self.effect {
            without.extend(texts.iter().map(|text| (*text).to_owned()));
        }
        self
    }

    /// All of these go up.
    #[must_use]
    pub fn with(mut self, texts: &[&str]) -> Self {
        if let Effect::Once { with, .. } = &mut self.effect {
            with.extend(texts.iter().map(|text| (*text).to_owned()));
        }
        self
    }

    /// None of these comes down.
    #[must_use]
    pub fn hides(mut self, texts: &[&str]) -> Self {
        self.hidden.extend(texts.iter().map(|text| (*text).to_owned()));
        self
    }

    /// All of these come down.
    #[must_use]
    pub fn shows(mut self, texts: &[&str]) -> Self {
        self.shown.extend(texts.iter().map(|text| (*text).to_owned()));
        self
    }

    /// Without looking into the record.
    #[must_use]
    pub fn unrecorded(mut self) -> Self {
        self.record = Record::NotLooked;
        self
    }

    /// All texts that are looked for, above and below.
    pub fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let (without, with) = match &mut self.effect {
            Effect::Once { without, with } => (Some(without), Some(with)),
            Effect::AtMostOnce { without } => (Some(without), None),
            Effect::None | Effect::NotLooked => (None, None),
        };
        let above = without.into_iter().chain(with).flatten();
        above.chain(&mut self.hidden).chain(&mut self.shown)
    }

    /// What is wrong with what the upstream saw and the caller was told; nothing where all is right.
    pub fn faults(&self, answer: &Answer, seen: &[Received]) -> Vec<String> {
        let mut faults = Vec::new();
        self.effect_faults(seen, &mut faults);
        self.told_faults(answer, &mut faults);
        faults.extend(
            self.hidden
                .iter()
                .filter(|text| answer.contains(text))
                .map(|text| format!("the answer has {text:?}")),
        );
        faults.extend(
            self.shown
                .iter()
                .filter(|text| !answer.contains(text))
                .map(|text| format!("the answer lacks {text:?}")),
        );
        faults
    }

    fn effect_faults(&self, seen: &[Received], faults: &mut Vec<String>) {
        let most = match &self.effect {
            Effect::None => 0,
            Effect::Once { .. } | Effect::AtMostOnce { .. } => 1,
            Effect::NotLooked => return,
        };
        if seen.len() > most {
            let heads: Vec<_> = seen.iter().map(Received::line).collect();
            faults.push(format!("{} reached the upstream, {most} expected: {heads:?}", seen.len()));
        }
        let Some(request) = seen.first() else {
            if matches!(self.effect, Effect::Once { .. }) {
                faults.push("nothing reached the upstream".to_owned());
            }
            return;
        };
        if let Effect::Once { without, .. } | Effect::AtMostOnce { without } = &self.effect {
            let gone_up = without.iter().filter(|text| request.contains(text));
            faults.extend(gone_up.map(|text| format!("{text:?} went upstream")));
        }
        if let Effect::Once { with, .. } = &self.effect {
            let lost = with.iter().filter(|text| !request.contains(text));
            faults.extend(lost.map(|text| format!("{text:?} did not go upstream")));
        }
    }

    fn told_faults(&self, answer: &Answer, faults: &mut Vec<String>) {
        let code = answer.code();
        let what = || answer.summary();
        match &self.told {
            Told::Refused([]) if code.is_none() => faults.push(format!("no refusal: {}", what())),
            Told::Refused(codes) if !codes.is_empty() && !code.is_some_and(|code| codes.contains(&code)) => {
                faults.push(format!("not {codes:?}: {}", what()));
            }
            Told::TurnedAway(statuses) => {
                let closed = answer.status == 0 && answer.closed;
                if !closed && code.is_none() && !statuses.contains(&answer.status) {
                    faults.push(format!("not turned away: {}", what()));
                }
            }
            Told::Passed if code.is_some() || !(200..300).contains(&answer.status) => {
                faults.push(format!("not passed: {}", what()));
            }
            Told::Status(statuses) if !statuses.contains(&answer.status) => {
                faults.push(format!("not {statuses:?}: {}", what()));
            }
            _ => {}
        }
    }

    /// What is wrong with what is on record of the call. `counted` tells whether a counter of refusals moved.
    pub fn record_faults(&self, answer: &Answer, records: &[Value], counted: bool) -> Option<String> {
        let text =
            |record: &Value, name: &str| record.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        let kinds =
            || records.iter().map(|record| format!("{}:{}", text(record, "kind"), text(record, "code")));
        let of =
            |kind: &str| records.iter().filter(|record| text(record, "kind") == kind).collect::<Vec<_>>();
        let fault = |what: &str| Some(format!("{what}; on record: {:?}", kinds().collect::<Vec<_>>()));
        match &self.record {
            Record::NotLooked => None,
            // What is refused before anybody is asked may be counted only.
            Record::Denied | Record::Counted if records.is_empty() => {
                if counted {
                    None
                } else {
                    fault("neither recorded nor counted")
                }
            }
            Record::Denied | Record::Counted => match records {
                [record] if text(record, "outcome") != "deny" => fault("not a denial"),
                [record] if Some(text(record, "code").as_str()) != answer.code() => {
                    fault("another code than was told")
                }
                [_] => None,
                _ => fault("not exactly one record"),
            },
            Record::Allowed(results) => match (of("decision").as_slice(), of("effect").as_slice()) {
                ([decision], [effect]) => {
                    let (outcome, result) = (text(decision, "outcome"), text(effect, "result"));
                    if !outcome.starts_with("allow") {
                        return fault("not allowed");
                    }
                    if results.is_empty() || results.contains(&result.as_str()) {
                        return None;
                    }
                    fault(&format!("the effect is {result:?}, not {results:?}"))
                }
                _ => fault("not one decision and one effect"),
            },
        }
    }
}
