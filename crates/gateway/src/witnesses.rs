//! Witnesses: others who are offered each new checkpoint of the ledger, see by a proof that it continues the one that they saw before, and
//! say so by a cosignature (C2SP tlog-witness). A log that is put back, or signed anew with another past, finds none.
//!
//! All of it is beside the calls. A checkpoint that not enough cosign is one as before, and the next one is offered.

mod offer;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::Uri;
use tokio::time::Instant;
use url::{Position, Url};
use vidimus_ledger::{Cosignature, Ledger, Prover, SignedCheckpoint, WitnessKey, Witnesses};

use crate::beside::pause;
use crate::forward::{AddressGuard, Client, client_beside};
use crate::meter::Meter;
use offer::{Failed, Kind};

/// A witness, and where it takes checkpoints.
#[derive(Clone, Debug)]
pub struct WitnessAt {
    /// By which its cosignatures are known.
    pub key: WitnessKey,
    /// The submission prefix: `add-checkpoint` is below it.
    pub url: Url,
}

/// Who cosigns.
#[derive(Clone, Debug)]
pub struct CosigningConfig {
    /// Each once.
    pub witnesses: Vec<WitnessAt>,
    /// So many have to cosign the same checkpoint for it to be kept as cosigned; all of them where it is not given.
    pub quorum: Option<usize>,
    /// Which addresses they may have.
    pub guard: AddressGuard,
    pub patience: Patience,
}

/// How long witnesses are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For one checkpoint at one witness, from the connection to the end of the answer, also where it is asked twice.
    pub deadline: Duration,
    /// After the first failure of a witness; each further one waits four times as long.
    pub first: Duration,
    /// The longest that a witness is left alone, also where it asks for more.
    pub longest: Duration,
    /// Between two looks for a new checkpoint.
    pub look: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            first: Duration::from_secs(2),
            longest: Duration::from_secs(300),
            look: Duration::from_secs(1),
        }
    }
}

/// A note has at most so many signatures that every verifier accepts, the log's own among them (C2SP signed-note, "Format").
const MAX_SIGNATURES: usize = 16;

/// Witnesses that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NoWitness {
    #[error("the key of {0} is given twice; a witness counts once")]
    Twice(String),
    #[error("{0} witnesses are more than every verifier accepts; give at most {most}", most = MAX_SIGNATURES - 1)]
    Many(usize),
    #[error("{quorum} of {witnesses} witnesses cannot be; give a number from 1 to {witnesses}")]
    Quorum { quorum: usize, witnesses: usize },
    #[error(
        "the address {0} is one that is never called: metadata services, special-purpose networks and --deny-upstream"
    )]
    Address(String),
    #[error("'{0}' is not an address that can be called")]
    Unusable(String),
    #[error("the system's TLS roots cannot be read: {0}")]
    Roots(#[from] std::io::Error),
}

/// One witness, and how it stands.
struct Witness {
    key: WitnessKey,
    uri: Uri,
    /// Scheme, host and port, for the log.
    place: String,
    standing: Mutex<Standing>,
}

/// How a witness stands.
#[derive(Clone, Debug)]
struct Standing {
    /// The size of the checkpoint that it saw last, as far as is known.
    seen: u64,
    /// How often it has failed in a row.
    failures: u32,
    /// It is not asked before.
    due: Instant,
    /// Why it failed the last time, as the log was told.
    told: Option<String>,
}

/// The witnesses of a ledger.
pub struct Cosigning {
    client: Client,
    witnesses: Vec<Witness>,
    trusted: Witnesses,
    patience: Patience,
}

impl fmt::Debug for Cosigning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cosigning").field("trusted", &self.trusted).finish_non_exhaustive()
    }
}

impl Cosigning {
    /// # Errors
    /// See [`NoWitness`].
    pub fn new(config: CosigningConfig) -> Result<Self, NoWitness> {
        let CosigningConfig { witnesses: all, quorum, guard, patience } = config;
        let trusted = Witnesses::new(all.iter().map(|one| one.key.clone()), quorum);
        if let Some(twice) = all.iter().find(|one| {
            !trusted.keys().contains(&one.key) || all.iter().filter(|other| other.key == one.key).count() > 1
        }) {
            return Err(NoWitness::Twice(twice.key.name().to_owned()));
        }
        if all.len() >= MAX_SIGNATURES {
            return Err(NoWitness::Many(all.len()));
        }
        if trusted.quorum() == 0 || trusted.quorum() > all.len() {
            return Err(NoWitness::Quorum { quorum: trusted.quorum(), witnesses: all.len() });
        }
        let mut witnesses = Vec::with_capacity(all.len());
        for WitnessAt { key, url } in all {
            let host = url.host_str().unwrap_or_default();
            guard.check_literal(host).map_err(|_| NoWitness::Address(host.to_owned()))?;
            let path = format!("{}/add-checkpoint", url[..Position::AfterPath].trim_end_matches('/'));
            let uri = path.parse().map_err(|_| NoWitness::Unusable(url.to_string()))?;
            let place = url[..Position::BeforePath].to_owned();
            let standing = Standing { seen: 0, failures: 0, due: Instant::now(), told: None };
            witnesses.push(Witness { key, uri, place, standing: Mutex::new(standing) });
        }
        Ok(Self { client: client_beside(guard, None)?, witnesses, trusted, patience })
    }

    /// The witnesses, and how many of them have to cosign.
    pub fn trusted(&self) -> &Witnesses {
        &self.trusted
    }

