//! What a registry and a gateway that hears it tell each other (ADR 70): JSON documents, one a line, each with its number. Both sides bound every line, and
//! what is not understood ends the stream: nothing of it is passed over.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::time::timeout;
use vidimus_core::resource::Kind;
use vidimus_core::resource::crd::LastCall;
use vidimus_core::resource::llm_provider::SecretKey;

use crate::pods::ObjectKey;
use crate::secrets::shown;

/// The version of all this, which a registry begins with.
pub(crate) const VERSION: u32 = 1;
/// Longest line of a registry, bytes. An object that an API server stores has 1.5 MiB at most.
pub(crate) const MAX_LINE: usize = 4 << 20;
/// Longest line of a gateway, bytes: the names of [`MAX_KEYS`] keys, or [`MAX_CALLS`] calls.
pub(crate) const MAX_ASK: usize = 512 << 10;
/// Calls of one line.
pub(crate) const MAX_CALLS: usize = 32;
/// Keys that one gateway asks for at most: as many as are watched.
pub(crate) const MAX_KEYS: usize = 256;
/// Between two signs of life, of either side.
pub(crate) const BEAT: Duration = Duration::from_secs(5);
/// How long the other side may say nothing.
pub(crate) const SILENT: Duration = Duration::from_secs(15);
/// How long the other side may take nothing of what is written.
const UNREAD: Duration = Duration::from_secs(10);
/// What is written at once.
const CHUNK: usize = 64 << 10;

/// One line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<T> {
    /// The first of a stream is 1.
    n: u64,
    says: T,
}

/// What a registry says. A watch is told by its place: that of a kind of objects, or of pods, in the namespaces that both sides were told of.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(crate) enum Says {
    /// First of all.
    Begins { version: u32, namespaces: Vec<Arc<str>>, pods: bool },
    /// So many lines with one object each follow: they are all of a watch, as the API server told it so long ago. `up_to` is as [`crate::live::Told::UpTo`].
    Lists { watch: usize, count: usize, age_ms: u64, up_to: Option<Timestamp> },
    /// One of them.
    Item(Box<RawValue>),
    /// An object is there, new or otherwise than before.
    There { watch: usize, object: Box<RawValue> },
    /// An object was deleted.
    Gone { watch: usize, object: Box<RawValue> },
    /// The API server answers; nothing happened.
    Alive { watch: usize },
    /// The same, and all that happened until then was told.
    UpTo { watch: usize, time: Timestamp },
    /// The registry does not hear the API server on this watch, and why.
    Lost { watch: usize, reason: String },
    /// What is known of a key that was asked for.
    Secret { of: Named, is: KeyIs },
    /// The registry lives.
    Beats,
}

/// What a gateway says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum Asks {
    /// It needs these keys, and no others any more.
    Keys(Vec<Named>),
    /// These called it last.
    Calls(Vec<Called>),
    /// It lives.
    Beats,
}

/// The name of a key, on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    namespace: Arc<str>,
    name: Arc<str>,
    key: Arc<str>,
}

impl From<SecretKey> for Named {
    fn from(of: SecretKey) -> Self {
        Self { namespace: of.namespace, name: of.name, key: of.key }
    }
}

impl From<Named> for SecretKey {
    fn from(of: Named) -> Self {
        Self { namespace: of.namespace, name: of.name, key: of.key }
    }
}

/// The last call of an object, on the wire.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Called {
    kind: String,
    namespace: Arc<str>,
    name: Arc<str>,
    call: LastCall,
}

impl Called {
    pub(crate) fn new((kind, namespace, name): &ObjectKey, call: &LastCall) -> Self {
        let (namespace, name) = (namespace.clone(), name.clone());
        Self { kind: kind.as_str().to_owned(), namespace, name, call: call.clone() }
    }

    /// Of which object it is, and when; `None` of what is no call, such as one without a time. None is still to come.
    pub(crate) fn read(self, now: Timestamp) -> Option<(ObjectKey, LastCall)> {
        let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == self.kind)?;
        let time: Timestamp = self.call.time.parse().ok()?;
        let call = LastCall {
            gateway: shown(&self.call.gateway),
            identity: shown(&self.call.identity),
            instance: self.call.instance.as_deref().map(shown),
            time: time.min(now).strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        };
        Some(((kind, self.namespace, self.name), call))
    }
}

