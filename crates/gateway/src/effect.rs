//! What came of a call: counted while the answer passes, recorded before its end is passed on.

mod measured;
mod settled;

use std::borrow::Cow;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use vidimus_core::act::{Act, BY_ITSELF};
use vidimus_core::approval::pending::Came;
use vidimus_core::call::Destination;
use vidimus_core::caller::Caller;
use vidimus_core::clock::Moment;
use vidimus_core::decision::Candidate;
use vidimus_core::keep::KeptPayload;
use vidimus_core::obligation::Changed;
use vidimus_core::permit::Room;
use vidimus_core::record::{Attempt, EffectKind, EffectRecord, VERSION, whole};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_ledger::Closed;

use self::measured::Course;
use crate::access_log::{self, Line};
use crate::accounts::Reservation;
use crate::acts::Intent;
use crate::answer::Asked;
use crate::changes::Tally;
use crate::gate::{Gate, Shared, rfc3339};
use crate::meter::OfModel;
use crate::payloads::Keeping;
use crate::protocol::handles::FirstTask;
use crate::protocol::mcp::introduction::Instructions;
use crate::protocol::observe::Observation;
use crate::route::Protocol;
use crate::runner::Ran;
use crate::standing::limits::UnderWay;
use crate::standing::taken::Used;
use crate::telemetry::{Span, operation_of};

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Ok,
    /// The protocol's own error: an HTTP error status, a JSON-RPC error, a tool that says `isError`.
    Error,
    /// What came is no answer to what was asked, or could not be read: whether it is the protocol's own error is not known.
    Unknown,
    /// No full answer came.
    Failed(Code),
    /// The caller left before the end.
    Cancelled,
}

impl Ending {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Unknown => "unknown",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Failed(code) => Some(code.as_str()),
            _ => None,
        }
    }
}

/// An effect that has begun and is not yet recorded.
#[derive(Debug)]
pub struct Effect {
    pub shared: Arc<Shared>,
    protocol: Protocol,
    call: Arc<str>,
    /// Index of the decision's record.
    decision: u64,
    /// When its request came.
    pub started: Moment,
    /// What of it is measured.
    pub course: Course,
    /// HTTP status of the upstream; 0 when there was none.
    pub status: u16,
    bytes_in: u64,
    pub bytes_out: u64,
    /// What of the answer has passed, where it is kept.
    pub keeping: Option<Box<Keeping>>,
    /// The same, sealed.
    kept: Option<Box<KeptPayload>>,
    /// The request went out, or may have.
    pub sent: bool,
    /// The caller left before the upstream had said all.
    pub left: bool,
    /// What it counts for in its chain, where it is of a model.
    charged: Option<Used>,
    /// `jti` of the minted token.
    pub token: Option<String>,
    /// Why no full answer came, and what else was noted, as the record says it.
    detail: Option<String>,
    found: Observation,
    /// What an MCP server says of itself to a model, where it is asked that: a rule may find something in it.
    pub instructions: Option<Instructions>,
    /// From the request to the first event with something of a model's answer.
    first_token: Option<Duration>,
    /// The first task that the answer names, where it may name some.
    pub task: Option<FirstTask>,
    /// What ran, where the call is to a job.
    pub ran: Option<Ran>,
    /// Whom it was sent to, where several providers may answer.
    pub attempts: Vec<Attempt>,
    /// Who of these was not asked, with why: public words.
    pub unasked: Vec<String>,
    /// The registered model, for metrics.
    model: Option<OfModel>,
    pub span: Option<Span>,
    /// Its trace, where somebody keeps that.
    trace: Option<u128>,
    /// Its line in the log, where it has one.
    line: Option<Box<Line>>,
    /// The approval that the call was made with, told what came of it.
    pub approval: Option<Box<str>>,
    /// What of the call is changed, where policies demand that.
    pub changed: Option<Tally>,
    /// What the call reserved, settled with its end.
    pub reservation: Option<Reservation>,
    /// The place in the ledger that was kept for the effect's record.
    room: Room,
    /// Handed to the ledger. An effect that is dropped without is recorded as [`Effect::of_dropped`].
    recorded: bool,
}

/// What an effect begins with, beside its permit.
#[derive(Clone, Copy, Debug)]
pub struct Begun<'a> {
    pub call: &'a Arc<str>,
    pub caller: &'a Caller,
    pub started: Moment,
    /// Length of the caller's message.
    pub bytes_in: usize,
    /// Its trace, where somebody keeps that.
    pub trace: Option<u128>,
}

