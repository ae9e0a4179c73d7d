//! The keys of Secrets, as they are now: of each Secret that an object in force names the one key that it names, and nothing else of it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::sync::watch;
use vidimus_core::resource::Object;
use vidimus_core::resource::llm_provider::{CredentialSource, SecretKey, one_key};

use crate::line::KeyIs;
use crate::live::Told;
use crate::unavailable::Unavailable;

/// Largest key, bytes: as of a file.
const MAX_KEY: usize = 16 * 1024;
/// How long the API server has to say that a Secret may not be read, before a key that was read is let go: one that begins says it for a moment to everybody.
const BELIEVED: Duration = Duration::from_secs(30);
/// Most characters of what another process says. That a right is missing is said with the objects that give it.
const MAX_SAID: usize = 2048;

/// The keys; a clone is the same ones. What is said of them has no word of what is in them. Beside them: how often any was told of.
#[derive(Clone, Default)]
pub struct Secrets(Arc<RwLock<HashMap<SecretKey, Held>>>, watch::Sender<u64>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

/// One key.
struct Held {
    state: State,
    /// Since when the API server says that it may not be read.
    forbidden: Option<Instant>,
    /// How often any had been told of when this one was last; 0 before.
    told: u64,
}

enum State {
    /// Not read yet, and why if that is known.
    Unread(Option<String>),
    There(SecretString),
    Not(Unavailable),
}

impl From<State> for Held {
    fn from(state: State) -> Self {
        Self { state, forbidden: None, told: 0 }
    }
}

/// What is known of a key, for a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing yet.
    Unread,
    /// It is there.
    There,
    /// It is not, and why.
    Not(Unavailable),
}

impl State {
    fn known(&self) -> Known {
        match self {
            Self::Unread(_) => Known::Unread,
            Self::There(_) => Known::There,
            Self::Not(why) => Known::Not(why.clone()),
        }
    }
}

/// The key of a Secret that an object names.
pub(crate) fn named_by(object: &Object) -> Option<&SecretKey> {
    let source = match object {
        Object::LlmProvider(provider) => &provider.credential,
        Object::McpServer(server) => &server.endpoint.key.as_ref()?.source,
        Object::Agent(_) | Object::Service(_) | Object::Policy(_) => return None,
    };
    match source {
        CredentialSource::Secret(named) => Some(named),
        CredentialSource::File(_) | CredentialSource::Env(_) | CredentialSource::None => None,
    }
}

