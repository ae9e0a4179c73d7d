//! What people do to what stands: quarantines and the like. An act is recorded, then taken over, then in force, one after another, so
//! that what stands is the fold of the log's acts in their order. Who may act is decided before it comes here.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, watch};
use uuid::Uuid;
use vidimus_core::act::{Act, BY_ITSELF, Declassified, Subject};
use vidimus_core::approval::pending::{self, OfApproval};
use vidimus_core::caller::User;
use vidimus_core::entity::EntityKind;
use vidimus_core::record::{ActKind, ActRecord, Record, RefusalKind, RefusalRecord, VERSION};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Overlay;
use vidimus_core::standing::{Standing, Unfit};

use crate::gate::{Shared, millis, rfc3339};
use crate::refusal_sampler::Refused;
use crate::trace::TraceContext;
use crate::unrecorded::closed;

/// How long an act waits until it is in force. A snapshot takes some ten milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest text of a refused request in a record, in characters.
const MAX_TEXT: usize = 256;

/// Longest text of why something is done, in bytes.
const LONGEST_WHY: usize = 1024;

/// What stands by acts; one for the process.
#[derive(Debug)]
pub struct Acts {
    /// One act at a time. The number is that of the log's records of which all acts were taken over.
    one: Mutex<u64>,
    current: ArcSwap<Standing>,
    changed: watch::Sender<Stood>,
}

/// What stands, for who brings it into force, and who keeps it.
#[derive(Clone, Debug, Default)]
pub struct Stood {
    /// After so many records of the log.
    pub records: u64,
    pub standing: Arc<Standing>,
    /// The same, for snapshots.
    pub overlay: Arc<Overlay>,
}

/// An act that was done.
#[derive(Clone, Debug)]
pub struct Done {
    /// Of the act, as in its record.
    pub id: String,
    /// The index of its record.
    pub record: u64,
}

/// A request of a person that is refused.
#[derive(Clone, Copy, Debug)]
pub struct RefusedRequest<'a> {
    /// Why.
    pub refusal: &'a Refusal,
    /// What was asked for.
    pub path: &'a str,
    /// Who asked, where that is known.
    pub user: Option<&'a User>,
    /// From where.
    pub source: IpAddr,
}

impl Acts {
    /// Where this stood at the start.
    pub fn new(stood: Stood) -> Self {
        Self {
            one: Mutex::new(stood.records),
            current: ArcSwap::new(stood.standing.clone()),
            changed: watch::Sender::new(stood),
        }
    }

    /// What stands now.
    pub fn standing(&self) -> Arc<Standing> {
        self.current.load_full()
    }

    /// Learns of what stands, and of every later change.
    pub fn changes(&self) -> watch::Receiver<Stood> {
        self.changed.subscribe()
    }
}

impl Shared {
    /// What stands, and of how many records of the log it is the fold: of all that are durable, as no act is under way meanwhile.
    pub async fn stood(&self) -> Stood {
        // An act is durable before it is taken over: only between two acts neither is without the other.
        let _between_acts = self.acts.one.lock().await;
        let stood = self.acts.changed.borrow().clone();
        let records = self.ledger.watermark().durable.max(stood.records);
        Stood { records, ..stood }
    }

    /// Does what `actor` may do: when this returns it is on record, and calls are decided by it. `actor` is as in records:
    /// `User/issuer#subject`, or [`vidimus_core::act::BY_ITSELF`].
    ///
    /// # Errors
    /// Those of the ledger; `message_invalid` where `why` is too long or empty; `internal` where it is on record, and not in force in time;
    /// `standing_unavailable` where it is on record, and a store that gateways share does not know it.
    pub async fn act(self: &Arc<Self>, actor: &str, act: Act, why: &str) -> Result<Done, Refusal> {
        let (done, overlay) = self.do_now(actor, act, why).await?;
        let Some(overlay) = overlay else { return Ok(done) };
        match tokio::time::timeout(PATIENCE, self.wait_for(overlay)).await {
            Ok(()) => Ok(done),
            Err(_) => Err(Refusal::new(
                Code::Internal,
                format!("act {} is on record and not in force yet", done.id),
            )),
        }
    }

    /// The same, without waiting until it is in force. It goes on to its end where whoever asked has left: what is on record is taken
    /// over, or a use of a grant could be had twice.
    pub(crate) async fn do_now(
        self: &Arc<Self>,
        actor: &str,
        act: Act,
        why: &str,
    ) -> Result<(Done, Option<Arc<Overlay>>), Refusal> {
        let (shared, actor, why) = (self.clone(), actor.to_owned(), why.to_owned());
        let done = tokio::spawn(async move { shared.taken_over(&actor, act, &why).await });
        done.await.map_err(|error| Refusal::new(Code::Internal, "an act was not done").with_detail(error))?
    }

