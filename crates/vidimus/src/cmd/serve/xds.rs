//! `--xds`: an agentgateway gets its routes here, and asks the door of `--ext-authz` about each call (ADR 66, docs/agentgateway.md).

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use vidimus_core::snapshot::Snapshot;
use vidimus_gateway::{Gateway, Limits, Shared, Xds, XdsPatience, XdsSettings, serve_xds};
use vidimus_identity::{LocalIdentity, SpiffeId, TrustStore};
use vidimus_registry::Loaded;

use super::supervisor::Supervisor;
use super::{Serve, data_planes, flags, tls};
use crate::cmd::quantity;

/// Who is given what, and where.
#[derive(Debug, Args)]
pub struct XdsFlags {
    /// Address where agentgateways get their routes (delta xDS over gRPC, TLS), to
    /// ask --ext-authz about each call (docs/agentgateway.md). They are known by
    /// their ServiceAccount tokens: --service-account-issuer.
    #[arg(long, env = "VIDIMUS_XDS", value_name = "ADDRESS", value_parser = quantity::socket, requires_all = ["xds_gateway", "ext_authz", "service_account_issuer"])]
    pub xds: Option<SocketAddr>,
    /// A gateway that may have them, by the ServiceAccount that it runs as. May be
    /// given several times.
    #[arg(
        long,
        env = "VIDIMUS_XDS_GATEWAY",
        value_delimiter = ',',
        value_name = "NAMESPACE/NAME",
        requires = "xds"
    )]
    pub xds_gateway: Vec<Gateway>,
    /// Host names by which gateways reach --xds, for its certificate.
    #[arg(long, env = "VIDIMUS_XDS_NAME", value_delimiter = ',', value_name = "NAME", value_parser = flags::host_name, requires = "xds")]
    pub xds_name: Vec<String>,
    /// Where gateways listen.
    #[arg(long, env = "VIDIMUS_XDS_PORT", value_name = "PORT", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    pub xds_port: u16,
    /// --ext-authz as gateways reach it [default: where that is loopback, itself].
    #[arg(long, env = "VIDIMUS_XDS_EXT_AUTHZ", value_name = "HOST:PORT", value_parser = door, requires = "xds")]
    pub xds_ext_authz: Option<(String, u16)>,
    /// SPIFFE ID of the certificate that --ext-authz presents (--tls-cert), where
    /// it is TLS. Gateways take no answer of anybody else.
    #[arg(long, env = "VIDIMUS_XDS_EXT_AUTHZ_ID", value_name = "SPIFFE-ID", value_parser = SpiffeId::parse, requires = "xds")]
    pub xds_ext_authz_id: Option<SpiffeId>,
}

fn door(text: &str) -> anyhow::Result<(String, u16)> {
    const WRITE: &str = "write HOST:PORT, as in vidimus.vidimus-system.svc:9191";
    let (host, port) = text.rsplit_once(':').context(WRITE)?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0).context(WRITE)?;
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match literal {
        Some(literal) => literal.parse::<IpAddr>().context(WRITE)?.to_string(),
        None => flags::host_name(host).context(WRITE)?,
    };
    Ok((host, port))
}

impl XdsFlags {
    /// The names by which gateways reach the address.
    pub(super) fn names(&self) -> Vec<String> {
        let address = self.xds.filter(|address| !address.ip().is_unspecified());
        self.xds_name.iter().cloned().chain(address.map(|address| address.ip().to_string())).collect()
    }

    /// Where gateways ask, and whom they take for it.
    ///
    /// # Errors
    /// Where somebody between could answer in its place, or they could not reach it.
    fn asked(&self, planes: &data_planes::DataPlaneFlags) -> anyhow::Result<((String, u16), Option<String>)> {
        let Some(listens) = planes.ext_authz else {
            bail!("--xds: gateways ask --ext-authz about each call; give it an address");
        };
        let is_tls = !planes.ext_authz_data_plane.is_empty();
        let id = self.xds_ext_authz_id.as_ref().map(ToString::to_string);
        ensure!(
            is_tls == id.is_some(),
            "--xds-ext-authz-id: name the SPIFFE ID that --ext-authz presents where gateways ask over TLS (--ext-authz-data-plane), and \
             none where they ask on loopback"
        );
        let itself = || (listens.ip().to_string(), listens.port());
        let door = self.xds_ext_authz.clone().or_else(|| (!listens.ip().is_unspecified()).then(itself));
        let door = door.context("--xds-ext-authz: say by which address gateways reach --ext-authz")?;
        let is_loopback = door.0 == "localhost" || door.0.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        ensure!(
            is_tls || is_loopback,
            "--xds-ext-authz {}:{}: whoever is between could let everything pass; have gateways ask on loopback, or over TLS \
             (--ext-authz-data-plane, --xds-ext-authz-id)",
            door.0,
            door.1
        );
        Ok((door, id))
    }
}