impl Secrets {
    /// The text of a key.
    ///
    /// # Errors
    /// Why it is not there, and what to do, without a word of what is in it.
    pub fn read(&self, named: &SecretKey) -> Result<SecretString, String> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match all.get(named).map(|held| &held.state) {
            Some(State::There(key)) => Ok(key.clone()),
            Some(State::Not(why)) => Err(why.message(named)),
            Some(State::Unread(Some(why))) => Err(format!("{named}: not read yet: {why}")),
            Some(State::Unread(None)) | None => Err(format!("{named}: not read yet")),
        }
    }

    pub(crate) fn known(&self, named: &SecretKey) -> Known {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(named).map_or(Known::Unread, |held| held.state.known())
    }

    /// These are named, and no others: `followed` are watched, `left` are too many. What is not named any more is let go.
    pub(crate) fn named<'a>(
        &self,
        followed: impl Iterator<Item = &'a SecretKey>,
        left: impl Iterator<Item = &'a SecretKey>,
    ) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut last = std::mem::take(&mut *all);
        for one in followed {
            let held = last.remove(one).filter(|held| held.state.known() != Known::Not(Unavailable::TooMany));
            all.insert(one.clone(), held.unwrap_or_else(|| State::Unread(None).into()));
        }
        all.extend(left.map(|one| (one.clone(), Held::from(State::Not(Unavailable::TooMany)))));
    }

    /// What the watch of one Secret tells: whether something is known of its key now that was not; `None` once nobody names it any more.
    pub(crate) fn told(&self, of: &SecretKey, told: Told, now: Instant) -> Option<bool> {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let held = all.get_mut(of)?;
        if !matches!(told, Told::Forbidden(_) | Told::Lost(_)) {
            held.forbidden = None;
        }
        let next = match told {
            Told::Listed(secrets) => {
                let found = secrets.iter().find(|secret| is(of, secret));
                found.map_or(State::Not(Unavailable::SecretNotFound), |secret| state(of, secret))
            }
            Told::There(secret) if is(of, &secret) => state(of, &secret),
            Told::Gone(secret) if is(of, &secret) => State::Not(Unavailable::SecretNotFound),
            Told::There(_) | Told::Gone(_) | Told::Alive | Told::UpTo(_) => return Some(false),
            // What was read stays: an API server that does not answer changes nothing.
            Told::Lost(why) => match held.state {
                State::Unread(_) => State::Unread(Some(why)),
                State::There(_) | State::Not(_) => return Some(false),
            },
            Told::Forbidden(why) => {
                let since = *held.forbidden.get_or_insert(now);
                let is_believed = now.saturating_duration_since(since) >= BELIEVED;
                if matches!(held.state, State::There(_)) && !is_believed {
                    return Some(false);
                }
                State::Not(Unavailable::Forbidden(why))
            }
        };
        let (was, is) = (held.state.known(), next.known());
        held.becomes(of, next, &self.1);
        Some(was != is)
    }

    /// What a registry says of a key that was asked for; nothing, of one that nobody names any more.
    pub(crate) fn heard(&self, of: &SecretKey, is: KeyIs) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = all.get_mut(of) else { return };
        let next = match is {
            KeyIs::There(key) => usable(&key).map_or_else(State::Not, State::There),
            KeyIs::Not(why) => State::Not(Unavailable::Said(shown(&why))),
            // What was read stays, as where the API server does not answer.
            KeyIs::Waits(why) if matches!(held.state, State::Unread(_)) => State::Unread(Some(shown(&why))),
            KeyIs::Waits(_) => return,
        };
        held.becomes(of, next, &self.1);
    }

    /// Changes whenever a key may be otherwise than it was.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.1.subscribe()
    }

    /// What is said of a key to who asks for it, and which telling of it that is; `None` of one that what is in force here does not name, or of which nothing
    /// is known yet.
    pub(crate) fn of(&self, named: &SecretKey) -> Option<(u64, KeyIs)> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let held = all.get(named)?;
        let is = match &held.state {
            State::There(key) => KeyIs::There(key.clone()),
            State::Not(why) => KeyIs::Not(why.message(named)),
            State::Unread(Some(why)) => KeyIs::Waits(why.clone()),
            State::Unread(None) => return None,
        };
        Some((held.told, is))
    }
}

impl Held {
    fn becomes(&mut self, of: &SecretKey, next: State, told: &watch::Sender<u64>) {
        say(of, &self.state, &next);
        self.state = next;
        told.send_modify(|last| {
            *last = last.wrapping_add(1);
            self.told = *last;
        });
    }
}

/// What another process says, for people: on one line, and not too much of it.
pub(crate) fn shown(said: &str) -> String {
    said.chars().map(|one| if one.is_control() { ' ' } else { one }).take(MAX_SAID).collect()
}

/// For the log, each change once.
fn say(of: &SecretKey, was: &State, is: &State) {
    match (was, is) {
        (State::There(was), State::There(is)) if was.expose_secret() == is.expose_secret() => {}
        (State::There(_), State::There(_)) => tracing::info!("{of} was rotated"),
        (_, State::There(_)) => tracing::info!("{of} is there"),
        (State::Not(was), State::Not(is)) if was == is => {}
        (_, State::Not(why)) => {
            tracing::warn!("calls that need {of} are refused: {}", why.message(of));
        }
        (_, State::Unread(_)) => {}
    }
}

