//! Where the state comes from that an explanation is of: a running gateway, or a start.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use vidimus_core::snapshot::{Memory, Overlay};
use vidimus_core::standing::Standing;
use vidimus_query::audit::Lookup;
use vidimus_query::check::counted;
use vidimus_query::state::State;
use vidimus_registry::Loaded;
use vidimus_registry::configurations::{Restored, Whole};

use crate::cmd::serve::standing;
use crate::cmd::{admin_client, audit, data_directory, refusals};
use crate::output;

/// Where the state comes from.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// Directory of resources. With --admin, for what the gateway would decide once it
    /// has in force what is written there.
    #[arg(long, env = "VIDIMUS_RESOURCES", required_unless_present = "admin")]
    resources: Option<PathBuf>,
    /// Read them as those of a cluster, as `kubectl get vidimus -A -o yaml` prints
    /// them. Of a gateway that serves a cluster --admin tells more.
    #[arg(long, requires = "resources", conflicts_with = "admin")]
    cluster: bool,
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
    not_ready: Option<String>,
    /// Each is about something that was left out.
    rejections: Vec<Value>,
}

impl Source {
    /// Reads the state, and warns of what is special about it.
    pub(super) fn read(&self) -> anyhow::Result<State> {
        if let Some(resources) = &self.resources {
            fs::read_dir(resources).with_context(|| format!("--resources {}", resources.display()))?;
        }
        match (&self.admin, &self.resources) {
            (Some(admin), Some(resources)) => self.running(admin, resources),
            (Some(admin), None) => self.deciding(admin),
            (None, Some(resources)) => self.started(resources),
            // The command line is not understood without one of them.
            (None, None) => bail!("give --resources, or --admin"),
        }
    }

    /// The log in --data, to be read.
    pub(super) fn ledger(&self) -> anyhow::Result<PathBuf> {
        data_directory::ledger(&self.data)
    }

    /// What knows the records of the ledger: its index, where there is one.
    pub(super) fn lookup(&self) -> anyhow::Result<Box<dyn Lookup>> {
        Ok(audit::lookup(&self.ledger()?, Some(&vidimus_readmodel::directory(&self.data))))
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

    /// What a gateway answers at a path.
    fn asked<A: DeserializeOwned>(&self, admin: &url::Url, path: &str) -> anyhow::Result<A> {
        let token = admin_client::token(&self.data, &self.who)?;
        let answer = admin_client::exchange(admin, path, &token, None)
            .with_context(|| format!("--admin {admin}: what the gateway decides is not known"))?;
        serde_json::from_slice(&answer).with_context(|| format!("--admin: the answer of {path}"))
    }

    /// What a gateway decides by, wherever it has that from.
    fn deciding(&self, admin: &url::Url) -> anyhow::Result<State> {
        let registry: Registry = self.asked(admin, "/registry")?;
        let whole: Whole = self.asked(admin, "/registry/configuration")?;
        let Restored { snapshot, verified } = whole.restored().context("--admin")?;
        if !verified {
            output::warning(
                "the gateway is of another version than this command, which may decide otherwise",
            );
        }
        if !registry.rejections.is_empty() {
            let faults = counted(registry.rejections.len(), "fault");
            output::warning(&format!(
                "{faults} in what the gateway reads; `vidimus check DIR` tells which, of a cluster `kubectl get vidimus -A`"
            ));
        }
        let loaded = Loaded { snapshot, rejections: Vec::new(), not_ready: registry.not_ready };
        Ok(State::new(loaded, format!("the gateway at {admin}")))
    }

    fn running(&self, admin: &url::Url, resources: &Path) -> anyhow::Result<State> {
        let registry: Registry = self.asked(admin, "/registry")?;
        let memory: Memory = self.asked(admin, "/registry/refused")?;
        let standing: Standing = self.asked(admin, "/registry/standing")?;
        let standing = Overlay::of(&standing)
            .map_err(|reason| anyhow!(reason))
            .context("--admin: what stands by acts")?;
        let loaded = vidimus_registry::as_running(resources, &memory, registry.closed, Arc::new(standing))
            .context("--admin: what the gateway refuses")?;
        if loaded.snapshot.digest() != registry.snapshot {
            output::warning(&format!(
                "the gateway decides by snapshot {}, and this is {}: it reads another directory than {}, or does not have in force \
                 yet what is written there; this explains what it has once it does",
                registry.snapshot,
                loaded.snapshot.digest(),
                resources.display()
            ));
        }
        Ok(State::new(loaded, format!("the gateway at {admin}")))
    }

    fn started(&self, resources: &Path) -> anyhow::Result<State> {
        let kept = refusals::file(&self.data);
        let of = match kept.exists() {
            true => {
                format!("a gateway that starts with {} and {}", resources.display(), self.data.display())
            }
            false => format!(
                "a gateway that starts with {} for the first time ({} is not there)",
                resources.display(),
                kept.display()
            ),
        };
        let keeping = refusals::of_reader(&self.data)?;
        let standing = standing::of_reader(&self.data, &refusals::reading_key(&self.data)?)?;
        Ok(State::new(vidimus_registry::as_started(resources, self.cluster, keeping, standing), of))
    }
}