/// Begins to give out what is in force, where it is asked for.
///
/// # Errors
/// Where somebody else could let calls pass, or the address is taken.
pub(super) fn begin(
    supervisor: &mut Supervisor,
    serve: &Serve,
    (shared, loaded): (&Arc<Shared>, &watch::Receiver<Arc<Loaded>>),
    (identity, trust): (&Arc<LocalIdentity>, &TrustStore),
) -> anyhow::Result<()> {
    let flags = &serve.xds;
    let Some(address) = flags.xds else { return Ok(()) };
    let (door, door_id) = flags.asked(&serve.data_planes)?;
    let socket = TcpListener::bind(address).with_context(|| format!("--xds {address}"))?;
    socket.set_nonblocking(true)?;
    let listener = tls::listener(supervisor, serve, identity, trust.clone(), socket)?;
    let acceptor = listener.tls.map(TlsAcceptor::from).context("--xds is TLS")?;
    let most_body = serve.max_body.max(Limits::default().model_body);
    let settings = XdsSettings { port: flags.xds_port, door, door_id, most_body };
    let (sender, snapshots) = watch::channel(whole(&loaded.borrow()));
    supervisor.essential("xds-snapshots", follow(loaded.clone(), sender));
    let xds =
        Xds::new(shared.clone(), flags.xds_gateway.clone(), settings, XdsPatience::default(), snapshots);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let socket = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener.socket)?
    };
    tracing::info!(xds = %socket.local_addr()?, gateways = flags.xds_gateway.len(), "data planes may get their configuration");
    let vitals = shared.vitals.clone();
    supervisor.thread("vidimus-xds".to_owned(), move || {
        runtime.block_on(vitals.again("xds", || serve_xds(&xds, &socket, Some(&acceptor))));
    })?;
    Ok(())
}

/// What is in force, once all is read that is configured: what is only not read yet is not taken away from a data plane.
fn whole(loaded: &Loaded) -> Option<Arc<Snapshot>> {
    loaded.not_ready.is_none().then(|| loaded.snapshot.clone())
}

async fn follow(mut loaded: watch::Receiver<Arc<Loaded>>, sender: watch::Sender<Option<Arc<Snapshot>>>) {
    while loaded.changed().await.is_ok() {
        let next = whole(&loaded.borrow_and_update());
        sender.send_replace(next);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        planes: data_planes::DataPlaneFlags,
        #[command(flatten)]
        xds: XdsFlags,
        #[arg(long)]
        service_account_issuer: Option<String>,
    }

    fn parsed(flags: &str) -> Result<Line, String> {
        let line = ["serve"].into_iter().chain(flags.split_whitespace());
        Line::try_parse_from(line).map_err(|error| error.to_string())
    }

    const ALL: &str = "--xds 127.0.0.1:15010 --xds-gateway edge/agents --service-account-issuer https://kubernetes.default.svc";

    #[test]
    fn a_gateway_is_named_and_has_somewhere_to_ask() {
        for (flags, says) in [
            ("--xds 127.0.0.1:1 --ext-authz 127.0.0.1:2 --service-account-issuer a", "--xds-gateway"),
            ("--xds 127.0.0.1:1 --xds-gateway a/b --service-account-issuer a", "--ext-authz"),
            ("--xds 127.0.0.1:1 --xds-gateway a/b --ext-authz 127.0.0.1:2", "--service-account-issuer"),
            ("--xds-gateway a/b", "--xds"),
            ("--xds-gateway agents", "NAMESPACE/NAME"),
            ("--xds-ext-authz vidimus --xds 127.0.0.1:1", "HOST:PORT"),
            ("--xds-ext-authz vidimus:0", "HOST:PORT"),
            ("--xds-ext-authz http://vidimus:9191", "HOST:PORT"),
            ("--xds-port 0", "--xds-port"),
        ] {
            let error = parsed(flags).map(drop).unwrap_err();
            assert!(error.contains(says), "{flags}: {error}");
        }
        let line = parsed(&format!("{ALL} --ext-authz 127.0.0.1:9191 --xds-name vidimus.svc")).unwrap();
        assert_eq!(line.xds.names(), ["vidimus.svc", "127.0.0.1"]);
        assert_eq!(line.xds.asked(&line.planes).unwrap(), (("127.0.0.1".to_owned(), 9191), None));
        assert!(line.service_account_issuer.is_some());
    }

    /// Attack: somebody between gateway and Vidimus, who says yes to everything.
    #[test]
    fn gateways_ask_on_loopback_or_know_whom_they_ask() {
        const TLS: &str = "--ext-authz 0.0.0.0:9191 --ext-authz-data-plane spiffe://a/edge";
        const ID: &str = "--xds-ext-authz-id spiffe://a/vidimus";
        for (flags, says) in [
            (
                "--ext-authz 127.0.0.1:9191 --xds-ext-authz vidimus.svc:9191".to_owned(),
                "on loopback, or over TLS",
            ),
            (format!("--ext-authz 127.0.0.1:9191 {ID}"), "SPIFFE ID"),
            (TLS.to_owned(), "SPIFFE ID"),
            (format!("{TLS} {ID}"), "by which address"),
        ] {
            let line = parsed(&format!("{ALL} {flags}")).unwrap();
            let error = line.xds.asked(&line.planes).unwrap_err().to_string();
            assert!(error.contains(says), "{flags}: {error}");
        }
        for (given, host) in [("vidimus.svc:9191", "vidimus.svc"), ("[2606:4700::1]:9191", "2606:4700::1")] {
            let line = parsed(&format!("{ALL} {TLS} {ID} --xds-ext-authz {given}")).unwrap();
            let asked = line.xds.asked(&line.planes).unwrap();
            assert_eq!(asked, ((host.to_owned(), 9191), Some("spiffe://a/vidimus".to_owned())));
        }
    }

    #[test]
    fn what_is_not_read_yet_is_not_known() {
        let snapshot = Arc::new(Snapshot::build(Vec::new()).0);
        let mut loaded = Loaded { snapshot, rejections: Vec::new(), not_ready: None };
        assert!(whole(&loaded).is_some());
        loaded.not_ready = Some("the cluster has not been read".to_owned());
        assert!(whole(&loaded).is_none());
    }
}