/// Whether it is the Secret that is named. What a watch tells of others is passed over.
fn is(of: &SecretKey, secret: &Value) -> bool {
    let text = |pointer: &str| secret.pointer(pointer).and_then(Value::as_str);
    text("/metadata/name") == Some(&*of.name) && text("/metadata/namespace") == Some(&*of.namespace)
}

fn state(of: &SecretKey, secret: &Value) -> State {
    key_in(of, secret).map_or_else(State::Not, State::There)
}

/// The one key of a Secret; the others are not looked at.
fn key_in(of: &SecretKey, secret: &Value) -> Result<SecretString, Unavailable> {
    let data = secret.get("data").and_then(Value::as_object);
    let encoded = data.and_then(|data| data.get(&*of.key)).and_then(Value::as_str);
    let encoded = encoded.ok_or(Unavailable::KeyNotFound)?;
    let too_large = Unavailable::Unusable("it is larger than 16384 bytes");
    if encoded.len() > MAX_KEY.div_ceil(3) * 4 {
        return Err(too_large);
    }
    let bytes = STANDARD.decode(encoded).map_err(|_| Unavailable::Unusable("it is not base64"))?;
    if bytes.len() > MAX_KEY {
        return Err(too_large);
    }
    let text = String::from_utf8(bytes).map_err(|_| Unavailable::Unusable("it is not text"))?;
    // Whoever holds it wipes it.
    usable(&SecretString::from(text))
}

fn usable(text: &SecretString) -> Result<SecretString, Unavailable> {
    if text.expose_secret().len() > MAX_KEY {
        return Err(Unavailable::Unusable("it is larger than 16384 bytes"));
    }
    one_key(text.expose_secret()).map(SecretString::from).map_err(Unavailable::Unusable)
}

#[cfg(test)]
mod tests {
    use std::iter::empty;

    use serde_json::json;

    use super::*;

    fn named(key: &str) -> SecretKey {
        SecretKey { namespace: "platform".into(), name: "openai".into(), key: key.into() }
    }

    fn secret(namespace: &str, name: &str, data: &[(&str, &[u8])]) -> Value {
        let data: serde_json::Map<String, Value> =
            data.iter().map(|(key, value)| ((*key).to_owned(), STANDARD.encode(value).into())).collect();
        json!({"metadata": {"namespace": namespace, "name": name, "resourceVersion": "7"}, "type": "Opaque", "data": data})
    }

    fn ours(value: &[u8]) -> Value {
        secret("platform", "openai", &[("apiKey", value), ("other", b"sk-other")])
    }

    fn begun() -> (Secrets, SecretKey) {
        let (secrets, of) = (Secrets::default(), named("apiKey"));
        secrets.named([&of].into_iter(), empty());
        (secrets, of)
    }

    fn text(secrets: &Secrets, of: &SecretKey) -> Result<String, String> {
        secrets.read(of).map(|key| key.expose_secret().to_owned())
    }