/// What is known of a key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum KeyIs {
    /// It is this.
    #[serde(serialize_with = "exposed")]
    There(SecretString),
    /// It is not, and why: calls that need it are refused.
    Not(String),
    /// It was not read yet, and why: what was known of it before stays so.
    Waits(String),
}

fn exposed<S: Serializer>(key: &SecretString, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(key.expose_secret())
}

/// The text of what is said, without its number.
pub(crate) fn text<T: Serialize>(says: &T) -> Result<String, String> {
    serde_json::to_string(says).map_err(|error| error.to_string())
}

/// The lines that one side reads. Nothing is held of them but the one that is being read.
pub(crate) struct Lines<R> {
    from: BufReader<R>,
    line: Vec<u8>,
    /// Longest, bytes.
    max: usize,
    silent: Duration,
    last: u64,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(from: R, max: usize) -> Self {
        Self { from: BufReader::new(from), line: Vec::new(), max, silent: SILENT, last: 0 }
    }

    /// The next one, and how long it was. To be read to its end: what is dropped half-way has lost its beginning.
    ///
    /// # Errors
    /// When the other side is silent, ends, or says what is no line, or not the next one; without a word of what it said.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<(T, usize), String> {
        let silent = self.silent;
        let read = timeout(silent, self.read()).await;
        read.map_err(|_| format!("nothing was heard for {} s", silent.as_secs()))??;
        let line: Line<T> = serde_json::from_slice(&self.line).map_err(|error| {
            // The message of the parser may quote it.
            format!("line {} is not understood (column {})", self.last.saturating_add(1), error.column())
        })?;
        if line.n.checked_sub(1) != Some(self.last) {
            return Err(format!("line {} follows line {}", line.n, self.last));
        }
        self.last = line.n;
        Ok((line.says, self.line.len()))
    }

    async fn read(&mut self) -> Result<(), String> {
        self.line.clear();
        loop {
            let buffer = self.from.fill_buf().await.map_err(|error| error.to_string())?;
            if buffer.is_empty() {
                return Err("the connection ended".to_owned());
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
            if self.line.len() + part.len() > self.max {
                return Err(format!("a line is longer than {} bytes", self.max));
            }
            self.line.extend_from_slice(part);
            let used = part.len() + usize::from(end.is_some());
            self.from.consume(used);
            if end.is_some() {
                return Ok(());
            }
        }
    }
}

/// The lines that one side writes.
pub(crate) struct Writes<W> {
    to: W,
    pending: Vec<u8>,
    unread: Duration,
    last: u64,
}

