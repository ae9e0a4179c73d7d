//! Records on their way into the table: encoded, and added so that each is there once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use serde::ser::{Serialize, SerializeTuple as _, Serializer};
use uuid::Uuid;
use vidimus_core::record::{Kept, Record};
use vidimus_core::row::{Asked, COLUMNS, Cell, cells, lets_pass};
use vidimus_ledger::{Hit, Reading, SearchError};

use super::schema::{self, EVENTS};
use super::{ClickHouse, ClickHouseError};
use crate::beside::chain;

/// Calls whose effects have not come yet and that are remembered. Those of others are read again from the log.
const UNDER_WAY: usize = 16_384;

/// A decision so many records behind another one is read on to; one further away is looked for.
const NEAR: u64 = 8_192;

/// Bytes of an answer with one record.
const MOST_OF_LAST: usize = 1 << 20;

/// Where the log is read from a record on.
type ReadFrom<'l> = &'l dyn Fn(u64) -> Result<Reading, SearchError>;

/// Writes the records of one log into the table, which it makes where it is missing.
pub struct EventRows {
    clickhouse: ClickHouse,
    origin: String,
    /// That of this run. A batch is not known by its place in the log alone: rows that were deleted since would not be added again.
    run: Uuid,
    /// Decisions that let a call pass, by their index.
    under_way: Mutex<BTreeMap<u64, Asked>>,
    /// Whether the table is known to be there.
    is_ready: AtomicBool,
}

impl fmt::Debug for EventRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventRows").field("clickhouse", &self.clickhouse).finish_non_exhaustive()
    }
}

impl EventRows {
    /// For the records of the log `origin`.
    pub fn new(clickhouse: ClickHouse, origin: String) -> Self {
        let (under_way, is_ready) = (Mutex::default(), AtomicBool::new(false));
        Self { clickhouse, origin, run: Uuid::now_v7(), under_way, is_ready }
    }

    /// The last record that the table has of a log that begins with `front`, and its text; `None` where one is missing in between, or was pruned since.
    ///
    /// # Errors
    /// See [`ClickHouseError`].
    pub async fn last(&self, front: u64) -> Result<Option<(u64, String)>, ClickHouseError> {
        schema::prepare(&self.clickhouse).await?;
        let sql = "SELECT count(), min(`index`), max(`index`), argMax(`record`, `index`) FROM records WHERE `origin` = {origin:String} \
                   FORMAT JSONCompactEachRow";
        let settings = [("output_format_json_quote_64bit_integers", "0".to_owned())];
        let origin = [("origin", self.origin.clone())];
        let answer = self.clickhouse.ask(sql, &origin, &settings, MOST_OF_LAST).await?;
        let (count, first, last, text): (u64, u64, u64, String) =
            serde_json::from_slice(&answer).map_err(|_| ClickHouseError::Other)?;
        let is_whole = count > 0 && first == front && count - 1 == last.saturating_sub(first);
        Ok(is_whole.then_some((last, text)))
    }

    /// Takes all rows of this log out.
    ///
    /// # Errors
    /// See [`ClickHouseError`].
    pub async fn clear(&self) -> Result<(), ClickHouseError> {
        schema::prepare(&self.clickhouse).await?;
        let sql = format!("DELETE FROM {EVENTS} WHERE `origin` = {{origin:String}}");
        self.clickhouse.change(&sql, &[("origin", self.origin.as_str())]).await
    }