    #[test]
    fn a_key_is_live_rotated_and_closed_as_its_secret_is() {
        let (secrets, of) = begun();
        let now = Instant::now();
        assert!(text(&secrets, &of).is_err_and(|why| why.contains("not read yet")));
        let away = Told::Lost("connection refused".to_owned());
        assert_eq!(secrets.told(&of, away, now), Some(false));
        assert!(text(&secrets, &of).is_err_and(|why| why.contains("connection refused")));
        let other_namespace = secret("finance", "openai", &[("apiKey", b"sk-of-finance")]);
        let other_name = secret("platform", "open", &[("apiKey", b"sk-of-open")]);
        for (told, changed, says) in [
            (Told::Listed(vec![]), true, Err("does not exist")),
            (Told::Listed(vec![other_namespace.clone(), other_name.clone()]), false, Err("does not exist")),
            (Told::There(ours(b"sk-1\n")), true, Ok("sk-1")),
            (Told::There(ours(b"sk-2")), false, Ok("sk-2")),
            (Told::There(other_namespace), false, Ok("sk-2")),
            (Told::Gone(other_name), false, Ok("sk-2")),
            (Told::Lost("connection refused".to_owned()), false, Ok("sk-2")),
            (Told::Alive, false, Ok("sk-2")),
            (
                Told::There(secret("platform", "openai", &[("other", b"sk-other")])),
                true,
                Err("has no key apiKey"),
            ),
            (
                Told::There(json!({"metadata": {"namespace": "platform", "name": "openai"}})),
                false,
                Err("has no key"),
            ),
            (Told::There(ours(b"sk-3")), true, Ok("sk-3")),
            (Told::Gone(ours(b"sk-3")), true, Err("does not exist")),
            (Told::Listed(vec![ours(b"sk-4")]), true, Ok("sk-4")),
        ] {
            let what = format!("{told:?}");
            assert_eq!(secrets.told(&of, told, now), Some(changed), "{what}");
            match says {
                Ok(key) => assert_eq!(text(&secrets, &of).as_deref(), Ok(key), "{what}"),
                Err(why) => assert!(text(&secrets, &of).is_err_and(|told| told.contains(why)), "{what}"),
            }
        }
        assert_eq!(secrets.known(&of), Known::There);
        // The key of another is not held, although its Secret is the same one.
        assert!(text(&secrets, &named("other")).is_err());
        secrets.named(empty(), empty());
        assert_eq!(secrets.told(&of, Told::There(ours(b"sk-5")), now), None, "nobody names it any more");
        assert!(text(&secrets, &of).is_err());
    }

    #[test]
    fn what_is_no_key_closes_and_is_not_shown() {
        let (secrets, of) = begun();
        let large = vec![b'x'; 1024 * 1024];
        let cases: [(&[u8], &str); 11] = [
            (&large[..], "larger than"),
            (&large[..MAX_KEY], ""),
            (&large[..=MAX_KEY], "larger than"),
            (b"", "empty"),
            (b" \n", "empty"),
            (b"sk-hunter2\nx-other: 1", "not one key"),
            (b"sk-hunter2\r\n", ""),
            (b"\x1b[31msk-hunter2", "not one key"),
            (b"sk-hunter2\0", "not one key"),
            (b"\xff\xfe", "not text"),
            ("sk-hünter2".as_bytes(), "not one key"),
        ];
        for (value, says) in cases {
            secrets.told(&of, Told::There(ours(value)), Instant::now());
            match (text(&secrets, &of), says) {
                (Ok(_), "") => {}
                (Err(why), says) => {
                    assert!(!says.is_empty() && why.contains(says) && !why.contains("hunter2"), "{why}");
                    let Known::Not(known) = secrets.known(&of) else { panic!("{why}") };
                    assert_eq!(known.reason(), "KeyInvalid");
                    assert!(!format!("{known:?}").contains("hunter2"));
                }
                (Ok(_), says) => panic!("{says}"),
            }
        }
        let odd = json!({"metadata": {"namespace": "platform", "name": "openai"}, "data": {"apiKey": "%%"}});
        secrets.told(&of, Told::There(odd), Instant::now());
        assert!(text(&secrets, &of).is_err_and(|why| why.contains("not base64")));
        secrets.told(&of, Told::There(ours(b"sk-hunter2")), Instant::now());
        let key = secrets.read(&of).unwrap();
        assert!(!format!("{secrets:?} {key:?}").contains("hunter2"));
    }

