//! `--witness`: who cosigns the ledger's checkpoints.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use url::Url;
use vidimus_gateway::{Cosigning, CosigningConfig, Patience, Shared, WitnessAt};

use super::Serve;
use super::supervisor::Supervisor;

/// Before it begins, and before it begins anew after a panic.
const AGAIN: Duration = Duration::from_millis(100);

/// A key and an address. What goes there is signed and no secret, and what comes from there is believed by the key: http will do.
pub(super) fn witness(text: &str) -> anyhow::Result<WitnessAt> {
    const WRITE: &str = "write its key, a space and its address, as in 'witness.example/w1+1f5c…+BA… https://witness.example/'";
    let (key, url) = text.trim().split_once(' ').context(WRITE)?;
    let key = key.parse().with_context(|| WRITE.to_owned())?;
    let url = Url::parse(url.trim()).with_context(|| WRITE.to_owned())?;
    ensure!(
        matches!(url.scheme(), "http" | "https") && url.has_host(),
        "it is not an http or https URL; {WRITE}"
    );
    ensure!(url.username().is_empty() && url.password().is_none(), "it has a user or password; {WRITE}");
    ensure!(url.query().is_none() && url.fragment().is_none(), "it has a query or a fragment; {WRITE}");
    Ok(WitnessAt { key, url })
}

/// Begins to have checkpoints cosigned, where somebody is to; whether somebody is.
///
/// # Errors
/// For witnesses that cannot be used, and a quorum that cannot be.
pub(super) fn begin(
    supervisor: &mut Supervisor,
    serve: &Serve,
    shared: &Arc<Shared>,
) -> anyhow::Result<bool> {
    if serve.witness.is_empty() {
        return Ok(false);
    }
    let cosigning = Cosigning::new(CosigningConfig {
        witnesses: serve.witness.clone(),
        quorum: serve.witness_quorum,
        guard: serve.address_guard(),
        patience: Patience::default(),
    });
    let cosigning = Arc::new(cosigning.context("--witness")?);
    let trusted = cosigning.trusted();
    tracing::info!(
        witnesses = trusted.keys().len(),
        quorum = trusted.quorum(),
        key = shared.ledger.public_key(),
        "each new checkpoint of the ledger is offered to witnesses, who have to know its key"
    );
    let shared = shared.clone();
    supervisor.repeated("witnesses", AGAIN, move || {
        let (shared, cosigning) = (shared.clone(), cosigning.clone());
        async move {
            cosigning.follow(&shared.ledger, &shared.meter).await;
        }
    });
    Ok(true)
}
