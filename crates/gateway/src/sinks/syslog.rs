//! Records to a syslog receiver: RFC 5424, counted by octets or a line each, over TCP (RFC 6587) or TLS (RFC 5425).
//!
//! Syslog has no acknowledgement. Its one sign is the end of a connection: a receiver that read all that was sent reads our end, and ends its
//! side too (RFC 5425 section 4.4 demands it); one that was killed, or left something unread, resets it. So a batch is a connection,
//! and counts as taken when that ended well on both sides.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use vidimus_identity::read_regular;

use super::address::{Framing, SyslogTls};
use super::leaf::{Leaf, Severity};
use super::line::{escaped, plain};
use super::receiver::{Failed, Taken};
use crate::beside::chain;
use crate::forward::{AddressGuard, MAX_ROOTS, tcp, tls};
use crate::secrets::SecretDirectory;

/// `log audit` (RFC 5424, table 1).
const FACILITY: u8 = 13;
/// The id of our structured data: by the enterprise number of examples (RFC 5612), since there is none of ours yet.
const DATA: &str = "vidimus@32473";
/// The least time, and the most, that a reset may come after the end: what was on its way when a receiver went is told by it.
const SETTLES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

/// A syslog receiver.
#[derive(Debug)]
pub(super) struct Syslog {
    guard: AddressGuard,
    /// Without brackets.
    host: String,
    port: u16,
    framing: Framing,
    tls: Option<Tls>,
}

/// Read for each connection: files that change count at once.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    pub(super) roots: Option<PathBuf>,
    pub(super) how: SyslogTls,
    /// Where the key of its certificate is.
    pub(super) secrets: Option<SecretDirectory>,
}

impl Syslog {
    /// # Errors
    /// For files that cannot be used.
    pub(super) fn new(
        guard: AddressGuard,
        (host, port): (&str, u16),
        framing: Framing,
        tls: Option<Tls>,
    ) -> io::Result<Self> {
        tls.as_ref().map(Tls::config).transpose()?;
        Ok(Self { guard, host: host.to_owned(), port, framing, tls })
    }

    /// How it knows where a message ends.
    pub(super) fn framing(&self) -> Framing {
        self.framing
    }

    /// Sends framed messages over a connection of their own.
    pub(super) async fn send(&self, messages: Bytes) -> Result<Taken, Failed> {
        let sent = self.send_all(&messages).await;
        sent.map_err(|error| Failed::again(chain(&error)))?;
        Ok(Taken { rejected: 0 })
    }

    async fn send_all(&self, messages: &[u8]) -> io::Result<()> {
        let begun = Instant::now();
        let mut stream = tcp(&self.guard, &self.host, self.port).await?;
        // At least a way there and back.
        let way = begun.elapsed();
        match &self.tls {
            None => exchange(&mut stream, messages, false).await?,
            Some(tls) => {
                let read = tls.clone();
                let config =
                    tokio::task::spawn_blocking(move || read.config()).await.map_err(io::Error::other)??;
                let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
                let connector = TlsConnector::from(Arc::new(config));
                let mut inside = connector.connect(name, &mut stream).await?;
                exchange(&mut inside, messages, tls.how.bare_end).await?;
            }
        }
        // It may have ended before it had all: then what it did not have is answered by a reset.
        let (least, most) = SETTLES;
        tokio::time::sleep((way * 4).clamp(least, most)).await;
        stream.take_error()?.map_or(Ok(()), Err)
    }
}

/// Sends all, ends, and waits for the end of the other side. `bare_end`: it need not say so in TLS.
async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    messages: &[u8],
    bare_end: bool,
) -> io::Result<()> {
    stream.write_all(messages).await?;
    stream.flush().await?;
    stream.shutdown().await?;
    // A receiver says nothing; what it says all the same is no end.
    let mut said = [0; 512];
    loop {
        match stream.read(&mut said).await {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && bare_end => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(io::Error::other(
                    "it ended the connection without close_notify, so that anybody on the way may have ended it; where that is its way, \
                     as it is of rsyslog's gtls, add the option end=tcp",
                ));
            }
            Err(error) => return Err(error),
        }
    }
}

