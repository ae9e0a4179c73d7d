//! Where the store is, what a connection to it takes, and what to do where there is none.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs, io};

use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo as _, RedisError,
    RedisResult, ServerErrorKind, TlsCertificates,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// What is wrong where one of the files is.
const UNUSABLE: &str = "a file of the store cannot be used";

/// Where a store is, and the files that a connection takes, which are read at each: what is mounted anew is used from the next one on.
#[derive(Clone)]
pub struct StandingAddress {
    info: ConnectionInfo,
    files: StandingFiles,
}

/// What does not stand in the address of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandingFiles {
    /// The password of the user whom the address names, or of the default user. The line's end is no part of it.
    pub password: Option<PathBuf>,
    /// The authorities that the store's certificate may be of, PEM; without it those of the system.
    pub authorities: Option<PathBuf>,
    /// The certificate that is shown to the store, with those between it and an authority, and its key; PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// There is no store at such an address, or its files cannot be used. It shows no password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAStore(String);

/// Could show a password.
impl fmt::Debug for StandingAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StandingAddress(…)")
    }
}

impl std::str::FromStr for StandingAddress {
    type Err = NotAStore;

    /// `redis://[user[:password]@]host[:port][/database]`, or `rediss://…` for TLS.
    fn from_str(text: &str) -> Result<Self, NotAStore> {
        let not = |why: &str| NotAStore(why.to_owned());
        let form = || not("it is not the address of a Redis or Valkey");
        if !text.starts_with("redis://") && !text.starts_with("rediss://") {
            return Err(form());
        }
        // The client knows `#insecure`, by which no certificate is looked at, and passes over what it does not know of a query.
        if text.contains(['?', '#']) {
            return Err(not("it has a query or a fragment, and takes none"));
        }
        let info = text.into_connection_info().map_err(|_| form())?;
        Ok(Self { info, files: StandingFiles::default() })
    }
}

impl StandingAddress {
    /// With these files, all of which can be read now.
    ///
    /// # Errors
    /// Where one cannot be used, or is of no use at this address.
    pub fn with(self, files: StandingFiles) -> Result<Self, NotAStore> {
        let not = |why: &str| Err(NotAStore(why.to_owned()));
        if files.password.is_some() && self.has_password() {
            return not("the address has a password too; write it in one place");
        }
        let (authorities, certificate) = (files.authorities.is_some(), files.certificate.is_some());
        if (authorities || certificate) && !self.has_tls() {
            return not("a certificate is of no use to a connection without TLS; write rediss://");
        }
        let with = Self { files, ..self };
        with.client(None).map_err(|error| NotAStore(said(&error)))?;
        Ok(with)
    }

    /// Whether the address itself has a password.
    pub fn has_password(&self) -> bool {
        self.info.redis_settings().password().is_some()
    }

    fn has_tls(&self) -> bool {
        matches!(self.info.addr(), ConnectionAddr::TcpTls { .. })
    }

