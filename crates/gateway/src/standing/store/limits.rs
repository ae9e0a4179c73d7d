//! What gateways take together of the limits that policies declare: all that one call takes in one round trip, by the clock of the store.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;
use redis::Script;
use vidimus_core::call::Call;
use vidimus_core::refusal::Refusal;
use vidimus_core::resource::Limit;
use vidimus_core::resource::limit::{CountedBy, Measure};

use super::leases::LEASE;
use super::{BORN, Store, lost, millis, not_understood};
use crate::standing::limits::Division;

static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("claim.lua")));
static SETTLE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("settle.lua")));

/// What a call takes of one limit.
#[derive(Debug)]
pub struct Wanted {
    /// The limit's.
    pub id: Arc<str>,
    /// By which name it is counted.
    pub key: Arc<str>,
    /// The number of its place, of calls at once.
    pub place: Option<u64>,
    amount: i64,
    want: i64,
    division: Division,
}

/// How a call stands to one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// As in [`vidimus_core::call::Left`].
    pub left: i64,
    /// The part in which it is taken, where it is.
    pub number: u64,
    /// After so many milliseconds it fits, where that is known.
    pub again: Option<i64>,
}

/// What a call has used of what it took.
#[derive(Debug)]
pub struct Settled {
    pub key: Arc<str>,
    pub number: u64,
    pub division: Division,
    pub taken: i64,
    pub used: i64,
}

impl Wanted {
    /// The same for all who count together, in every gateway.
    pub fn of(limit: &Limit, call: &Call<'_>, store: &Store) -> Self {
        let mut context = Context::new(&SHA256);
        // The lengths keep the parts from one another.
        let mut part = |text: &str| {
            context.update(&text.len().to_le_bytes());
            context.update(text.as_bytes());
        };
        part(&limit.id);
        part(&format!("{:?} {:?} {:?}", limit.of, limit.window, limit.per));
        limit.counted_by(&CountedBy::of(call), part);
        let key = format!("{{vidimus}}:limit:{}", HEXLOWER.encode(context.finish().as_ref()));
        let place = (limit.of == Measure::Concurrency).then(|| store.next_place());
        let (amount, want) = (limit.amount, limit.takes(&call.ask));
        let (id, key) = (limit.id.clone(), key.into());
        Self { id, key, place, amount, want, division: Division::of(limit.window) }
    }

    /// That nothing was used of what was taken so; `None` of a place, which is given back by its name.
    pub fn unused(self, found: Found) -> Option<Settled> {
        let Self { key, place, want: taken, division, .. } = self;
        (place.is_none() && taken > 0).then_some(Settled {
            key,
            number: found.number,
            division,
            taken,
            used: 0,
        })
    }

    /// Whether it fits when nothing else is taken.
    pub const fn may_fit(&self) -> bool {
        self.want <= self.amount
    }
}

impl Store {
    /// Takes all of it, or where some does not fit, nothing: whether it fits, and how each stands.
    ///
    /// # Errors
    /// `standing_unavailable`.
    pub async fn claim(&self, wanted: &[Wanted]) -> Result<(bool, Vec<Found>), Refusal> {
        let live = self.live()?;
        let mut script = CLAIM.prepare_invoke();
        script.key(BORN).arg(live.born()).arg(millis(LEASE));
        for Wanted { key, place, amount, want, division, .. } in wanted {
            script.key(&**key).arg(*amount).arg(*want).arg(division.part);
            match place {
                Some(number) => script.arg(self.leases.name(*number)),
                None => script.arg(division.count),
            };
        }
        let found: Vec<String> = live.run(&script).await?;
        match found.split_first().map(|(says, found)| (says.as_str(), found)) {
            Some((says @ ("taken" | "full"), found)) if found.len() == wanted.len() * 3 => {
                let found: Option<Vec<Found>> = found.chunks(3).map(Found::read).collect();
                Ok((says == "taken", found.ok_or_else(not_understood)?))
            }
            // As where a chain is counted: it is connected to anew.
            Some(("anew", [])) => {
                live.is_broken();
                Err(lost())
            }
            _ => Err(not_understood()),
        }
    }

    /// Gives back what was taken and not used, and counts what was used beside it.
    ///
    /// # Errors
    /// `standing_unavailable`.
    pub async fn settle(&self, settled: &[Settled]) -> Result<(), Refusal> {
        let mut script = SETTLE.prepare_invoke();
        for Settled { key, number, division, taken, used } in settled {
            script.key(&**key).arg(*number).arg(*used - *taken).arg(division.part).arg(division.count);
        }
        self.run(&script).await
    }
}

impl Found {
    fn read(three: &[String]) -> Option<Self> {
        let [left, number, again] = three else { return None };
        let again: i64 = again.parse().ok()?;
        let again = (again >= 0).then_some(again);
        Some(Self { left: left.parse().ok()?, number: number.parse().ok()?, again })
    }
}
