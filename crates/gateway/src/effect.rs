//! What came of a call: counted while the answer passes, recorded before its end is passed on.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use tokio::time::Sleep;
use vidimus_core::record::{EffectKind, EffectRecord, Record};
use vidimus_core::refusal::Code;
use vidimus_ledger::Closed;

use crate::gate::{Shared, rfc3339};
use crate::protocol::added_usage::UsageRemover;
use crate::protocol::usage::{EventReader, Usage, Watch};
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
}

impl Effect {
    /// Records the effect. Consumes it: an effect is recorded once.
    ///
    /// # Errors
    /// [`Closed`] when the ledger does not take the record.
    pub async fn record(self, ending: Ending) -> Result<(), Closed> {
        let duration = self.started.elapsed();
        let record = Record::Effect(EffectRecord {
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            code: match ending {
                Ending::Failed(code) => Some(code.as_str()),
                _ => None,
            },
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
        });
        let written = self.shared.ledger.record(&self.call, &record).await;
        self.shared.meter.ended(self.protocol, ending.as_str(), duration);
        if let Some((provider, model)) = &self.model {
            self.shared.meter.tokens(provider, model, self.usage);
        }
        if let Some(span) = self.span {
            span.end(ending.as_str(), self.status);
        }
        written.map(|_receipt| ())
    }
}

type Recording = Pin<Box<dyn Future<Output = Result<(), Closed>> + Send>>;

/// An answer on its way to the caller, chunk by chunk as it comes.
#[derive(Debug)]
pub struct Passing {
    upstream: Incoming,
    /// Taken when the end is reached, or on drop.
    effect: Option<Effect>,
    /// Reads what the record needs from a stream of events.
    events: Option<EventReader>,
    /// Takes out the usage that only the gateway asked for.
    remover: Option<UsageRemover>,
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
    pub fn new(upstream: Incoming, effect: Effect, watch: Option<Watch>) -> Self {
        effect.shared.meter.streams().inc();
        let idle = Box::pin(tokio::time::sleep(effect.shared.limits.idle_stream));
        Self {
            upstream,
            effect: Some(effect),
            events: watch.map(EventReader::new),
            remover: None,
            idle,
            closing: Closing::No,
        }
    }

    /// The same, less the event of usage that the caller did not ask for.
    #[must_use]
    pub fn without_usage(mut self) -> Self {
        self.remover = Some(UsageRemover::new());
        self
    }

    /// What of the upstream's next bytes goes to the caller now.
    fn passed(&mut self, data: Bytes) -> Bytes {
        let Some(effect) = &mut self.effect else { return data };
        if let Some(events) = &mut self.events {
            events.push(&data);
        }
        let deadline = tokio::time::Instant::now() + effect.shared.limits.idle_stream;
        self.idle.as_mut().reset(deadline);
        let data = match &mut self.remover {
            Some(remover) => remover.push(&data),
            None => data,
        };
        effect.bytes_out += data.len() as u64;
        data
    }

    /// What was held back of an answer that has ended.
    fn rest(&mut self) -> Option<Bytes> {
        let rest = self.remover.take()?.finish();
        if let Some(effect) = &mut self.effect {
            effect.bytes_out += rest.len() as u64;
        }
        (!rest.is_empty()).then_some(rest)
    }

    /// Begins to record the end; the answer's end is passed on when the record is durable.
    fn close(&mut self, mut ending: Ending) {
        let Some(mut effect) = self.effect.take() else { return };
        effect.shared.meter.streams().dec();
        match self.events.as_ref().map(EventReader::found) {
            Some(Watch::Usage(usage)) => effect.usage = usage,
            Some(Watch::Rpc { error: true }) if ending == Ending::Ok => ending = Ending::Error,
            _ => {}
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
            match Pin::new(&mut this.upstream).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers are not part of any of the three protocols.
                    let Ok(data) = frame.into_data() else { continue };
                    let data = this.passed(data);
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Poll::Ready(Some(Err(_))) => this.close(Ending::Failed(Code::UpstreamInvalid)),
                Poll::Ready(None) => {
                    let error = this.effect.as_ref().is_some_and(|effect| effect.status >= 400);
                    let rest = this.rest();
                    this.close(if error { Ending::Error } else { Ending::Ok });
                    if let Some(rest) = rest {
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
