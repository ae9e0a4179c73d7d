//! One trace: what the gateway decided and what came of it, from the ledger, and what agents say that they did, from their spans, as one tree.
//!
//! The two are told apart everywhere. A call is on record; a span is what its sender says, and only who sent it is proven. So a span may stand below a
//! call, and changes nothing of what is said of it.

mod shown;
mod tree;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use vidimus_core::record::{DecisionRecord, EffectRecord, Kept, Record, RefusalRecord};
use vidimus_ledger::{Query, SearchError};
use vidimus_traces::{Ids, KeptSpan, names};

pub use self::shown::{Claims, Node, Recorded, ShownTrace, TraceQuestion};
use crate::audit::{InLog, Kind, Lookup, SearchQuestion, Unsearched};

/// So many traces of one transaction are looked at for calls of other transactions and for spans; each is a reading of the ledger, and of all that
/// was sent in it.
const MOST_TRACES: usize = 16;

/// So many calls are shown at most: an agent may make any number of them in one trace.
const MOST_CALLS: usize = 10_000;

/// Why no trace is shown.
#[derive(Debug, thiserror::Error)]
pub enum Untraced {
    #[error(transparent)]
    Unsearched(#[from] Unsearched),
    #[error(transparent)]
    Log(#[from] SearchError),
    #[error("the spans of agents cannot be read")]
    Spans(#[source] std::io::Error),
}

/// The trace that is asked for, of the log in `ledger` and the spans in `spans`, each of which may have nothing of it.
///
/// # Errors
/// See [`Untraced`]; never of a part, which is told with the rest.
pub fn show(ledger: &Path, spans: &Path, question: &TraceQuestion) -> Result<ShownTrace, Untraced> {
    show_by(&[Place { ledger: &InLog(ledger.to_owned()), spans }], question)
}

/// What one gateway has of a trace.
#[derive(Clone, Copy, Debug)]
pub struct Place<'p> {
    /// What knows the records of its log.
    pub ledger: &'p dyn Lookup,
    /// The directory of the spans that it took.
    pub spans: &'p Path,
}

/// As [`show`], of one or more gateways: a chain goes from one to another, and agents send their spans to any replica.
///
/// # Errors
/// As of [`show`].
pub fn show_by(places: &[Place<'_>], question: &TraceQuestion) -> Result<ShownTrace, Untraced> {
    let mut gathered = Gathered::default();
    match trace_id(&question.id) {
        Some(trace) => {
            gathered.traces.insert(trace);
        }
        None => {
            for place in places {
                gathered.of_call(place.ledger, &question.id)?;
            }
        }
    }
    let traces: Vec<u128> = gathered.traces.iter().copied().collect();
    if traces.len() > MOST_TRACES {
        let more = traces.len() - MOST_TRACES;
        gathered.damage.insert(format!(
            "of {more} more traces only the calls of this transaction are shown, and no spans"
        ));
    }
    let of_each = |trace: &u128| places.iter().map(move |place| (*place, *trace)).collect::<Vec<_>>();
    let all: Vec<(Place<'_>, u128)> = traces.iter().take(MOST_TRACES).flat_map(of_each).collect();
    for (place, trace) in &all {
        let trace = Some(format!("{trace:032x}"));
        gathered.search(place.ledger, SearchQuestion { trace, ..SearchQuestion::default() })?;
    }
    for (place, trace) in &all {
        let found = vidimus_traces::read_part(place.spans, *trace, all.len()).map_err(Untraced::Spans)?;
        gathered.altered += found.altered;
        gathered.left_out += found.left_out;
        gathered.damage.extend(found.damage);
        gathered.spans.extend(found.spans);
    }
    if places.len() > 1 {
        gathered.once();
    }
    Ok(gathered.shown(&traces))
}

/// The trace id at the beginning of what is asked for, where it is one.
fn trace_id(text: &str) -> Option<u128> {
    let id = text.split('-').next().filter(|id| id.len() == 32)?;
    u128::from_str_radix(id, 16).ok().filter(|id| *id != 0)
}

/// The ids of a trace and of a span, as a record has them.
fn ids(text: &str) -> Option<(u128, u64)> {
    let span = text.split('-').nth(1).filter(|id| id.len() == 16)?;
    Some((trace_id(text)?, u64::from_str_radix(span, 16).ok()?))
}

/// What is on record of one call.
#[derive(Debug, Default)]
struct OfCall {
    decision: Option<DecisionRecord<'static>>,
    refusal: Option<RefusalRecord<'static>>,
    effect: Option<EffectRecord<'static>>,
}

#[derive(Debug, Default)]
struct Gathered {
    traces: BTreeSet<u128>,
    calls: BTreeMap<String, OfCall>,
    spans: Vec<KeptSpan>,
    altered: u64,
    left_out: u64,
    calls_left_out: u64,
    damage: BTreeSet<String>,
}

impl Gathered {
    /// The traces of a call, or of a transaction. The first call of a chain has the transaction's id.
    fn of_call(&mut self, ledger: &dyn Lookup, id: &str) -> Result<(), Untraced> {
        let query = Query { id: Some(id.to_owned()), ..Query::default() };
        for hit in ledger.hits(&query)? {
            match hit {
                Ok(hit) => match Kept::read(&hit.record) {
                    Ok(record) => self.add(record),
                    Err(error) => {
                        self.damage.insert(format!("record {} cannot be read: {error}", hit.index));
                    }
                },
                Err(error) => {
                    self.damage.insert(error.to_string());
                }
            }
        }
        let transaction = Some(id.to_owned());
        self.search(ledger, SearchQuestion { transaction, ..SearchQuestion::default() })
    }

    fn search(&mut self, ledger: &dyn Lookup, question: SearchQuestion) -> Result<(), Untraced> {
        let question = SearchQuestion { kind: Some(Kind::All), oldest_first: true, ..question };
        for found in ledger.fitting(&[], &question)? {
            match found {
                Ok(found) => self.add(found.record),
                Err(damage) => {
                    self.damage.insert(damage.to_string());
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, record: Kept) {
        if self.calls.len() >= MOST_CALLS && !self.calls.contains_key(record.id()) {
            self.calls_left_out += u64::from(matches!(record, Record::Decision(_) | Record::Refusal(_)));
            return;
        }
        let call = self.calls.entry(record.id().to_owned()).or_default();
        match record {
            Record::Decision(decision) => {
                self.traces.extend(trace_id(&decision.trace));
                call.decision = Some(decision);
            }
            Record::Refusal(refusal) => {
                self.traces.extend(trace_id(&refusal.trace));
                call.refusal = Some(refusal);
            }
            Record::Effect(effect) => call.effect = Some(effect),
            Record::Act(_) => {}
        }
    }

    /// Of several gateways a sender's span is shown once, whichever of them it was sent to: the first that came stands, as at one of them.
    fn once(&mut self) {
        self.spans.sort_by_key(|kept| kept.received_ms);
        let mut said = BTreeMap::<(String, Ids), u64>::new();
        self.spans.retain(|kept| {
            let Some(ids) = kept.ids() else { return true };
            match said.entry((kept.principal.clone(), ids)) {
                Entry::Vacant(first) => {
                    first.insert(kept.says());
                    true
                }
                Entry::Occupied(first) => {
                    self.altered += u64::from(*first.get() != kept.says());
                    false
                }
            }
        });
    }

    fn shown(self, traces: &[u128]) -> ShownTrace {
        let known: BTreeSet<String> = self.calls.values().flat_map(OfCall::principals).collect();
        let calls = self.calls.values().filter_map(OfCall::item);
        // Where no call is on record, nobody can be told from who took part.
        let known = (!self.calls.is_empty()).then_some(&known);
        let spans = self.spans.iter().filter_map(|kept| span_item(kept, known));
        ShownTrace {
            traces: traces.iter().map(|trace| format!("{trace:032x}")).collect(),
            nodes: tree::nodes(calls.chain(spans).collect()),
            altered: self.altered,
            left_out: self.left_out,
            calls_left_out: self.calls_left_out,
            damage: self.damage.into_iter().collect(),
        }
    }
}

impl OfCall {
    /// Who took part in it: who called, for whom, and who was called. In what was not let pass nobody did: anybody may be refused.
    fn principals(&self) -> Vec<String> {
        let mut all = Vec::new();
        if let Some(decision) =
            self.decision.as_ref().filter(|decision| decision.outcome.starts_with("allow"))
        {
            all.push(decision.principal.to_string());
            all.extend(decision.chain.iter().map(ToString::to_string));
            all.extend(agent_of(&decision.resource));
        }
        all
    }

    fn item(&self) -> Option<tree::Item> {
        let (node, trace, account) = match (&self.decision, &self.refusal) {
            (Some(decision), _) => {
                (of_decision(decision), &decision.trace, decision.on_account_of.as_deref())
            }
            (None, Some(refusal)) => (of_refusal(refusal), &refusal.trace, None),
            (None, None) => return None,
        };
        let (trace, span) = ids(trace)?;
        let parent = node.parent.as_deref().and_then(|parent| u64::from_str_radix(parent, 16).ok());
        let account = account.map(str::to_owned);
        let mut item = tree::Item { node, trace, span, parent: parent.unwrap_or_default(), account };
        item.node.trace = format!("{trace:032x}");
        item.node.span = format!("{span:016x}");
        if let (Some(effect), Some(call)) = (&self.effect, &mut item.node.call) {
            item.node.took_us = Some(effect.duration_us);
            // From the whole request to the end of the answer.
            let took = i64::try_from(effect.duration_us).unwrap_or_default();
            item.node.begins_us = micros(&effect.time).saturating_sub(took);
            call.result = Some(effect.result.to_string());
            call.code = call.code.take().or_else(|| effect.code.as_ref().map(ToString::to_string));
            call.status = (effect.status > 0).then_some(effect.status);
            call.tokens_input = effect.tokens_input;
            call.tokens_output = effect.tokens_output;
            call.charged_spend = effect.charged_spend;
            call.time_to_first_token_us = effect.time_to_first_token_us;
            call.time_per_output_token_us = effect.time_per_output_token_us;
        }
        Some(item)
    }
}

fn of_decision(decision: &DecisionRecord<'_>) -> Node {
    Node {
        name: format!("{} {}", decision.method, decision.resource),
        principal: Some(decision.principal.to_string()),
        identity: Some(decision.identity.to_string()),
        user: decision.user.as_ref().map(ToString::to_string),
        parent: decision.parent.as_ref().map(ToString::to_string),
        begins_us: micros(&decision.time),
        call: Some(Recorded {
            id: decision.id.to_string(),
            outcome: decision.outcome.to_string(),
            code: decision.code.as_ref().map(ToString::to_string),
            policies: decision.policies.iter().map(ToString::to_string).collect(),
            resource: Some(decision.resource.to_string()),
            transaction: Some(decision.transaction.to_string()),
            ..Recorded::default()
        }),
        ..Node::default()
    }
}

fn of_refusal(refusal: &RefusalRecord<'_>) -> Node {
    let asked = refusal.asked.as_deref();
    Node {
        name: match asked {
            Some(asked) => format!("{} {}", asked.method, asked.resource),
            None => refusal.path.to_string(),
        },
        principal: refusal.principal.as_ref().map(ToString::to_string),
        identity: refusal.identity.as_ref().map(ToString::to_string),
        user: refusal.user.as_ref().map(ToString::to_string),
        parent: refusal.parent.as_ref().map(ToString::to_string),
        begins_us: micros(&refusal.time),
        call: Some(Recorded {
            id: refusal.id.to_string(),
            outcome: refusal.outcome.to_string(),
            code: Some(refusal.code.to_string()),
            policies: asked
                .map(|asked| asked.policies.iter().map(ToString::to_string).collect())
                .unwrap_or_default(),
            resource: asked.map(|asked| asked.resource.to_string()),
            transaction: asked.map(|asked| asked.transaction.to_string()),
            ..Recorded::default()
        }),
        ..Node::default()
    }
}

/// The agent that is called, or whose skill.
fn agent_of(resource: &str) -> Option<String> {
    let mut parts = resource.split('/');
    match parts.next()? {
        "Agent" => Some(resource.to_owned()),
        "Skill" => Some(format!("Agent/{}/{}", parts.next()?, parts.next()?)),
        _ => None,
    }
}

fn span_item(kept: &KeptSpan, known: Option<&BTreeSet<String>>) -> Option<tree::Item> {
    let (ids, span) = (kept.ids()?, kept.span.as_ref()?);
    let begins = i64::try_from(span.start_time_unix_nano / 1_000).unwrap_or(i64::MAX);
    let text = |meaning: names::Meaning| meaning.text(&span.attributes).map(str::to_owned);
    let status = span.status.as_ref().and_then(|status| match status.code {
        1 => Some("ok".to_owned()),
        2 => Some(text(names::ERROR).unwrap_or_else(|| "error".to_owned())),
        _ => None,
    });
    let agent = text(names::AGENT).or_else(|| names::AGENT.text(&kept.resource).map(str::to_owned));
    let claims = Claims {
        service: names::SERVICE.text(&kept.resource).map(str::to_owned),
        agent,
        does: text(names::DOES),
        model: text(names::MODEL),
        tool: text(names::TOOL),
        tokens_input: names::TOKENS_IN.count(&span.attributes),
        tokens_output: names::TOKENS_OUT.count(&span.attributes),
        status,
        stranger: known.is_some_and(|known| !known.contains(&kept.principal)),
        attributes: names::shown(&span.attributes),
        resource: names::shown(&kept.resource),
    };
    let node = Node {
        trace: format!("{:032x}", ids.trace),
        span: format!("{:016x}", ids.span),
        parent: (kept.parent() != 0).then(|| format!("{:016x}", kept.parent())),
        name: span.name.clone(),
        principal: Some(kept.principal.clone()),
        identity: Some(kept.identity.clone()),
        user: kept.user.clone(),
        begins_us: begins,
        took_us: Some((span.end_time_unix_nano - span.start_time_unix_nano) / 1_000),
        claims: Some(claims),
        ..Node::default()
    };
    Some(tree::Item { node, trace: ids.trace, span: ids.span, parent: kept.parent(), account: None })
}

fn micros(time: &str) -> i64 {
    time.parse::<Timestamp>().map(Timestamp::as_microsecond).unwrap_or_default()
}

#[cfg(test)]
mod tests;
