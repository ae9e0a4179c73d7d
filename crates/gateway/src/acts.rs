//! What people do to what stands: quarantines and the like. An act is recorded, then taken over, then in force, one after another, so
//! that what stands is the fold of the log's acts in their order. Who may act is decided before it comes here.

pub(crate) mod agreement;
mod shred;
mod void;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, watch};
use uuid::Uuid;
use vidimus_core::act::{Act, BY_ITSELF, Declassified, Granted, OfGrant, Requested, Subject};
use vidimus_core::approval::pending::{OfApproval, Voided};
use vidimus_core::caller::User;
use vidimus_core::record::{ActKind, ActRecord, Record, RefusalKind, RefusalRecord, VERSION};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Overlay;
use vidimus_core::standing::Standing;
use vidimus_core::standing::agreed::Place;

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
    void: void::Void,
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
    /// Whether all gateways that share anything have it; `true` where they share nothing.
    pub is_told: bool,
}

/// What would stand after some acts, and where these have their place.
struct Ready {
    standing: Standing,
    overlay: Arc<Overlay>,
    /// Whether calls may be decided otherwise by it.
    decides: bool,
    place: agreement::Place,
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
            void: void::Void::default(),
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

/// What somebody is about to do.
#[derive(Clone, Debug)]
pub struct Intent {
    /// As in records: `User/issuer#subject`, or [`vidimus_core::act::BY_ITSELF`].
    pub actor: String,
    pub act: Act,
    pub why: String,
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
    /// `standing_unavailable` where a store that gateways share does not answer: nothing is done then, or, where it refuses something, it is
    /// on record and in force here, and the others are told later, as the message says.
    pub async fn act(self: &Arc<Self>, actor: &str, act: Act, why: &str) -> Result<Done, Refusal> {
        let quarantined = match &act {
            Act::Quarantine(of) => Some(of.subject.clone()),
            _ => None,
        };
        let intent = Intent { actor: actor.to_owned(), act, why: why.to_owned() };
        let (done, overlay) = self.do_now(vec![intent]).await?;
        let in_force = match overlay {
            Some(overlay) => tokio::time::timeout(PATIENCE, self.wait_for(overlay)).await.is_ok(),
            None => true,
        };
        self.deny_what_waits(quarantined.as_ref(), actor, why).await;
        if !in_force {
            let message = format!("act {} is on record and not in force yet", done.id);
            return Err(Refusal::new(Code::Internal, message));
        }
        if !done.is_told {
            let message = format!(
                "act {} is on record and in force at this gateway; the others are told when the store of what gateways share answers again",
                done.id
            );
            return Err(Refusal::new(Code::StandingUnavailable, message));
        }
        Ok(done)
    }

    /// Denies what people are asked about calls by, for or to what was just quarantined, and what they approved of it: when the quarantine is
    /// lifted, nothing of that is done by itself. What one copy or identity asked is void, so that others of the same caller may ask it again. It is
    /// in force by now, so nothing is asked anew meanwhile; where it is not in time, what
    /// was asked until now is denied all the same.
    async fn deny_what_waits(self: &Arc<Self>, quarantined: Option<&Subject>, actor: &str, why: &str) {
        let Some(subject) = quarantined else { return };
        let (standing, now) = (self.acts.standing(), millis(self.clock.now().wall).0);
        for approval in standing.approvals.of_subject(subject, now) {
            let of = approval.to_owned();
            let act = match subject {
                Subject::Identity(_) | Subject::Instance(_) => {
                    Act::Void(Voided { approval: of, changed: subject.to_string() })
                }
                Subject::Object(_) | Subject::User(_) | Subject::Chain(_) => {
                    Act::Deny(OfApproval { approval: of })
                }
            };
            let intent = Intent { actor: actor.to_owned(), act, why: why.to_owned() };
            match self.do_now(vec![intent]).await {
                Ok(_) => {}
                // It was answered, used or over meanwhile.
                Err(refusal) if refusal.code.is_of_standing() => {}
                Err(refusal) => {
                    tracing::warn!(%subject, approval, %refusal, "what waits for people about what is quarantined was not denied; deny it yourself");
                }
            }
        }
    }

