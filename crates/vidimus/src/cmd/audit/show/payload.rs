//! What was kept of a call, for whoever may read the keys; or that they were destroyed, and by what act.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use vidimus_core::act::{Act, MOST_KEYS};
use vidimus_core::keep::{KeptPayload, PayloadOf};
use vidimus_core::record::{ActRecord, Kept, Record};
use vidimus_gateway::{PayloadKeys, Place, Plain, Unread};
use vidimus_ledger::Query;
use vidimus_query::audit::ShownRecord;

/// The keys of an installation, and the log whose records they open.
#[derive(Debug)]
pub(super) struct Payloads<'a> {
    keys: PayloadKeys,
    dir: &'a Path,
    origin: String,
    /// Whose the payloads of the call are, as its decision says.
    whose: Option<String>,
}

impl<'a> Payloads<'a> {
    pub(super) fn of(data: &Path, dir: &'a Path, records: &[ShownRecord]) -> anyhow::Result<Self> {
        let origin = vidimus_ledger::known_key(dir)?.name().to_owned();
        let whose = records.iter().find_map(|shown| match shown.kept.as_ref()? {
            Record::Decision(decision) => Some(match &decision.user {
                Some(user) => format!("User/{user}"),
                None => decision.principal.to_string(),
            }),
            Record::Effect(_) | Record::Refusal(_) | Record::Act(_) => None,
        });
        Ok(Self { keys: PayloadKeys::of_data(data), dir, origin, whose })
    }

    /// What a record keeps; `None` where it keeps nothing.
    pub(super) fn told(&self, shown: &ShownRecord) -> anyhow::Result<Option<Value>> {
        let (kept, call, of) = match &shown.kept {
            Some(Record::Decision(decision)) => (&decision.kept, &decision.id, PayloadOf::Arguments),
            Some(Record::Effect(effect)) => (&effect.kept, &effect.id, PayloadOf::Answer),
            Some(Record::Refusal(_) | Record::Act(_)) | None => return Ok(None),
        };
        let Some(kept) = kept.as_deref() else { return Ok(None) };
        let (Some(whose), Some(key)) = (&self.whose, &kept.key) else {
            return Ok(Some(not_kept(kept, of)));
        };
        let place = Place { origin: &self.origin, call, of };
        Ok(Some(match self.keys.open(whose, place, kept) {
            Ok(Plain::Whole(bytes)) => match std::str::from_utf8(&bytes) {
                Ok(text) => json!({"of": of.as_str(), "state": "kept", "text": text}),
                Err(_) => json!({"of": of.as_str(), "state": "kept", "base64": STANDARD.encode(&bytes)}),
            },
            Ok(Plain::Digest(digest)) => {
                let digest = format!("sha256:{}", HEXLOWER.encode(&digest));
                json!({"of": of.as_str(), "state": "too long", "bytes": kept.bytes, "digest": digest})
            }
            Err(Unread::NoKey) => self.gone(whose, (key, shown.index), of)?,
            Err(Unread::Forged) => json!({"of": of.as_str(), "state": "forged"}),
            // The rest of the call is shown all the same.
            Err(Unread::Failed(error)) => {
                json!({"of": of.as_str(), "state": "unreadable", "why": error.to_string()})
            }
        }))
    }

    /// Why a key is not there: by an act on record that names it; where there is none, nobody knows. An act of another gateway names the keys
    /// there, and a very large one not all: of these it is said that they may have destroyed it.
    fn gone(&self, whose: &str, (key, index): (&str, u64), of: PayloadOf) -> anyhow::Result<Value> {
        let query =
            Query { kind: Some("act".to_owned()), resource: Some(whose.to_owned()), ..Query::default() };
        let mut missing = json!({"of": of.as_str(), "state": "key missing"});
        for hit in vidimus_ledger::search(self.dir, &query)? {
            let hit = hit?;
            let Ok(Record::Act(ActRecord { act: Act::Shred(shred), actor, id, shared, time, why, .. })) =
                Kept::read(&hit.record)
            else {
                continue;
            };
            if shred.subject.to_string() != whose {
                continue;
            }
            if shred.keys.iter().any(|one| one == key) {
                return Ok(
                    json!({"of": of.as_str(), "state": "shredded", "act": id, "actor": actor, "time": time, "why": why}),
                );
            }
            let is_foreign = shared.is_some_and(|place| place.from.is_some());
            if hit.index > index && (is_foreign || shred.keys.len() >= MOST_KEYS) {
                let may = json!({"act": id, "actor": actor, "time": time, "why": why});
                missing = json!({"of": of.as_str(), "state": "key missing", "may_be": may});
            }
        }
        Ok(missing)
    }
}

fn not_kept(kept: &KeptPayload, of: PayloadOf) -> Value {
    match &kept.unkept {
        Some(why) => json!({"of": of.as_str(), "state": "not kept", "why": why}),
        None => json!({"of": of.as_str(), "state": "too long", "bytes": kept.bytes}),
    }
}

/// The same in a line.
pub(super) fn line(told: &Value) -> String {
    let text = |name: &str| crate::output::text(told, name);
    match text("state") {
        "kept" if told.get("text").is_some() => text("text").to_owned(),
        "kept" => format!("base64 {}", text("base64")),
        "too long" => {
            let bytes = told.get("bytes").and_then(Value::as_u64).unwrap_or_default();
            let digest = Some(text("digest")).filter(|digest| !digest.is_empty());
            let digest = digest.unwrap_or("its digest is that of the body");
            format!("too long to be kept: {bytes} bytes, {digest}")
        }
        "shredded" => {
            format!(
                "shredded on {} by {}: {} (act {})",
                text("time"),
                text("actor"),
                text("why"),
                text("act")
            )
        }
        "key missing" => match told.get("may_be") {
            Some(may) => format!(
                "key missing: it is not in DATA/payload-keys, and no act names it; act {} of {}, which is about this person and does not name each key, may have destroyed it",
                crate::output::text(may, "act"),
                crate::output::text(may, "time")
            ),
            None => "key missing: it is not in DATA/payload-keys, and no act says that it was destroyed"
                .to_owned(),
        },
        "not kept" => format!("not kept: {}", text("why")),
        "unreadable" => format!("unreadable: its key cannot be read: {}", text("why")),
        _ => "NOT what was sealed for this record: the record, its key or its call is another".to_owned(),
    }
}
