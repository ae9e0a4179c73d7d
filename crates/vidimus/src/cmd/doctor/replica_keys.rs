//! The keys that this gateway has with others (`--shared-keys`): whether they can be used, how old they are, and whether the one that runs has them.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use vidimus_core::caller::UnixMillis;
use vidimus_core::clock::Clock as _;
use vidimus_gateway::millis;
use vidimus_identity::{ListedKey, Mint, SharedKeys, SharedKeysError};

use super::check;
use super::gateway::{document, reachable};
use super::machine::is_denied;
use super::{Doctor, Report, word};
use crate::clock::SystemClock;

/// A key that is used for longer than this is told of. Milliseconds.
const OLD: i64 = 180 * 24 * 3600 * 1000;

pub(super) fn look(doctor: &Doctor, runs: bool, report: &mut Report) -> anyhow::Result<()> {
    let Some(directory) = &doctor.shared_keys else { return Ok(()) };
    report.looked_at("the shared keys");
    let now = millis(SystemClock.now().wall);
    let (listed, published) = match read(directory, now) {
        Ok(read) => read,
        Err(error) => {
            let error = anyhow::Error::from(error);
            if is_denied(&error) {
                report
                    .left_out("the shared keys", format!("{error:#}; run the doctor as the gateway's user"));
            } else {
                let fix =
                    format!("vidimus keys list {}; put it right as docs/scale.md says", word(directory));
                report.find(check::SHARED_KEYS_UNUSABLE, format!("--shared-keys {error:#}"), fix);
            }
            return Ok(());
        }
    };
    for key in listed.iter().filter(|key| is_old(key, &listed, now)) {
        let days = now.0.saturating_sub(key.from.0) / (24 * 3600 * 1000);
        let what = format!("--shared-keys {}: {} is used since {days} days", directory.display(), key.file);
        let fix = format!(
            "vidimus keys rotate --out {}, and copy it to each; of a Secret: docs/scale.md, Rotation",
            word(directory)
        );
        report.find(check::SHARED_KEYS_OLD, what, fix);
    }
    if runs {
        used(doctor, directory, &published, report)?;
    }
    Ok(())
}

/// The keys, and what is published of those that sign.
fn read(directory: &Path, now: UnixMillis) -> Result<(Vec<ListedKey>, Value), SharedKeysError> {
    let keys = SharedKeys::open(directory)?;
    // What is published names no issuer.
    let published = Mint::shared(&keys, "", now)?.jwks();
    Ok((keys.list(now), serde_json::from_str(&published).unwrap_or_default()))
}

/// Whether another should take its place, and none is there that will.
fn is_old(key: &ListedKey, all: &[ListedKey], now: UnixMillis) -> bool {
    let is_followed = all.iter().any(|other| other.purpose == key.purpose && other.state == "next");
    key.state == "current" && now.0.saturating_sub(key.from.0) > OLD && !is_followed
}

/// Whether the gateway that runs publishes these keys: where each replica has what its directory has, all have the same.
fn used(doctor: &Doctor, directory: &Path, published: &Value, report: &mut Report) -> anyhow::Result<()> {
    let listen = reachable(doctor.listen);
    // Where nobody listens is told elsewhere.
    let Ok(said) = document(listen, "/.well-known/jwks.json")? else { return Ok(()) };
    let (own, its) = (ids(published), ids(&said));
    if own != its {
        let what = format!(
            "the gateway at {listen} publishes other keys ({}) than {} has ({})",
            shown(&its),
            directory.display(),
            shown(&own)
        );
        let fix =
            "start it with this --shared-keys; where it has it, its log says why the keys stay as they were";
        report.find(check::SHARED_KEYS_DIFFER, what, fix);
    }
    Ok(())
}

/// The names of published keys.
fn ids(keys: &Value) -> BTreeSet<&str> {
    let keys = keys.get("keys").and_then(Value::as_array).into_iter().flatten();
    keys.filter_map(|key| key.get("kid")?.as_str()).collect()
}

fn shown(ids: &BTreeSet<&str>) -> String {
    if ids.is_empty() { "none".to_owned() } else { ids.iter().copied().collect::<Vec<_>>().join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_old_until_another_is_there_that_follows() {
        let now = UnixMillis(1_800_000_000_000);
        let key = |purpose: &'static str, state: &'static str, days: i64| ListedKey {
            purpose,
            file: String::new(),
            from: UnixMillis(now.0 - days * 24 * 3600 * 1000),
            state,
        };
        for (others, old) in [
            (vec![], true),
            (vec![key("seal", "next", -1)], false),
            (vec![key("mint", "next", -1)], true),
            (vec![key("seal", "former", 400)], true),
        ] {
            let all: Vec<ListedKey> = others.into_iter().chain([key("seal", "current", 181)]).collect();
            let found = all.iter().filter(|one| is_old(one, &all, now)).count();
            assert_eq!(found, usize::from(old), "{all:?}");
        }
        let young = [key("seal", "current", 179)];
        assert!(!is_old(&young[0], &young, now));
    }
}