    /// Does all that is intended, or nothing, without waiting until it is in force; gives the first act. It goes on to its end where whoever
    /// asked has left: what is on record is taken over, or a use of a grant could be had twice. So it is too where the ledger takes some of it
    /// and not the rest: those are done, and it fails all the same.
    pub(crate) async fn do_now(
        self: &Arc<Self>,
        intents: Vec<Intent>,
    ) -> Result<(Done, Option<Arc<Overlay>>), Refusal> {
        let shared = self.clone();
        let done = tokio::spawn(async move { shared.taken_over(intents).await });
        done.await.map_err(|error| Refusal::new(Code::Internal, "an act was not done").with_detail(error))?
    }

    async fn taken_over(
        self: &Arc<Self>,
        mut intents: Vec<Intent>,
    ) -> Result<(Done, Option<Arc<Overlay>>), Refusal> {
        for Intent { act, why, .. } in &intents {
            if why.trim().is_empty() || why.len() > LONGEST_WHY {
                let message = format!("why it is done must be said, in at most {LONGEST_WHY} bytes");
                let refusal = Refusal::new(Code::MessageInvalid, message);
                return Err(refusal.with_next("Say why in a few words (--why), and send it again."));
            }
            check_subject(act)?;
            if let Act::Declassify(of) = act {
                self.check_read(of).await?;
            }
        }
        let mut last = self.acts.one.lock().await;
        let aside = self.set_aside(&mut intents).await?;
        let mut records = self.records_of(intents);
        let Ready { mut standing, overlay, decides, place } = self.placed(&records, &mut last).await?;
        let is_told = !matches!(place, agreement::Place::Alone);
        if let agreement::Place::At { era, first } = place {
            for (number, record) in (first..).zip(&mut records) {
                record.shared = Some(Place { era: era.clone(), from: None, number });
                standing.note_place(record);
            }
        }
        let mut done: Option<Done> = None;
        let mut forgotten = Vec::new();
        // As far as it is on record.
        let mut taken: Vec<ActRecord<'_>> = Vec::new();
        for record in records {
            let record = Record::Act(record);
            let index = match self.ledger.record(&record).await {
                Ok(index) => index,
                Err(error) => {
                    self.stand_by(&taken, false, *last)?;
                    return Err(closed(error));
                }
            };
            *last = index + 1;
            let Record::Act(act) = record else { continue };
            if let Act::Declassify(of) = &act.act {
                forgotten.push(of.clone());
            }
            self.forget_shown(&act.act);
            done.get_or_insert_with(|| Done { id: act.id.to_string(), record: index, is_told });
            taken.push(act);
        }
        self.stand(standing, overlay.clone(), *last);
        // Nobody else's act waits for a store.
        drop(last);
        let done = done.ok_or_else(|| Refusal::new(Code::Internal, "nothing was to be done"))?;
        let again = |refusal: Refusal| {
            let message =
                format!("act {} is on record, and is to be done again: {}", done.id, refusal.message);
            Refusal { message: message.into(), ..refusal }
        };
        for of in &forgotten {
            self.declassify(of).await.map_err(again)?;
        }
        self.destroy(aside).await.map_err(again)?;
        Ok((done, decides.then_some(overlay)))
    }

    /// Puts a note of the gateway itself on record ([`Act::is_note`]), in which no other gateway has a part. Gives its id.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn note(&self, act: Act, why: &str) -> Result<String, Refusal> {
        let mut last = self.acts.one.lock().await;
        let mut id = String::new();
        for record in self.records_of(vec![Intent { actor: BY_ITSELF.to_owned(), act, why: why.to_owned() }])
        {
            id = record.id.to_string();
            let record = Record::Act(record);
            *last = self.ledger.record(&record).await.map_err(closed)? + 1;
            if let Record::Act(act) = record {
                self.stand_by(&[act], false, *last)?;
            }
        }
        Ok(id)
    }

