//! `vidimus serve`: the gateway.

mod admin;
pub(super) mod admin_listener;
pub(super) mod admission;
mod before_start;
pub(super) mod bundles;
pub(super) mod certificate;
mod cluster_issuer;
mod compose;
pub(super) mod configurations;
mod data_planes;
mod descriptors;
pub(super) mod disk;
mod filed;
pub(super) mod flags;
pub(super) mod from_registry;
mod health;
mod index;
mod issuer_roots;
mod jobs;
mod pods;
mod questions;
pub(super) mod retention;
mod rollouts;
mod routes;
pub(super) mod runs;
mod scale;
mod seen;
pub(super) mod sinks;
pub(super) mod source;
pub(super) mod standing;
pub(super) mod supervisor;
mod taken;
mod tls;
pub(super) mod traces;
mod webhook;
mod witnesses;
mod workers;
mod xds;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use vidimus_core::resource::Network;
use vidimus_gateway::{AddressGuard, SinkAddress, StandingAddress, Vitals, WitnessAt};
use vidimus_ledger::ArchiveAt;

use super::quantity;
use crate::log;
pub use source::ClusterFlags;
pub use webhook::WebhookAddress;

/// Governs calls: authenticates, decides, records, mints, forwards.
///
/// Routes: /mcp/{namespace}/{name}, /a2a/{namespace}/{name} (and A2A over gRPC), /llm/{namespace}/{name}/… (paths of the APIs of models below it),
/// /rest/{namespace}/{name}/… (paths of an API below it); with --traces also /v1/traces, for the spans of agents.
/// Every option can also be given by the environment variable named with it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus serve --resources examples/demo --data /tmp/vidimus
  vidimus serve --resources /etc/vidimus --data /var/lib/vidimus \\
    --listen 127.0.0.1:8080 --tls-listen 0.0.0.0:8443
  vidimus serve --resources DIR --data DIR --durability sync \\
    --otlp-endpoint http://collector:4318/v1/traces
  vidimus serve --resources DIR --data DIR --secrets /etc/vidimus/secrets \\
    --sink 'otlp+https://collector:4318/v1/logs?headers=collector' \\
    --sink 'syslog+tls://siem.example:6514?ca=/etc/vidimus/siem.pem'
  vidimus serve --resources DIR --data DIR --traces --trace-retention 3d
  vidimus serve --cluster --kubeconfig ~/.kube/config --data DIR")]
