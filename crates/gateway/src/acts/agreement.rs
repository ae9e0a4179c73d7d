//! Acts that several gateways agree on: each is in one list in their store before it is on record here, and those that others did are taken
//! over, each with a record of its own, so that what stands stays the fold of this gateway's records (ADR 38).

use std::collections::BTreeSet;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult};
use uuid::Uuid;
use vidimus_core::act::{Act, BY_ITSELF};
use vidimus_core::record::{ActRecord, Record};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::standing::Standing;
use vidimus_core::standing::agreed::{self, Agreed, Known};

use super::{Intent, Ready};
use crate::gate::{Shared, millis};
use crate::standing::store::acts::{self, ACTS, BEGIN_ANEW, Head, Numbered};
use crate::unrecorded::closed;

/// How often it is tried again where others add acts all the time.
const TRIES: usize = 256;
/// Bytes of an act in the list: below what a record may have, by what a gateway adds to it.
const LARGEST: usize = vidimus_ledger::MAX_RECORD - 4096;
/// So many acts at the end of the list stay whether or not anybody needs them: who was away for no longer goes on where it was.
const KEPT: u64 = 256;
/// The list is looked through for what nobody needs whenever it has grown by so many.
const LOOK: u64 = 128;

/// Where acts are among those that gateways agree on.
#[derive(Debug)]
pub(crate) enum Place {
    /// In this list, from this number on.
    At { era: String, first: u64 },
    /// The store does not answer, and they may be done all the same.
    Alone,
    /// Gateways share nothing.
    Unshared,
}

impl Shared {
    /// Finds acts that fit what stands their place in the list of all.
    ///
    /// # Errors
    /// Why they do not fit; `standing_unavailable`.
    pub(super) async fn placed(
        self: &Arc<Self>,
        records: &[ActRecord<'_>],
        last: &mut u64,
    ) -> Result<Ready, Refusal> {
        for _ in 0..TRIES {
            let (standing, overlay, decides) = self.ready(records)?;
            if let Some(place) = self.place(records, last).await? {
                return Ok(Ready { standing, overlay, decides, place });
            }
        }
        Err(Refusal::new(Code::StandingUnavailable, "other gateways act all the time"))
    }

    /// `None` where others did something meanwhile, which is taken over by now.
    async fn place(
        self: &Arc<Self>,
        records: &[ActRecord<'_>],
        last: &mut u64,
    ) -> Result<Option<Place>, Refusal> {
        let Some(store) = self.standing.store() else { return Ok(Some(Place::Unshared)) };
        let without = |detail: &str| match records.iter().all(|record| record.act.is_done_alone()) {
            true => Ok(Some(Place::Alone)),
            false => Err(Refusal::new(
                Code::StandingUnavailable,
                "the store of what gateways share does not answer, and nobody may do this alone",
            )
            .with_detail(detail)),
        };
        let (Ok(live), Some(known)) = (store.live(), self.acts.standing().agreed.clone()) else {
            return without("there is no connection to it");
        };
        let mut own = live.connection();
        // What was done here alone comes before it: who lifts that lifts what the others have.
        if !self.acts.standing().unshared.is_empty() {
            return match self.tell_first(&mut own, last).await {
                Ok(()) => Ok(None),
                Err(error) => {
                    live.is_broken();
                    without(&error.to_string())
                }
            };
        }
        let named: Vec<ActRecord<'_>> = records.iter().map(|record| self.named(record, &known.era)).collect();
        // What is in the list and fits no record could be taken over by nobody, ever.
        if !named.iter().all(fits_a_record) {
            return Err(Refusal::new(
                Code::RecordTooLarge,
                "what is to be recorded of this does not fit a record that all gateways can keep",
            ));
        }
        let error = match acts::append(&mut own, &known, &named).await {
            Ok(Some(first)) => {
                self.shorten(&own, &known.era, first);
                return Ok(Some(Place::At { era: known.era, first }));
            }
            Ok(None) => match self.catch_up(&mut own, last).await {
                Ok(()) => return Ok(None),
                Err(error) => error,
            },
            Err(error) => error,
        };
        // Whether it was added is not known: if it was, it comes back as what another did.
        live.is_broken();
        without(&error.to_string())
    }

    /// The act as it is in the list: with the name of the gateway at which it was done, which is this one where it does not say another.
    fn named<'a>(&self, record: &ActRecord<'a>, era: &str) -> ActRecord<'a> {
        let other = record.shared.as_ref().and_then(|place| place.from.clone());
        let from = Some(other.unwrap_or_else(|| self.ledger.origin().to_owned()));
        let place = agreed::Place { era: era.to_owned(), from, number: 0 };
        ActRecord { shared: Some(place), ..record.clone() }
    }