impl<W: AsyncWrite + Unpin> Writes<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { to, pending: Vec::new(), unread: UNREAD, last: 0 }
    }

    /// Says it, after what was said before; sent with what follows, at [`Writes::send`] at the latest.
    ///
    /// # Errors
    /// When the other side does not take it.
    pub(crate) async fn say(&mut self, says: &str) -> Result<(), String> {
        self.last = self.last.saturating_add(1);
        for part in [r#"{"n":"#, &self.last.to_string(), r#","says":"#, says, "}\n"] {
            self.pending.extend_from_slice(part.as_bytes());
        }
        if self.pending.len() < CHUNK { Ok(()) } else { self.send().await }
    }

    /// Sends what was said.
    ///
    /// # Errors
    /// As [`Writes::say`].
    pub(crate) async fn send(&mut self) -> Result<(), String> {
        let (to, pending) = (&mut self.to, &self.pending);
        let sent = async {
            to.write_all(pending).await?;
            to.flush().await
        };
        let sent = timeout(self.unread, sent).await;
        sent.map_err(|_| format!("nothing was taken for {} s", self.unread.as_secs()))?
            .map_err(|error| error.to_string())?;
        // A key may have stood in it.
        self.pending.fill(0);
        self.pending.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read<T: DeserializeOwned>(lines: &str, max: usize) -> Result<Vec<T>, String> {
        let mut reads = Lines::new(lines.as_bytes(), max);
        let mut all = Vec::new();
        loop {
            match reads.next().await {
                Ok((says, _)) => all.push(says),
                Err(why) if why == "the connection ended" && reads.line.is_empty() => return Ok(all),
                Err(why) => return Err(why),
            }
        }
    }

    #[tokio::test]
    async fn what_is_written_is_read() {
        let mut writes = Writes::new(Vec::new());
        let of = Named { namespace: "a".into(), name: "b".into(), key: "c".into() };
        let object = || RawValue::from_string(r#"{"a": [1, "\n"]}"#.to_owned()).unwrap();
        let all = [
            Says::Begins { version: VERSION, namespaces: vec!["a".into()], pods: true },
            Says::Lists { watch: 1, count: 1, age_ms: 7, up_to: Some(Timestamp::UNIX_EPOCH) },
            Says::Item(object()),
            Says::There { watch: 1, object: object() },
            Says::Secret { of: of.clone(), is: KeyIs::There("sk-hunter2".to_owned().into()) },
            Says::Secret { of, is: KeyIs::Waits("no answer".to_owned()) },
            Says::Beats,
        ];
        for says in &all {
            writes.say(&text(says).unwrap()).await.unwrap();
            assert!(!format!("{says:?}").contains("hunter2"));
        }
        writes.send().await.unwrap();
        let written = String::from_utf8(writes.to.clone()).unwrap();
        let again: Vec<Says> = read(&written, MAX_LINE).await.unwrap();
        assert_eq!(format!("{again:?}"), format!("{all:?}"));
        assert!(written.contains("sk-hunter2") && written.ends_with("{\"n\":7,\"says\":\"beats\"}\n"));
    }

    #[test]
    fn a_call_is_of_a_kind_that_there_is_and_is_not_still_to_come() {
        let of = (Kind::Agent, Arc::<str>::from("a"), Arc::<str>::from("x"));
        let call =
            |time: &str| LastCall { gateway: "g\n".to_owned(), time: time.to_owned(), ..LastCall::default() };
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let read =
            |time: &str| Called::new(&of, &call(time)).read(now).map(|(_, call)| (call.gateway, call.time));
        let is = |time: &str| Some(("g ".to_owned(), time.to_owned()));
        assert_eq!(read("2026-11-28T11:00:00.5Z"), is("2026-11-28T11:00:00Z"));
        assert_eq!(read("9999-01-01T00:00:00Z"), is("2026-11-28T12:00:00Z"));
        assert_eq!((read(""), read("now")), (None, None));
        let odd = Called { kind: "Secret".to_owned(), ..Called::new(&of, &call("2026-11-28T11:00:00Z")) };
        assert!(odd.read(now).is_none());
    }

    /// Attack: lines that are none, of another order, with more in them than is known, or without an end.
    #[tokio::test]
    async fn what_is_not_understood_ends_the_stream() {
        let long = format!("{{\"n\":1,\"says\":{{\"item\":\"{}\"}}}}\n", "x".repeat(100));
        for (lines, says) in [
            ("{\"n\":2,\"says\":\"beats\"}\n", "line 2 follows line 0"),
            ("{\"n\":1,\"says\":\"beats\"}\n{\"n\":1,\"says\":\"beats\"}\n", "line 1 follows line 1"),
            ("{\"n\":0,\"says\":\"beats\"}\n", "line 0 follows"),
            ("{\"n\":1,\"says\":\"beats\",\"more\":1}\n", "not understood"),
            ("{\"n\":1,\"says\":{\"alive\":{\"watch\":0,\"hunter2\":1}}}\n", "not understood"),
            ("{\"n\":1,\"says\":\"hunter2\"}\n", "not understood"),
            ("{\"n\":-1,\"says\":\"beats\"}\n", "not understood"),
            ("{\"n\":1,\"says\":{\"alive\":{\"watch\":-1}}}\n", "not understood"),
            ("\n", "not understood"),
            ("\u{0}\n", "not understood"),
            (&long, "longer than 64 bytes"),
            (&"x".repeat(65), "longer than 64 bytes"),
            ("{\"n\":1,", "the connection ended"),
        ] {
            let error = read::<Says>(lines, 64).await.unwrap_err();
            assert!(error.contains(says) && !error.contains("hunter2"), "{lines}: {error}");
        }
    }

    #[tokio::test]
    async fn who_says_nothing_and_who_takes_nothing_is_not_waited_for() {
        let soon = Duration::from_millis(20);
        let (_silent, far) = tokio::io::duplex(16);
        let mut lines = Lines { silent: soon, ..Lines::new(far, 64) };
        let error = lines.next::<Says>().await.unwrap_err();
        assert!(error.contains("nothing was heard for"), "{error}");
        let (near, _full) = tokio::io::duplex(16);
        let mut writes = Writes { unread: soon, ..Writes::new(near) };
        let error = writes.say(&"x".repeat(CHUNK)).await.unwrap_err();
        assert!(error.contains("nothing was taken for"), "{error}");
    }
}
