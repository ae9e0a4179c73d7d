//! The spans that agents send of themselves: OTLP over HTTP (protobuf or JSON) and over gRPC, at the addresses where calls come in.
//!
//! It is no call: nothing goes anywhere, and no policy decides it. Who sends is authenticated as who calls, and that is all that it takes: a
//! principal that is registered may say what it did, and is kept apart from what others say ([`vidimus_traces`], ADR 53). What is divided between
//! callers is divided between those who send too, so that no call waits for a span.

mod answer;
mod json;
mod wire;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use tokio::sync::Semaphore;
use vidimus_core::act::Subject;
use vidimus_core::caller::{Proven, User};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::Principal;
use vidimus_traces::{Beside, Dropped, Limits, Sent, Store, Taken, Whose, cut_resource};

use crate::accounts::Holder;
use crate::fair_share::Pool;
use crate::gate::{Gate, Shared, millis};
use crate::handle::{Peer, authenticate};
use crate::listener::page::Page;
use crate::meter::SpanMeter;
use crate::reply::ReplyBody;
use crate::request_context::RequestContext;
pub(crate) use answer::{grpc, refused};
pub(crate) use wire::{Wire, asked, is_address, unframed};

/// The longest request, also once it is decoded, in bytes.
pub(crate) const MOST_BODY: usize = 4 * 1024 * 1024;
/// What all requests together may have that are being read and written, in bytes. One sender alone has at most a half.
const ROOM: usize = 160 * 1024 * 1024;
/// What the shortest of them counts as.
const LEAST: usize = 64 * 1024;
/// How many requests are decoded and written at once: one becomes many times the bytes that it came with, and the disk is one.
const MOST_AT_ONCE: usize = 2;

/// Where spans are kept, and how many may be on their way there.
#[derive(Clone, Debug)]
pub struct Spans(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Mutex<Store>,
    room: Pool,
    turns: Arc<Semaphore>,
}

/// The room of one request. It is given back when this is dropped.
struct Room {
    spans: Spans,
    holder: Arc<Holder>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.spans.0.room.give_back(&self.holder.spans, self.bytes);
    }
}

impl Spans {
    /// Keeps spans in this directory.
    ///
    /// # Errors
    /// Where it cannot be made or listed.
    pub fn open(dir: &Path, limits: Limits) -> io::Result<Self> {
        let store = Mutex::new(Store::open(dir, limits)?);
        let turns = Arc::new(Semaphore::new(MOST_AT_ONCE));
        Ok(Self(Arc::new(Inner { store, room: Pool::new(ROOM), turns })))
    }

    /// Between two requests it is whole, whatever panicked.
    fn store(&self) -> MutexGuard<'_, Store> {
        self.0.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn room(&self, holder: &Arc<Holder>, bytes: usize) -> Result<Room, Refusal> {
        let mut room = Room { spans: self.clone(), holder: holder.clone(), bytes: 0 };
        room.grow(bytes)?;
        Ok(room)
    }

    /// Does what is not for a thread that has calls: reading some megabytes and waiting for a disk. It waits for its turn.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let fault = |error: &dyn ToString| {
            Refusal::new(Code::Internal, "the spans could not be kept").with_detail(error.to_string())
        };
        let turn = self.0.turns.clone().acquire_owned().await.map_err(|error| fault(&error))?;
        let done = tokio::task::spawn_blocking(move || {
            // It goes on where its sender leaves, and so does its turn.
            let _turn = turn;
            work()
        });
        done.await.map_err(|error| fault(&error))
    }
}

