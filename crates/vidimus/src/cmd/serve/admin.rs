//! Health, metrics and status, for operators and kubelets, and what people do (`people`). Its own socket, thread and runtime: a full gateway still answers here.

mod approval_page;
mod approvals;
mod authzen;
mod declassify;
mod export;
mod grants;
mod me;
pub(super) mod people;
mod quarantine;
mod registered;
mod shred;
mod tiles;

use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use vidimus_core::person::{About, Operation};
use vidimus_core::snapshot::Memory;
use vidimus_core::standing::Standing;
use vidimus_gateway::listener::authority;
use vidimus_gateway::{Exposition, Silent};
use vidimus_registry::configurations::Whole;

use self::people::{Admin, Asks, Refused};
use super::supervisor::Supervisor;
use super::{admin_listener, pods};

/// What is served here. docs/admin.md has a row for each.
const ENDPOINTS: [(&str, &str); 29] = [
    ("/healthz", "ok, while the process answers"),
    ("/readyz", "200 while a permitted call would be let through, else 503 and why"),
    ("/metrics", "for Prometheus: OpenMetrics where Accept names it, else text 0.0.4"),
    ("/registry", "what is live, what was left out and why, what is held, and the digest of the snapshot"),
    ("/registry/refused", "what is refused, as it is kept for the next start"),
    ("/registry/standing", "what stands by acts of people"),
    ("/registry/configuration", "all that decides, for `vidimus policy explain --admin`"),
    ("/ledger", "whether the ledger takes records, how many it has, and the key that verifies it"),
    (
        "/ledger/checkpoint",
        "the newest checkpoint of the ledger; cosigned, where it has witnesses (C2SP tlog-checkpoint)",
    ),
    ("/ledger/tile/{tile}", "tiles of hashes, and records as tile/entries/… (C2SP tlog-tiles)"),
    ("/ledger/export", "POST writes one file of evidence: records that fit, with all that proves them"),
    ("/quarantine", "what is out of use, by whom and why; POST quarantines"),
    ("/quarantine/lift", "POST ends a quarantine"),
    ("/declassify", "POST takes a label away from what an agent or a chain has read"),
    ("/payloads/shred", "POST destroys the keys of the payloads that are kept for somebody"),
    ("/approvals", "what waits for people, and what became of it"),
    ("/approvals/{approval}", "for people whom a held call led here: how it is looked at and answered"),
    ("/approvals/approve", "POST approves a call"),
    ("/approvals/deny", "POST denies a call"),
    ("/grants", "what agents are lent for a task, and what is asked for; POST grants"),
    ("/grants/requests", "POST asks for a grant"),
    ("/grants/revoke", "POST ends a grant, or declines a request"),
    ("/me", "who you are, and what you may do"),
    (authzen::DISCOVERY, "where enforcement points ask, as OpenID AuthZEN has it"),
    ("/access/v1/evaluation", "POST asks whether a call may be made (AuthZEN)"),
    ("/access/v1/evaluations", "POST asks that of several"),
    ("/access/v1/search/subject", "POST asks who may make a call"),
    ("/access/v1/search/resource", "POST asks what somebody may call"),
    ("/access/v1/search/action", "POST asks how somebody may call something"),
];

/// Largest body of a request, in bytes.
const BODY: usize = 64 * 1024;

pub(super) fn serve(
    supervisor: &mut Supervisor,
    (socket, names): (TcpListener, &[String]),
    admin: Admin,
) -> anyhow::Result<()> {
    let names: Arc<[String]> = names.into();
    let vitals = admin.health.shared.vitals.clone();
    let router = Router::new()
        .route("/", get(index))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/registry", get(registry))
        .route("/registry/refused", get(refused))
        .route("/registry/standing", get(standing))
        .route("/registry/configuration", get(configuration))
        .route("/ledger", get(ledger))
        .route("/ledger/checkpoint", get(tiles::checkpoint))
        .route("/ledger/tile/{*tile}", get(tiles::tile))
        .route("/ledger/export", post(export::export))
        .route("/quarantine", get(quarantine::list).post(quarantine::place))
        .route("/quarantine/lift", post(quarantine::lift))
        .route("/declassify", post(declassify::declassify))
        .route("/payloads/shred", post(shred::shred))
        .route("/approvals", get(approvals::list))
        .route("/approvals/{approval}", get(approval_page::page))
        .route("/approvals/approve", post(approvals::approve))
        .route("/approvals/deny", post(approvals::deny))
        .route("/grants", get(grants::list).post(grants::give))
        .route("/grants/requests", post(grants::request))
        .route("/grants/revoke", post(grants::revoke))
        .route("/me", get(me::me))
        .merge(authzen::routes())
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(admin)
        .layer(from_fn_with_state(names, own_name));
    admin_listener::serve(supervisor, socket, router, vitals)
}

