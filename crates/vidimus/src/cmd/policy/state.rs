//! Which state an explanation is of: what a running gateway has, what a start would have, or the directory alone. Only the first two
//! know what was forbidden before by what is malformed now.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::{Deserialize, Serialize};
use vidimus_core::resource::Kind;
use vidimus_core::snapshot::{Memory, OnlyRefusing};
use vidimus_registry::Loaded;

use super::admin_client;
use crate::cmd::refusals;
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
    /// Explain what the running gateway with this admin address decides, instead of what one would that starts with --data.
    #[arg(long, value_name = "ADDRESS", value_parser = admin_client::address)]
    admin: Option<url::Url>,
}

/// A state, and how it is called.
#[derive(Debug)]
pub(super) struct State {
    pub(super) loaded: Loaded,
    of: String,
}

/// A state, as it is printed as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Shown<'a> {
    of: &'a str,
    snapshot: &'a str,
    closed: bool,
    not_ready: Option<&'a str>,
    only_refusing: Vec<OnlyRefusing<'a>>,
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

    fn running(&self, admin: &url::Url) -> anyhow::Result<State> {
        let asked = |path: &str| {
            admin_client::get(admin, path)
                .with_context(|| format!("--admin {admin}: the gateway was not understood"))
        };
        let registry: Registry =
            serde_json::from_slice(&asked("/registry")?).context("--admin: the answer of /registry")?;
        let memory: Memory = serde_json::from_slice(&asked("/registry/refused")?)
            .context("--admin: the answer of /registry/refused")?;
        let loaded = vidimus_registry::as_running(&self.resources, &memory, registry.closed)
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
        Ok(State { loaded, of: format!("the gateway at {admin}") })
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
        Ok(State { loaded: vidimus_registry::as_started(&self.resources, keeping), of })
    }
}

impl State {
    #[cfg(test)]
    pub(super) const fn alone(loaded: Loaded) -> Self {
        Self { loaded, of: String::new() }
    }

    /// What is to be known before the answer is read.
    pub(super) fn warn(&self) {
        let refusing = self.loaded.snapshot.only_refusing();
        let refusing: Vec<String> = refusing.map(|one| format!("{} ({})", one.object, one.why())).collect();
        if !refusing.is_empty() {
            output::warning(&format!(
                "only what they refuse is in force of {}; `vidimus check` tells why",
                refusing.join(", ")
            ));
        }
        if let Some(reason) = &self.loaded.not_ready {
            output::warning(&format!("not ready: {reason}"));
        }
    }

    /// In a line.
    pub(super) fn text(&self) -> String {
        format!("{}, snapshot {}", self.of, self.loaded.snapshot.digest())
    }

    pub(super) fn shown(&self) -> Shown<'_> {
        let snapshot = &self.loaded.snapshot;
        Shown {
            of: &self.of,
            snapshot: snapshot.digest(),
            closed: snapshot.is_closed(),
            not_ready: self.loaded.not_ready.as_deref(),
            only_refusing: snapshot.only_refusing().collect(),
        }
    }

    /// The policy of an id, with why it only refuses, where it does.
    pub(super) fn named(&self, policy: &str) -> String {
        // `namespace/name`, `namespace/name#id` and `namespace/name~version`.
        let key = policy.split(['#', '~']).next().unwrap_or(policy);
        let mut refusing = self.loaded.snapshot.only_refusing();
        match refusing.find(|one| one.is(Kind::Policy, key)) {
            Some(one) => format!("{policy} ({})", one.why()),
            None => policy.to_owned(),
        }
    }

    /// Why an object of this kind and name is not there, where it is held.
    pub(super) fn held(&self, kind: Kind, key: &str) -> Option<String> {
        let mut refusing = self.loaded.snapshot.only_refusing();
        let one = refusing.find(|one| !one.contested && one.is(kind, key))?;
        Some(format!("it is held, since it may be hidden by what is malformed ({})", one.origin))
    }
}
