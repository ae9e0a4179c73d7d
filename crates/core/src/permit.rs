//! What opens the way to an upstream: the permit of one call, which only a recorded, allowing decision gives.
//!
//! Minting, lending a provider's key and forwarding take the [`Permit`] and read from it where the call goes, for whom, and
//! under which obligations. What they do can therefore not differ from what was decided and recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::approval::Requirement;
use crate::call::Destination;
use crate::caller::Caller;
use crate::decision::{Candidate, Decision, PassedOver};
use crate::keep::Keep;
use crate::obligation::Obligation;
use crate::refusal::{Awaited, Code, Refusal};
use crate::resource::Endpoint;

/// That a record is kept. Only the ledger makes one: [`Receipt::kept`] is among the `disallowed-methods` of `clippy.toml`, and
/// the ledger is the one place that is excepted.
///
/// ```compile_fail,E0451
/// # use vidimus_core::permit::{Receipt, Room};
/// let receipt = Receipt { index: 7, room: Room::default() };
/// ```
///
/// ```compile_fail,E0599
/// # fn example(receipt: vidimus_core::permit::Receipt) {
/// let other = receipt.clone();
/// # }
/// ```
///
/// ```
/// # fn example(receipt: vidimus_core::permit::Receipt) {
/// let other = receipt;
/// # }
/// ```
#[derive(Debug)]
pub struct Receipt {
    index: u64,
    room: Room,
}

impl Receipt {
    /// For the ledger: the record at `index` is as durable as the installation asks for, and there is `room` for the record of the
    /// call's end.
    pub fn kept(index: u64, room: Room) -> Self {
        Self { index, room }
    }
}

/// A place in the ledger for the record of an admitted call's end, kept from its decision until that record is taken. By default
/// none.
///
/// It counts as taken among all such places, once, until it is dropped:
///
/// ```compile_fail,E0599
/// # fn example(room: vidimus_core::permit::Room) {
/// let other = room.clone();
/// # }
/// ```
///
/// ```
/// # fn example(room: vidimus_core::permit::Room) {
/// let other = room;
/// # }
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct Room(Option<(Arc<AtomicUsize>, usize)>);

impl Room {
    /// So many more of the places that `taken` counts.
    pub fn of(taken: &Arc<AtomicUsize>, places: usize) -> Self {
        taken.fetch_add(places, Ordering::Relaxed);
        Self(Some((taken.clone(), places)))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some((taken, places)) = self.0.take() {
            taken.fetch_sub(places, Ordering::Relaxed);
        }
    }
}

/// What becomes of a call whose decision is on record.
///
/// Only one of the three has a permit:
///
/// ```compile_fail,E0308
/// # use vidimus_core::permit::{Permit, Verdict};
/// fn permit(verdict: Verdict) -> Option<Permit> {
///     match verdict {
///         Verdict::Permitted(permit) => Some(permit),
///         Verdict::Held(held) => Some(held),
///         Verdict::Refused(_) => None,
///     }
/// }
/// ```
///
/// ```compile_fail,E0308
/// # use vidimus_core::permit::{Permit, Verdict};
/// fn permit(verdict: Verdict) -> Option<Permit> {
///     match verdict {
///         Verdict::Permitted(permit) => Some(permit),
///         Verdict::Held(_) => None,
///         Verdict::Refused(refusal) => Some(refusal),
///     }
/// }
/// ```
///
/// ```
/// # use vidimus_core::permit::{Permit, Verdict};
/// fn permit(verdict: Verdict) -> Option<Permit> {
///     match verdict {
///         Verdict::Permitted(permit) => Some(permit),
///         Verdict::Held(_) => None,
///         Verdict::Refused(_) => None,
///     }
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub enum Verdict {
    /// It may be carried out, by whoever has the permit.
    Permitted(Permit),
    /// It waits for a person.
    Held(Held),
    /// It is not carried out.
    Refused(Refusal),
}