    /// What connects to it; to another node of its cluster, where one is named.
    pub(super) fn client(&self, node: Option<&Node>) -> RedisResult<Client> {
        let mut settings = self.info.redis_settings().clone();
        if let Some(file) = &self.files.password {
            settings = settings.set_password(password(file)?);
        }
        let mut info = self.info.clone().set_redis_settings(settings);
        if let Some(node) = node {
            info = info.set_addr(node.of(self.info.addr()));
        }
        if !self.has_tls() {
            return Client::open(info);
        }
        // The client takes that of the process; where there is one, it is this.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client_tls = match &self.files.certificate {
            Some((certificate, key)) => Some(shown(certificate, key)?),
            None => None,
        };
        let root_cert = self.files.authorities.as_deref().map(certificates).transpose()?;
        Client::build_with_tls(info, TlsCertificates { client_tls, root_cert })
    }

    /// Why there is no connection, and what to do.
    pub(super) fn why(&self, error: &RedisError) -> String {
        match self.hint(error) {
            Some(hint) => format!("{error}: {hint}"),
            None => said(error),
        }
    }

    fn hint(&self, error: &RedisError) -> Option<&'static str> {
        if let Some(error) = tls_error(error) {
            return Some(match error {
                rustls::Error::InvalidCertificate(_) => {
                    "its certificate is not believed; give its authority (--standing-ca), and the host as the certificate has it"
                }
                rustls::Error::InvalidMessage(_) => {
                    "it does not answer by TLS; where it has none, write redis://"
                }
                _ => {
                    "where it asks for a certificate, give one that it believes (--standing-cert, --standing-key)"
                }
            });
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed => {
                Some("it knows no such user with such a password (--standing, --standing-password)")
            }
            ErrorKind::Server(ServerErrorKind::NoPerm) => {
                Some("its user needs keys ~{vidimus}:*, channels &{vidimus}:* and scripts (docs/admin.md)")
            }
            ErrorKind::Server(ServerErrorKind::ReadOnly) => {
                Some("it is a replica; give the address of what takes writes")
            }
            ErrorKind::Server(ServerErrorKind::CrossSlot) => {
                Some("all keys are of one slot, {vidimus}; what stands before the store takes them apart")
            }
            ErrorKind::Server(kind) if is_of_cluster(kind) => {
                Some("its cluster has no node that has the slot of {vidimus} now")
            }
            _ if wants_a_password(error) => Some("it wants a password (--standing-password)"),
            // It took the connection, and had nothing to say in this protocol.
            kind if kind == ErrorKind::Parse || is_cut(error) => Some(if self.has_tls() {
                "where it has no TLS, write redis://; where it asks for a certificate, give one (--standing-cert, --standing-key)"
            } else {
                "where it speaks TLS alone, write rediss://"
            }),
            _ => None,
        }
    }
}

/// What an error says. Of a file that is which one and why, without what the client calls errors of that kind.
fn said(error: &RedisError) -> String {
    match error.detail() {
        Some(detail) if error.kind() == ErrorKind::InvalidClientConfig => format!("{UNUSABLE}: {detail}"),
        _ => error.to_string(),
    }
}

/// Whether it says so. Where a database is chosen first, the client has the answer in words of its own.
fn wants_a_password(error: &RedisError) -> bool {
    error.code() == Some("NOAUTH") || error.to_string().contains("Authentication required")
}

/// Another node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// Empty where it is the same host.
    host: String,
    port: u16,
}

impl Node {
    /// Where the keys are, where the store says that they are elsewhere.
    pub(super) fn named_by(error: &RedisError) -> Option<Self> {
        let moved = error.kind() == ErrorKind::Server(ServerErrorKind::Moved);
        let (host, port) = error.redirect_node().filter(|_| moved)?.0.rsplit_once(':')?;
        Some(Self { host: host.trim_matches(['[', ']']).to_owned(), port: port.parse().ok()? })
    }

    /// As the one that named it is reached: what is encrypted stays so.
    fn of(&self, asked: &ConnectionAddr) -> ConnectionAddr {
        let host = |asked: &str| if self.host.is_empty() { asked.to_owned() } else { self.host.clone() };
        match asked {
            ConnectionAddr::TcpTls { host: asked, insecure, tls_params, .. } => ConnectionAddr::TcpTls {
                host: host(asked),
                port: self.port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            ConnectionAddr::Tcp(asked, _) => ConnectionAddr::Tcp(host(asked), self.port),
            other => other.clone(),
        }
    }
}

/// Whether what a server says means that the keys are at another one by now, or at none.
pub(super) const fn is_elsewhere(kind: ServerErrorKind) -> bool {
    is_of_cluster(kind) || matches!(kind, ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
}

const fn is_of_cluster(kind: ServerErrorKind) -> bool {
    matches!(kind, ServerErrorKind::Moved | ServerErrorKind::ClusterDown)
}

/// Whether a connection came about and nothing by it.
fn is_cut(error: &RedisError) -> bool {
    !error.is_connection_refusal() && (error.is_timeout() || error.is_connection_dropped())
}

/// What TLS says, where that is what failed.
fn tls_error(error: &RedisError) -> Option<&rustls::Error> {
    let inner = error.source()?.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    inner.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}

fn password(file: &Path) -> RedisResult<String> {
    let unfit = |why: &str| config(format!("{}: {why}", file.display()));
    let text = String::from_utf8(read(file)?).map_err(|_| unfit("it is not UTF-8"))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.contains(['\r', '\n']) {
        return Err(unfit("write the password and nothing else"));
    }
    Ok(password.to_owned())
}

/// PEM with one certificate at the least: a file of none would be taken, and believe nobody.
fn certificates(file: &Path) -> RedisResult<Vec<u8>> {
    let pem = read(file)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(pem),
        _ => Err(config(format!("{}: no PEM with certificates", file.display()))),
    }
}

/// A certificate and its key. The client says of what is none that it cannot be built, and not of which file.
fn shown(certificate: &Path, key: &Path) -> RedisResult<ClientTlsConfig> {
    let (client_cert, client_key) = (certificates(certificate)?, read(key)?);
    let private = PrivateKeyDer::from_pem_slice(&client_key)
        .map_err(|_| config(format!("{}: no PEM with a key", key.display())))?;
    let chain = CertificateDer::pem_slice_iter(&client_cert).filter_map(Result::ok).collect();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, private, &provider).map_err(|error| {
        let (certificate, key) = (certificate.display(), key.display());
        config(format!("{certificate} and {key}: no certificate and its key: {error}"))
    })?;
    Ok(ClientTlsConfig { client_cert, client_key })
}