    /// The rows of records that follow each other. An effect has who asked for what of its decision, which is among them, was among those of
    /// before, or is read from the log.
    ///
    /// # Errors
    /// Where the log cannot be read.
    pub fn encode(&self, hits: &[Hit], read_from: ReadFrom<'_>) -> Result<Bytes, String> {
        let records: Vec<Option<Kept>> = hits.iter().map(|hit| Kept::read(&hit.record).ok()).collect();
        let mut decisions = self.under_way();
        let first = hits.first().map_or(0, |hit| hit.index);
        let mut older: Vec<u64> = records.iter().flatten().filter_map(its_decision).collect();
        older.retain(|index| *index < first && !decisions.contains_key(index));
        older.sort_unstable();
        read(&older, read_from, &mut decisions).map_err(|error| chain(&error))?;
        let second = |record: &Kept| match record {
            Record::Effect(effect) if effect.is_second() => Some(effect.decision),
            _ => None,
        };
        let second: BTreeSet<u64> = records.iter().flatten().filter_map(second).collect();
        let mut body: Vec<u8> = Vec::with_capacity(hits.iter().map(|hit| 2 * hit.record.len()).sum());
        for (hit, record) in hits.iter().zip(&records) {
            let asked = match record {
                Some(Record::Effect(effect)) if effect.decision < hit.index => {
                    let goes_on = !effect.is_second() && second.contains(&effect.decision);
                    let asked = decisions.remove(&effect.decision);
                    // The one behind it is of the same.
                    if let Some(asked) = asked.as_ref().filter(|_| goes_on) {
                        decisions.insert(effect.decision, asked.clone());
                    }
                    asked
                }
                record => record.as_ref().and_then(Asked::of),
            };
            let text = String::from_utf8_lossy(&hit.record);
            let cells = cells(hit.index, &text, record.as_ref(), asked.as_ref());
            let row = Row { origin: &self.origin, cells: &cells };
            serde_json::to_writer(&mut body, &row).map_err(|error| error.to_string())?;
            body.push(b'\n');
            if let Some(asked) = asked.filter(|_| record.as_ref().is_some_and(lets_pass)) {
                decisions.insert(hit.index, asked);
            }
        }
        while decisions.len() > UNDER_WAY {
            decisions.pop_first();
        }
        Ok(body.into())
    }

    /// Adds the rows of the records from `first` to the one before `next`: they are there when this returns, each once for who reads
    /// `records`, also where some of them were there before.
    ///
    /// # Errors
    /// See [`ClickHouseError`]. It is to be tried again.
    pub async fn add(&self, (first, next): (u64, u64), rows: Bytes) -> Result<(), ClickHouseError> {
        if !self.is_ready.load(Ordering::Acquire) {
            schema::prepare(&self.clickhouse).await?;
        }
        let sql = format!("INSERT INTO {EVENTS} ({}) FORMAT JSONCompactEachRow", schema::names());
        let token = format!("{}/{first}-{next}/{}", self.origin, self.run);
        let added = self.clickhouse.insert(&sql, rows, &token).await;
        // Somebody may have removed the table.
        self.is_ready.store(added.is_ok(), Ordering::Release);
        added
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeMap<u64, Asked>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn its_decision(record: &Kept) -> Option<u64> {
    match record {
        Record::Effect(effect) => Some(effect.decision),
        _ => None,
    }
}

/// Reads decisions, which are sorted. What was pruned is not known any more.
fn read(wanted: &[u64], read_from: ReadFrom<'_>, into: &mut BTreeMap<u64, Asked>) -> Result<(), SearchError> {
    let mut reading: Option<Reading> = None;
    for index in wanted {
        let is_near = |at: &Reading| at.index() <= *index && index - at.index() < NEAR;
        let mut at = match reading.take().filter(is_near) {
            Some(at) => at,
            None => read_from(*index)?,
        };
        while at.index() <= *index {
            match at.next() {
                Some(Ok(hit)) if hit.index == *index => {
                    let record = Kept::read(&hit.record).ok().filter(lets_pass);
                    into.extend(record.as_ref().and_then(Asked::of).map(|asked| (*index, asked)));
                }
                Some(Ok(_)) => {}
                Some(Err(SearchError::Pruned { .. })) | None => break,
                Some(Err(error)) => return Err(error),
            }
        }
        reading = Some(at).filter(|at| at.index() > *index);
    }
    Ok(())
}

/// One row, as an array in the order of the columns.
struct Row<'r> {
    origin: &'r str,
    cells: &'r [Cell<'r>],
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_tuple(1 + COLUMNS.len())?;
        row.serialize_element(self.origin)?;
        for cell in self.cells {
            match cell {
                Cell::Number(number) => row.serialize_element(number)?,
                Cell::Small(number) => row.serialize_element(number)?,
                Cell::Time(time) => {
                    let time = time.and_then(|time| Timestamp::from_microsecond(time).ok());
                    row.serialize_element(&time.map(|time| format!("{time:.6}")))?;
                }
                Cell::Text(text) => row.serialize_element(text)?,
                Cell::Texts(texts) => row.serialize_element(texts)?,
            }
        }
        row.end()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell as Counter;

    use serde_json::{Value, json};
    use vidimus_core::record::EffectRecord;

    use super::*;
    use crate::forward::AddressGuard;

    fn hit(index: u64, record: &Value) -> Hit {
        Hit { index, record: record.to_string().into_bytes() }
    }