/// The right to carry out one call, this one.
///
/// It has no public constructor:
///
/// ```compile_fail,E0451
/// # fn example(permit: vidimus_core::permit::Permit) {
/// let other = vidimus_core::permit::Permit { ..permit };
/// # }
/// ```
///
/// It cannot be copied:
///
/// ```compile_fail,E0599
/// # fn example(permit: vidimus_core::permit::Permit) {
/// let other = permit.clone();
/// # }
/// ```
///
/// What carries the call out takes it, so it is used once:
///
/// ```compile_fail,E0382
/// # fn example(permit: vidimus_core::permit::Permit) {
/// # fn forward(permit: vidimus_core::permit::Permit) {}
/// forward(permit);
/// forward(permit);
/// # }
/// ```
///
/// The same with one use compiles:
///
/// ```
/// # fn example(permit: vidimus_core::permit::Permit) {
/// # fn forward(permit: vidimus_core::permit::Permit) {}
/// let other = permit;
/// forward(other);
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Permit {
    destination: Destination,
    caller: Caller,
    call: Arc<str>,
    index: u64,
    room: Room,
    obligations: Arc<[Obligation]>,
    keeps: Keep,
    candidates: Vec<Candidate>,
    passed_over: Vec<PassedOver>,
    news_to: Option<Box<str>>,
}

impl Permit {
    pub(crate) fn new(decision: Decision<'_>, Receipt { index, room }: Receipt, id: Arc<str>) -> Self {
        Self {
            destination: decision.call.ask.target.destination(),
            news_to: decision.call.ask.push_url.map(Into::into),
            caller: decision.call.caller.clone(),
            call: id,
            index,
            room,
            obligations: decision.finding.obligations,
            keeps: decision.keeps,
            candidates: decision.candidates,
            passed_over: decision.passed_over,
        }
    }

    /// Who may answer the call, where several may: first who was called.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Who may not, of those that the failover of its provider names.
    pub fn passed_over(&self) -> &[PassedOver] {
        &self.passed_over
    }

    /// The call goes to another of its candidates from here on. False where there is none of this number, and nothing changes.
    #[must_use]
    pub fn turn_to(&mut self, candidate: usize) -> bool {
        let Some(candidate) = self.candidates.get(candidate) else { return false };
        self.destination = Destination::Provider(candidate.provider.clone());
        true
    }

    /// The registered object that the call goes to.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Where the call goes.
    ///
    /// # Errors
    /// [`Code::ResourceUnknown`]: the destination is an agent whose record names no endpoint.
    pub fn endpoint(&self) -> Result<&Endpoint, Refusal> {
        self.destination.endpoint().ok_or_else(|| {
            let message = format!("{} has no endpoint, so it cannot be called", self.destination.id());
            Refusal::new(Code::ResourceUnknown, message)
        })
    }

    /// Where the caller wants news of a task, as it was decided; `None` where it named no such place.
    pub fn news_to(&self) -> Option<&str> {
        self.news_to.as_deref()
    }

    /// Who calls, for whom, and through whom.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The id of the call, by which its records are joined.
    pub fn call(&self) -> &str {
        &self.call
    }

    /// Index of the decision's record in the ledger.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The place that is kept for the record of the call's end, for whoever records it. To be taken once; later there is none.
    pub fn take_room(&mut self) -> Room {
        std::mem::take(&mut self.room)
    }

    /// What whoever carries the call out must do.
    pub fn obligations(&self) -> &[Obligation] {
        &self.obligations
    }

    /// What of the call its records keep.
    pub fn keeps(&self) -> Keep {
        self.keeps
    }
}

/// A call that waits for the approval of a person.
///
/// ```compile_fail,E0599
/// # fn example(held: vidimus_core::permit::Held) {
/// let refusal = held.permit();
/// # }
/// ```
///
/// ```
/// # fn example(held: vidimus_core::permit::Held) {
/// let refusal = held.refusal();
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Held {
    index: Option<u64>,
    asking: Arc<[Arc<Requirement>]>,
    refusal: Refusal,
}

impl Held {
    pub(crate) fn new(decision: &Decision<'_>, receipt: Option<&Receipt>) -> Self {
        let finding = &decision.finding;
        let index = receipt.map(|receipt| receipt.index);
        Self { index, asking: finding.asking.clone(), refusal: finding.refusal() }
    }

    /// What each policy asks for that holds it, sorted by policy; never empty.
    pub fn asking(&self) -> &[Arc<Requirement>] {
        &self.asking
    }

    /// Index of the decision's record in the ledger; `None` of one more try of many, which are only counted.
    pub fn index(&self) -> Option<u64> {
        self.index
    }

    /// The same, with which approval it waits for.
    pub fn awaiting(mut self, awaited: Awaited) -> Self {
        self.refusal.awaited = Some(Box::new(awaited));
        self
    }

    /// What the caller is answered, as long as it is not.
    pub fn as_refusal(&self) -> &Refusal {
        &self.refusal
    }

    /// What the caller is answered, with [`Code::ApprovalRequired`].
    pub fn refusal(self) -> Refusal {
        self.refusal
    }
}
