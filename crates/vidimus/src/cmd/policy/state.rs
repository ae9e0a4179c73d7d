//! Where the state comes from that an explanation is of: a running gateway, or a start.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde::Deserialize;
use vidimus_core::snapshot::{Memory, Overlay};
use vidimus_core::standing::Standing;
use vidimus_query::state::State;

use crate::cmd::serve::standing;
use crate::cmd::{admin_client, data_directory, refusals};
use crate::output;

/// Where the state comes from.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// Directory of resources.
    #[arg(long, env = "VIDIMUS_RESOURCES")]
    pub(super) resources: PathBuf,
    /// The data directory of `vidimus serve`: what was forbidden before by what is malformed now is taken from there, as a start
    /// takes it.
    #[arg(long, env = "VIDIMUS_DATA", default_value = "vidimus-data")]
    data: PathBuf,
    /// Explain what the running gateway with this admin address decides, instead of what one would that starts with --data. It is
    /// asked with the token in VIDIMUS_OPERATOR_TOKEN, or as --as of the built-in issuer in --data.
    #[arg(long, value_name = "ADDRESS", value_parser = admin_client::address)]
    admin: Option<url::Url>,
    #[command(flatten)]
    who: admin_client::Who,
}

/// What a gateway says of its registry; other members are of no interest here.
#[derive(Debug, Deserialize)]
struct Registry {
    snapshot: String,
    closed: bool,
}

impl Source {
    /// Reads the state, and warns of what is special about it.
    pub(super) fn read(&self) -> anyhow::Result<State> {
        fs::read_dir(&self.resources).with_context(|| format!("--resources {}", self.resources.display()))?;
        match &self.admin {
            Some(admin) => self.running(admin),
            None => self.started(),
        }
    }

    /// The log in --data, to be read.
    pub(super) fn ledger(&self) -> anyhow::Result<PathBuf> {
        data_directory::ledger(&self.data)
    }

    /// As [`Source::read`], with a warning of what is not in force as it is written.
    pub(super) fn read_and_warn(&self) -> anyhow::Result<State> {
        let state = self.read()?;
        if let Some(left_out) = state.left_out() {
            output::warning(&format!("{left_out}; `vidimus check` tells why"));
        }
        state.remarks().iter().for_each(|remark| output::warning(remark));
        Ok(state)
    }

    fn running(&self, admin: &url::Url) -> anyhow::Result<State> {
        let token = admin_client::token(&self.data, &self.who)?;
        let asked = |path: &str| {
            let answer = admin_client::exchange(admin, path, &token, None);
            answer.with_context(|| format!("--admin {admin}: what the gateway decides is not known"))
        };
        let registry: Registry =
            serde_json::from_slice(&asked("/registry")?).context("--admin: the answer of /registry")?;
        let memory: Memory = serde_json::from_slice(&asked("/registry/refused")?)
            .context("--admin: the answer of /registry/refused")?;
        let standing: Standing = serde_json::from_slice(&asked("/registry/standing")?)
            .context("--admin: the answer of /registry/standing")?;
        let standing = Overlay::of(&standing)
            .map_err(|reason| anyhow!(reason))
            .context("--admin: what stands by acts")?;
        let loaded =
            vidimus_registry::as_running(&self.resources, &memory, registry.closed, Arc::new(standing))
                .context("--admin: what the gateway refuses")?;
        if loaded.snapshot.digest() != registry.snapshot {
            output::warning(&format!(
                "the gateway decides by snapshot {}, and this is {}: it reads another directory than {}, or does not have in force \
                 yet what is written there; this explains what it has once it does",
                registry.snapshot,
                loaded.snapshot.digest(),
                self.resources.display()
            ));
        }
        Ok(State::new(loaded, format!("the gateway at {admin}")))
    }

    fn started(&self) -> anyhow::Result<State> {
        let kept = refusals::file(&self.data);
        let of = match kept.exists() {
            true => {
                format!("a gateway that starts with {} and {}", self.resources.display(), self.data.display())
            }
            false => format!(
                "a gateway that starts with {} for the first time ({} is not there)",
                self.resources.display(),
                kept.display()
            ),
        };
        let keeping = refusals::of_reader(&self.data)?;
        let standing = standing::of_reader(&self.data, &refusals::reading_key(&self.data)?)?;
        Ok(State::new(vidimus_registry::as_started(&self.resources, keeping, standing), of))
    }
}
