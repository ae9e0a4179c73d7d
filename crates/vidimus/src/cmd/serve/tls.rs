//! The TLS address: the gateway's certificate, and the SVIDs of callers.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use vidimus_core::clock::Clock as _;
use vidimus_gateway::listener::{Door, Listener};
use vidimus_gateway::millis;
use vidimus_identity::{ClientCertificates, LocalIdentity, ServerCertificate, TrustStore, server_config};

use crate::clock::SystemClock;

use super::Serve;
use super::certificate::CertificateFiles;
use super::supervisor::Supervisor;

/// Life of a certificate that the built-in CA issues for the gateway; renewed at half of it.
const LIFE: Duration = Duration::from_secs(24 * 3600);

pub(super) fn listener(
    supervisor: &mut Supervisor,
    serve: &Serve,
    identity: &Arc<LocalIdentity>,
    trust: TrustStore,
    socket: TcpListener,
) -> anyhow::Result<Listener> {
    let certificate = match (&serve.tls_cert, &serve.tls_key) {
        (Some(chain), Some(key)) => {
            let files = CertificateFiles::open(chain.clone(), key.clone())?;
            let certificate = files.certificate();
            files.follow(supervisor);
            certificate
        }
        _ => {
            let names = names(serve);
            let certificate = identity.server_certificate(&names, LIFE, millis(SystemClock.now().wall))?;
            renew(supervisor, identity.clone(), names, certificate.clone());
            certificate
        }
    };
    let config = server_config(&certificate, ClientCertificates::Optional(trust))?;
    Ok(Listener { socket, tls: Some(Arc::new(config)), door: Door::Calls })
}

/// The names callers reach the TLS address by.
fn names(serve: &Serve) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let url = serve.public_url.as_deref().and_then(|url| url::Url::parse(url).ok());
    names.extend(
        url.as_ref().and_then(url::Url::host_str).map(|host| host.trim_matches(['[', ']']).to_owned()),
    );
    names.extend(
        serve
            .tls_listen
            .filter(|address| !address.ip().is_unspecified())
            .map(|address| address.ip().to_string()),
    );
    names.extend(serve.data_planes.server_names());
    names.extend(serve.xds.names());
    names.sort_unstable();
    names.dedup();
    names
}

fn renew(
    supervisor: &mut Supervisor,
    identity: Arc<LocalIdentity>,
    names: Vec<String>,
    certificate: ServerCertificate,
) {
    supervisor.repeated_beside("certificate", LIFE / 2, move || {
        match identity.server_certificate(&names, LIFE, millis(SystemClock.now().wall)) {
            Ok(newer) => certificate.update(&newer),
            Err(error) => tracing::error!(%error, "the gateway's certificate could not be renewed"),
        }
    });
}