impl Tls {
    fn config(&self) -> io::Result<ClientConfig> {
        let named = |path: &PathBuf| {
            let read = read_regular(path, MAX_ROOTS);
            read.map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
        };
        let roots = self.roots.as_ref().map(named).transpose()?;
        let config = tls(roots.as_deref())?;
        let Some((chain, key)) = &self.how.certificate else { return Ok(config.with_no_client_auth()) };
        let secrets =
            self.secrets.as_ref().ok_or_else(|| io::Error::other("there is no directory of secrets"))?;
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(&named(chain)?).collect::<Result<_, _>>().map_err(|_| {
                io::Error::other(format!("{}: it is no PEM chain of certificates", chain.display()))
            })?;
        let pem = secrets.read(key).map_err(io::Error::other)?;
        // It says nothing of what is in the file.
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| io::Error::other(format!("{key}: it is no PEM private key")))?;
        config.with_client_auth_cert(chain, key).map_err(io::Error::other)
    }
}

impl Framing {
    /// Adds one message.
    pub(super) fn add(self, all: &mut Vec<u8>, leaf: &Leaf<'_>, host: &str, body: &str) {
        let message = message(leaf, host, body);
        match self {
            Self::Counted => {
                all.extend_from_slice(message.len().to_string().as_bytes());
                all.push(b' ');
                all.extend_from_slice(message.as_bytes());
            }
            // There is none in a message, whoever wrote what is in it.
            Self::Newline => {
                all.extend_from_slice(message.as_bytes());
                all.push(b'\n');
            }
        }
    }
}

/// `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID [STRUCTURED-DATA] MSG`. The body is JSON, or CEF, of which nothing is escaped here: in
/// CEF there is nothing to escape left.
fn message(leaf: &Leaf<'_>, host: &str, body: &str) -> String {
    let severity = match leaf.severity() {
        Severity::Info => 6,
        Severity::Notice => 5,
        Severity::Warning => 4,
    };
    let priority = u32::from(FACILITY) * 8 + severity;
    let time = leaf.time().map_or_else(|| "-".to_owned(), |time| format!("{time:.6}"));
    let (host, kind, data) = (host_name(host), leaf.kind(), data(leaf));
    let body = escaped(body);
    format!("<{priority}>1 {time} {host} vidimus - {kind} {data} {body}")
}

/// Printable ASCII without blanks, at most 255; or that it is not known.
fn host_name(host: &str) -> &str {
    let is_name = (1..=255).contains(&host.len()) && host.bytes().all(|byte| byte.is_ascii_graphic());
    if is_name { host } else { "-" }
}

/// What a receiver needs to drop a duplicate, and to find a call, whatever the body is.
fn data(leaf: &Leaf<'_>) -> String {
    let fields = leaf.fields();
    let index = leaf.index.to_string();
    let mut data = format!("[{DATA}");
    for (name, value) in [
        ("origin", Some(leaf.origin)),
        ("index", Some(&*index)),
        ("call", fields.id),
        ("transaction", fields.transaction),
        ("outcome", fields.outcome),
        ("result", fields.result),
        ("code", fields.code),
        ("principal", fields.principal),
        ("resource", fields.resource.as_deref()),
    ] {
        if let Some(value) = value {
            data.push(' ');
            data.push_str(name);
            data.push_str("=\"");
            parameter(&mut data, value);
            data.push('"');
        }
    }
    data.push(']');
    data
}