    fn records_of(&self, intents: Vec<Intent>) -> Vec<ActRecord<'static>> {
        let time = rfc3339(self.clock.now().wall);
        let record = |Intent { actor, act, why }| ActRecord {
            note: act.is_note(),
            act,
            actor: actor.into(),
            id: Uuid::now_v7().to_string().into(),
            kind: ActKind,
            shared: None,
            time: time.clone().into(),
            version: VERSION,
            why: why.into(),
        };
        intents.into_iter().map(record).collect()
    }

    /// What would stand after `records`, before they are on record: what cannot be brought into force is not done.
    fn ready(&self, records: &[ActRecord<'_>]) -> Result<(Standing, Arc<Overlay>, bool), Refusal> {
        let mut standing = (*self.acts.standing()).clone();
        let mut decides = false;
        for record in records {
            standing.check(record).map_err(|why| why.refusal())?;
            decides |= standing.is_decided_by(&record.act);
            standing.apply(record);
        }
        let overlay = self.overlay_of(&standing, decides)?;
        let is_done = |grant: &str| records.iter().any(|record| *record.id == *grant);
        if let Some((_, reason)) = overlay.void_grants().find(|(grant, _)| is_done(grant)) {
            return Err(Refusal::new(Code::Internal, reason.to_owned()));
        }
        Ok((standing, overlay, decides))
    }

    /// What stands, for snapshots: what changes no decision needs no other configuration.
    fn overlay_of(&self, standing: &Standing, decides: bool) -> Result<Arc<Overlay>, Refusal> {
        let before = self.acts.changed.borrow().overlay.clone();
        if !decides {
            return Ok(before);
        }
        let next = before.next(standing).map_err(|reason| Refusal::new(Code::Internal, reason))?;
        Ok(if next.is_as(&before) { before } else { Arc::new(next) })
    }

    /// These acts are on record, of more that were to be done: what stands is what they made it. `decides` where calls may be decided otherwise
    /// also without them.
    fn stand_by(&self, taken: &[ActRecord<'_>], mut decides: bool, records: u64) -> Result<(), Refusal> {
        if taken.is_empty() && !decides {
            return Ok(());
        }
        let mut standing = (*self.acts.standing()).clone();
        for act in taken {
            decides |= standing.is_decided_by(&act.act);
            standing.apply(act);
        }
        let overlay = self.overlay_of(&standing, decides)?;
        self.stand(standing, overlay, records);
        Ok(())
    }

    /// From now on this stands, after so many records of the log.
    fn stand(&self, standing: Standing, overlay: Arc<Overlay>, records: u64) {
        let standing = Arc::new(standing);
        self.acts.current.store(standing.clone());
        self.acts.changed.send_replace(Stood { records, standing, overlay });
    }

    /// Records a request of a person that is refused, and gives the id of the record; of a flood only the sum is recorded.
    pub async fn record_refused(&self, refused: &RefusedRequest<'_>) -> String {
        let RefusedRequest { refusal, path, user, source } = *refused;
        let (id, now) = (Uuid::now_v7().to_string(), self.clock.now());
        if !self.refusals.has_record(Refused::Unproven(source), refusal.code, now) {
            return id;
        }
        let record = Record::Refusal(RefusalRecord {
            asked: None,
            chain: Vec::new(),
            code: refusal.code.as_str().into(),
            detail: refusal.detail.as_deref().map(shorten),
            id: id.as_str().into(),
            identity: None,
            instance: None,
            kind: RefusalKind,
            message: shorten(&refusal.message),
            outcome: "deny".into(),
            parent: None,
            path: shorten(path),
            principal: None,
            source: Some(source.to_canonical().to_string().into()),
            time: rfc3339(now.wall).into(),
            trace: TraceContext::from_header(None).ids().into(),
            user: user.map(|user| user.id().into()),
            version: VERSION,
        });
        if let Err(error) = self.ledger.record(&record).await {
            tracing::warn!(%error, code = refusal.code.as_str(), path, "the refusal of a request of a person could not be recorded");
        }
        id
    }

    /// Nothing is taken away where nothing is: an act of nothing would be on record as if it had done something.
    async fn check_read(&self, of: &Declassified) -> Result<(), Refusal> {
        if self.standing.has_read(of, self.clock.now().monotonic).await? {
            return Ok(());
        }
        let person = of.person.as_deref().map(|person| format!(" for {person}")).unwrap_or_default();
        let message = format!(
            "{} has read nothing with the label '{}'{person}: nothing was removed",
            of.subject, of.label
        );
        let next = "Look where the label came from (`vidimus policy explain --call ID`), and name that label of that subject.";
        Err(Refusal::new(Code::ActUnfit, message).with_next(next))
    }

    /// Takes a label away: here, and where gateways share what they count, there.
    async fn declassify(&self, of: &Declassified) -> Result<(), Refusal> {
        match &of.subject {
            Subject::Chain(transaction) => self.standing.declassify_chain(transaction, &of.label).await,
            agent => {
                let person = of.person.as_deref();
                let now = self.clock.now().monotonic;
                self.standing.declassify(&agent.to_string().into(), &of.label, person, now).await
            }
        }
    }

    /// Ends what nobody answered in time, and what was approved and not used in time, and what is void; each has its record.
    pub async fn expire_approvals(self: &Arc<Self>) {
        self.record_void().await;
        let now = millis(self.clock.now().wall).0;
        let standing = self.acts.standing();
        for approval in standing.approvals.overdue(now) {
            let act = Act::Expire(OfApproval { approval: approval.to_owned() });
            if !self
                .is_ended(act, "the end of an approval could not be recorded; it is over all the same")
                .await
            {
                return;
            }
        }
    }

    /// Ends grants, and requests for them, whose time is over: on record, and out of what stands. Each is refused from its time on whether or
    /// not that is done.
    pub async fn end_grants(self: &Arc<Self>) {
        let now = millis(self.clock.now().wall).0;
        let standing = self.acts.standing();
        for id in standing.over(now) {
            let act = Act::EndGrant(OfGrant { of: id.to_owned() });
            if !self.is_ended(act, "a grant whose time is over still stands").await {
                return;
            }
        }
    }

    /// Ends by itself what is over; whether it is ended now, be it by whom it may: another gateway, or its caller, may have been first. Who is
    /// not told why not finds it in the log.
    async fn is_ended(self: &Arc<Self>, act: Act, otherwise: &str) -> bool {
        let what = act.subject();
        match self.act(BY_ITSELF, act, "its time is over").await {
            Ok(_) => true,
            Err(refusal) if refusal.code.is_of_standing() => true,
            Err(refusal) => {
                tracing::warn!(%refusal, what, "{otherwise}");
                false
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

/// That what an act is about can be something: whoever does it, and by whatever way he asks.
///
/// # Errors
/// `message_invalid`, with what to write instead.
fn check_subject(act: &Act) -> Result<(), Refusal> {
    let checked = match act {
        Act::Quarantine(of) => of.subject.check(),
        Act::Declassify(of) => {
            let collects = of.subject.check_collects();
            collects.map_err(|why| Refusal::new(Code::MessageInvalid, why.to_string()))?;
            let person = of.person.as_deref().map(|person| Subject::User(person.into()));
            of.subject.check().and_then(|()| person.map_or(Ok(()), |person| person.check()))
        }
        Act::Grant(Granted { terms, .. }) | Act::RequestGrant(Requested { terms, .. }) => {
            let chain = terms.transaction.as_deref().map(|transaction| Subject::Chain(transaction.into()));
            chain.map_or(Ok(()), |chain| chain.check())
        }
        _ => Ok(()),
    };
    checked.map_err(|why| Refusal::new(Code::MessageInvalid, why.to_string()))
}
