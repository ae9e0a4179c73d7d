//! What stands behind `--sink`: who the receiver is, and how it is spoken to.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::{Position, Url};

/// A receiver of the ledger's records. Its path may be a secret: it is in no log and no error.
#[derive(Clone, PartialEq, Eq)]
pub struct SinkAddress {
    pub(super) wire: Wire,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) body: Body,
    /// PEM roots that its certificate chains to, instead of the system's.
    pub(crate) roots: Option<PathBuf>,
}

/// How a receiver is spoken to.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Wire {
    Otlp {
        /// `http` or `https`.
        url: Url,
        /// File in the directory of secrets with header fields of each request.
        headers: Option<String>,
    },
    /// RFC 5424 over TCP (RFC 6587) or TLS (RFC 5425).
    Syslog { tls: Option<SyslogTls>, framing: Framing },
    /// The HTTP interface of a ClickHouse.
    ClickHouse {
        /// `http` or `https`, without a path.
        server: Url,
        database: String,
        /// File in the directory of secrets with header fields of each request.
        headers: Option<String>,
    },
}

/// How a syslog receiver knows where a message ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Framing {
    /// By how many octets it has, which stands before it (RFC 6587, 3.4.1; what RFC 5425 demands).
    #[default]
    Counted,
    /// By a newline behind it (RFC 6587, 3.4.2).
    Newline,
}

/// TLS of a syslog receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SyslogTls {
    /// PEM chain that is shown to it, and the file in the directory of secrets with its key.
    pub(super) certificate: Option<(PathBuf, String)>,
    /// An end without close_notify counts as its end: rsyslog's `gtls` sends none.
    pub(super) bare_end: bool,
}

/// What a record is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// The record itself, word for word.
    Record,
    Ocsf,
    Cef,
}

