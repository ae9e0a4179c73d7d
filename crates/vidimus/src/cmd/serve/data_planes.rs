//! `--ext-authz`: data planes that carry calls themselves, such as Envoy, ask here (ADR 58).

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use clap::Args;
use clap::builder::BoolishValueParser;
use vidimus_gateway::DataPlanes;
use vidimus_gateway::listener::{Door, Listener};
use vidimus_identity::{LocalIdentity, SpiffeId, TrustStore};

use super::supervisor::Supervisor;
use super::{Serve, flags, tls};
use crate::cmd::quantity;

/// Who asks, where, and what is believed.
#[derive(Debug, Args)]
pub struct DataPlaneFlags {
    /// Address at which Envoy asks about the calls that it carries: gRPC,
    /// envoy.service.auth.v3.Authorization (docs/envoy.md). Who may ask gets the
    /// credentials of calls, so it is loopback and plain, or TLS and
    /// --ext-authz-data-plane.
    #[arg(long, env = "VIDIMUS_EXT_AUTHZ", value_name = "ADDRESS", value_parser = quantity::socket)]
    pub ext_authz: Option<SocketAddr>,
    /// SPIFFE ID of a data plane that may ask: it presents that X.509-SVID, and the
    /// address is TLS. May be given several times.
    #[arg(long, env = "VIDIMUS_EXT_AUTHZ_DATA_PLANE", value_delimiter = ',', value_name = "SPIFFE-ID", value_parser = SpiffeId::parse, requires = "ext_authz")]
    pub ext_authz_data_plane: Vec<SpiffeId>,
    /// A name by which data planes reach the address, such as that of its Service, for
    /// the certificate that the built-in CA issues. May be given several times.
    #[arg(long, env = "VIDIMUS_EXT_AUTHZ_NAME", value_delimiter = ',', value_name = "NAME", value_parser = flags::host_name, requires = "ext_authz_data_plane")]
    pub ext_authz_name: Vec<String>,
    /// Take the certificate that a caller showed to the data plane as if it had been
    /// shown here (source.principal, with Envoy's include_peer_certificate). The
    /// data plane has to have verified it: that the caller has its key is seen there.
    #[arg(long, env = "VIDIMUS_EXT_AUTHZ_CERTIFICATES", value_parser = BoolishValueParser::new(), requires = "ext_authz")]
    pub ext_authz_certificates: bool,
    /// Let sessions of MCP servers begin and go on behind the data plane. Their ids
    /// are the server's own there: nothing binds them to who got them.
    #[arg(long, env = "VIDIMUS_EXT_AUTHZ_RAW_SESSIONS", value_parser = BoolishValueParser::new(), requires = "ext_authz")]
    pub ext_authz_raw_sessions: bool,
}

impl DataPlaneFlags {
    /// The names by which data planes reach the address, and the address where it is one.
    pub(super) fn server_names(&self) -> Vec<String> {
        let address = self.ext_authz.filter(|address| !address.ip().is_unspecified());
        let address = address.map(|address| address.ip().to_string());
        self.ext_authz_name.iter().cloned().chain(address).collect()
    }
}

/// Where data planes ask, if any do.
///
/// # Errors
/// Where whoever asks could be anybody, or the address is taken.
pub(super) fn listener(
    supervisor: &mut Supervisor,
    serve: &Serve,
    identity: &Arc<LocalIdentity>,
    trust: &TrustStore,
) -> anyhow::Result<Option<Listener>> {
    let flags = &serve.data_planes;
    let Some(address) = flags.ext_authz else { return Ok(None) };
    let trusted = flags.ext_authz_data_plane.clone();
    let is_plain = trusted.is_empty();
    ensure!(
        !is_plain || address.ip().is_loopback(),
        "--ext-authz {address}: whoever asks there gets the credentials of calls; name the data planes with --ext-authz-data-plane, or \
         listen on loopback beside the data plane"
    );
    let socket = TcpListener::bind(address).with_context(|| format!("--ext-authz {address}"))?;
    socket.set_nonblocking(true)?;
    let planes = DataPlanes::new(trusted, flags.ext_authz_certificates, flags.ext_authz_raw_sessions);
    let door = Door::DataPlanes(Arc::new(planes));
    if is_plain && flags.ext_authz_certificates {
        tracing::warn!(
            "--ext-authz-certificates without --ext-authz-data-plane: any process of this host that knows the certificate of an agent, which is no \
             secret, can ask as that agent; let nothing else run here, or name the data planes"
        );
    }
    tracing::info!(ext_authz = %socket.local_addr()?, tls = !is_plain, "data planes may ask");
    let listener = match is_plain {
        true => Listener { socket, tls: None, door },
        false => Listener { door, ..tls::listener(supervisor, serve, identity, trust.clone(), socket)? },
    };
    Ok(Some(listener))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::DataPlaneFlags;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        flags: DataPlaneFlags,
    }

    fn parsed(flags: &str) -> Result<DataPlaneFlags, String> {
        let line = ["serve"].into_iter().chain(flags.split_whitespace());
        Line::try_parse_from(line).map(|line| line.flags).map_err(|error| error.to_string())
    }

    #[test]
    fn a_data_plane_is_named_by_its_spiffe_id_and_has_somewhere_to_ask() {
        for (flags, says) in [
            ("--ext-authz-data-plane spiffe://corp.example/envoy", "--ext-authz"),
            ("--ext-authz-raw-sessions", "--ext-authz"),
            ("--ext-authz 127.0.0.1:9191 --ext-authz-name a", "--ext-authz-data-plane"),
            ("--ext-authz 127.0.0.1:9191 --ext-authz-data-plane envoy", "spiffe://"),
            ("--ext-authz 127.0.0.1:9191 --ext-authz-data-plane spiffe://corp.example", "path"),
            ("--ext-authz 9191", "127.0.0.1:8080"),
        ] {
            let error = parsed(flags).map(drop).unwrap_err();
            assert!(error.contains(says), "{flags}: {error}");
        }
        let flags =
            parsed("--ext-authz 0.0.0.0:9191 --ext-authz-data-plane spiffe://a/b,spiffe://a/c").unwrap();
        assert_eq!((flags.ext_authz_data_plane.len(), flags.server_names()), (2, vec![]));
        let flags = parsed("--ext-authz 10.0.0.7:9191 --ext-authz-data-plane spiffe://a/b").unwrap();
        assert_eq!(flags.server_names(), ["10.0.0.7"]);
        let named =
            "--ext-authz 0.0.0.0:9191 --ext-authz-data-plane spiffe://a/b --ext-authz-name vidimus.gate.svc";
        assert_eq!(parsed(named).unwrap().server_names(), ["vidimus.gate.svc"]);
    }
}