impl Effect {
    /// The effect of a permitted call, which from here on is recorded whatever comes.
    /// `decision` is the index of its decision's record, `room` what is kept for its own.
    pub fn begin(
        gate: &Gate,
        begun: Begun<'_>,
        (decision, room, destination): (u64, Room, &Destination),
        protocol: Protocol,
        asked: &Asked,
    ) -> Box<Self> {
        let model = match destination {
            Destination::Provider(provider) => {
                let by = (operation_of(asked.method()), begun.caller.proven.principal.team());
                OfModel::of(provider, asked.name(), by)
            }
            Destination::Server(_) | Destination::Agent(_) => None,
        };
        Box::new(Self {
            shared: gate.shared.clone(),
            protocol,
            call: begun.call.clone(),
            decision,
            started: begun.started,
            course: Course::of(protocol, asked.method()),
            status: 0,
            bytes_in: begun.bytes_in as u64,
            bytes_out: 0,
            keeping: None,
            kept: None,
            sent: false,
            left: false,
            charged: None,
            token: None,
            detail: None,
            found: Observation::default(),
            instructions: Instructions::of(asked.method()).filter(|_| protocol == Protocol::Mcp),
            first_token: None,
            task: None,
            ran: None,
            attempts: Vec::new(),
            unasked: Vec::new(),
            model,
            span: None,
            trace: begun.trace,
            line: gate.access_log.of_allowed(
                &begun.caller.proven,
                destination,
                (asked.method(), asked.name()),
                begun.started.monotonic,
            ),
            approval: None,
            changed: None,
            reservation: None,
            room,
            recorded: false,
        })
    }

    /// These bytes of the answer go to the caller; `has_token`: there was something of a model's answer among those so far.
    pub fn passed(&mut self, data: &[u8], has_token: bool) {
        self.bytes_out = self.bytes_out.saturating_add(data.len() as u64);
        if let Some(keeping) = &mut self.keeping {
            keeping.push(data);
        }
        if has_token && self.first_token.is_none() {
            let now = self.shared.clock.monotonic();
            self.first_token = Some(now.saturating_duration_since(self.started.monotonic));
        }
    }

    /// How long each token took after the first, where the provider counted them; `duration` is that of the whole call.
    fn each_token(&self, duration: Duration) -> Option<Duration> {
        let after = self.found.usage.output?.checked_sub(1).filter(|after| *after > 0)?;
        duration.checked_sub(self.first_token?)?.checked_div(u32::try_from(after).ok()?)
    }

    /// The last so many bytes that were to go to the caller do not.
    pub fn taken_back(&mut self, count: usize) {
        self.bytes_out = self.bytes_out.saturating_sub(count as u64);
        if let Some(keeping) = &mut self.keeping {
            keeping.take_back(count);
        }
    }

    /// What was found in the answer.
    pub fn observed(&mut self, found: Observation) {
        self.found = found;
    }

    /// Who is asked from here on, of those that may answer: its tokens and prices count.
    pub fn asks(&mut self, candidate: &Candidate) {
        let model = candidate.provider.model(&candidate.model);
        self.model = self
            .model
            .take()
            .and_then(|of| OfModel::of(&candidate.provider, &candidate.model, (of.operation, &of.team)));
        if let Some(span) = &mut self.span {
            span.turned_to(&candidate.provider, &candidate.model);
        }
        if let Some(reservation) = &mut self.reservation {
            reservation.answered_by(model.and_then(|model| model.price));
        }
    }

    /// So much of the message was changed. Where nothing was demanded and nothing done, its record says nothing of it.
    pub fn is_sent_changed(&mut self, changed: Changed) {
        if self.changed.is_some() || changed != Changed::default() {
            self.changed.get_or_insert_default().request = changed;
        }
    }

    /// One of those that may answer is not asked.
    pub fn does_not_ask(&mut self, candidate: &Candidate, why: &str) {
        let unasked = format!("{} ({why})", candidate.provider.id.id);
        self.note(&format!("not asked: {unasked}"));
        self.unasked.push(unasked);
    }

    /// Which call it is of.
    pub fn call(&self) -> &Arc<str> {
        &self.call
    }

    /// Its places among the calls at once.
    pub fn under_way(&self) -> Option<Arc<UnderWay>> {
        self.reservation.as_ref().and_then(Reservation::under_way)
    }