/// A value of `--sink` that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}; write otlp+https://HOST[:PORT]/PATH, otlp+http://…, syslog+tls://HOST[:PORT], syslog+tcp://…, clickhouse+https://HOST[:PORT]/DATABASE \
     or clickhouse://…, with options behind a question mark"
)]
pub struct BadSink(&'static str);

impl SinkAddress {
    /// Scheme, host and port, and the database of a ClickHouse: what the sink is called in the log, in metrics and by its position. Whatever else of
    /// it changes, it is the same.
    pub fn place(&self) -> String {
        let scheme = match &self.wire {
            Wire::Otlp { url, .. } if url.scheme() == "https" => "otlp+https",
            Wire::Otlp { .. } => "otlp+http",
            Wire::Syslog { tls: Some(_), .. } => "syslog+tls",
            Wire::Syslog { tls: None, .. } => "syslog+tcp",
            Wire::ClickHouse { server, .. } if server.scheme() == "https" => "clickhouse+https",
            Wire::ClickHouse { .. } => "clickhouse",
        };
        let database = match &self.wire {
            // Another one has nothing of what this one has.
            Wire::ClickHouse { database, .. } => format!("/{database}"),
            Wire::Otlp { .. } | Wire::Syslog { .. } => String::new(),
        };
        format!("{scheme}://{}:{}{database}", self.host, self.port)
    }

    /// Whether what goes there is for everybody on the way to read.
    pub fn is_plain(&self) -> bool {
        let is_plain = match &self.wire {
            Wire::Otlp { url, .. } | Wire::ClickHouse { server: url, .. } => url.scheme() == "http",
            Wire::Syslog { tls, .. } => tls.is_none(),
        };
        is_plain && !self.is_here()
    }

    /// Whether it is on this machine.
    fn is_here(&self) -> bool {
        let address = self.bare_host().parse::<std::net::IpAddr>();
        address.map_or(self.host == "localhost", |address| address.is_loopback())
    }

    /// The server, the database and the file with header fields, where it is a ClickHouse.
    pub(crate) fn clickhouse(&self) -> Option<(&Url, &str, Option<&str>)> {
        match &self.wire {
            Wire::ClickHouse { server, database, headers } => Some((server, database, headers.as_deref())),
            Wire::Otlp { .. } | Wire::Syslog { .. } => None,
        }
    }

    /// The host without the brackets of an IPv6 address.
    pub(super) fn bare_host(&self) -> &str {
        self.host.trim_matches(['[', ']'])
    }
}

impl fmt::Debug for SinkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkAddress")
            .field("place", &self.place())
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl FromStr for SinkAddress {
    type Err = BadSink;

    fn from_str(text: &str) -> Result<Self, BadSink> {
        let no_url = BadSink("it is not a URL");
        let (scheme, rest) = text.split_once("://").ok_or(no_url.clone())?;
        // As a web address, whose hosts have one spelling.
        let web = if matches!(scheme, "otlp+http" | "clickhouse") { "http" } else { "https" };
        let mut url = Url::parse(&format!("{web}://{rest}")).map_err(|_| no_url.clone())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadSink("it has a user or password, which belong into a file"));
        }
        if url.fragment().is_some() {
            return Err(BadSink("it has a fragment"));
        }
        let mut options = Options::of(&url)?;
        url.set_query(None);
        let host = url.host_str().ok_or(no_url.clone())?.to_owned();
        let roots = options.take("ca").map(PathBuf::from);
        let (wire, port, body) = match scheme {
            "otlp+http" | "otlp+https" => {
                if url.path() == "/" {
                    url.set_path("/v1/logs");
                }
                let port = url.port_or_known_default().unwrap_or_default();
                (Wire::Otlp { url, headers: options.take("headers") }, port, Body::Record)
            }
            "syslog+tcp" | "syslog+tls" => {
                if !matches!(&url[Position::BeforePath..], "" | "/") {
                    return Err(BadSink("a syslog receiver has no path"));
                }
                let tls = (scheme == "syslog+tls").then(|| options.tls()).transpose()?;
                // IANA's: syslog-conn (RFC 6587) and syslog-tls (RFC 5425).
                let default = if tls.is_some() { 6514 } else { 601 };
                (
                    Wire::Syslog { tls, framing: options.framing()? },
                    port_of(rest).unwrap_or(default),
                    Body::Cef,
                )
            }
            "clickhouse" | "clickhouse+https" => {
                // Those that it listens on itself.
                let port = port_of(rest).unwrap_or(if web == "https" { 8443 } else { 8123 });
                let database = database(&url)?;
                url.set_path("/");
                url.set_port(Some(port)).map_err(|()| no_url.clone())?;
                let headers = options.take("headers");
                (Wire::ClickHouse { server: url, database, headers }, port, Body::Record)
            }
            _ => return Err(BadSink("its scheme is not one of a sink")),
        };
        let body = options.body()?.unwrap_or(body);
        options.end()?;
        let address = Self { wire, host, port, body, roots };
        address.checked()
    }
}

impl SinkAddress {
    fn checked(self) -> Result<Self, BadSink> {
        match &self.wire {
            Wire::Otlp { .. } if self.body == Body::Cef => Err(BadSink("CEF is a body of syslog alone")),
            Wire::ClickHouse { .. } if self.body != Body::Record => {
                Err(BadSink("a row has the record as it is, and no other body"))
            }
            Wire::Otlp { headers: Some(_), .. } | Wire::ClickHouse { headers: Some(_), .. }
                if self.is_plain() =>
            {
                Err(BadSink("header fields over plain http could be read on the way: use https"))
            }
            Wire::Otlp { url, .. } | Wire::ClickHouse { server: url, .. }
                if url.scheme() == "http" && self.roots.is_some() =>
            {
                Err(BadSink("there is no TLS for its option ca"))
            }
            Wire::Syslog { tls: None, .. } if self.roots.is_some() => {
                Err(BadSink("there is no TLS for its option ca"))
            }
            _ => Ok(self),
        }
    }
}