    /// Comes to agree with the others, whatever became of the store since: to be done before it is asked for anything.
    ///
    /// # Errors
    /// Where the store does not answer, or what it has could not be taken over.
    pub(crate) async fn agree(self: &Arc<Self>, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let mut last = self.acts.one.lock().await;
        for _ in 0..TRIES {
            let standing = self.acts.standing();
            let from = standing.agreed.as_ref().map_or(0, |known| known.number);
            let Some((head, list)) = acts::read(connection, from).await? else {
                self.renew(connection, None, &standing, Vec::new()).await?;
                continue;
            };
            match known(&standing, &head, &list) {
                Known::Beginning => {
                    self.take(&head.era, list, false, &mut last).await.map_err(not_taken)?;
                    if self.tell(connection, &mut last).await? {
                        return Ok(());
                    }
                }
                Known::Other => {
                    let whole = acts::read(connection, 0).await?;
                    if let Some((head, list)) = whole {
                        self.take_up(&head, list, &mut last).await?;
                    }
                }
                Known::Lost => {
                    if let Some((head, list)) = acts::read(connection, 0).await? {
                        tracing::warn!(
                            "the store of what gateways share has lost acts; its list begins anew"
                        );
                        self.renew(connection, Some(&head), &standing, list).await?;
                    }
                }
            }
        }
        Err(RedisError::from((ErrorKind::Client, "gateways do not come to agree")))
    }

    /// Takes over what others did since, and tells what was done here alone while the connection was made.
    ///
    /// # Errors
    /// As [`Shared::agree`]; also where the list is another one by now.
    pub(crate) async fn hear(self: &Arc<Self>, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let mut last = self.acts.one.lock().await;
        self.catch_up(connection, &mut last).await?;
        // Where others were first, the next time.
        self.tell(connection, &mut last).await.map(drop)
    }

    /// Tells what was done here alone, where nothing else was done meanwhile; otherwise that is taken over, and it is told the next time.
    async fn tell_first(&self, connection: &mut MultiplexedConnection, last: &mut u64) -> RedisResult<()> {
        if self.tell(connection, last).await? { Ok(()) } else { self.catch_up(connection, last).await }
    }

    async fn catch_up(&self, connection: &mut MultiplexedConnection, last: &mut u64) -> RedisResult<()> {
        let standing = self.acts.standing();
        let from = standing.agreed.as_ref().map_or(0, |known| known.number);
        match acts::read(connection, from).await? {
            Some((head, list)) if known(&standing, &head, &list) == Known::Beginning => {
                self.take(&head.era, list, false, last).await.map_err(not_taken)
            }
            _ => Err(RedisError::from((ErrorKind::Client, "the list of acts is another one"))),
        }
    }

