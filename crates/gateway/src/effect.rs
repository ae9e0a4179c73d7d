//! What came of a call: counted while the answer passes, recorded before its end is passed on.

use std::borrow::Cow;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tokio::time::Sleep;
use vidimus_core::record::{EffectKind, EffectRecord, Record};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_ledger::Closed;

use crate::gate::{Shared, rfc3339};
use crate::protocol::events::Events;
use crate::protocol::usage::{Reader, Usage, Watch};
use crate::route::Protocol;
use crate::telemetry::Span;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Ok,
    /// The protocol's own error: an HTTP error status, a JSON-RPC error, a tool that says `isError`.
    Error,
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
    pub protocol: Protocol,
    pub call: Arc<str>,
    /// Index of the decision's record.
    pub decision: u64,
    pub started: Instant,
    pub status: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// `jti` of the minted token.
    pub token: Option<String>,
    pub usage: Usage,
    /// Registered provider and model, for the token metric.
    pub model: Option<(Arc<str>, Arc<str>)>,
    pub span: Option<Span>,
    /// Handed to the ledger. An effect that is dropped without is recorded as cancelled.
    pub recorded: bool,
}

impl Effect {
    /// Records the effect. Consumes it: an effect is recorded once.
    ///
    /// # Errors
    /// [`Closed`] when the ledger does not take the record.
    pub async fn record(mut self, ending: Ending) -> Result<(), Closed> {
        self.recorded = true;
        let duration = self.started.elapsed();
        let written = self.shared.ledger.record(&self.call, &self.entry(ending, duration)).await;
        self.ended(ending, duration);
        written.map(|_receipt| ())
    }

    fn entry(&self, ending: Ending, duration: Duration) -> Record<'_> {
        Record::Effect(EffectRecord {
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            code: ending.code(),
            decision: self.decision,
            duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            id: &self.call,
            kind: EffectKind,
            result: ending.as_str(),
            status: self.status,
            time: Cow::Owned(rfc3339(std::time::SystemTime::now())),
            token: self.token.as_deref(),
            tokens_input: self.usage.input,
            tokens_output: self.usage.output,
            version: 1,
        })
    }

    fn ended(&mut self, ending: Ending, duration: Duration) {
        self.shared.meter.ended(self.protocol, ending.as_str(), duration);
        if let Some((provider, model)) = &self.model {
            self.shared.meter.tokens(provider, model, self.usage);
        }
        if let Some(mut span) = self.span.take() {
            span.used(self.usage);
            span.end(ending.as_str(), ending.code(), self.status);
        }
    }
}

impl Drop for Effect {
    /// The caller left before there was an answer to pass on. The call may have had its effect all the same, so that is recorded;
    /// polled once, the ledger keeps the record even if nobody waits for it.
    fn drop(&mut self) {
        if self.recorded {
            return;
        }
        let duration = self.started.elapsed();
        let entry = self.entry(Ending::Cancelled, duration);
        let submitted =
            pin!(self.shared.ledger.record(&self.call, &entry)).poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(Err(error)) = submitted {
            tracing::error!(call = %self.call, %error, "a cancelled call could not be recorded");
        }
        self.ended(Ending::Cancelled, duration);
    }
}

type Recording = Pin<Box<dyn Future<Output = Result<(), Closed>> + Send>>;

/// An answer on its way to the caller, chunk by chunk as it comes.
#[derive(Debug)]
pub struct Passing {
    upstream: Incoming,
    /// Taken when the end is reached, or on drop.
    effect: Option<Effect>,
    /// What of it was read before it was clear that it is passed on as it comes.
    begun: Option<Bytes>,
    /// Reads what the record needs.
    reader: Reader,
    /// What happens to its events on their way.
    events: Option<Events>,
    idle: Pin<Box<Sleep>>,
    closing: Closing,
}

enum Closing {
    No,
    Recording(Recording, Option<Code>),
    Done,
}

impl std::fmt::Debug for Closing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::No => "No",
            Self::Recording(..) => "Recording",
            Self::Done => "Done",
        })
    }
}

impl Passing {
    /// `begun` is what was read of `upstream` already.
    pub fn new(
        begun: Bytes,
        upstream: Incoming,
        effect: Effect,
        reader: Reader,
        events: Option<Events>,
    ) -> Self {
        effect.shared.meter.streams().inc();
        let idle = Box::pin(tokio::time::sleep(effect.shared.limits.idle_stream));
        let begun = (!begun.is_empty()).then_some(begun);
        Self { upstream, effect: Some(effect), begun, reader, events, idle, closing: Closing::No }
    }

    /// What of the upstream's next bytes goes to the caller now.
    fn passed(&mut self, data: Bytes) -> Result<Bytes, Refusal> {
        let Some(effect) = &mut self.effect else { return Ok(data) };
        self.reader.push(&data);
        let deadline = tokio::time::Instant::now() + effect.shared.limits.idle_stream;
        self.idle.as_mut().reset(deadline);
        let data = match &mut self.events {
            Some(events) => events.push(&data)?,
            None => data,
        };
        effect.bytes_out += data.len() as u64;
        Ok(data)
    }

    /// What was held back of an answer that has ended.
    fn rest(&mut self) -> Result<Option<Bytes>, Refusal> {
        let Some(mut events) = self.events.take() else { return Ok(None) };
        let rest = events.finish()?;
        if let Some(effect) = &mut self.effect {
            effect.bytes_out += rest.len() as u64;
        }
        Ok((!rest.is_empty()).then_some(rest))
    }

    /// The upstream has said all; what was held back goes on before the end.
    fn ended(&mut self) -> Option<Bytes> {
        let error = self.effect.as_ref().is_some_and(|effect| effect.status >= 400);
        match self.rest() {
            Ok(rest) => {
                self.close(if error { Ending::Error } else { Ending::Ok });
                rest
            }
            Err(refusal) => {
                self.close(Ending::Failed(refusal.code));
                None
            }
        }
    }