    /// An API server that begins says it of everything for a moment; one that goes on means it.
    #[test]
    fn a_right_that_was_taken_back_closes_after_half_a_minute() {
        let (secrets, of) = begun();
        let begun = Instant::now();
        let forbidden = || Told::Forbidden("secrets \"openai\" is forbidden (403)".to_owned());
        assert_eq!(secrets.told(&of, forbidden(), begun), Some(true), "nothing was read before");
        assert!(text(&secrets, &of).is_err_and(|why| why.contains("may not be read")));
        secrets.told(&of, Told::There(ours(b"sk-1")), begun);
        for (after, told, is_there) in [
            (1, forbidden(), true),
            (29, forbidden(), true),
            (30, Told::Alive, true),
            (40, forbidden(), true),
            (69, forbidden(), true),
            (70, forbidden(), false),
            (71, Told::Listed(vec![ours(b"sk-1")]), true),
        ] {
            secrets.told(&of, told, begun + Duration::from_secs(after));
            assert_eq!(text(&secrets, &of).is_ok(), is_there, "{after}");
        }
    }

    /// Attack: a registry that sends keys that nobody asked for, or that are none.
    #[test]
    fn what_a_registry_says_is_held_as_what_a_watch_tells() {
        let (secrets, of) = begun();
        let there = |key: &str| KeyIs::There(SecretString::from(key));
        secrets.heard(&named("other"), there("sk-other"));
        assert!(text(&secrets, &named("other")).is_err(), "nobody asked for it");
        for (is, says) in [
            (KeyIs::Waits("no answer\n".to_owned()), Err("no answer ")),
            (there("sk-1"), Ok("sk-1")),
            (KeyIs::Waits("no answer".to_owned()), Ok("sk-1")),
            (there("sk-2\n"), Ok("sk-2")),
            (there("sk-hunter2\nx-other: 1"), Err("not one key")),
            (there(&"x".repeat(MAX_KEY + 1)), Err("larger than")),
            (there("sk-3"), Ok("sk-3")),
            (KeyIs::Not("Secret a/b does not exist".to_owned()), Err("does not exist")),
        ] {
            secrets.heard(&of, is);
            match (text(&secrets, &of), says) {
                (Ok(key), Ok(says)) => assert_eq!(key, says),
                (Err(why), Err(says)) => assert!(why.contains(says) && !why.contains("hunter2"), "{why}"),
                (found, says) => panic!("{found:?} {says:?}"),
            }
        }
    }

    #[test]
    fn what_is_said_on_is_told_once_and_each_time_that_it_is_otherwise() {
        let (secrets, of) = begun();
        let mut changes = secrets.changes();
        assert!(secrets.of(&of).is_none(), "nothing is known of it yet");
        assert!(secrets.of(&named("other")).is_none(), "nobody names it");
        let mut last = 0;
        for (told, is) in [
            (Told::Lost("no answer".to_owned()), "Waits(\"no answer\")"),
            (Told::Listed(vec![]), "Not("),
            (Told::There(ours(b"sk-1")), "There("),
            (Told::There(ours(b"sk-2")), "There("),
        ] {
            secrets.told(&of, told, Instant::now());
            assert!(changes.has_changed().unwrap(), "{is}");
            changes.mark_unchanged();
            let (number, said) = secrets.of(&of).unwrap();
            assert!(number > last && format!("{said:?}").starts_with(is), "{said:?}");
            last = number;
        }
        secrets.told(&of, Told::Alive, Instant::now());
        assert_eq!(secrets.of(&of).unwrap().0, last);
    }

    #[test]
    fn what_is_named_stays_and_the_rest_is_let_go() {
        let (secrets, of) = begun();
        let other = named("other");
        secrets.told(&of, Told::There(ours(b"sk-1")), Instant::now());
        secrets.named([&of].into_iter(), [&other].into_iter());
        assert_eq!(text(&secrets, &of).as_deref(), Ok("sk-1"));
        assert_eq!(secrets.known(&other), Known::Not(Unavailable::TooMany));
        secrets.named([&other].into_iter(), empty());
        assert_eq!((secrets.known(&other), secrets.known(&of)), (Known::Unread, Known::Unread));
        assert_eq!(secrets.0.read().unwrap().len(), 1);
    }
}