/// The database that a path names; ClickHouse's own where there is none.
fn database(url: &Url) -> Result<String, BadSink> {
    let name = url.path().trim_start_matches('/');
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match name {
        "" => Ok("default".to_owned()),
        name if is_name => Ok(name.to_owned()),
        _ => Err(BadSink("its path is the name of one database, of letters, digits and underscores")),
    }
}

/// The port that stands there: one that is https' own is not told from none by a URL.
fn port_of(rest: &str) -> Option<u16> {
    let authority = rest.split(['/', '?']).next()?;
    let (before, port) = authority.rsplit_once(':')?;
    // Not a part of an IPv6 address.
    let is_port = !before.contains(':') || before.ends_with(']');
    port.parse().ok().filter(|_| is_port)
}

/// What stands behind the question mark.
struct Options(Vec<(String, String)>);

impl Options {
    fn of(url: &Url) -> Result<Self, BadSink> {
        let all: Vec<_> =
            url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        let is_twice =
            |(name, _): &(String, String)| all.iter().filter(|(other, _)| other == name).count() > 1;
        if all.iter().any(is_twice) {
            return Err(BadSink("an option is there twice"));
        }
        if all.iter().any(|(_, value)| value.is_empty()) {
            return Err(BadSink("an option has no value"));
        }
        Ok(Self(all))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    fn body(&mut self) -> Result<Option<Body>, BadSink> {
        Ok(match self.take("body").as_deref() {
            None => None,
            Some("record") => Some(Body::Record),
            Some("ocsf") => Some(Body::Ocsf),
            Some("cef") => Some(Body::Cef),
            Some(_) => return Err(BadSink("its body is one of record, ocsf and cef")),
        })
    }

    fn framing(&mut self) -> Result<Framing, BadSink> {
        match self.take("framing").as_deref() {
            None | Some("octets") => Ok(Framing::Counted),
            Some("newline") => Ok(Framing::Newline),
            Some(_) => Err(BadSink("its option framing is octets or newline")),
        }
    }

    fn tls(&mut self) -> Result<SyslogTls, BadSink> {
        let certificate = match (self.take("cert"), self.take("key")) {
            (Some(chain), Some(key)) => Some((PathBuf::from(chain), key)),
            (None, None) => None,
            _ => return Err(BadSink("its options cert and key need each other")),
        };
        let bare_end = match self.take("end").as_deref() {
            None => false,
            Some("tcp") => true,
            Some(_) => return Err(BadSink("its option end is tcp, or not there")),
        };
        Ok(SyslogTls { certificate, bare_end })
    }

    fn end(self) -> Result<(), BadSink> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(BadSink("it has an option that such a sink does not have"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_place_whatever_else_is_said_of_it() {
        for (text, place, body) in [
            ("otlp+http://collector:4318", "otlp+http://collector:4318", Body::Record),
            (
                "otlp+https://Collector.Example/otlp/v1/logs?body=ocsf",
                "otlp+https://collector.example:443",
                Body::Ocsf,
            ),
            (
                "otlp+https://c.example:8443/?ca=/etc/ca.pem&headers=h",
                "otlp+https://c.example:8443",
                Body::Record,
            ),
            ("otlp+http://127.0.0.1/?headers=h", "otlp+http://127.0.0.1:80", Body::Record),
            ("syslog+tcp://siem", "syslog+tcp://siem:601", Body::Cef),
            ("syslog+tcp://siem:443/", "syslog+tcp://siem:443", Body::Cef),
            ("syslog+tls://[2001:db8::1]?end=tcp", "syslog+tls://[2001:db8::1]:6514", Body::Cef),
            ("syslog+tls://[2001:db8::1]:6515?body=record", "syslog+tls://[2001:db8::1]:6515", Body::Record),
            ("syslog+tls://siem?cert=/c.pem&key=k&ca=/a.pem", "syslog+tls://siem:6514", Body::Cef),
            ("syslog+tcp://siem:514?framing=newline", "syslog+tcp://siem:514", Body::Cef),
            ("syslog+tls://siem?framing=octets", "syslog+tls://siem:6514", Body::Cef),
            ("clickhouse://db", "clickhouse://db:8123/default", Body::Record),
            ("clickhouse://db:80/vidimus", "clickhouse://db:80/vidimus", Body::Record),
            (
                "clickhouse+https://Db.Example/v_1?headers=h",
                "clickhouse+https://db.example:8443/v_1",
                Body::Record,
            ),
            ("clickhouse+https://[::1]:443/v?ca=/a.pem", "clickhouse+https://[::1]:443/v", Body::Record),
        ] {
            let address: SinkAddress = text.parse().expect(text);
            assert_eq!((&*address.place(), address.body), (place, body), "{text}");
        }
        let address: SinkAddress = "syslog+tcp://siem?framing=newline".parse().unwrap();
        assert!(matches!(&address.wire, Wire::Syslog { framing: Framing::Newline, .. }));
        let address: SinkAddress = "otlp+http://collector:4318".parse().unwrap();
        assert!(matches!(&address.wire, Wire::Otlp { url, .. } if url.path() == "/v1/logs"));
        let address: SinkAddress = "clickhouse+https://db/vidimus?headers=h".parse().unwrap();
        let (server, database, headers) = address.clickhouse().unwrap();
        assert_eq!((server.as_str(), database, headers), ("https://db:8443/", "vidimus", Some("h")));
        for (text, is_plain) in [
            ("clickhouse://db", true),
            ("clickhouse://127.0.0.1", false),
            ("clickhouse+https://db", false),
            ("otlp+http://collector:4318", true),
            ("otlp+http://localhost:4318", false),
            ("otlp+https://collector", false),
            ("syslog+tcp://10.0.0.1", true),
            ("syslog+tcp://[::1]", false),
            ("syslog+tls://10.0.0.1", false),
        ] {
            assert_eq!(text.parse::<SinkAddress>().unwrap().is_plain(), is_plain, "{text}");
        }
    }

    #[test]
    fn what_would_do_nothing_or_give_a_secret_away_is_refused() {
        for (text, says) in [
            ("collector:4318", "not a URL"),
            ("kafka://broker:9092", "scheme"),
            ("https://collector", "scheme"),
            ("otlp+https://", "not a URL"),
            ("otlp+https://u:hunter2@collector", "user or password"),
            ("otlp+https://collector#hunter2", "fragment"),
            ("otlp+https://collector?token=hunter2", "an option that such a sink does not have"),
            ("otlp+https://collector?body=cef", "CEF"),
            ("otlp+https://collector?body=xml", "one of record"),
            ("otlp+https://collector?headers=", "no value"),
            ("otlp+https://collector?headers=a&headers=b", "twice"),
            ("otlp+http://collector?headers=a", "read on the way"),
            ("otlp+http://collector?ca=a", "no TLS"),
            ("syslog+tcp://siem?ca=a", "no TLS"),
            ("syslog+tcp://siem?end=tcp", "does not have"),
            ("syslog+tls://siem?cert=a", "need each other"),
            ("syslog+tls://siem?end=never", "end is tcp"),
            ("syslog+tls://siem/path", "no path"),
            ("syslog+tcp://siem?framing=lf", "octets or newline"),
            ("otlp+https://collector?framing=newline", "does not have"),
            ("clickhouse://db/a/b", "one database"),
            ("clickhouse://db/a%27b", "one database"),
            ("clickhouse://db/v?headers=h", "read on the way"),
            ("clickhouse://db/v?ca=a", "no TLS"),
            ("clickhouse://db/v?body=ocsf", "as it is"),
            ("clickhouse://db/v?user=u", "does not have"),
        ] {
            let error = text.parse::<SinkAddress>().expect_err(text).to_string();
            assert!(error.contains(says) && !error.contains("hunter2"), "{text}: {error}");
        }
        let shown: SinkAddress = "otlp+https://collector/hunter2?headers=h".parse().unwrap();
        assert!(!format!("{shown:?}").contains("hunter2"), "{shown:?}");
    }
}