    /// Takes over acts of the list, those that are new: each is on record, then they stand. `decides` where calls may be decided otherwise
    /// also without them.
    async fn take(
        &self,
        era: &str,
        list: Vec<Numbered>,
        decides: bool,
        last: &mut u64,
    ) -> Result<(), Refusal> {
        let before = self.acts.standing();
        let known = before.agreed.as_ref().map_or(0, |known| known.number);
        let new = list.into_iter().filter(|(number, _)| *number > known).map(|(number, act)| {
            let from = act.shared.and_then(|place| place.from).filter(|from| from != self.ledger.origin());
            let place = agreed::Place { era: era.to_owned(), from, number };
            ActRecord { shared: Some(place), ..ActRecord { shared: None, ..act } }
        });
        let new: Vec<ActRecord<'static>> = new.collect();
        if new.is_empty() && !decides {
            return Ok(());
        }
        let (mut standing, mut otherwise) = ((*before).clone(), decides);
        for act in &new {
            otherwise |= standing.is_decided_by(&act.act);
            standing.apply(act);
        }
        // As of the gateway's own: what cannot be brought into force is not on record. A grant permits nothing then, and goes on record like the
        // others, so that it can be revoked.
        let overlay = self.overlay_of(&standing, otherwise).map_err(|why| self.not_in_force(&new, why))?;
        for (act, reason) in overlay.void_grants().filter(|(act, _)| new.iter().any(|one| one.id == *act)) {
            tracing::error!(
                act,
                reason,
                "a grant that another gateway gave is none here, and permits nothing; revoke it, and have all gateways be of one version"
            );
        }
        let mut taken = Vec::with_capacity(new.len());
        for act in new {
            let aside = self.aside_of(&act).await;
            let record = Record::Act(act);
            match self.ledger.record(&record).await {
                Ok(index) => *last = index + 1,
                Err(error) => {
                    // What is on record stands, also where the next one could not be recorded.
                    self.stand_by(&taken, decides, *last)?;
                    return Err(closed(error));
                }
            }
            let Record::Act(act) = record else { continue };
            self.standing.declassified(&act, self.clock.now());
            self.forget_shown(&act.act);
            if let Err(refusal) = self.destroy(aside.into_iter().collect()).await {
                tracing::error!(act = &*act.id, %refusal, "keys of kept payloads are destroyed at the next start");
            }
            taken.push(act);
        }
        self.stand(standing, overlay, *last);
        Ok(())
    }

    /// Says which act it is that cannot be brought into force. What comes after it is not taken over either, and what needs the store is refused:
    /// such an act refuses something, and what it would refuse must not pass as if it had not been done.
    fn not_in_force(&self, new: &[ActRecord<'_>], why: Refusal) -> Refusal {
        let mut standing = (*self.acts.standing()).clone();
        let is_it = |act: &&ActRecord<'_>| {
            standing.apply(act);
            self.overlay_of(&standing, true).is_err()
        };
        let Some(act) = new.iter().find(is_it) else { return why };
        let number = act.shared.as_ref().map(|place| place.number).unwrap_or_default();
        let message = format!(
            "act {} by {} (number {number} of {ACTS}) cannot be brought into force: {}; {BEGIN_ANEW}",
            act.id, act.actor, why.message
        );
        Refusal { message: message.into(), ..why }
    }

    /// Takes up a list of which this gateway does not know the beginning.
    async fn take_up(&self, head: &Head, list: Vec<Numbered>, last: &mut u64) -> RedisResult<()> {
        let standing = self.acts.standing();
        let is_same = standing.agreed.as_ref().is_some_and(|known| known.era == head.era);
        let stays: BTreeSet<&str> = list
            .iter()
            .map(|(_, act)| &*act.id)
            .chain(standing.unshared.iter().map(|act| &*act.id))
            .collect();
        // Of another list it is not known why they are not in it.
        let quarantines = standing.quarantines().filter(|_| is_same).map(|act| act.id.into_owned());
        let lifted: Vec<String> = quarantines.filter(|id| !stays.contains(id.as_str())).collect();
        let intents = Agreed::all(&head.era, &lifted).into_iter().map(|agreed| Intent {
            actor: BY_ITSELF.to_owned(),
            act: Act::Agree(agreed),
            why: "what gateways agree on is taken up".to_owned(),
        });
        for record in self.records_of(intents.collect()) {
            let record = Record::Act(record);
            *last = self.ledger.record(&record).await.map_err(closed).map_err(not_taken)? + 1;
            let mut next = (*self.acts.standing()).clone();
            if let Record::Act(act) = &record {
                next.apply(act);
            }
            // In force only together with what follows: calls are not decided by half of it.
            let before = self.acts.changed.borrow().overlay.clone();
            self.stand(next, before, *last);
        }
        self.take(&head.era, list, true, last).await.map_err(not_taken)
    }