    fn decision() -> Value {
        json!({
            "action": "invokeTool", "body": "sha256:00", "chain": ["Agent/finance/a"], "depth": 2, "facts": {}, "id": "call-1",
            "identity": "oidc:urn:x#bot", "kind": "decision", "method": "tools/call", "outcome": "allow", "policies": ["finance/read"],
            "principal": "Agent/finance/bot", "protocol": "mcp", "resource": "Tool/finance/ledger/get", "snapshot": "sha256:0a",
            "source": "10.1.2.3", "time": "2026-11-27T12:00:00.250000Z",
            "trace": "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", "transaction": "t-1", "user": "urn:x#grace", "version": 1,
        })
    }

    fn effect() -> Value {
        json!({
            "bytes_in": 2, "bytes_out": 40, "decision": 7, "duration_us": 1234, "id": "call-1", "kind": "effect",
            "result": "ok", "status": 200, "time": "2026-11-27T12:00:00.001234Z", "version": 1,
        })
    }

    /// The rows, by the names of their columns.
    fn rows(body: &[u8]) -> Vec<Value> {
        let names: Vec<&str> =
            std::iter::once("origin").chain(COLUMNS.iter().map(|(name, ..)| *name)).collect();
        let lines = str::from_utf8(body).unwrap().lines();
        lines
            .map(|line| {
                let cells: Vec<Value> = serde_json::from_str(line).unwrap();
                assert_eq!(cells.len(), names.len());
                names.iter().map(|name| (*name).to_owned()).zip(cells).collect()
            })
            .collect()
    }

    #[tokio::test]
    async fn an_effect_says_who_asked_for_what_wherever_its_decision_is() {
        let address = "clickhouse://127.0.0.1/v".parse().unwrap();
        let clickhouse = ClickHouse::open(&address, None, AddressGuard::default()).unwrap();
        let events = EventRows::new(clickhouse, "log".to_owned());
        let asked = Counter::new(0);
        let nothing = |index: u64| {
            asked.set(index);
            Err(SearchError::NotALedger { dir: "nowhere".into() })
        };
        let (before, end) = (hit(7, &decision()), hit(8, &effect()));
        // In one batch, in the one before, and in none: then the log is read.
        let together = rows(&events.encode(&[before.clone(), end.clone()], &nothing).unwrap());
        events.encode(&[before], &nothing).unwrap();
        let apart = rows(&events.encode(std::slice::from_ref(&end), &nothing).unwrap());
        assert_eq!(together[1], apart[0]);
        assert_eq!(asked.get(), 0);
        let row = &apart[0];
        for (name, value) in [
            ("origin", json!("log")),
            ("index", json!(8)),
            ("time", json!("2026-11-27T12:00:00.001234Z")),
            ("kind", json!("effect")),
            ("principal", json!("Agent/finance/bot")),
            ("person", json!("urn:x#grace")),
            ("tool", json!("get")),
            ("policies", json!(["finance/read"])),
            ("decision", json!(7)),
            ("latency_us", json!(1234)),
            ("cost", Value::Null),
            ("record", json!(effect().to_string())),
        ] {
            assert_eq!(row[name], value, "{name}");
        }
        // One that waited for its client and was taken back has two, which may be in one batch with the decision or behind it.
        let mut second = effect();
        for (member, value) in [
            ("bytes_in", json!(0)),
            ("status", json!(0)),
            ("result", json!("failed")),
            ("detail", json!(EffectRecord::WAITED)),
        ] {
            second[member] = value;
        }
        let all = [hit(7, &decision()), end.clone(), hit(9, &second)];
        let together = rows(&events.encode(&all, &nothing).unwrap());
        events.encode(&all[..1], &nothing).unwrap();
        let apart = rows(&events.encode(&all[1..], &nothing).unwrap());
        for row in together.iter().chain(&apart) {
            assert_eq!(row["principal"], json!("Agent/finance/bot"), "{row}");
        }
        assert_eq!(asked.get(), 0);
        assert!(events.encode(&[end], &nothing).is_err());
        assert_eq!(asked.get(), 7);
        // What a newer version wrote is there as it is.
        let newer = json!({"kind": "decision", "version": 9, "what": "nobody knows"});
        let row = &rows(&events.encode(&[hit(9, &newer)], &nothing).unwrap())[0];
        assert_eq!((&row["kind"], &row["record"]), (&Value::Null, &json!(newer.to_string())));
    }
}
