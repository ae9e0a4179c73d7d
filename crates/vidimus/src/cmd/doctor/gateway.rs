//! The gateway that runs, by what it says of itself to anybody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::runtime::Builder;

use super::check;
use super::metrics::Metrics;
use super::{Doctor, Report};

/// From asking to the last byte.
const PATIENCE: Duration = Duration::from_secs(5);
/// Maximum bytes of an answer.
const MAX: usize = 32 << 20;

/// Why a gateway says nothing.
#[derive(Debug)]
pub(super) enum Unheard {
    /// Nobody listens there.
    Nobody,
    /// Somebody does, who answers otherwise.
    Foreign(String),
}

/// What the admin address says.
#[derive(Debug)]
struct Answers {
    version: String,
    /// Why it is not ready, where it is not.
    not_ready: Option<String>,
    metrics: String,
}

/// Asks the admin address; whether a gateway answers there.
pub(super) fn look(doctor: &Doctor, report: &mut Report) -> anyhow::Result<bool> {
    report.looked_at("the gateway");
    let admin = reachable(doctor.admin);
    match Builder::new_current_thread().enable_all().build()?.block_on(ask(admin)) {
        Ok(answers) => {
            said(doctor, &answers, report);
            Ok(true)
        }
        Err(Unheard::Nobody) => {
            let fix = "systemctl start vidimus; then journalctl -u vidimus says why, where it does not stay";
            report.find(check::GATEWAY_DOWN, format!("no gateway answers at {admin} (--admin)"), fix);
            can_listen(doctor, report);
            Ok(false)
        }
        Err(Unheard::Foreign(said)) => {
            let what = format!("who answers at {admin} (--admin) is no gateway: {said}");
            report.find(
                check::ADDRESS_TAKEN,
                what,
                format!("ss -ltnp 'sport = :{}' names the process", admin.port()),
            );
            Ok(false)
        }
    }
}

fn said(doctor: &Doctor, answers: &Answers, report: &mut Report) {
    let own = env!("CARGO_PKG_VERSION");
    if answers.version != own {
        let what = format!("the gateway is version {}, and this command {own}", answers.version);
        report.find(check::VERSION_DIFFERS, what, "run the doctor of the gateway's own version");
    }
    let metrics = Metrics::new(&answers.metrics);
    if metrics.value("vidimus_ledger_open") == Some(0.0) {
        let fix = format!("vidimus audit fsck --data {}", super::word(&doctor.data));
        report.find(check::LEDGER_CLOSED, "the ledger takes no records", fix);
    } else if let Some(reason) = &answers.not_ready {
        let fix = "docs/admin.md, /readyz, says what to do about each reason";
        report.find(check::NOT_READY, format!("/readyz: {reason}"), fix);
    }
    metrics.look(report);
}

/// That the addresses are free for a gateway that is to start.
fn can_listen(doctor: &Doctor, report: &mut Report) {
    let addresses = [
        ("--listen", Some(doctor.listen)),
        ("--tls-listen", doctor.tls_listen),
        ("--admin", Some(doctor.admin)),
    ];
    for (flag, address) in addresses {
        let Some(address) = address.filter(|address| address.port() != 0) else { continue };
        let Err(error) = TcpListener::bind(address) else { continue };
        let what = format!("{flag} {address}: {error}");
        match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                let fix = format!(
                    "ss -ltnp 'sport = :{}' names the process; end it, or take another {flag}",
                    address.port()
                );
                report.find(check::ADDRESS_TAKEN, what, fix);
            }
            _ => {
                let fix =
                    format!("take an address of this machine (ip addr) and a port from 1024 on for {flag}");
                report.find(check::ADDRESS_UNUSABLE, what, fix);
            }
        }
    }
}

/// An address to connect to, for one to listen on.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Whether somebody takes a connection there.
pub(super) fn is_heard(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(3)).is_ok()
}

/// The address by which the gateway that listens at `listen` is known to callers, as it says.
pub(super) fn issuer(listen: SocketAddr) -> anyhow::Result<Result<String, Unheard>> {
    Ok(document(listen, "/.well-known/openid-configuration")?.and_then(|said| {
        let issuer = said.get("issuer").and_then(Value::as_str).map(str::to_owned);
        issuer.ok_or_else(|| Unheard::Foreign("it names no issuer".to_owned()))
    }))
}

/// The JSON that the gateway that listens at `listen` has at a path for anybody; null where it is none.
pub(super) fn document(listen: SocketAddr, path: &str) -> anyhow::Result<Result<Value, Unheard>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async {
        let (_, body) = get(listen, path).await?;
        Ok(serde_json::from_slice(&body).unwrap_or_default())
    }))
}

async fn ask(admin: SocketAddr) -> Result<Answers, Unheard> {
    let (_, index) = get(admin, "/").await?;
    let index: Value = serde_json::from_slice(&index).unwrap_or_default();
    let version = index.get("version").and_then(Value::as_str).filter(|_| index.get("endpoints").is_some());
    let Some(version) = version.map(str::to_owned) else {
        return Err(Unheard::Foreign("it does not list what an admin address has".to_owned()));
    };
    let (status, ready) = get(admin, "/readyz").await?;
    let (_, metrics) = get(admin, "/metrics").await?;
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).trim().to_owned();
    let not_ready = (status != StatusCode::OK).then(|| text(&ready));
    Ok(Answers { version, not_ready, metrics: text(&metrics) })
}

async fn get(at: SocketAddr, path: &str) -> Result<(StatusCode, Bytes), Unheard> {
    let foreign = |error: &dyn std::error::Error| Unheard::Foreign(error.to_string());
    let request = Request::builder().uri(format!("http://{at}{path}")).body(Full::<Bytes>::default());
    let request = request.map_err(|error| foreign(&error))?;
    let asked = async {
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let answer = client
            .request(request)
            .await
            .map_err(|error| if error.is_connect() { Unheard::Nobody } else { foreign(&error) })?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX).collect().await;
        let body = body.map_err(|error| Unheard::Foreign(error.to_string()))?;
        Ok::<_, Unheard>((status, body.to_bytes()))
    };
    let in_time = tokio::time::timeout(PATIENCE, asked).await;
    in_time.unwrap_or_else(|_| Err(Unheard::Foreign(format!("no answer in {} s", PATIENCE.as_secs()))))
}