fn read(file: &Path) -> RedisResult<Vec<u8>> {
    fs::read(file).map_err(|error| config(format!("{}: {error}", file.display())))
}

fn config(detail: String) -> RedisError {
    RedisError::from((ErrorKind::InvalidClientConfig, UNUSABLE, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> StandingAddress {
        text.parse().expect("an address")
    }

    /// Attack: an address that turns the check of certificates off, as the client has it in its own form.
    #[test]
    fn what_is_no_store_or_would_not_be_checked_is_no_address() {
        for text in [
            "rediss://host/#insecure",
            "rediss://host?protocol=resp3",
            "redis://host/0?ca=/etc/ca.pem",
            "redis://a:b@",
            "redis:///0",
            "rediss://host/name",
            "unix:///run/redis",
            "redis+unix:///run/redis",
            "https://host",
            "host:6379",
        ] {
            assert!(text.parse::<StandingAddress>().is_err(), "{text}");
        }
        for text in ["redis://host", "rediss://user@host:6380/3", "rediss://:p%40ss@[::1]", "redis://u:p@h/0"]
        {
            assert!(text.parse::<StandingAddress>().is_ok(), "{text}");
        }
    }

    #[test]
    fn files_are_read_at_each_connection_and_what_is_of_no_use_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).expect("written");
            path
        };
        let word = file("password", "hunter2\n");
        let of =
            |password: &PathBuf| StandingFiles { password: Some(password.clone()), ..Default::default() };
        let given = at("rediss://vidimus@store:6380/2").with(of(&word)).expect("files");
        let settings = |address: &StandingAddress| {
            let client = address.client(None).expect("a client");
            let settings = client.get_connection_info().redis_settings().clone();
            (settings.username().map(str::to_owned), settings.password().map(str::to_owned), settings.db())
        };
        assert_eq!(settings(&given), (Some("vidimus".into()), Some("hunter2".into()), 2));
        file("password", "another");
        assert_eq!(settings(&given).1.as_deref(), Some("another"));
        let refused = |address: &str, files: StandingFiles| {
            let error = at(address).with(files).map(drop).expect_err("refused").to_string();
            assert!(!error.contains("another") && !error.contains("hunter2"), "{error}");
            assert!(!error.contains("InvalidClientConfig"), "{error}");
            error
        };
        assert!(refused("redis://u:p@h", of(&word)).contains("one place"));
        for (name, text) in [("empty", "\n"), ("two", "hunter2\nanother\n")] {
            assert!(refused("redis://h", of(&file(name, text))).contains("nothing else"));
        }
        assert!(refused("redis://h", of(&directory.path().join("none"))).contains("none"));
        let ca = |authorities| StandingFiles { authorities: Some(authorities), ..Default::default() };
        assert!(refused("redis://h", ca(word.clone())).contains("rediss://"));
        assert!(refused("rediss://h", ca(word.clone())).contains("no PEM"));
        // One that is gone when the next connection wants it.
        fs::remove_file(&word).expect("removed");
        let error = given.client(None).map(drop).expect_err("refused");
        let why = given.why(&error);
        let begins = format!("a file of the store cannot be used: {}: ", word.display());
        assert!(why.starts_with(&begins) && !why.contains("InvalidClientConfig"), "{why}");
        let word = file("password", "another");
        // A certificate and the key of another one.
        let made = |name: &str| {
            let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
            (file(&format!("{name}.pem"), &made.cert.pem()), file(name, &made.signing_key.serialize_pem()))
        };
        let ((certificate, key), (_, other)) = (made("a"), made("b"));
        let shown = |key: &PathBuf| StandingFiles {
            certificate: Some((certificate.clone(), key.clone())),
            ..Default::default()
        };
        assert!(at("rediss://h").with(shown(&key)).is_ok());
        assert!(refused("rediss://h", shown(&other)).contains("its key"));
        assert!(refused("rediss://h", shown(&word)).contains("no PEM with a key"));
    }

    #[test]
    fn a_node_of_a_cluster_is_reached_as_the_one_that_names_it() {
        let moved = |node: &str| {
            let parsed =
                redis::parse_redis_value(format!("-MOVED 42 {node}\r\n").as_bytes()).expect("parsed");
            let redis::Value::ServerError(error) = parsed else { panic!("{parsed:?}") };
            let node = Node::named_by(&error.into()).expect("a node");
            move |asked: &str| {
                at(asked).client(Some(&node)).expect("a client").get_connection_info().addr().clone()
            }
        };
        let tls = |host: &str, port| ConnectionAddr::TcpTls {
            host: host.into(),
            port,
            insecure: false,
            tls_params: None,
        };
        assert_eq!(moved("10.0.0.2:6381")("redis://a"), ConnectionAddr::Tcp("10.0.0.2".into(), 6381));
        assert_eq!(moved("node-2.example:6381")("rediss://a"), tls("node-2.example", 6381));
        assert_eq!(moved("::1:6381")("redis://a"), ConnectionAddr::Tcp("::1".into(), 6381));
        assert_eq!(moved(":6381")("rediss://a:1"), tls("a", 6381));
    }

    #[test]
    fn what_is_wrong_says_what_to_do() {
        let server = |text: &str| {
            let parsed = redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).expect("parsed");
            let redis::Value::ServerError(error) = parsed else { panic!("{parsed:?}") };
            RedisError::from(error)
        };
        let tls = |error: rustls::Error| RedisError::from(io::Error::new(io::ErrorKind::InvalidData, error));
        let io = |kind: io::ErrorKind| RedisError::from(io::Error::from(kind));
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        for (address, error, says) in [
            ("rediss://h", tls(unknown), "--standing-ca"),
            (
                "rediss://h",
                tls(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)),
                "write redis://",
            ),
            (
                "rediss://h",
                tls(rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired)),
                "--standing-cert",
            ),
            ("rediss://h", io(io::ErrorKind::TimedOut), "write redis://"),
            ("redis://h", io(io::ErrorKind::ConnectionReset), "write rediss://"),
            ("redis://h", server("NOAUTH Authentication required."), "--standing-password"),
            (
                "redis://h",
                RedisError::from((
                    ErrorKind::Server(ServerErrorKind::ResponseError),
                    "no database",
                    "Authentication required.".to_owned(),
                )),
                "--standing-password",
            ),
            ("redis://h", server("NOPERM this user has no permissions"), "&{vidimus}:*"),
            ("redis://h", server("READONLY You can't write against a read only replica."), "a replica"),
            ("redis://h", server("CROSSSLOT Keys in request don't hash to the same slot"), "one slot"),
            ("redis://h", server("CLUSTERDOWN Hash slot not served"), "no node"),
            (
                "redis://h",
                RedisError::from((ErrorKind::AuthenticationFailed, "Password authentication failed")),
                "--standing-password",
            ),
        ] {
            let why = at(address).why(&error);
            assert!(why.contains(says) && why.starts_with(&error.to_string()), "{why}");
        }
        let refused = at("redis://h").why(&io(io::ErrorKind::ConnectionRefused));
        assert!(!refused.contains("rediss://"), "{refused}");
    }
}
