//! Streams out: the ledger's records to receivers outside, such as a SIEM, each from a durable position of its own and at least once.
//!
//! All of it is beside the calls. A sink reads the log itself, so nothing is queued for it: one that is down delays itself alone, and
//! goes on where it was. Its position never passes what it has acknowledged. Records carry the log's origin and their index, by which a
//! receiver drops what it has already.

mod address;
mod attributes;
mod batch;
mod cef;
mod leaf;
mod line;
mod ocsf;
mod otlp;
mod position;
mod receiver;
mod syslog;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::time::Instant;
use vidimus_ledger::{Ledger, PrunedError, Reading};

use crate::beside::{NeverCalled, chain, pause};
use crate::forward::AddressGuard;
use crate::meter::Meter;
use crate::secrets::SecretDirectory;
use address::Body;
pub use address::{BadSink, SinkAddress};
use batch::{Batch, next_records};
use position::Position;
pub use position::{NoPosition, has_position, least_position, wrong_positions};
use receiver::{Failed, Receiver, Taken};

/// Where records go.
#[derive(Clone, Debug)]
pub struct SinksConfig {
    /// Each place once.
    pub sinks: Vec<SinkAddress>,
    /// Where the positions are kept.
    pub directory: PathBuf,
    /// The record that a new sink begins with; the present where it is not given.
    pub from: Option<u64>,
    /// Where credentials are read from.
    pub secrets: Option<SecretDirectory>,
    /// Which addresses they may have.
    pub guard: AddressGuard,
    /// The sockets of this very process, where none may be: its own refusals would follow each other for ever.
    pub own: Vec<SocketAddr>,
    pub pace: Pace,
}

/// How much is sent at once, and how long a sink is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Records of one batch.
    pub records: usize,
    /// Their bytes in the ledger; the record that passes this is the last.
    pub bytes: usize,
    /// For one batch, from the connection to the acknowledgement.
    pub deadline: Duration,
    /// After the first failure; each further one waits four times as long.
    pub first: Duration,
    /// The longest that a sink is left alone, also where it asks for more.
    pub longest: Duration,
    /// Between two looks for new records.
    pub look: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            records: 4_096,
            bytes: 2 * 1024 * 1024,
            deadline: Duration::from_secs(30),
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            look: Duration::from_millis(500),
        }
    }
}

/// Sinks that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NoSink {
    #[error("{0} is given twice; a sink is known by its scheme, host and port")]
    Twice(String),
    #[error("{place}: {never}")]
    Place { place: String, never: NeverCalled },
    #[error("{place}: its credentials are files in the directory of --secrets, and there is none")]
    NoSecrets { place: String },
    #[error("{place} cannot be used")]
    Unusable { place: String, source: io::Error },
    #[error(transparent)]
    Position(#[from] NoPosition),
    #[error(transparent)]
    Front(#[from] PrunedError),
}

/// One receiver, and how far it has come.
pub struct Sink {
    place: String,
    receiver: Receiver,
    body: Body,
    /// The log's name.
    origin: String,
    /// The name of this machine.
    host: String,
    position: Position,
    pace: Pace,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink")
            .field("place", &self.place)
            .field("next", &self.position.get())
            .finish_non_exhaustive()
    }
}

/// How a sink stands with who follows it.
#[derive(Debug, Default)]
struct Standing {
    /// How often it has failed in a row.
    failures: u32,
    /// Why it failed the last time, as the log was told.
    told: Option<String>,
    /// When the oldest record was made that waits, where one was read.
    oldest: Option<Timestamp>,
}

/// Opens the sinks of a log: each goes on where it was. Where a new one begins is on disk when this returns.
///
/// # Errors
/// See [`NoSink`].
pub fn open_sinks(config: &SinksConfig, ledger: &Ledger) -> Result<Vec<Arc<Sink>>, NoSink> {
    let places: Vec<String> = config.sinks.iter().map(SinkAddress::place).collect();
    for (path, place) in position::left_behind(&config.directory, &places)? {
        tracing::warn!(
            place,
            "{} is the position of a sink that is not given any more; remove it if that is so for good, since nothing behind it is pruned",
            path.display()
        );
    }
    let is_twice = |place: &&String| places.iter().filter(|other| other == place).count() > 1;
    if let Some(place) = places.iter().find(is_twice) {
        return Err(NoSink::Twice(place.clone()));
    }
    config.sinks.iter().map(|address| Sink::open(config, address, ledger).map(Arc::new)).collect()
}

