//! One stream of one data plane, from the first message to its end: what it says goes into [`Subscriptions`], what comes out is sent.
//!
//! It is bounded: in the size of a message, in what is on its way, in how long it may take to begin and to answer. It ends with the token that
//! began it, and the data plane comes again with a new one, and with what it has.

use std::convert::Infallible;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use prost::Message as _;
use tokio::sync::mpsc::Sender;
use tokio::time::{Duration, Instant, sleep_until, timeout};
use vidimus_core::refusal::{Code, Refusal};

use super::Xds;
use super::compile::{Compiled, compile};
use super::planes::Place;
use super::proto::{DeltaDiscoveryRequest, MOST_MESSAGE};
use super::subscription::Subscriptions;
use crate::reply;

/// What goes out: messages, and how it ended.
pub(super) type Out = Sender<Result<Frame<Bytes>, Infallible>>;

/// A frame of gRPC: whether it is compressed, and how long it is.
const HEAD: usize = 5;
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// `DEADLINE_EXCEEDED`: agentgateway connects again at once, and says nothing of it.
const AGAIN: u16 = 4;
/// `INVALID_ARGUMENT`, and `PERMISSION_DENIED`.
const INVALID: u16 = 3;
const DENIED: u16 = 7;

/// Why a stream ends.
#[derive(Debug)]
pub(super) enum End {
    /// The data plane ended it, or is not there any more.
    Left,
    /// What began it has ended.
    TokenEnded,
    Refused(Refusal),
}

impl End {
    fn status(&self) -> (u16, String) {
        match self {
            Self::Left => (0, String::new()),
            Self::TokenEnded => {
                (AGAIN, "the token of this stream has ended; come again with a new one".to_owned())
            }
            Self::Refused(refusal) => {
                let status = match refusal.code {
                    Code::PrincipalUnknown => DENIED,
                    Code::RequestTooSlow => AGAIN,
                    _ => INVALID,
                };
                (status, reply::sentence(refusal))
            }
        }
    }
}

/// Serves a stream until it ends, and says how.
pub(super) async fn run<B>(xds: Xds, place: Place, ends: Instant, body: B, out: Out)
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let gateway = place.gateway().clone();
    let mut stream = Stream::new(xds, place, Messages { body, held: BytesMut::new() }, out);
    let end = tokio::select! {
        end = stream.serve() => end,
        () = sleep_until(ends) => End::TokenEnded,
    };
    match &end {
        End::Refused(refusal) => {
            tracing::warn!(%gateway, code = refusal.code.as_str(), reason = %refusal.message, "a data plane's stream is refused");
        }
        End::Left | End::TokenEnded => tracing::info!(%gateway, ?end, "a data plane's stream ended"),
    }
    let (status, message) = end.status();
    let mut trailers = HeaderMap::new();
    trailers.insert(GRPC_STATUS, HeaderValue::from(status));
    if let Ok(message) = HeaderValue::from_str(&message) {
        trailers.insert(GRPC_MESSAGE, message);
    }
    // Whoever reads nothing hears nothing either.
    let _unheard = timeout(Duration::from_secs(1), stream.out.send(Ok(Frame::trailers(trailers)))).await;
}

struct Stream<B> {
    xds: Xds,
    place: Place,
    messages: Messages<B>,
    out: Out,
    state: Subscriptions,
    wanted: Option<Compiled>,
    begun: bool,
    /// Until when it has to say something.
    until: Option<Instant>,
}