    /// The next of the upstream's bytes, the ones that were read before first.
    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        match self.begun.take() {
            Some(begun) => Poll::Ready(Some(Ok(Frame::data(begun)))),
            None => Pin::new(&mut self.upstream).poll_frame(cx),
        }
    }

    /// Begins to record the end; the answer's end is passed on when the record is durable.
    fn close(&mut self, mut ending: Ending) {
        let Some(mut effect) = self.effect.take() else { return };
        effect.shared.meter.streams().dec();
        match self.reader.found() {
            Watch::Usage(usage) => effect.usage = usage,
            Watch::Rpc { error: true } if ending == Ending::Ok => ending = Ending::Error,
            Watch::Rpc { .. } => {}
        }
        let failed = match ending {
            Ending::Failed(code) => Some(code),
            _ => None,
        };
        self.closing = Closing::Recording(Box::pin(effect.record(ending)), failed);
    }
}

impl Body for Passing {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        loop {
            match &mut this.closing {
                Closing::Recording(recording, failed) => {
                    let recorded = ready!(recording.as_mut().poll(cx));
                    let failed = failed.take();
                    this.closing = Closing::Done;
                    // An aborted body is how HTTP says that this is not the whole answer.
                    return Poll::Ready(match (recorded, failed) {
                        (Ok(()), None) => None,
                        (Ok(()), Some(code)) => Some(Err(std::io::Error::other(code.as_str()))),
                        (Err(_), _) => Some(Err(std::io::Error::other(Code::LedgerClosed.as_str()))),
                    });
                }
                Closing::Done => return Poll::Ready(None),
                Closing::No => {}
            }
            match this.poll_upstream(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers are not part of any of the three protocols.
                    let Ok(data) = frame.into_data() else { continue };
                    match this.passed(data) {
                        Ok(data) if data.is_empty() => {}
                        Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                        Err(refusal) => this.close(Ending::Failed(refusal.code)),
                    }
                }
                Poll::Ready(Some(Err(_))) => this.close(Ending::Failed(Code::UpstreamInvalid)),
                Poll::Ready(None) => {
                    if let Some(rest) = this.ended() {
                        return Poll::Ready(Some(Ok(Frame::data(rest))));
                    }
                }
                Poll::Pending => {
                    ready!(this.idle.as_mut().poll(cx));
                    this.close(Ending::Failed(Code::UpstreamTimeout));
                }
            }
        }
    }
}

impl Drop for Passing {
    /// The caller left: dropping `upstream` cancels the call there, and the record says so.
    fn drop(&mut self) {
        if matches!(self.closing, Closing::No) {
            self.close(Ending::Cancelled);
        }
        if let Closing::Recording(recording, _) = std::mem::replace(&mut self.closing, Closing::Done)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(recording);
        }
    }
}

#[cfg(test)]
mod tests {
    use vidimus_identity::{Authenticator, Mint};
    use vidimus_ledger::Ledger;

    use super::*;

    fn shared(directory: &std::path::Path) -> Shared {
        let mint = Arc::new(Mint::open(directory, "https://gateway.example").expect("a mint"));
        let authenticator = Authenticator::new(vidimus_identity::Config {
            audiences: vec!["vidimus".into()],
            mint: mint.clone(),
            local: None,
            service_account_issuer: None,
            allow_insecure_issuers: false,
            issuer_roots: None,
            limits: vidimus_identity::Limits::default(),
        });
        let ledger = vidimus_ledger::Config { dir: directory.join("ledger"), ..Default::default() };
        Shared {
            world: Default::default(),
            authenticator: authenticator.expect("an authenticator"),
            mint,
            ledger: Ledger::open(ledger).expect("a ledger"),
            sessions: crate::session::SessionSeal::new(&[7; crate::session::KEY_LENGTH]).expect("a seal"),
            lender: Default::default(),
            reach: crate::reach::Reach::new(8, Duration::from_secs(1)),
            bodies: crate::bodies::Bodies::new(1024),
            flood: crate::flood::Flood::new(&Default::default()),
            meter: Default::default(),
            telemetry: Default::default(),
            limits: Default::default(),
            public_url: "https://gateway.example".to_owned(),
            allowed_origins: Vec::new(),
        }
    }

    fn effect(shared: &Arc<Shared>) -> Effect {
        Effect {
            shared: shared.clone(),
            protocol: Protocol::Mcp,
            call: "a-call".into(),
            decision: 0,
            started: Instant::now(),
            status: 0,
            bytes_in: 2,
            bytes_out: 0,
            token: None,
            usage: Usage::default(),
            model: None,
            span: None,
            recorded: false,
        }
    }

    #[tokio::test]
    async fn an_effect_is_recorded_once_and_as_cancelled_when_it_is_dropped() {
        let directory = tempfile::tempdir().expect("a directory");
        let shared = Arc::new(shared(directory.path()));
        drop(effect(&shared));
        assert_eq!(shared.ledger.size(), 1);
        effect(&shared).record(Ending::Ok).await.expect("recorded");
        assert_eq!(shared.ledger.size(), 2);
        drop(effect(&shared).record(Ending::Ok));
        assert_eq!(shared.ledger.size(), 3, "a recording that never began");
        shared.ledger.close().await;
        let kept = vidimus_ledger::show(&directory.path().join("ledger"), "a-call").expect("the records");
        let ends: Vec<bool> =
            kept.iter().map(|kept| String::from_utf8_lossy(&kept.record).contains("cancelled")).collect();
        assert_eq!(ends, [true, false, true]);
    }
}