/// Lets through what is addressed to this very address, or by one of its names: a page whose own name leads here (DNS rebinding)
/// would read what is asked of nobody, and try the rest.
async fn own_name(State(names): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let named = match authority::named(&parts) {
        Ok(named) => named,
        Err(refusal) => return (StatusCode::BAD_REQUEST, format!("{}\n", refusal.message)).into_response(),
    };
    if authority::is_literal(named) || names.iter().any(|name| authority::is_host(named, name)) {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let why =
        "this address answers to its IP address, to localhost, and to the names given with --admin-name\n";
    (StatusCode::MISDIRECTED_REQUEST, why).into_response()
}

/// For people who look what is here.
async fn index() -> Json<Value> {
    let endpoints: serde_json::Map<_, _> =
        ENDPOINTS.iter().map(|(path, about)| ((*path).to_owned(), json!(about))).collect();
    Json(json!({"version": env!("CARGO_PKG_VERSION"), "endpoints": endpoints}))
}

/// Ready means: a call would be let through if a policy permits it.
async fn ready(State(admin): State<Admin>) -> (StatusCode, String) {
    match admin.health.why_not_ready().await {
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        None => {
            let source = admin.health.shared.source_state();
            let said = source.stale.is_some().then(|| format!("configuration from {source}\n"));
            let lost = admin.health.shared.live_pods().lost_for();
            let lost = lost.map(|lost| {
                format!(
                    "pods not heard of for {} s; those that were never seen are refused\n",
                    lost.as_secs()
                )
            });
            let unkept = admin.health.live.unkept_for().map(|age| {
                format!(
                    "a configuration that decides has not been kept for {} s, see the log\n",
                    age.as_secs()
                )
            });
            let notes: String = [said, lost, unkept].into_iter().flatten().collect();
            (StatusCode::OK, format!("ready\n{notes}"))
        }
    }
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> impl IntoResponse {
    let shared = &admin.health.shared;
    shared.meter.source(shared.source_age(), &shared.source_state());
    shared.meter.configuration_kept(admin.health.live.unkept_for().is_none());
    shared.measure_limits();
    let unfetched = shared.unfetched_issuers();
    shared.meter.unfetched_issuers(unfetched.iter().map(|issuer| &**issuer));
    let pods = pods::report(&admin.health).unwrap_or_default();
    let unclaimed = pods.unclaimed_by_namespace.iter().map(|(namespace, count)| (&**namespace, *count));
    shared.meter.pods_unclaimed(unclaimed);
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let exposition = Exposition::asked(accept);
    let text = shared.meter.exposed(&shared.ledger, exposition);
    ([(header::CONTENT_TYPE, exposition.content_type())], text)
}

/// What is live and what was left out, as `vidimus check` says it.
async fn registry(State(admin): State<Admin>, asks: Asks) -> Result<Json<Value>, Refused> {
    asks.may(Operation::Read, About::View("registry")).await?;
    let health = &admin.health;
    let loaded = health.loaded.borrow().clone();
    let objects: Vec<String> =
        loaded.snapshot.objects().iter().map(|object| object.reference().to_string()).collect();
    let silent = |silent: Silent| json!({"loop": silent.of, "silent_ms": silent.since.as_millis() as u64});
    let loops: Vec<Value> = health.shared.vitals.loops().into_iter().map(silent).collect();
    let quarantined = quarantine::stands(&admin).quarantined;
    Ok(Json(json!({
        "snapshot": loaded.snapshot.digest(),
        "decides": health.shared.snapshot().digest(),
        "accepting": loops,
        "objects": objects,
        "only_refusing": loaded.snapshot.only_refusing().collect::<Vec<_>>(),
        "closed": loaded.snapshot.is_closed(),
        "not_ready": loaded.not_ready,
        "rejections": loaded.rejections,
        "warnings": loaded.snapshot.warnings(),
        "quarantined": quarantined,
        "data_planes": health.shared.planes.shown(),
        "pods": pods::report(health),
    })))
}

/// What another process compares the directory with, to have the state that this one has.
async fn refused(State(admin): State<Admin>, asks: Asks) -> Result<Json<Memory>, Refused> {
    asks.may(Operation::Read, About::View("registry")).await?;
    Ok(Json(admin.health.loaded.borrow().snapshot.memory()))
}

/// What stands by acts: the same for the same.
async fn standing(State(admin): State<Admin>, asks: Asks) -> Result<Json<Standing>, Refused> {
    asks.may(Operation::Read, About::View("standing")).await?;
    Ok(Json((*admin.health.shared.acts.standing()).clone()))
}

/// All that decides, so that another process decides the same, wherever it was read from.
async fn configuration(State(admin): State<Admin>, asks: Asks) -> Result<Response, Refused> {
    asks.may(Operation::Read, About::View("registry")).await?;
    let snapshot = admin.health.loaded.borrow().snapshot.clone();
    Ok(match Whole::of(&snapshot) {
        Ok(whole) => Json(whole).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    })
}

/// The size of the ledger and the key that verifies its checkpoints.
async fn ledger(State(admin): State<Admin>, asks: Asks) -> Result<Json<Value>, Refused> {
    asks.may(Operation::Read, About::View("ledger")).await?;
    let ledger = &admin.health.shared.ledger;
    let cosigned = ledger.cosigned().map(|cosigned| cosigned.checkpoint.size);
    Ok(Json(json!({
        "open": ledger.is_open(),
        "size": ledger.size(),
        "signed": ledger.watermark().signed,
        "cosigned": cosigned,
        "key": ledger.public_key(),
    })))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::ENDPOINTS;

    #[test]
    fn every_endpoint_is_documented_and_named_by_the_flag() {
        #[derive(Debug, clap::Parser)]
        struct Line {
            #[command(flatten)]
            serve: super::super::Serve,
        }
        let page = include_str!("../../../../../docs/admin.md");
        let help = Line::command().render_long_help().to_string();
        for (path, _) in ENDPOINTS {
            let says = ["GET", "POST"].iter().any(|method| page.contains(&format!("`{method} {path}`")));
            assert!(says, "docs/admin.md: {path}");
            assert!(help.contains(path), "--admin: {path}");
        }
    }
}