impl<B> Stream<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    fn new(xds: Xds, place: Place, messages: Messages<B>, out: Out) -> Self {
        let until = Some(Instant::now() + xds.0.patience.first);
        let state = Subscriptions::default();
        Self { xds, place, messages, out, state, wanted: None, begun: false, until }
    }

    async fn serve(&mut self) -> End {
        match self.served().await {
            Ok(()) => End::Left,
            Err(refusal) => End::Refused(refusal),
        }
    }

    async fn served(&mut self) -> Result<(), Refusal> {
        let mut snapshots = self.xds.0.snapshots.clone();
        snapshots.mark_changed();
        // What is gathered is looked at then.
        let mut due: Option<Instant> = None;
        let gather = self.xds.0.patience.gather;
        loop {
            if !self.send().await? {
                return Ok(());
            }
            let (late, is_awaited) = moment(self.until);
            let (gathered, is_gathering) = moment(due);
            tokio::select! {
                message = self.messages.next() => match message? {
                    Some(message) => self.take(message)?,
                    None => return Ok(()),
                },
                changed = snapshots.changed(), if !is_gathering => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    // The first is not waited for.
                    let pause = if self.wanted.is_some() { gather } else { Duration::ZERO };
                    due = Some(Instant::now() + pause);
                }
                () = sleep_until(gathered), if is_gathering => {
                    due = None;
                    let snapshot = snapshots.borrow_and_update().clone();
                    // What is not whole takes nothing away from what is there.
                    if let Some(snapshot) = snapshot {
                        let compiled = compile(&snapshot, self.place.gateway(), &self.xds.0.settings);
                        self.place.wants(&compiled);
                        self.wanted = Some(compiled);
                    }
                }
                () = sleep_until(late), if is_awaited => {
                    let message = "the data plane did not say what it makes of what it was sent";
                    return Err(Refusal::new(Code::RequestTooSlow, message));
                }
                () = self.out.closed() => return Ok(()),
            }
        }
    }

    fn take(&mut self, message: Bytes) -> Result<(), Refusal> {
        let request = DeltaDiscoveryRequest::read(message).ok_or_else(|| {
            Refusal::new(
                Code::MessageInvalid,
                "it is no DeltaDiscoveryRequest, or has more than 65,536 fields",
            )
        })?;
        if !self.begun {
            self.check_role(&request)?;
            (self.begun, self.until) = (true, None);
        }
        if let Some(answered) = self.state.take(&request)? {
            self.place.answered(&answered, self.state.resources());
            let meter = self.xds.0.shared.meter.planes();
            for complaint in &answered.complaints {
                meter.count(if complaint.is_error { "refused" } else { "warned" }, 1);
            }
        }
        if !self.state.is_waiting() {
            self.until = None;
        }
        Ok(())
    }

    /// That it is the gateway whose token it has: whichever it says it is, is what it would be given.
    fn check_role(&self, request: &DeltaDiscoveryRequest) -> Result<(), Refusal> {
        let expected = self.place.gateway().role();
        match request.role() {
            Some(role) if role == expected => Ok(()),
            _ => {
                let message = format!("metadata.role of the node is not {expected}, whose token this is");
                let refusal = Refusal::new(Code::PrincipalUnknown, message);
                Err(refusal.with_next(
                    "Run the gateway as the ServiceAccount of its own name: NAMESPACE and GATEWAY name it.",
                ))
            }
        }
    }

    /// Sends what there is to be sent; whether anybody is there to read it.
    async fn send(&mut self) -> Result<bool, Refusal> {
        let Some(wanted) = self.wanted.as_ref().filter(|_| self.begun) else { return Ok(true) };
        let patience = self.xds.0.patience;
        while let Some(response) = self.state.next(wanted) {
            let meter = self.xds.0.shared.meter.planes();
            meter.count("sent", response.resources.len() as u64);
            meter.count("removed", response.removed_resources.len() as u64);
            let frame = Frame::data(framed(&response.encode_to_vec()));
            match timeout(patience.answer, self.out.send(Ok(frame))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ok(false),
                Err(_) => {
                    let message = "the data plane did not read what it was sent";
                    return Err(Refusal::new(Code::RequestTooSlow, message));
                }
            }
            self.until.get_or_insert(Instant::now() + patience.answer);
        }
        Ok(true)
    }
}

/// A moment to sleep until, and whether it is meant.
fn moment(at: Option<Instant>) -> (Instant, bool) {
    (at.unwrap_or_else(Instant::now), at.is_some())
}

fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0_u8][..], &length[..], message].concat().into()
}

/// The messages of a body of gRPC.
struct Messages<B> {
    body: B,
    held: BytesMut,
}

impl<B> Messages<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    /// The next one; nothing where the body has ended. Dropped before it is there, it loses nothing.
    ///
    /// # Errors
    /// `message_invalid`, `body_too_large`.
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            if let Some(message) = self.taken()? {
                return Ok(Some(message));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.held.extend_from_slice(&data);
                    }
                }
                // Whoever left in the middle of a message has left.
                None => return Ok(None),
                Some(Err(error)) => {
                    tracing::debug!(%error, "a data plane's stream broke");
                    return Ok(None);
                }
            }
        }
    }

    fn taken(&mut self) -> Result<Option<Bytes>, Refusal> {
        let Some(head) = self.held.first_chunk::<HEAD>() else { return Ok(None) };
        let [compressed, length @ ..] = *head;
        if compressed != 0 {
            return Err(Refusal::new(Code::MessageInvalid, "a message that is compressed is not read"));
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > MOST_MESSAGE {
            return Err(Refusal::new(Code::BodyTooLarge, "a message of a data plane has 4 MiB at most"));
        }
        if self.held.len() < HEAD + length {
            return Ok(None);
        }
        self.held.advance(HEAD);
        Ok(Some(self.held.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    async fn messages(bytes: &[u8]) -> (Vec<Bytes>, Option<Code>) {
        let body = Full::new(Bytes::copy_from_slice(bytes));
        let mut messages = Messages { body, held: BytesMut::new() };
        let mut all = Vec::new();
        loop {
            match messages.next().await {
                Ok(Some(message)) => all.push(message),
                Ok(None) => return (all, None),
                Err(refusal) => return (all, Some(refusal.code)),
            }
        }
    }

    #[tokio::test]
    async fn messages_are_frames_of_grpc_of_a_bounded_size() {
        let two = [framed(b"abc"), framed(b"")].concat();
        assert_eq!(messages(&two).await, (vec![Bytes::from_static(b"abc"), Bytes::new()], None));
        assert_eq!(messages(&two[..6]).await, (vec![], None), "half of one is none");
        assert_eq!(messages(b"\x01\0\0\0\x01a").await.1, Some(Code::MessageInvalid));
        // What says that it is larger is not waited for.
        let large = u32::try_from(MOST_MESSAGE + 1).unwrap().to_be_bytes();
        assert_eq!(messages(&[&[0][..], &large[..]].concat()).await.1, Some(Code::BodyTooLarge));
    }
}
