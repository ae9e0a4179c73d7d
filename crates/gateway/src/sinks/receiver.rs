//! How a receiver is spoken to: one variant for each protocol.

use std::io;
use std::time::Duration;

use super::address::Wire;
use super::otlp::Otlp;
use super::syslog::{self, Syslog};
use super::{Batch, NoSink, SinkAddress, SinksConfig};
use crate::beside::{Web, apart};
use crate::clickhouse::{ClickHouse, EventRows};

/// What a sink acknowledged of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// So many of its records it does not want, and says that they are not to be sent again.
    pub(super) rejected: u64,
}

/// Why a batch was not acknowledged.
#[derive(Debug)]
pub(super) enum Failed {
    /// It is sent again, not before so long.
    Again(String, Option<Duration>),
    /// It does not take these records, and says why: it may take less of them.
    Unfit(String),
}

impl Failed {
    pub(super) fn again(why: impl Into<String>) -> Self {
        Self::Again(why.into(), None)
    }
}

/// How it is spoken to.
#[derive(Debug)]
pub(super) enum Receiver {
    Otlp(Box<Otlp>),
    Syslog(Box<Syslog>),
    ClickHouse(Box<EventRows>),
}

impl Receiver {
    /// For the log `origin`.
    pub(super) fn new(
        config: &SinksConfig,
        address: &SinkAddress,
        (place, origin): (&str, &str),
    ) -> Result<Self, NoSink> {
        let never = |never| NoSink::Place { place: place.to_owned(), never };
        let guard = apart(config.guard.clone(), &address.host, address.port, &config.own).map_err(never)?;
        let secrets = || {
            let secrets = config.secrets.clone();
            secrets.ok_or_else(|| NoSink::NoSecrets { place: place.to_owned() })
        };
        let unusable = |source| NoSink::Unusable { place: place.to_owned(), source };
        let web = |headers: &Option<String>| {
            let headers = headers.clone().map(|named| Ok::<_, NoSink>((secrets()?, named))).transpose()?;
            Web::new(guard.clone(), address.roots.clone(), headers).map_err(unusable)
        };
        Ok(match &address.wire {
            Wire::Otlp { url, headers } => {
                let uri =
                    url.as_str().parse::<http::Uri>().map_err(|error| unusable(io::Error::other(error)))?;
                Self::Otlp(Box::new(Otlp::new(uri, web(headers)?)))
            }
            Wire::ClickHouse { server, database, headers } => {
                let clickhouse = ClickHouse::new(server.clone(), database.clone(), web(headers)?);
                Self::ClickHouse(Box::new(EventRows::new(clickhouse, origin.to_owned())))
            }
            Wire::Syslog { tls, framing } => {
                let tls = tls.clone().map(|how| {
                    let secrets = how.certificate.is_some().then(&secrets).transpose()?;
                    Ok::<_, NoSink>(syslog::Tls { roots: address.roots.clone(), how, secrets })
                });
                let at = (address.bare_host(), address.port);
                let syslog = Syslog::new(guard.clone(), at, *framing, tls.transpose()?);
                Self::Syslog(Box::new(syslog.map_err(unusable)?))
            }
        })
    }

    /// That it did not answer within a time. Of syslog, whose one answer is an end, what it may lack: it would be sent the same for ever, and the log
    /// would say no more than that.
    pub(super) fn silent(&self, within: Duration) -> String {
        let within = within.as_millis();
        match self {
            Self::Otlp(_) | Self::ClickHouse(_) => format!("no answer within {within} ms"),
            Self::Syslog(_) => format!(
                "it did not end the connection within {within} ms: a receiver of syslog says that it has a batch by ending its side when it has read \
                 the end of ours (RFC 5425 section 4.4); have it do so, or put one before it that does, such as rsyslog (docs/audit.md, In your own SIEM)"
            ),
        }
    }

    /// Sends a batch once.
    pub(super) async fn send(&self, batch: &Batch) -> Result<Taken, Failed> {
        let body = batch.body.clone();
        match self {
            Self::Otlp(otlp) => otlp.send(body).await,
            Self::Syslog(syslog) => syslog.send(body).await,
            Self::ClickHouse(rows) => match rows.add((batch.first, batch.next), body).await {
                Ok(()) => Ok(Taken { rejected: 0 }),
                Err(error) if error.is_too_large() => Err(Failed::Unfit(error.brief())),
                Err(error) => Err(Failed::Again(error.brief(), error.after())),
            },
        }
    }
}
