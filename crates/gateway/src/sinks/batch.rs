//! What is sent at once: which records, and what they are written as.

use bytes::Bytes;
use jiff::Timestamp;
use vidimus_ledger::{Hit, Ledger, Reading};

use super::address::Body;
use super::leaf::Leaf;
use super::otlp::Otlp;
use super::receiver::Receiver;
use super::{Sink, attributes, cef, ocsf};
use crate::beside::chain;

/// What is sent at once.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    /// Index of the first record.
    pub(super) first: u64,
    /// Index behind the last one.
    pub(super) next: u64,
    /// When the first record was made.
    pub(super) oldest: Option<Timestamp>,
    pub(super) body: Bytes,
    /// Of a single record, what is sent where a receiver does not take the record.
    stub: Option<Bytes>,
}

impl Batch {
    /// A stub in the place of the record: one batch more that is sent.
    pub(super) fn stub(&self) -> Option<Self> {
        self.stub.clone().map(|body| Self { body, stub: None, ..self.clone() })
    }
}

impl Sink {
    /// What is sent of these records, which have to be those that come next.
    pub(super) fn encode(&self, hits: &[Hit], ledger: &Ledger) -> Result<Batch, String> {
        let come_next = |first: &&Hit| first.index == self.position.get();
        let (Some(first), Some(last)) = (hits.first().filter(come_next), hits.last()) else {
            return Err(format!("record {} is not there; it may have been pruned", self.position.get()));
        };
        let origin: &str = &self.origin;
        let leaves = || hits.iter().map(move |hit| Leaf::of(origin, hit));
        let body = match &self.receiver {
            Receiver::ClickHouse(rows) => rows.encode(hits, &|index| ledger.read_from(index))?,
            Receiver::Otlp(_) => self.log_records(leaves()),
            Receiver::Syslog(syslog) => {
                let mut all = Vec::new();
                for leaf in leaves() {
                    syslog.framing().add(&mut all, &leaf, &self.host, &self.text(&leaf));
                }
                all.into()
            }
        };
        // Syslog refuses nothing, and a table has all records whole or is none.
        let stub = match (&self.receiver, hits) {
            (Receiver::Otlp(_), [alone]) => {
                Some(self.log_records(std::iter::once(Leaf::stub(origin, alone))))
            }
            _ => None,
        };
        let oldest = Leaf::of(origin, first).time();
        Ok(Batch { first: first.index, next: last.index + 1, oldest, body, stub })
    }

    fn log_records<'l>(&self, leaves: impl Iterator<Item = Leaf<'l>>) -> Bytes {
        Otlp::encode(leaves.map(|leaf| attributes::log_record(&leaf, self.text(&leaf))).collect())
    }

    fn text(&self, leaf: &Leaf<'_>) -> String {
        match self.body {
            Body::Record => leaf.text().into_owned(),
            Body::Ocsf => ocsf::line(leaf),
            Body::Cef => cef::line(leaf),
        }
    }
}

/// The next records, at least one where there is any before `durable`, at most so many and so many bytes.
pub(super) fn next_records(
    reading: &mut Reading,
    durable: u64,
    (most, bytes): (usize, usize),
) -> Result<Vec<Hit>, String> {
    let (mut hits, mut length) = (Vec::new(), 0);
    while hits.len() < most && length < bytes && reading.index() < durable {
        // All of these are there: what stood at the end of a write that has gone on since looks again.
        let Some(hit) = reading.next().or_else(|| reading.next()) else { break };
        let hit = hit.map_err(|error| chain(&error))?;
        length += hit.record.len();
        hits.push(hit);
    }
    Ok(hits)
}