pub struct Serve {
    /// Directory of resources (YAML or JSON), watched. What is renamed into it is live at once; of what is written in place, what
    /// forbids at once, and the rest when nothing has been written for half a second. This, --cluster or --registry is needed.
    #[arg(long, env = "VIDIMUS_RESOURCES")]
    pub resources: Option<PathBuf>,
    #[command(flatten)]
    pub cluster: ClusterFlags,
    #[command(flatten)]
    pub registry: from_registry::RegistryFlags,
    #[command(flatten)]
    pub jobs: jobs::JobFlags,
    /// Directory for keys, the ledger, the configurations that its records name, and what is forbidden. Created if missing; keep it: without what was forbidden before, a
    /// gateway refuses everything while a policy is malformed.
    #[arg(long, env = "VIDIMUS_DATA", default_value = "vidimus-data")]
    pub data: PathBuf,
    /// Directory of the files that credential.file of LLMProviders names, and of nothing else: not in --data, and for its owner alone,
    /// as the files in it. Without it no key is read from a file.
    #[arg(long, env = "VIDIMUS_SECRETS", value_name = "DIR")]
    pub secrets: Option<PathBuf>,
    /// Address for plain HTTP; must be loopback unless --insecure-listen is given.
    #[arg(long, env = "VIDIMUS_LISTEN", default_value = "127.0.0.1:8080", value_parser = quantity::socket)]
    pub listen: SocketAddr,
    /// Allow plain HTTP on an address other than loopback (a sidecar or mesh must then protect it).
    #[arg(long, env = "VIDIMUS_INSECURE_LISTEN", value_parser = BoolishValueParser::new())]
    pub insecure_listen: bool,
    /// Address for TLS, with client certificates (X.509-SVIDs) accepted and not required.
    #[arg(long, env = "VIDIMUS_TLS_LISTEN", value_parser = quantity::socket)]
    pub tls_listen: Option<SocketAddr>,
    /// PEM certificate chain of the TLS address; the built-in CA issues one where none is given. Files that change are read again.
    #[arg(long, env = "VIDIMUS_TLS_CERT", requires_all = ["tls_key", "tls_listen"])]
    pub tls_cert: Option<PathBuf>,
    /// PEM private key to --tls-cert.
    #[arg(long, env = "VIDIMUS_TLS_KEY", requires_all = ["tls_cert", "tls_listen"])]
    pub tls_key: Option<PathBuf>,
    #[command(flatten)]
    pub data_planes: data_planes::DataPlaneFlags,
    #[command(flatten)]
    pub xds: xds::XdsFlags,
    /// SPIFFE trust bundle (PEM, or a SPIFFE bundle in JSON) as trust-domain=FILE; may be given several times, also for one
    /// domain, of which the authorities of all files are trusted then. A file that changes is read again: {"keys":[]} revokes all authorities, and one that cannot be understood, or is gone, leaves the last
    /// good one in force for an hour. X.509-SVIDs are accepted on the TLS address, JWT-SVIDs (by the bundle's keys of use jwt-svid) on
    /// both. The built-in CA's bundle is always trusted for its own trust domain.
    #[arg(long, env = "VIDIMUS_TRUST_BUNDLE", value_delimiter = ',', value_name = "TRUST-DOMAIN=FILE")]
    pub trust_bundle: Vec<String>,
    /// Address for health, metrics and status, plain HTTP: / (lists the others), /healthz, /readyz, /metrics, /registry,
    /// /registry/refused, /registry/standing, /registry/configuration, /ledger, /ledger/checkpoint, /ledger/tile/{tile}, /ledger/export, /quarantine, /quarantine/lift, /declassify, /payloads/shred, /grants, /grants/requests,
    /// /grants/revoke, /me, /approvals, /approvals/{approval}, /approvals/approve, /approvals/deny,
    /// /.well-known/authzen-configuration, /access/v1/evaluation, /access/v1/evaluations, /access/v1/search/subject,
    /// /access/v1/search/resource, /access/v1/search/action. All but the first four, the page of an approval and .well-known
    /// want a person's token, and policies decide what the person may do.
    #[arg(long, env = "VIDIMUS_ADMIN", default_value = "127.0.0.1:9901", value_parser = quantity::socket)]
    pub admin: SocketAddr,
    /// The admin address as people's browsers reach it, or what stands before it: the client of a held MCP call is led to
    /// URL/approvals/ID, where it can lead its user to an address. Without it such a call is answered with an error that names the approval.
    #[arg(long, env = "VIDIMUS_ADMIN_URL", value_name = "URL", value_parser = flags::public_url)]
    pub admin_url: Option<String>,
    /// Host names by which the admin address may be called, besides its IP address and localhost; others are refused (421), so that
    /// no page can read it by a name of its own.
    #[arg(long, env = "VIDIMUS_ADMIN_NAME", value_delimiter = ',', value_name = "NAME", value_parser = flags::host_name)]
    pub admin_name: Vec<String>,
    /// OIDC issuers of people who operate this installation, besides the built-in one (`vidimus identity operator`). What each may do
    /// is in policies, with User or UserGroup as principal.
    #[arg(long, env = "VIDIMUS_OPERATOR_ISSUER", value_delimiter = ',', value_name = "ISSUER", value_parser = flags::issuer)]
    pub operator_issuer: Vec<String>,
    /// Further audiences accepted in the tokens of people, besides "vidimus-admin". One that workloads' tokens have too would not
    /// tell the two apart.
    #[arg(long, env = "VIDIMUS_OPERATOR_AUDIENCE", value_delimiter = ',', value_name = "AUDIENCE", value_parser = flags::audience)]
    pub operator_audience: Vec<String>,
    /// The claim of their tokens that names their groups.
    #[arg(long, env = "VIDIMUS_OPERATOR_GROUPS_CLAIM", value_name = "CLAIM", default_value = "groups")]
    pub operator_groups_claim: String,
    #[command(flatten)]
    pub admission: admission::AdmissionFlags,
    /// The gateway's address as callers see it; in agent cards and token metadata, and an accepted audience.
    #[arg(long, env = "VIDIMUS_PUBLIC_URL", value_parser = flags::public_url)]
    pub public_url: Option<String>,
    /// Further audiences accepted in callers' tokens, besides "vidimus" and the public URL. A token for the address of one route
    /// (RFC 8707, as MCP clients ask for) is good on that route.
    #[arg(long, env = "VIDIMUS_AUDIENCE", value_delimiter = ',', value_parser = flags::audience)]
    pub audience: Vec<String>,
    /// Issuer of Kubernetes ServiceAccount tokens, for identities of kind serviceAccount. With --cluster its keys are read at the API server, with
    /// the credential by which that is followed. Otherwise, and where it has them not, they are fetched from the issuer's address without a
    /// credential: where that is the API server, bind ClusterRole system:service-account-issuer-discovery to the group system:unauthenticated.
    #[arg(long, env = "VIDIMUS_SERVICE_ACCOUNT_ISSUER", value_parser = flags::issuer)]
    pub service_account_issuer: Option<String>,
    /// PEM roots that the TLS certificate of one issuer chains to, instead of the system's, as ISSUER=FILE; may be given several
    /// times, also for one issuer, whose certificate may chain to any of them. The cluster's own CA is used for --service-account-issuer where that is https://kubernetes.default.svc.
    #[arg(long, env = "VIDIMUS_ISSUER_CA", value_delimiter = ',', value_name = "ISSUER=FILE", value_parser = issuer_roots::issuer_ca)]
    pub issuer_ca: Vec<issuer_roots::IssuerCa>,
    /// When a record counts as kept: handed to the kernel (survives a killed process), or on disk (survives power loss).
    #[arg(long, env = "VIDIMUS_DURABILITY", value_enum, default_value_t = DurabilityArg::Commit)]
    pub durability: DurabilityArg,
    /// Largest body of an MCP or A2A message: 4MB, 512KiB, or a number of bytes.
    #[arg(long, env = "VIDIMUS_MAX_BODY", default_value = "4MiB", value_parser = quantity::body_size)]
    pub max_body: usize,
    /// How long a caller may take for its TLS handshake and for the headers of a request; also how long a connection may idle.
    #[arg(long, env = "VIDIMUS_HEADER_TIME", default_value = "10s", value_parser = quantity::time_limit)]
    pub header_time: Duration,
    /// How long a caller may take to send the body of a request, and how long it may read nothing of its answers.
    #[arg(long, env = "VIDIMUS_BODY_TIME", default_value = "30s", value_parser = quantity::time_limit)]
    pub body_time: Duration,
    /// How long an upstream's answer may pause once it has begun (until it begins, spec.endpoint.timeout counts). An answer that
    /// has to be read whole to be changed, such as a filtered listing, has this time in all; any other one is passed on after it
    /// at the latest.
    #[arg(long, env = "VIDIMUS_STREAM_IDLE_TIME", default_value = "5m", value_parser = quantity::time_limit)]
    pub stream_idle_time: Duration,
    /// Redis or Valkey for what several gateways must agree on, rediss://[user@]host[:port][/database], or redis:// without TLS: what chains
    /// of calls have come to, which were ended, what agents have read, what limits count. Near, without evictions (maxmemory-policy
    /// noeviction); of a cluster one node has all of it. Its password is in --standing-password. Without it each gateway counts for itself.
    /// While it does not answer, calls are refused of which something is counted, and no others.
    #[arg(long, env = "VIDIMUS_STANDING", value_name = "URL", value_parser = flags::Standing, hide_env_values = true)]
    pub standing: Option<StandingAddress>,
    #[command(flatten)]
    pub scale: scale::ScaleFlags,
    /// Address that is told of each question to people (`@approval`), each vote and each end, as signed JSON (Standard Webhooks 1.0):
    /// https, or http on this machine. It is told no arguments, and nothing that it answers counts: people approve by `vidimus approvals`
    /// or the admin address.
    #[arg(long, env = "VIDIMUS_WEBHOOK", value_name = "URL", value_parser = flags::Unshown(webhook::address), requires = "webhook_secret", hide_env_values = true)]
    pub webhook: Option<WebhookAddress>,
    /// File in the directory of --secrets with what the webhook is signed with: whsec_ and the base64 of 24 to 64 random bytes. Read for
    /// each request; while it is replaced, the former one may stand on a second line.
    #[arg(long, env = "VIDIMUS_WEBHOOK_SECRET", value_name = "FILE", requires_all = ["webhook", "secrets"])]
    pub webhook_secret: Option<String>,
    /// A witness of the ledger: its key (C2SP vkey of type 4 or 6), a space, and the address that has add-checkpoint below it (C2SP
    /// tlog-witness). It is offered each new checkpoint and cosigns that the ledger continues what it saw before; whoever runs it has to
    /// add the ledger's key first. May be given several times. No call waits for it.
    #[arg(long, env = "VIDIMUS_WITNESS", value_delimiter = ',', value_name = "KEY URL", value_parser = witnesses::witness)]
    pub witness: Vec<WitnessAt>,
    /// So many witnesses must cosign the same checkpoint for it to be kept as cosigned [default: all].
    #[arg(long, env = "VIDIMUS_WITNESS_QUORUM", value_name = "N", requires = "witness")]
    pub witness_quorum: Option<usize>,
    /// A receiver of the ledger's records, such as a SIEM: otlp+https://HOST[:PORT]/PATH or otlp+http:// (OTLP logs over HTTP, protobuf),
    /// syslog+tls://HOST[:PORT] or syslog+tcp:// (RFC 5424), clickhouse+https://HOST[:PORT]/DATABASE or clickhouse:// (a table
    /// of a ClickHouse, which `vidimus audit --clickhouse` asks). It is sent each record at least once, by index, from where it
    /// was; one that is down delays itself alone. May be given several times; scheme, host and port (and database) are its name. Options behind a
    /// question mark, joined by &: body=cef|ocsf|record, ca=FILE (PEM roots), headers=FILE (OTLP, ClickHouse: header fields, a line each), cert=FILE
    /// and key=FILE (syslog+tls), end=tcp (syslog+tls: a receiver that ends without close_notify), framing=newline (syslog: a message is a line, in
    /// place of counted octets). FILE of headers and key is in the directory of --secrets.
    #[arg(long, env = "VIDIMUS_SINK", value_delimiter = ',', value_name = "URL", value_parser = flags::Unshown(flags::sink), hide_env_values = true)]
    pub sink: Vec<SinkAddress>,
    /// The index of the record that a new sink begins with; 0 is the first of the ledger. Without it a new sink begins at the present.
    #[arg(long, env = "VIDIMUS_SINK_FROM", value_name = "INDEX", requires = "sink")]
    pub sink_from: Option<u64>,
    /// Room on the disk of --data that is for the records of what is allowed: when less is left, refusals are counted and not recorded
    /// one by one. Twice as much is not for spans (--traces). 1GiB where not given, of a small disk a tenth.
    #[arg(long, env = "VIDIMUS_DISK_RESERVE", value_name = "SIZE", value_parser = quantity::disk_size)]
    pub disk_reserve: Option<u64>,
    /// How long records are kept: 90d, 365d; 1d at least. Whole segments of the ledger that are older go from its front, which is on
    /// record (`prune`); all that is left is proven as before, and what people did stays in force. With witnesses only what they cosigned
    /// goes [default: for ever].
    #[arg(long, env = "VIDIMUS_KEEP_RECORDS", value_name = "DURATION", value_parser = quantity::retention)]
    pub keep_records: Option<Duration>,
    /// Where what goes from the ledger is copied to before, and read again: a directory (a ledger of its own, for `vidimus audit --ledger
    /// DIR`), or s3://BUCKET/PREFIX (`vidimus audit archive fetch`), which the variables AWS_* open. Without it what goes is gone.
    #[arg(long, env = "VIDIMUS_ARCHIVE", value_name = "PLACE", requires = "keep_records", value_parser = flags::Unshown(flags::archive))]
    pub archive: Option<ArchiveAt>,
    /// Networks that no upstream may be in, besides those of IANA's special-purpose registries (link-local, shared, multicast and
    /// others; loopback and private addresses may be called) and the metadata services of clouds. Wins over --allow-upstream.
    #[arg(long, env = "VIDIMUS_DENY_UPSTREAM", value_delimiter = ',', value_name = "CIDR", value_parser = flags::network)]
    pub deny_upstream: Vec<Network>,
    /// Networks of those registries that this installation uses, as some clusters use 100.64.0.0/10 for pods: names may resolve
    /// there. Each must lie within one range that is never called otherwise; a metadata service is a range of its own, so it is
    /// allowed by its own address only. Never Teredo, 6to4 and local NAT64.
    #[arg(long, env = "VIDIMUS_ALLOW_UPSTREAM", value_delimiter = ',', value_name = "CIDR", value_parser = flags::allowed_network)]
    pub allow_upstream: Vec<Network>,
    /// Browser origins that may call; all others are refused.
    #[arg(long, env = "VIDIMUS_ALLOW_ORIGIN", value_delimiter = ',', value_parser = flags::origin)]
    pub allow_origin: Vec<String>,
    /// Export spans to this OTLP/HTTP address, e.g. http://collector:4318/v1/traces. Headers of the requests are what
    /// OTEL_EXPORTER_OTLP_TRACES_HEADERS says, as in authorization=Bearer%20TOKEN.
    #[arg(long, env = "VIDIMUS_OTLP_ENDPOINT", value_parser = flags::Unshown(flags::otlp_endpoint), hide_env_values = true)]
    pub otlp_endpoint: Option<String>,
    /// Take the spans that agents send of themselves (OTLP): POST /v1/traces in protobuf or JSON, and gRPC, at --listen and --tls-listen, with the
    /// credential of a call. They are kept in --data as what they are, said by whom it was proven; `vidimus trace show` has them with the calls.
    /// They may have in them what agents write there, prompts too.
    #[arg(long, env = "VIDIMUS_TRACES", value_parser = BoolishValueParser::new())]
    pub traces: bool,
    /// How long they are kept: 7d, 12h; 1h at least.
    #[arg(long, env = "VIDIMUS_TRACE_RETENTION", value_name = "DURATION", default_value = "7d", value_parser = quantity::trace_retention)]
    pub trace_retention: Duration,
    /// How much of them is kept: 1GB, 512MiB. When there are more, the oldest go of the agent that has most.
    #[arg(long, env = "VIDIMUS_TRACE_BYTES", value_name = "SIZE", default_value = "1GB", value_parser = quantity::trace_bytes)]
    pub trace_bytes: u64,
    /// Keep no index of the ledger. Otherwise DATA/index follows it beside the calls, with less priority and some 50 MB of memory while it does: what
    /// `vidimus audit search`, `show`, `stats` and `sql` are quick by. It takes about as much of the disk as a fifth of the ledger.
    #[arg(long, env = "VIDIMUS_NO_INDEX", value_parser = BoolishValueParser::new())]
    pub no_index: bool,
    /// Worker threads; one a core where not given.
    #[arg(long, env = "VIDIMUS_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// What goes to standard error: error, warn, info, debug, or a filter such as vidimus_gateway=debug.
    #[arg(long, env = "VIDIMUS_LOG", default_value = "info", value_parser = flags::log_filter)]
    pub log: String,
    /// Log as JSON, one object a line.
    #[arg(long, env = "VIDIMUS_LOG_JSON", value_parser = BoolishValueParser::new())]
    pub log_json: bool,
}

impl Serve {
    /// Where nothing is sent, of calls and of what is told beside them.
    fn address_guard(&self) -> AddressGuard {
        AddressGuard {
            denied: self.deny_upstream.clone().into(),
            allowed: self.allow_upstream.clone().into(),
        }
    }

    /// The gateway as its callers see it: as it is said, or where it listens.
    fn callers_url(&self, listens: SocketAddr) -> String {
        let here = || format!("http://{listens}");
        self.public_url.clone().unwrap_or_else(here).trim_end_matches('/').to_owned()
    }

    /// The admin address as people reach it, where that is said.
    fn people_url(&self) -> Option<String> {
        self.admin_url.as_deref().map(|url| url.trim_end_matches('/').to_owned())
    }
}

/// See [`vidimus_ledger::Durability`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DurabilityArg {
    Commit,
    Sync,
}

pub fn run(serve: &Serve) -> anyhow::Result<ExitCode> {
    let filter = flags::filter(&serve.log)?;
    let vitals = Vitals::default();
    let log = log::begin(filter, serve.log_json, &vitals).context("the log")?;
    let ended = compose::run(serve, vitals);
    log.end();
    ended
}