impl Room {
    /// Takes so much more.
    ///
    /// # Errors
    /// `overloaded`: nothing is taken then.
    fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.spans.0.room.take(&self.holder.spans, bytes).map_err(|_| {
            Refusal::new(Code::Overloaded, "as many spans are on their way to the disk as is fair")
        })?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Shared {
    /// Drops the spans whose time is over. It looks at files, and may wait for one.
    pub fn prune_spans(&self) {
        let Some(spans) = &self.spans else { return };
        let mut store = spans.store();
        let dropped = store.prune(self.clock.now().wall);
        self.meter.spans().dropped(dropped, store.bytes());
    }
}

/// Takes the spans of one request, and answers it in the words of its protocol, whatever comes.
pub(crate) async fn receive(
    gate: &Gate,
    (spans, wire): (&Spans, Wire),
    request: Request<Incoming>,
    peer: &Peer,
) -> Response<ReplyBody> {
    let (parts, body) = request.into_parts();
    let mut context = RequestContext::begin(gate, &parts, peer);
    // Whoever has its spans sent to itself would have one more for each.
    context.span = None;
    match take(gate, (spans, wire), &mut context, &parts, body).await {
        Ok(taken) => answer::taken(wire, &taken),
        Err(refusal) => {
            let refusal = in_own_words(refusal);
            let response = context.refuse(gate, &parts, refusal.clone()).await;
            refused(wire, response, &refusal)
        }
    }
}

/// What to do where a request is too large: the limit is not that of calls.
fn in_own_words(refusal: Refusal) -> Refusal {
    match refusal.code {
        Code::BodyTooLarge => refusal.with_next(
            "Send fewer spans in one request (a collector: `send_batch_max_size` of its batch processor): it may have 4 MiB, also once it is decoded, 16,384 spans, \
             and 262,144 spans, events and attributes; as JSON 65,536 objects.",
        ),
        _ => refusal,
    }
}

async fn take(
    gate: &Gate,
    (spans, wire): (&Spans, Wire),
    context: &mut RequestContext,
    parts: &Parts,
    body: Incoming,
) -> Result<Taken, Refusal> {
    if parts.method != Method::POST {
        return Err(Refusal::method_not_allowed("OTLP", "POST"));
    }
    if Page::of(gate, parts) == Page::Foreign {
        return Err(Refusal::new(Code::OriginRefused, "requests with this Origin are refused"));
    }
    let coding = wire.coding(&parts.headers)?;
    // Before the body is read: nobody unknown may make the gateway work.
    let (world, trust) = (gate.snapshot(), gate.authenticator.trust_generation());
    let (mut caller, _) = authenticate(gate, &world, context, None, parts).await?;
    let (holder, _place) = gate.accounts.entered(caller.proven.principal.entity())?;
    let (bytes, _lease) = gate.bodies.read(holder.clone(), MOST_BODY, body).await?;
    // It may have been long on its way, and who sends it is to be known when it is kept.
    let now = gate.clock.now().wall;
    let has_ended = caller.proven.expires.is_some_and(|end| end <= millis(now));
    if has_ended || gate.authenticator.trust_generation() != trust || !gate.world.is(&world) {
        context.unproven();
        (caller, _) = authenticate(gate, &gate.snapshot(), context, None, parts).await?;
    }
    let whose = whose(gate, &caller.proven)?;
    let room = match coding {
        // What it becomes is not known before.
        wire::Coding::Gzip => MOST_BODY,
        wire::Coding::Identity => bytes.len().max(LEAST),
    };
    let room = spans.room(&holder, room)?;
    let shared = gate.shared.clone();
    let kept = spans.aside(move || {
        let kept = keep(room, &whose, (wire, coding), &bytes, (now, shared.meter.spans()));
        shared.meter.spans().taken(kept.as_ref().ok());
        kept
    });
    let (taken, ..) = kept.await??;
    Ok(taken)
}

/// Whose spans they are.
///
/// # Errors
/// `forbidden_by_policy` where the principal, its identity or the person is taken out of service: whatever it says is not waited for.
fn whose(gate: &Gate, proven: &Proven) -> Result<Whose, Refusal> {
    let by_record = match &proven.principal {
        Principal::Agent(agent) => agent.quarantined,
        Principal::Service(service) => service.quarantined,
    };
    let user = proven.user.as_ref().map(User::id);
    let (standing, person) = (gate.acts.standing(), user.as_deref().map(|id| Subject::User(id.into())));
    let by_act = |subject: &Subject| standing.quarantined_by(subject).next().is_some();
    if by_record
        || by_act(&Subject::Object(proven.principal.entity().clone()))
        || by_act(&Subject::Identity(proven.identity.clone()))
        || proven.instance.as_ref().is_some_and(|copy| by_act(&Subject::Instance(copy.id.clone())))
        || person.as_ref().is_some_and(by_act)
    {
        return Err(Refusal::new(
            Code::ForbiddenByPolicy,
            "the sender is quarantined, and its spans are not kept",
        ));
    }
    Ok(Whose {
        principal: proven.principal.entity().to_string(),
        identity: proven.identity.to_string(),
        user,
    })
}

/// What became of a request, what went for it, and how much there is then.
type Kept = (Taken, Dropped, u64);

fn keep(
    mut room: Room,
    whose: &Whose,
    (wire, coding): (Wire, wire::Coding),
    bytes: &Bytes,
    (now, meter): (SystemTime, &SpanMeter),
) -> Result<Kept, Refusal> {
    let message = wire.message(coding, bytes)?;
    // What is refused for good is dropped by who sent it.
    let counted = |_: &Refusal| meter.count("refused", wire.spans(&message));
    // Before it is made: what is two bytes here is hundreds then.
    room.grow(wire.weight(&message).inspect_err(counted)?)?;
    let mut request = wire.request(&message).inspect_err(counted)?;
    // All spans of a resource have it beside them: too much of it is no reason to keep none of them.
    let of_resources = request.resource_spans.iter_mut().map(|of| of.resource.as_mut());
    let cut: Vec<bool> =
        of_resources.map(|it| it.is_some_and(|resource| cut_resource(&mut resource.attributes))).collect();
    let spans = room.spans.clone();
    let mut store = spans.store();
    let (taken, dropped) = store.append(whose, flat(&request, &cut), now).map_err(|error| {
        if error.kind() == io::ErrorKind::StorageFull {
            meter.count("no_room", flat(&request, &cut).count() as u64);
            tracing::warn!(%error, "there is no room for spans");
            let message = "the disk has no room for spans beside what is the ledger's";
            return Refusal::new(Code::Overloaded, message);
        }
        tracing::error!(%error, "spans could not be kept");
        Refusal::new(Code::Overloaded, "the spans could not be written").with_detail(error)
    })?;
    Ok((taken, dropped, store.bytes()))
}

/// Each span with what is said of all of its resource, which was `cut` or not. Nothing of it is copied.
fn flat<'r>(request: &'r ExportTraceServiceRequest, cut: &'r [bool]) -> impl Iterator<Item = Sent<'r>> {
    request.resource_spans.iter().zip(cut).flat_map(|(of_resource, is_cut)| {
        let resource = of_resource.resource.as_ref().map(|resource| resource.attributes.as_slice());
        let resource = Beside::new(resource.unwrap_or_default()).cut(*is_cut);
        of_resource.scope_spans.iter().flat_map(move |of_scope| {
            let scope = of_scope.scope.as_ref().map(|scope| scope.name.as_str());
            let beside = resource.of(scope.unwrap_or_default());
            of_scope.spans.iter().map(move |span| Sent { beside, span })
        })
    })
}

impl SpanMeter {
    /// What came of one request, where it was read.
    fn taken(&self, kept: Option<&Kept>) {
        let Some((taken, dropped, bytes)) = kept else { return };
        self.count("stored", taken.stored);
        self.count("repeated", taken.repeated);
        self.count("altered", taken.altered);
        self.count("cut", taken.cut);
        self.count("malformed", taken.malformed);
        self.count("too_large", taken.too_large);
        self.dropped(*dropped, *bytes);
    }