impl Sink {
    fn open(config: &SinksConfig, address: &SinkAddress, ledger: &Ledger) -> Result<Self, NoSink> {
        let place = address.place();
        let receiver = Receiver::new(config, address, (&place, ledger.origin()))?;
        let log = (ledger.origin(), ledger.minimum()?..ledger.size());
        let position = Position::open(&config.directory, place.clone(), log, config.from)?;
        Ok(Self {
            place,
            receiver,
            body: address.body,
            origin: ledger.origin().to_owned(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            position,
            pace: config.pace,
        })
    }

    /// Scheme, host and port.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The first record that it has not acknowledged.
    pub fn position(&self) -> u64 {
        self.position.get()
    }

    /// Sends what is in the log and what comes, for ever.
    pub async fn follow(self: Arc<Self>, ledger: &Ledger, meter: &Meter) -> Infallible {
        let (mut reading, mut standing, mut most) = (None, Standing::default(), self.pace.records);
        loop {
            // Only what survives a power loss: else another record could be made by a number that the sink has already.
            let durable = ledger.watermark().durable;
            if durable <= self.position.get() {
                standing.oldest = None;
                self.rest(self.pace.look, &standing, (ledger, meter)).await;
                continue;
            }
            let read = match reading.take() {
                Some(reading) => Ok(reading),
                None => ledger.read_from(self.position.get()).map_err(|error| chain(&error)),
            };
            let batch = match read {
                Ok(at) => self.clone().read(at, ledger.clone(), (durable, most)).await,
                Err(why) => Err(why),
            };
            let (at, batch) = match batch {
                Ok(read) => read,
                Err(why) => {
                    self.failed(
                        format!("the ledger cannot be read: {why}"),
                        None,
                        &mut standing,
                        (ledger, meter),
                    )
                    .await;
                    continue;
                }
            };
            standing.oldest = batch.oldest;
            if self.deliver(&batch, &mut standing, (ledger, meter)).await {
                reading = Some(at);
                most = most.saturating_mul(2).min(self.pace.records);
            } else {
                most = (usize::try_from(batch.next - batch.first).unwrap_or(most) / 2).max(1);
            }
        }
    }

    /// The next batch, and where reading goes on behind it.
    async fn read(
        self: Arc<Self>,
        mut reading: Reading,
        ledger: Ledger,
        (durable, most): (u64, usize),
    ) -> Result<(Reading, Batch), String> {
        let read = move || {
            let hits = next_records(&mut reading, durable, (most, self.pace.bytes))?;
            Ok::<_, String>((reading, self.encode(&hits, &ledger)?))
        };
        // It reads files, and what it makes of them is large.
        tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?
    }

    /// Sends a batch until it is acknowledged, and keeps that. False where less of it is to be sent.
    async fn deliver(
        self: &Arc<Self>,
        batch: &Batch,
        standing: &mut Standing,
        around: (&Ledger, &Meter),
    ) -> bool {
        let (_, meter) = around;
        let count = batch.next - batch.first;
        loop {
            self.show(standing, around);
            if standing.failures > 0 {
                meter.sinks().retried(&self.place);
            }
            let sent = tokio::time::timeout(self.pace.deadline, self.receiver.send(batch)).await;
            let Ok(sent) = sent else {
                let why = self.receiver.silent(self.pace.deadline);
                self.failed(why, None, standing, around).await;
                // It may be there and slow: sent whole again and again, it would come to an end with none.
                if count > 1 {
                    return false;
                }
                continue;
            };
            match sent {
                Ok(taken) => {
                    self.acknowledged(batch, taken, meter);
                    self.keep(batch, standing, around).await;
                    return true;
                }
                Err(Failed::Unfit(_)) if count > 1 => {
                    meter.sinks().request(&self.place, "failed");
                    return false;
                }
                Err(Failed::Unfit(why)) => {
                    if self.stub(batch, &why, standing, around).await {
                        return true;
                    }
                    let why = format!("record {} alone is not taken: {why}; let it take more", batch.first);
                    self.failed(why, None, standing, around).await;
                }
                Err(Failed::Again(why, after)) => self.failed(why, after, standing, around).await,
            }
        }
    }

    /// Sends a stub in the place of a record that it does not take: one record does not hold all that follow, and what is pruned, for ever. False where
    /// it does not take the stub either: then it is not for the record, and the record is sent again.
    async fn stub(
        self: &Arc<Self>,
        batch: &Batch,
        why: &str,
        standing: &mut Standing,
        around: (&Ledger, &Meter),
    ) -> bool {
        let Some(stub) = batch.stub() else { return false };
        let sinks = around.1.sinks();
        sinks.request(&self.place, "failed");
        let sent = tokio::time::timeout(self.pace.deadline, self.receiver.send(&stub)).await;
        let Ok(Ok(Taken { rejected: 0 })) = sent else { return false };
        sinks.request(&self.place, "acknowledged");
        sinks.stub(&self.place);
        tracing::error!(
            sink = self.place,
            index = batch.first,
            why,
            "a sink does not take this record; it has a stub with its index, kind, id and SHA-256, and the record is in the ledger alone"
        );
        self.position.stub(batch.first);
        self.keep(batch, standing, around).await;
        true
    }

    /// Keeps that it has a batch. It waits until that is on the disk: what is not may be sent again, and is not said to be taken.
    async fn keep(self: &Arc<Self>, batch: &Batch, standing: &mut Standing, around: (&Ledger, &Meter)) {
        let next = batch.next;
        loop {
            let this = self.clone();
            let kept = tokio::task::spawn_blocking(move || this.position.advance(next)).await;
            match kept.map_err(io::Error::other).and_then(|kept| kept) {
                Ok(()) => {
                    if standing.told.take().is_some() {
                        tracing::info!(sink = self.place, next, "a sink takes records again");
                    }
                    *standing = Standing::default();
                    self.show(standing, around);
                    return;
                }
                Err(error) => {
                    self.failed(format!("its position cannot be kept: {error}"), None, standing, around)
                        .await;
                }
            }
        }
    }

    fn acknowledged(&self, batch: &Batch, taken: Taken, meter: &Meter) {
        let rejected = taken.rejected.min(batch.next - batch.first);
        meter.sinks().request(&self.place, "acknowledged");
        meter.sinks().records(&self.place, (batch.next - batch.first - rejected, rejected));
        if rejected > 0 {
            tracing::error!(
                sink = self.place,
                first = batch.first,
                last = batch.next - 1,
                rejected,
                "a sink does not want some of these records; they are in the ledger alone"
            );
        }
    }

    /// Says why it fails, once until it is for another reason, and waits.
    async fn failed(
        &self,
        why: String,
        after: Option<Duration>,
        standing: &mut Standing,
        around: (&Ledger, &Meter),
    ) {
        around.1.sinks().request(&self.place, "failed");
        standing.failures = standing.failures.saturating_add(1);
        if standing.told.as_ref() != Some(&why) {
            tracing::warn!(
                sink = self.place,
                next = self.position.get(),
                why,
                "a sink has not taken records; it is tried again"
            );
            standing.told = Some(why);
        }
        let Pace { first, longest, .. } = self.pace;
        self.rest(pause(standing.failures, after, (first, longest)), standing, around).await;
    }

    /// Waits, and shows meanwhile how far it is behind.
    async fn rest(&self, pause: Duration, standing: &Standing, around: (&Ledger, &Meter)) {
        let until = Instant::now() + pause;
        loop {
            self.show(standing, around);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(self.pace.look)).await;
        }
    }

    fn show(&self, standing: &Standing, (ledger, meter): (&Ledger, &Meter)) {
        let behind = ledger.watermark().durable.saturating_sub(self.position.get());
        let made = standing.oldest.map(SystemTime::from);
        let age = made.and_then(|made| SystemTime::now().duration_since(made).ok());
        meter.sinks().lag(&self.place, behind, age.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests;