    /// Tells the others what was done here alone; whether they know all by now.
    async fn tell(&self, connection: &mut MultiplexedConnection, last: &mut u64) -> RedisResult<bool> {
        loop {
            let standing = self.acts.standing();
            let (Some(known), Some(act)) = (standing.agreed.clone(), standing.unshared.first().cloned())
            else {
                return Ok(true);
            };
            let Some(number) = acts::append(connection, &known, &[self.named(&act, &known.era)]).await?
            else {
                return Ok(false);
            };
            let place = agreed::Place { era: known.era, from: None, number };
            let act = ActRecord { shared: Some(place), ..(*act).clone() };
            let mut next = (*standing).clone();
            next.apply(&act);
            *last = self.ledger.record(&Record::Act(act)).await.map_err(closed).map_err(not_taken)? + 1;
            let overlay = self.acts.changed.borrow().overlay.clone();
            self.stand(next, overlay, *last);
        }
    }

    /// Has the list begin anew with what this gateway knows, and with what the list, where there still is one, has quarantined,
    /// destroyed and pinned.
    async fn renew(
        &self,
        connection: &mut MultiplexedConnection,
        head: Option<&Head>,
        standing: &Standing,
        list: Vec<Numbered>,
    ) -> RedisResult<()> {
        let era = Uuid::now_v7().to_string();
        let mut theirs = Standing::default();
        list.iter().for_each(|(_, act)| theirs.apply(act));
        let now = millis(self.clock.now().wall).0;
        let mut all = standing.told_again(now);
        let known: BTreeSet<_> = standing.quarantines().map(|act| act.id).collect();
        all.extend(theirs.quarantines().filter(|act| !known.contains(&act.id)));
        all.extend(theirs.shreds(now).filter(|act| !standing.has_shredded(&act.id)));
        // Of one tool the earlier sight stands, whoever hears of both.
        let pinned: BTreeSet<_> = standing.pins().map(|act| act.id).collect();
        all.extend(theirs.pins().filter(|act| !pinned.contains(&act.id)));
        let all: Vec<_> = all.iter().map(|act| self.named(act, &era)).collect();
        // Where another gateway was first its list is taken up.
        acts::renew(connection, head, &era, &all).await.map(drop)
    }

    /// Has the list lose what nobody needs, beside the path, now and then.
    fn shorten(self: &Arc<Self>, connection: &MultiplexedConnection, era: &str, number: u64) {
        let Some(floor) = number.checked_sub(KEPT).filter(|_| number.is_multiple_of(LOOK)) else { return };
        let (shared, mut connection, era) = (self.clone(), connection.clone(), era.to_owned());
        tokio::spawn(async move {
            let standing = shared.acts.standing();
            let now = millis(shared.clock.now().wall).0;
            let shortened = async {
                let Some((_, list)) = acts::read(&mut connection, 0).await? else { return Ok(()) };
                let gone = list.iter().filter(|(number, act)| *number < floor && !standing.needs(act, now));
                let gone: Vec<u64> = gone.map(|(number, _)| *number).collect();
                acts::shorten(&mut connection, &era, floor, &gone).await
            };
            if let Err::<(), RedisError>(error) = shortened.await {
                tracing::warn!(%error, "the list of acts could not be shortened");
            }
        });
    }
}

/// How what stands here is to the list, read from the number that is known.
fn known(standing: &Standing, head: &Head, list: &[Numbered]) -> Known {
    let Some(known) = &standing.agreed else { return Known::Other };
    let at = list.first().filter(|(number, _)| *number == known.number).map(|(_, act)| &*act.id);
    known.is_to(&head.era, head.floor, at)
}

/// Whether every gateway can record the act, wherever it is in the list.
fn fits_a_record(act: &ActRecord<'_>) -> bool {
    serde_json::to_vec(act).is_ok_and(|bytes| bytes.len() <= LARGEST)
}

/// What others did could not be taken over here.
#[expect(clippy::needless_pass_by_value, reason = "it is what an error is mapped by")]
fn not_taken(refusal: Refusal) -> RedisError {
    let detail = refusal.detail.as_deref().unwrap_or_default();
    RedisError::from((ErrorKind::Client, "acts are not taken over", format!("{}: {detail}", refusal.message)))
}