    /// What went, and how much there is then.
    fn dropped(&self, dropped: Dropped, bytes: u64) {
        self.count("expired", dropped.expired);
        self.count("evicted", dropped.evicted);
        self.bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_many_requests_two_are_decoded_at_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let spans = Spans::open(dir.path(), Limits::default()).expect("a store");
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let all: Vec<_> = (0..8)
            .map(|_| {
                let (spans, now, most) = (spans.clone(), now.clone(), most.clone());
                tokio::spawn(async move {
                    let work = move || {
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(20));
                        now.fetch_sub(1, Ordering::SeqCst);
                    };
                    spans.aside(work).await
                })
            })
            .collect();
        for one in all {
            one.await.expect("no panic").expect("done");
        }
        assert_eq!(most.load(Ordering::SeqCst), MOST_AT_ONCE);
    }

    #[test]
    fn what_a_request_becomes_is_counted_against_the_room_before_it_is_made() {
        let directory = tempfile::tempdir().expect("a directory");
        let spans = Spans::open(directory.path(), Limits::default()).expect("a store");
        let holder = Arc::new(Holder::new());
        let mut all = Vec::new();
        // What takes two bytes each to send, and is some megabytes.
        while let Ok(mut room) = spans.room(&holder, LEAST) {
            if room.grow(16 * 1024 * 1024).is_err() {
                break;
            }
            all.push(room);
        }
        assert_eq!(all.len(), 4, "one sender has a half at most");
        all.clear();
        assert!(spans.room(&holder, ROOM / 2).is_ok(), "and all of it is given back");
    }

    #[test]
    fn spans_for_which_the_disk_has_no_room_are_refused_and_may_come_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let limits = Limits { spare: u64::MAX, ..Limits::default() };
        let spans = Spans::open(directory.path(), limits).expect("a store");
        let room = spans.room(&Arc::new(Holder::new()), LEAST).expect("room");
        let whose = Whose { principal: "Agent/a/b".to_owned(), identity: "x".to_owned(), user: None };
        let how = (Wire::Json, wire::Coding::Identity);
        let now = (SystemTime::now(), &SpanMeter::default());
        let refused = keep(room, &whose, how, &Bytes::from_static(b"{}"), now).expect_err("no room");
        assert_eq!(refused.code, Code::Overloaded);
    }
}

/// Reads one body of a request of OTLP as [`receive`] does, by how it comes and how it is encoded (`how`); for the fuzz target. What was read is what
/// its weight says at least, and can be written and read again, as the store does.
#[cfg(fuzzing)]
pub fn fuzzed(how: u8, body: &[u8]) {
    use prost::Message as _;

    let wire = [Wire::Protobuf, Wire::Json, Wire::Grpc][usize::from(how % 3)];
    let coding = if how & 0x80 == 0 { wire::Coding::Identity } else { wire::Coding::Gzip };
    let Ok(message) = wire.message(coding, body) else { return };
    assert!(coding == wire::Coding::Identity || message.len() <= MOST_BODY);
    let Ok(weight) = wire.weight(&message) else { return };
    let Ok(request) = wire.request(&message) else { return };
    let scopes = request.resource_spans.iter().flat_map(|of| &of.scope_spans);
    let spans: usize = scopes.map(|of| of.spans.len()).sum();
    assert!(weight >= spans * size_of::<opentelemetry_proto::tonic::trace::v1::Span>());
    ExportTraceServiceRequest::decode(&*request.encode_to_vec()).expect("what was read is read again");
}