    /// Index of the decision's record.
    pub const fn decision(&self) -> u64 {
        self.decision
    }

    /// Records that no full answer came, and why.
    ///
    /// # Errors
    /// As [`Effect::record`].
    pub async fn record_refused(mut self: Box<Self>, refusal: &Refusal) -> Result<(), Closed> {
        self.explain(refusal);
        self.record(Ending::Failed(refusal.code)).await
    }

    /// Records that the call is carried by a data plane, which asked by this `door` and does not tell what comes of it. What it may use at most is
    /// what it counts for.
    ///
    /// # Errors
    /// As [`Effect::record`].
    pub async fn record_not_seen(mut self: Box<Self>, door: &str) -> Result<(), Closed> {
        self.detail = Some(format!("not seen: a data plane carries the call, and asked by {door}"));
        self.found.unread = true;
        self.record(Ending::Unknown).await
    }

    /// Why no full answer came.
    pub fn explain(&mut self, refusal: &Refusal) {
        if let Some(detail) = &refusal.detail {
            let before = self.detail.take();
            self.note(detail);
            if let Some(before) = before {
                self.note(&before);
            }
        }
    }

    /// Something for who operates, behind what was noted before.
    pub fn note(&mut self, note: &str) {
        self.detail = Some(match self.detail.take() {
            None => short(note),
            Some(before) => short(&format!("{before}; {note}")),
        });
    }

    /// How a call ended whose upstream has said all: an HTTP error status and the protocol's own error are errors. It went well where
    /// the answer to what was asked came, and nothing was left unread, which may be an error. The body of a 202 is no answer (RFC
    /// 9110 section 15.3.3), so nothing of it has to be read where none is due.
    pub fn of_whole_answer(&self) -> Ending {
        match self.found {
            Observation { is_error: true, .. } => Ending::Error,
            _ if self.status >= 400 => Ending::Error,
            Observation { answered: false, .. } => Ending::Unknown,
            Observation { unread: true, .. } if self.status != 202 => Ending::Unknown,
            _ => Ending::Ok,
        }
    }

    /// How a call ended that nobody waits for any more: its caller left, or the gateway stopped.
    pub fn of_dropped(&self) -> Ending {
        if self.shared.world.is_cut() { Ending::Failed(Code::GatewayStopping) } else { Ending::Cancelled }
    }

    /// Records the effect. Consumes it: an effect is recorded once.
    ///
    /// # Errors
    /// [`Closed`] when the ledger does not take the record.
    pub async fn record(mut self: Box<Self>, ending: Ending) -> Result<(), Closed> {
        self.recorded = true;
        let now = self.shared.clock.now();
        let duration = now.monotonic.saturating_duration_since(self.started.monotonic);
        self.settle(ending);
        // Before the record is waited for: who waits may leave.
        self.ended(ending, now, duration);
        let room = std::mem::take(&mut self.room);
        let written = self.shared.ledger.end(room, &self.entry(ending, now, duration)).await;
        written.map(|_index| ())
    }

    fn entry(&self, ending: Ending, now: Moment, duration: Duration) -> EffectRecord<'_> {
        EffectRecord {
            attempts: self.attempts.clone(),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            changed: self.changed.as_ref().and_then(Tally::so_far),
            charged_spend: self.charged.map(|used| whole(used.spend)),
            charged_tokens: self.charged.map(|used| whole(used.tokens)),
            code: ending.code().map(Cow::Borrowed),
            decision: self.decision,
            detail: self.detail_and_found(),
            duration_us: micros(duration),
            id: Cow::Borrowed(&self.call),
            job: self.ran.as_ref().and_then(Ran::known).map(Cow::Owned),
            kept: self.kept.as_deref().map(Cow::Borrowed),
            kind: EffectKind,
            result: ending.as_str().into(),
            status: self.status,
            task: self.task.as_ref().and_then(|task| task.get()).map(|task| Cow::Borrowed(&**task)),
            time: Cow::Owned(rfc3339(now.wall)),
            time_per_output_token_us: self.each_token(duration).map(micros),
            time_to_first_token_us: self.first_token.map(micros),
            token: self.token.as_deref().map(Cow::Borrowed),
            tokens_cache_written: self.found.usage.cache_written,
            tokens_input: self.found.usage.input,
            tokens_input_cached: self.found.usage.cached,
            tokens_output: self.found.usage.output,
            tokens_reasoning: self.found.usage.reasoning,
            version: VERSION,
        }
    }

    /// Why no full answer came, and before it what guards, and the rules for instructions, found in what came.
    fn detail_and_found(&self) -> Option<Cow<'_, str>> {
        let rule = self.instructions.as_ref().and_then(Instructions::found);
        let found =
            [self.changed.as_ref().and_then(Tally::found), rule.map(|rule| format!("instructions: {rule}"))];
        let found = found.into_iter().flatten().reduce(|one, other| format!("{one}; {other}"));
        match (found, self.detail.as_deref()) {
            (None, detail) => detail.map(Cow::Borrowed),
            (Some(found), None) => Some(Cow::Owned(short(&found))),
            (Some(found), Some(detail)) => Some(Cow::Owned(short(&format!("{found}; {detail}")))),
        }
    }

    fn ended(&mut self, ending: Ending, now: Moment, duration: Duration) {
        self.measured(ending, now, duration);
        if let Some(line) = self.line.take() {
            line.write(access_log::Ended {
                call: &self.call,
                result: ending.as_str(),
                code: ending.code(),
                status: self.status,
                bytes_out: self.bytes_out,
                duration,
            });
        }
        if let Some(approval) = self.approval.take() {
            self.came(&approval, ending);
        }
        if let Some(mut span) = self.span.take() {
            span.used(self.found.usage, self.first_token);
            span.end(ending.as_str(), ending.code(), self.status, now.wall);
        }
    }
}