/// The value of a parameter (RFC 5424 section 6.3.3): `"`, `\` and `]` are escaped.
fn parameter(data: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '"' | '\\' | ']' => data.extend(['\\', letter]),
            _ => data.push(plain(letter)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::leaf::examples::*;
    use super::super::{cef, ocsf};
    use super::*;

    #[test]
    fn nothing_ends_a_parameter_that_is_in_it() {
        for (value, written) in [
            ("plain", "plain"),
            (r#"a"b"#, r#"a\"b"#),
            ("a]b", r"a\]b"),
            (r"a\b", r"a\\b"),
            (r#"x"] <13>1 - - - - - [a b="c"#, r#"x\"\] <13>1 - - - - - [a b=\"c"#),
            (r#"a\"b"#, r#"a\\\"b"#),
            ("a\n14 <13>1 -", "a 14 <13>1 -"),
            ("a\0\r\u{2028}b", "a   b"),
            ("=ü[", "=ü["),
        ] {
            let mut data = String::new();
            parameter(&mut data, value);
            assert_eq!(data, written, "{value:?}");
        }
    }

    #[test]
    fn each_kind_has_its_message() {
        let call = r#"call="call-1""#;
        let decided = r#"transaction="t-1" outcome="deny" code="no_permit" principal="Agent/finance/bot" resource="Tool/finance/ledger/get""#;
        for (record, head, data) in [
            (
                decision(),
                "<108>1 2026-11-27T12:00:00.250000Z gw vidimus - decision",
                format!(" {call} {decided}"),
            ),
            (
                effect(),
                "<110>1 2026-11-27T12:00:00.001234Z gw vidimus - effect",
                format!(r#" {call} result="ok""#),
            ),
            (
                refusal(r#"/x"]"#),
                "<108>1 2026-11-27T12:00:01.000000Z gw vidimus - refusal",
                r#" call="call-2" outcome="deny" code="token_expired""#.to_owned(),
            ),
            (
                act(),
                "<109>1 2026-11-27T12:00:02.000000Z gw vidimus - act",
                r#" call="act-1" principal="User/urn:x#ada" resource="Agent/finance/bot""#.to_owned(),
            ),
            (newer(), "<108>1 - gw vidimus - unknown", String::new()),
        ] {
            let hit = hit(7, &record);
            let expected =
                format!(r#"{head} [vidimus@32473 origin="example.com/log" index="7"{data}] the body"#);
            assert_eq!(message(&Leaf::of(ORIGIN, &hit), "gw", "the body"), expected);
        }
        for (host, written) in
            [("gw-1.example", "gw-1.example"), ("", "-"), ("a b", "-"), ("gé", "-"), ("a\nb", "-")]
        {
            assert_eq!(host_name(host), written, "{host:?}");
        }
    }

    /// Some receivers end a message also where Unicode has an end of a line, whatever octets are counted.
    #[test]
    fn no_body_has_an_end_of_a_line() {
        let hit = hit(7, &refusal("/x\u{2028}<13>1 - - a\u{2029}b\u{85}c\u{9b}31m"));
        let leaf = Leaf::of(ORIGIN, &hit);
        for body in [leaf.text().into_owned(), ocsf::line(&leaf), cef::line(&leaf)] {
            let message = message(&leaf, "gw", &body);
            let breaks = |letter: char| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}');
            assert!(!message.contains(breaks), "{message:?}");
            let Some(at) = message.find("] {") else { continue };
            let read: serde_json::Value =
                serde_json::from_str(message.get(at + 2..).unwrap_or_default()).unwrap();
            let record = read.get("raw_data").and_then(|raw| serde_json::from_str(raw.as_str()?).ok());
            assert_eq!(record.unwrap_or(read).to_string(), leaf.text(), "it reads as the same");
        }
    }

    #[test]
    fn a_message_is_a_line_whatever_is_in_it() {
        let forged = hit(1, &refusal("/x\n<13>1 - - forged - - - a\r\n\u{2028}b"));
        let leaf = Leaf::of(ORIGIN, &forged);
        let mut all = Vec::new();
        let bodies = [leaf.text().into_owned(), ocsf::line(&leaf), cef::line(&leaf)];
        for body in &bodies {
            Framing::Newline.add(&mut all, &leaf, "gw", body);
        }
        let text = String::from_utf8(all).unwrap();
        assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{text:?}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), bodies.len());
        assert!(lines.iter().all(|line| line.starts_with("<108>1 2026-")), "{text:?}");
    }

    #[test]
    fn messages_are_counted_by_octets() {
        let (one, two) = (hit(1, &effect()), hit(2, &newer()));
        let mut all = Vec::new();
        for hit in [&one, &two] {
            Framing::Counted.add(&mut all, &Leaf::of(ORIGIN, hit), "gw", "é");
        }
        let mut rest = &*all;
        for index in 1..=2 {
            let blank = rest.iter().position(|byte| *byte == b' ').unwrap();
            let count: usize = str::from_utf8(&rest[..blank]).unwrap().parse().unwrap();
            let message = str::from_utf8(&rest[blank + 1..][..count]).unwrap();
            assert!(message.contains(&format!(r#"index="{index}""#)) && message.ends_with(" é"), "{message}");
            rest = &rest[blank + 1 + count..];
        }
        assert!(rest.is_empty());
    }
}
