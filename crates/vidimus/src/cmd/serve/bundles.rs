//! The trust bundles of `--trust-bundle`, read again when their files change: a CA rotates its keys without asking us.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use vidimus_identity::{LocalIdentity, TrustBundle, TrustDomain, TrustStore};

use super::supervisor::Supervisor;

/// How often the files are looked at. Reading them says more than a notification would: they may be mounted, linked, or renamed.
const LOOK: Duration = Duration::from_secs(1);

/// The bundles in force, and where they come from.
#[derive(Debug)]
pub(super) struct Bundles {
    own: TrustBundle,
    files: Vec<BundleFile>,
}

#[derive(Debug)]
struct BundleFile {
    domain: TrustDomain,
    path: PathBuf,
    /// What it held when it was read last, whether that could be used or not.
    content: Vec<u8>,
    bundle: TrustBundle,
}

impl Bundles {
    /// The bundle of the built-in CA, and those `given` as TRUST-DOMAIN=FILE.
    pub(super) fn open(given: &[String], identity: &LocalIdentity) -> anyhow::Result<Self> {
        let own = TrustBundle::parse(Some(identity.trust_domain()), identity.bundle().as_bytes())?;
        let mut files = Vec::with_capacity(given.len());
        for given in given {
            let file = BundleFile::open(given, own.trust_domain())
                .with_context(|| format!("--trust-bundle {given}"))?;
            files.push(file);
        }
        Ok(Self { own, files })
    }

    pub(super) fn store(&self) -> TrustStore {
        TrustStore::new(self.all())
    }

    fn all(&self) -> Vec<TrustBundle> {
        let files = self.files.iter().map(|file| file.bundle.clone());
        std::iter::once(self.own.clone()).chain(files).collect()
    }

    /// Takes every change of the files into `store`, for as long as the process lives.
    pub(super) fn follow(mut self, supervisor: &mut Supervisor, store: TrustStore) {
        if self.files.is_empty() {
            return;
        }
        supervisor.repeated_now("bundles", LOOK, move || {
            if self.refresh() {
                store.update(self.all());
            }
        });
    }

    /// Whether any bundle changed. A file that cannot be used changes nothing, and is reported once.
    fn refresh(&mut self) -> bool {
        let mut changed = false;
        for file in &mut self.files {
            let domain = file.domain.as_str().to_owned();
            match file.refresh() {
                Ok(true) => tracing::info!(domain, "trust bundle reloaded"),
                Ok(false) => continue,
                Err(error) => {
                    tracing::error!(domain, error = format!("{error:#}"), "the trust bundle stays as it was");
                    continue;
                }
            }
            changed = true;
        }
        changed
    }
}

impl BundleFile {
    fn open(given: &str, own: &TrustDomain) -> anyhow::Result<Self> {
        let (domain, path) = given.split_once('=').ok_or_else(|| anyhow!("write TRUST-DOMAIN=FILE"))?;
        let domain = TrustDomain::new(domain)?;
        if domain == *own {
            bail!("{} is the trust domain of the built-in CA", domain.as_str());
        }
        let path = PathBuf::from(path);
        let content = fs::read(&path)?;
        let bundle = TrustBundle::parse(Some(&domain), &content)?;
        Ok(Self { domain, path, content, bundle })
    }

    fn refresh(&mut self) -> anyhow::Result<bool> {
        // A file that is gone reads as an empty one, so that its absence too is reported once.
        let (content, missing) = match fs::read(&self.path) {
            Ok(content) => (content, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        if content == self.content {
            return Ok(false);
        }
        self.content = content;
        let place = || self.path.display().to_string();
        if let Some(error) = missing {
            return Err(error).with_context(place);
        }
        self.bundle = TrustBundle::parse(Some(&self.domain), &self.content).with_context(place)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use vidimus_core::caller::UnixMillis;

    use super::*;

    fn identity(directory: &std::path::Path, domain: &str) -> LocalIdentity {
        let domain = TrustDomain::new(domain).expect("a trust domain");
        LocalIdentity::open(directory, Some(&domain), UnixMillis(1_800_000_000_000)).expect("an identity")
    }

    #[test]
    fn a_changed_file_is_taken_up_and_an_unusable_one_changes_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let own = identity(&at("own"), "vidimus.local");
        let (old, new) = (identity(&at("old"), "corp.example"), identity(&at("new"), "corp.example"));
        let foreign = identity(&at("foreign"), "other.example");
        let file = at("bundle.pem");
        let write = |text: &str| fs::write(&file, text).expect("written");
        write(old.bundle());

        let given = |domain: &str| [format!("{domain}={}", file.display())];
        assert!(Bundles::open(&given("vidimus.local"), &own).is_err(), "the built-in CA's own domain");
        assert!(Bundles::open(&given("other.example"), &own).is_err(), "a CA of another domain");
        let mut bundles = Bundles::open(&given("corp.example"), &own).expect("bundles");
        assert!(!bundles.refresh());
        write(&format!("{}{}", old.bundle(), new.bundle()));
        assert!(bundles.refresh() && !bundles.refresh());
        for unusable in ["", "{", foreign.bundle()] {
            write(unusable);
            assert!(!bundles.refresh() && bundles.all().len() == 2, "{unusable}");
        }
        fs::remove_file(&file).expect("removed");
        assert!(!bundles.refresh() && bundles.all().len() == 2);
        write(new.bundle());
        assert!(bundles.refresh());
    }
}
