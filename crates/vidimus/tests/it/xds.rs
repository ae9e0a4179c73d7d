//! `--xds`, as a data plane reaches it: TLS by the installation's own certificate, HTTP/2, and nothing for who proves nothing.

use std::sync::Arc;

use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::gateway::{Gateway, free_port};
use super::run;

const PATH: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// Nobody is there.
const ISSUER: &str = "http://127.0.0.1:9";

/// The code that a stream without a token is refused with.
async fn refused(port: u16, bundle: &str) -> String {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("vidimus.edge.svc").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    let _connection = tokio::spawn(connection);
    let request = Request::builder().method(Method::POST).uri(format!("https://vidimus.edge.svc{PATH}"));
    let request = request.header("content-type", "application/grpc").body(String::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "16");
    answer.headers()["vidimus-code"].to_str().unwrap().to_owned()
}

#[test]
fn a_data_plane_reaches_it_over_tls_and_proves_who_it_is() {
    let (port, asked) = (free_port(), free_port());
    let gateway = Gateway::start_with(1, |command| {
        command.args(["--xds", &format!("127.0.0.1:{port}"), "--xds-gateway", "edge/agents"]);
        command.args(["--xds-name", "vidimus.edge.svc", "--ext-authz", &format!("127.0.0.1:{asked}")]);
        command.args(["--service-account-issuer", ISSUER]);
    });
    let bundle = run(&["identity", "bundle", "--data", &gateway.path("data")]).out;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(runtime.block_on(refused(port, &bundle)), "credential_missing");
    let shown = gateway.get("/registry").unwrap();
    assert!(shown.contains("\"data_planes\":[]"), "{shown}");
}

#[test]
fn a_start_that_would_leave_gateways_open_is_refused() {
    for (flags, says) in [
        (
            &["--ext-authz", "127.0.0.1:0", "--xds-ext-authz", "vidimus.svc:9191"][..],
            "could let everything pass",
        ),
        (&["--ext-authz", "127.0.0.1:0", "--xds-ext-authz-id", "spiffe://a/b"], "--xds-ext-authz-id"),
    ] {
        let (code, log) = Gateway::ends(|command| {
            command.args(["--xds", "127.0.0.1:0", "--xds-gateway", "edge/agents"]);
            command.args(["--service-account-issuer", ISSUER]).args(flags);
        });
        assert_eq!(code, Some(2), "{log}");
        assert!(log.contains(says), "{says}: {log}");
    }
}