    /// Has each new checkpoint cosigned, for ever.
    pub async fn follow(&self, ledger: &Ledger, meter: &Meter) -> Infallible {
        let mut cosigned = self.resume(ledger);
        let mut waiting: Option<Instant> = None;
        loop {
            let prover = ledger.prover();
            // Of a log without records there is nothing to say.
            if prover.signed().checkpoint.size <= cosigned {
                waiting = None;
            } else {
                let since = *waiting.get_or_insert_with(Instant::now);
                meter.uncosigned(since.elapsed());
                if self.can_be_cosigned()
                    && let Some(size) = self.offer_to_all(ledger, prover, meter).await
                {
                    (cosigned, waiting) = (size, None);
                }
            }
            meter.uncosigned(waiting.map_or(Duration::ZERO, |since| since.elapsed()));
            tokio::time::sleep(self.patience.look).await;
        }
    }

    /// Takes up what was cosigned before a start: so much each of them has seen, at least. How many records enough of them have cosigned.
    fn resume(&self, ledger: &Ledger) -> u64 {
        let Some(cosigned) = ledger.cosigned() else { return 0 };
        let size = cosigned.checkpoint.size;
        let by = |witness: &&Witness| matches!(witness.key.cosigned(&cosigned.note), Ok(Some(_)));
        let have =
            self.witnesses.iter().filter(by).map(|witness| witness.change(|it| it.seen = it.seen.max(size)));
        if have.count() >= self.trusted.quorum() { size } else { 0 }
    }

    /// Whether so many of them may be asked now as have to cosign.
    fn can_be_cosigned(&self) -> bool {
        self.witnesses.iter().filter(|witness| witness.is_due()).count() >= self.trusted.quorum()
    }

    /// Offers one checkpoint to all that may be asked, and keeps it when enough have cosigned, and again when the others have answered. How
    /// many records it is of, if it is kept.
    async fn offer_to_all(&self, ledger: &Ledger, prover: Prover, meter: &Meter) -> Option<u64> {
        let offered = prover.signed().clone();
        let prover = Arc::new(Mutex::new(prover));
        let (offering, proving) = (&offered, &prover);
        let asked = self.witnesses.iter().enumerate().filter(|(_, witness)| witness.is_due());
        let asked = asked.map(|(place, witness)| async move {
            (place, witness, self.offer(witness, offering, proving).await)
        });
        let mut answers: FuturesUnordered<_> = asked.collect();
        let (mut lines, mut kept) = (BTreeMap::new(), 0);
        while let Some((place, witness, answer)) = answers.next().await {
            if let Some(cosignature) = self.settle(witness, answer, &offered, meter) {
                lines.insert(place, cosignature.line);
            }
            if lines.len() == self.trusted.quorum() && kept == 0 && keep(ledger, &offered, &lines).await {
                kept = lines.len();
            }
        }
        if kept > 0 && lines.len() > kept {
            keep(ledger, &offered, &lines).await;
        }
        (kept > 0).then_some(offered.checkpoint.size)
    }

    /// Remembers how a witness stands after an answer, and says what came of it.
    fn settle(
        &self,
        witness: &Witness,
        answer: Result<Cosignature, Failed>,
        offered: &SignedCheckpoint,
        meter: &Meter,
    ) -> Option<Cosignature> {
        let (name, place) = (witness.key.name(), &witness.place);
        match answer {
            Ok(cosignature) => {
                meter.witness(name, "cosigned");
                let failed = witness.change(|it| {
                    (it.seen, it.failures) = (offered.checkpoint.size, 0);
                    it.told.take().is_some()
                });
                if failed {
                    tracing::info!(witness = name, place, "the witness cosigns again");
                }
                Some(cosignature)
            }
            Err(Failed { kind, why, after }) => {
                meter.witness(name, kind.as_str());
                let Patience { first, longest, .. } = self.patience;
                let is_news = witness.change(|it| {
                    it.failures = it.failures.saturating_add(1);
                    it.due = Instant::now() + pause(it.failures, after, (first, longest));
                    it.told.replace(why.clone()).as_deref() != Some(&*why)
                });
                // Once until it is for another reason.
                match kind {
                    Kind::Inconsistent if is_news => tracing::error!(
                        witness = name,
                        place,
                        why,
                        "a witness has seen another past of the ledger: it was put back, or somebody else signs with its key"
                    ),
                    _ if is_news => tracing::warn!(
                        witness = name,
                        place,
                        why,
                        "a witness did not cosign; it is asked again"
                    ),
                    _ => {}
                }
                None
            }
        }
    }
}

impl Witness {
    fn change<T>(&self, change: impl FnOnce(&mut Standing) -> T) -> T {
        change(&mut self.standing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_due(&self) -> bool {
        self.change(|it| it.due <= Instant::now())
    }
}

/// Keeps a checkpoint with these cosignatures. False where that cannot be: the ledger goes on without.
async fn keep(ledger: &Ledger, offered: &SignedCheckpoint, lines: &BTreeMap<usize, String>) -> bool {
    let lines: String = lines.values().flat_map(|line| [line, "\n"]).collect();
    let (ledger, note) = (ledger.clone(), format!("{}{lines}", offered.note));
    let kept = tokio::task::spawn_blocking(move || ledger.keep_cosigned(&note)).await;
    match kept {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::warn!(%error, "what witnesses cosigned is not kept");
            false
        }
        Err(error) => {
            tracing::error!(%error, "what witnesses cosigned is not kept");
            false
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