    async fn taken_over(
        &self,
        actor: &str,
        act: Act,
        why: &str,
    ) -> Result<(Done, Option<Arc<Overlay>>), Refusal> {
        if why.trim().is_empty() || why.len() > LONGEST_WHY {
            let message = format!("why it is done must be said, in at most {LONGEST_WHY} bytes");
            return Err(Refusal::new(Code::MessageInvalid, message));
        }
        let declassified = declassified(&act)?;
        let mut last = self.acts.one.lock().await;
        let (id, time) = (Uuid::now_v7().to_string(), rfc3339(self.clock.now().wall));
        let record = ActRecord {
            act,
            actor: actor.into(),
            id: id.as_str().into(),
            kind: ActKind,
            time: time.as_str().into(),
            version: VERSION,
            why: why.into(),
        };
        let mut standing = (*self.acts.standing()).clone();
        standing.check(&record).map_err(|why| unfit(&why))?;
        let decides = standing.is_decided_by(&record.act);
        standing.apply(&record);
        // Before it is on record: what cannot be brought into force is not done.
        let before = self.acts.changed.borrow().overlay.clone();
        let overlay = match decides {
            true => Arc::new(Overlay::of(&standing).map_err(|reason| Refusal::new(Code::Internal, reason))?),
            // What changes no decision needs no other configuration.
            false => before,
        };
        let index = self.ledger.record(&Record::Act(record)).await.map_err(closed)?;
        let standing = Arc::new(standing);
        *last = index + 1;
        self.acts.current.store(standing.clone());
        self.acts.changed.send_replace(Stood { records: *last, standing, overlay: overlay.clone() });
        // Nobody else's act waits for a store.
        drop(last);
        if let Some(of) = declassified {
            self.declassify(&of).await.map_err(|refusal| Refusal {
                message: format!("act {id} is on record, and is to be done again: {}", refusal.message)
                    .into(),
                ..refusal
            })?;
        }
        Ok((Done { id, record: index }, decides.then_some(overlay)))
    }

    /// Records a request of a person that is refused, and gives the id of the record; of a flood only the sum is recorded.
    pub async fn record_refused(&self, refused: &RefusedRequest<'_>) -> String {
        let RefusedRequest { refusal, path, user, source } = *refused;
        let (id, now) = (Uuid::now_v7().to_string(), self.clock.now());
        if !self.refusals.has_record(Refused::Unproven(source), refusal.code, now) {
            return id;
        }
        let record = Record::Refusal(RefusalRecord {
            code: refusal.code.as_str().into(),
            detail: refusal.detail.as_deref().map(shorten),
            id: id.as_str().into(),
            identity: None,
            kind: RefusalKind,
            message: shorten(&refusal.message),
            outcome: "deny".into(),
            path: shorten(path),
            principal: None,
            source: Some(source.to_string().into()),
            time: rfc3339(now.wall).into(),
            trace: TraceContext::from_header(None).to_string().into(),
            user: user.map(|user| user.id().into()),
            version: VERSION,
        });
        if let Err(error) = self.ledger.record(&record).await {
            tracing::warn!(%error, code = refusal.code.as_str(), path, "the refusal of a request of a person could not be recorded");
        }
        id
    }

    /// Takes a label away: here, and where gateways share what they count, there.
    async fn declassify(&self, of: &Declassified) -> Result<(), Refusal> {
        match &of.subject {
            Subject::Chain(transaction) => self.standing.declassify_chain(transaction, &of.label).await,
            agent => {
                let person = of.person.as_deref();
                self.standing.declassify(&agent.to_string().into(), &of.label, person).await
            }
        }
    }

    /// Ends what nobody answered in time, and what was approved and not used in time; each has its record.
    pub async fn expire_approvals(self: &Arc<Self>) {
        let now = millis(self.clock.now().wall).0;
        let overdue: Vec<String> =
            self.acts.standing().approvals.overdue(now).map(ToOwned::to_owned).collect();
        for approval in overdue {
            let act = Act::Expire(OfApproval { approval });
            if let Err(refusal) = self.act(BY_ITSELF, act, "its time is over").await {
                tracing::warn!(%refusal, "the end of an approval could not be recorded; it is over all the same");
                return;
            }
        }
    }

    /// Until calls are decided by what stands, or by what stood later.
    async fn wait_for(&self, overlay: Arc<Overlay>) {
        let mut changes = self.world.changes();
        let mut stood = self.acts.changes();
        loop {
            let deciding = self.snapshot();
            let newest = stood.borrow_and_update().overlay.clone();
            if deciding.has(&overlay) || deciding.has(&newest) {
                return;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

fn shorten(text: &str) -> Cow<'_, str> {
    text.char_indices().nth(MAX_TEXT).and_then(|(end, _)| text.get(..end)).unwrap_or(text).into()
}

/// What an act takes a label away from; `None` of another act.
///
/// # Errors
/// `message_invalid` where that has none.
fn declassified(act: &Act) -> Result<Option<Declassified>, Refusal> {
    let Act::Declassify(of) = act else { return Ok(None) };
    match &of.subject {
        Subject::Chain(_) => Ok(Some(of.clone())),
        Subject::Object(entity) if entity.kind == EntityKind::Agent => Ok(Some(of.clone())),
        other => {
            let message =
                format!("{other} collects no labels: write Agent/namespace/name or Chain/transaction");
            Err(Refusal::new(Code::MessageInvalid, message))
        }
    }
}

/// An act that does not fit what stands.
fn unfit(why: &Unfit) -> Refusal {
    match why {
        Unfit::Approval(pending::Unfit::TooMany) => Refusal::new(Code::Overloaded, why.to_string()),
        _ => Refusal::new(Code::ActUnfit, why.to_string()),
    }
}
