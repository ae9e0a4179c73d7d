//! Health, metrics and status, for operators and kubelets. Its own socket, its own thread: a full gateway still answers here.

use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use vidimus_gateway::gate::Shared;
use vidimus_registry::Loaded;

use crate::cmd::check;

#[derive(Clone)]
struct Admin {
    shared: Arc<Shared>,
    loaded: watch::Receiver<Arc<Loaded>>,
}

pub(super) fn serve(
    control: &Runtime,
    socket: TcpListener,
    shared: Arc<Shared>,
    loaded: watch::Receiver<Arc<Loaded>>,
) -> anyhow::Result<()> {
    let socket = tokio::net::TcpListener::from_std(socket)?;
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/registry", get(registry))
        .route("/ledger", get(ledger))
        .with_state(Admin { shared, loaded });
    control.spawn(async move {
        if let Err(error) = axum::serve(socket, router).await {
            tracing::error!(%error, "the admin address is no longer served");
        }
    });
    Ok(())
}

/// Ready means: a call would be let through if a policy permits it.
async fn ready(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    if admin.shared.ledger.is_open() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the ledger cannot be written, so the gate is closed\n")
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let text = admin.shared.meter.text(admin.shared.ledger.is_open());
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}

/// What is live and what was left out, as `vidimus check` says it.
async fn registry(State(admin): State<Admin>) -> Json<Value> {
    let loaded = admin.loaded.borrow().clone();
    let objects: Vec<String> = loaded.snapshot.objects().iter().map(check::name).collect();
    Json(json!({
        "snapshot": loaded.snapshot.digest(),
        "objects": objects,
        "rejections": loaded.rejections,
        "warnings": loaded.snapshot.warnings(),
    }))
}

/// The size of the ledger and the key that verifies its checkpoints.
async fn ledger(State(admin): State<Admin>) -> Json<Value> {
    let ledger = &admin.shared.ledger;
    Json(json!({"open": ledger.is_open(), "size": ledger.size(), "key": ledger.public_key()}))
}
