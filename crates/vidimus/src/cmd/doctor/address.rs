//! How callers reach the gateway: its certificate, its listeners, and the address that it gives out.

use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::Path;

use secrecy::SecretString;
use url::{Host, Url};
use vidimus_core::clock::Clock as _;
use vidimus_gateway::millis;
use vidimus_identity::{ServerCertificate, ServerLeaf, read_regular};

use super::check;
use super::gateway::{Unheard, is_heard, issuer, reachable};
use super::{Doctor, Report, word};
use crate::clock::SystemClock;
use crate::cmd::data_directory;

/// Largest of the files, in bytes.
const MAX: u64 = 1 << 20;
/// A certificate that ends within this is told of, or within a fifth of its life where that is less. Milliseconds.
const SOON: i64 = 14 * 24 * 3600 * 1000;

pub(super) fn look(doctor: &Doctor, runs: bool, report: &mut Report) -> anyhow::Result<()> {
    let leaf = match (doctor.tls_cert.as_deref(), doctor.tls_key.as_deref()) {
        (Some(chain), Some(key)) => certificate(chain, key, report),
        _ => None,
    };
    if runs {
        listeners(doctor, report)?;
    }
    match &doctor.public_url {
        Some(url) => public_url(url, leaf.as_ref(), runs, report),
        None => report.left_out("the public URL", "none is given (--public-url)"),
    }
    Ok(())
}

fn certificate(chain: &Path, key: &Path, report: &mut Report) -> Option<ServerLeaf> {
    report.looked_at("the certificate");
    let shown = chain.display();
    let renew =
        || format!("have whoever issues {} renew it; it is read again without a restart", word(chain));
    let read = read(chain, key);
    let leaf = match read {
        Ok(leaf) => leaf,
        Err(error) => {
            let fix = format!(
                "openssl x509 -noout -pubkey -in {}; openssl pkey -pubout -in {}: both must say the same",
                word(chain),
                word(key)
            );
            report.find(check::CERTIFICATE_UNUSABLE, format!("--tls-cert {shown}: {error:#}"), fix);
            return None;
        }
    };
    if let Err(error) = data_directory::for_its_owner(key) {
        report.find(check::KEY_EXPOSED, format!("--tls-key {error}"), format!("chmod 600 {}", word(key)));
    }
    let now = millis(SystemClock.now().wall).0;
    let (from, until) = (leaf.not_before.0, leaf.not_after.0);
    let hours = |millis: i64| millis / 3_600_000;
    if now >= until {
        let what = format!("--tls-cert {shown}: it ended {} hours ago", hours(now - until));
        report.find(check::CERTIFICATE_EXPIRED, what, renew());
    } else if now < from {
        let what = format!("--tls-cert {shown}: it is not good for another {} hours", hours(from - now));
        report.find(
            check::CERTIFICATE_EXPIRED,
            what,
            "timedatectl: is the clock right? Else take the certificate of before",
        );
    } else if until - now < SOON.min(until.saturating_sub(from) / 5) {
        let what = format!("--tls-cert {shown}: it ends in {} hours", hours(until - now));
        report.find(check::CERTIFICATE_EXPIRING, what, renew());
    }
    Some(leaf)
}

fn read(chain: &Path, key: &Path) -> anyhow::Result<ServerLeaf> {
    let (pem, key) = (read_regular(chain, MAX)?, read_regular(key, MAX)?);
    let key: SecretString =
        String::from_utf8(key).map_err(|_| anyhow::anyhow!("the private key is not PEM"))?.into();
    ServerCertificate::from_pem(&pem, &key)?;
    Ok(ServerLeaf::read(&pem)?)
}

/// Whether the gateway that runs listens where it is said to, and gives out the address that is said.
fn listeners(doctor: &Doctor, report: &mut Report) -> anyhow::Result<()> {
    report.looked_at("its listeners");
    let listen = reachable(doctor.listen);
    let deaf = |flag: &str, why: &str| format!("{flag}: {why}");
    let fix = "give the doctor the gateway's own addresses: systemctl cat vidimus; ss -ltnp";
    match issuer(listen)? {
        Ok(issuer) => {
            let is_same = |url: &Url| url.as_str().trim_end_matches('/') == issuer.trim_end_matches('/');
            if let Some(url) = doctor.public_url.as_ref().filter(|url| !is_same(url)) {
                let what = format!("the gateway gives out {issuer}, and --public-url is {url}");
                report.find(
                    check::PUBLIC_URL_ELSEWHERE,
                    what,
                    format!("systemctl edit vidimus: VIDIMUS_PUBLIC_URL={url}, and restart it"),
                );
            }
        }
        Err(Unheard::Nobody) => {
            report.find(
                check::LISTENER_DEAF,
                deaf(&format!("--listen {listen}"), "nobody listens there"),
                fix,
            );
        }
        Err(Unheard::Foreign(why)) => {
            report.find(check::LISTENER_DEAF, deaf(&format!("--listen {listen}"), &why), fix);
        }
    }
    if let Some(tls) = doctor.tls_listen.map(reachable).filter(|tls| !is_heard(*tls)) {
        report.find(check::LISTENER_DEAF, deaf(&format!("--tls-listen {tls}"), "nobody listens there"), fix);
    }
    Ok(())
}

fn public_url(url: &Url, leaf: Option<&ServerLeaf>, runs: bool, report: &mut Report) {
    report.looked_at("the public URL");
    let (host, address) = match url.host() {
        Some(Host::Domain(name)) => (name.to_owned(), None),
        Some(Host::Ipv4(ip)) => (ip.to_string(), Some(IpAddr::V4(ip))),
        Some(Host::Ipv6(ip)) => (ip.to_string(), Some(IpAddr::V6(ip))),
        None => {
            report.find(
                check::PUBLIC_URL_UNRESOLVED,
                format!("--public-url {url}: it has no host"),
                "write https://HOST:PORT",
            );
            return;
        }
    };
    let is_here = host == "localhost" || address.is_some_and(|ip| ip.is_loopback());
    if url.scheme() == "http" && !is_here {
        let fix = "serve callers by --tls-listen with --tls-cert, or have a mesh encrypt it, and write https";
        report.find(check::PUBLIC_URL_PLAIN, format!("--public-url {url}: plain HTTP"), fix);
    }
    if url.scheme() == "https" && leaf.is_some_and(|leaf| !leaf.is_for(&host)) {
        let fix = format!(
            "have a certificate issued for {host} (openssl x509 -noout -ext subjectAltName -in CERT shows for whom it is)"
        );
        report.find(
            check::CERTIFICATE_NAME,
            format!("--public-url {url}: the certificate is not for {host}"),
            fix,
        );
    }
    let port = url.port_or_known_default().unwrap_or(443);
    let addresses: Vec<_> = match (&*host, port).to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            let what = format!("--public-url {url}: {host} is not known: {error}");
            report.find(
                check::PUBLIC_URL_UNRESOLVED,
                what,
                format!("getent hosts {host}; have it added to the DNS that callers ask"),
            );
            return;
        }
    };
    if !runs {
        report.left_out("whether the public URL is reached", "no gateway runs");
    } else if !addresses.iter().any(|address| is_heard(*address)) {
        let what = format!("--public-url {url}: nobody takes connections at {host}:{port}");
        report.find(
            check::PUBLIC_URL_UNREACHABLE,
            what,
            format!("curl -v {url}: see the load balancer and the firewall in between"),
        );
    }
}