impl Effect {
    /// Has the approval know what came of its call, beside the answer. Where that fails, nothing is known of it, as after a fall.
    fn came(&self, approval: &str, ending: Ending) {
        let came = Came {
            approval: approval.to_owned(),
            call: self.call.to_string(),
            result: ending.as_str().to_owned(),
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(came_of(self.shared.clone(), came));
    }
}

/// Records what came of an approved call.
async fn came_of(shared: Arc<Shared>, came: Came) {
    let (actor, why) = (BY_ITSELF.to_owned(), "the approved call ended".to_owned());
    match shared.do_now(vec![Intent { actor, act: Act::Came(came), why }]).await {
        // Also where the others are told of it later.
        Ok(_) => {}
        // Nobody keeps the approval any more, and so nobody asks.
        Err(refusal) if refusal.code.is_of_standing() => {}
        Err(refusal) => {
            tracing::warn!(%refusal, "what came of an approved call is not with its approval");
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A detail as a record has it: so short, and of such characters, that it has its place in the room that is kept for the record.
fn short(detail: &str) -> String {
    const LONGEST: usize = 256;
    let plain = |c: char| match c {
        '"' => '\'',
        '\\' => '/',
        c if c.is_control() => ' ',
        c => c,
    };
    const CUT: &str = "…";
    let mut text: String = detail.chars().take(LONGEST + 1).map(plain).collect();
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST - CUT.len()));
        // Half a word is none.
        let end = text.rfind(' ').filter(|end| *end > LONGEST / 2);
        text.truncate(end.unwrap_or(text.len()));
        text.push_str(CUT);
    }
    text
}

impl Drop for Effect {
    /// Nobody waits any more, before there was an answer to pass on. The call may have had its effect all the same, so that is recorded;
    /// polled once, the ledger keeps the record even if nobody waits for it.
    fn drop(&mut self) {
        if self.recorded {
            return;
        }
        let now = self.shared.clock.now();
        let duration = now.monotonic.saturating_duration_since(self.started.monotonic);
        let ending = self.of_dropped();
        self.settle(ending);
        let room = std::mem::take(&mut self.room);
        let entry = self.entry(ending, now, duration);
        let submitted =
            pin!(self.shared.ledger.end(room, &entry)).poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(Err(error)) = submitted {
            tracing::error!(call = %self.call, %error, "a cancelled call could not be recorded");
        }
        self.ended(ending, now, duration);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_detail_ends_with_a_whole_word_and_says_that_it_goes_on() {
        assert_eq!(short("not asked: \"a\\b\""), "not asked: 'a/b'");
        assert_eq!(short(&"x".repeat(256)).len(), 256);
        let cut = short(&"sixteen letters ".repeat(17));
        assert!(cut.len() <= 256 && cut.ends_with(" sixteen…"), "{cut}");
        for long in ["x".repeat(300), "ö".repeat(200), format!("a {}", "x".repeat(300))] {
            let cut = short(&long);
            assert!((250..=256).contains(&cut.len()) && cut.ends_with('…'), "{cut}");
        }
    }
}
