//! The trust bundles of `--trust-bundle`, read again when their files change: a CA rotates its keys without asking us.
//!
//! What a bundle says is the truth, also that nothing is trusted. A file that is missing or cannot be understood says nothing: the last
//! good bundle stays, for [`KEEP`] at most.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use vidimus_identity::{LocalIdentity, TrustBundle, TrustDomain, TrustStore, read_regular};

use super::supervisor::Supervisor;

/// Largest trust bundle, in bytes.
const MAX: u64 = 16 << 20;

/// How often the files are looked at. Reading them says more than a notification would: they may be mounted, linked, or renamed.
const LOOK: Duration = Duration::from_secs(1);
/// How long a bundle stays in force whose file is missing or cannot be understood: as long as the keys of an issuer that does not
/// answer. A file that is being replaced is such for moments, a volume that is gone for longer; beyond that what was revoked
/// meanwhile would be trusted because nobody can say so.
const KEEP: Duration = Duration::from_secs(60 * 60);

/// The bundles in force, and where they come from.
#[derive(Debug)]
pub(in crate::cmd) struct Bundles {
    /// That of the built-in CA, where it counts.
    own: Option<TrustBundle>,
    files: Vec<BundleFile>,
}

#[derive(Debug)]
struct BundleFile {
    domain: TrustDomain,
    path: PathBuf,
    /// What it held when it was read last, whether that could be used or not.
    content: Vec<u8>,
    bundle: TrustBundle,
    /// Since when it cannot be used.
    unusable_since: Option<Instant>,
}

/// What a look at a file found.
#[derive(Debug)]
enum Found {
    /// What is in force.
    Same,
    Newer,
    /// Nothing that can be used. The last bundle stays.
    Unusable(anyhow::Error),
    /// The same, for too long: nothing of the domain is trusted any more.
    GivenUp,
}

impl Bundles {
    /// The bundle of the built-in CA, and those `given` as TRUST-DOMAIN=FILE.
    pub(super) fn open(given: &[String], identity: &LocalIdentity) -> anyhow::Result<Self> {
        let own = TrustBundle::parse(Some(identity.trust_domain()), identity.bundle().as_bytes())?;
        let mut files = Vec::with_capacity(given.len());
        for given in given {
            let file = BundleFile::open(given, Some(own.trust_domain()))
                .with_context(|| format!("--trust-bundle {given}"))?;
            files.push(file);
        }
        Ok(Self { own: Some(own), files })
    }

    /// Those `given` as TRUST-DOMAIN=FILE by this flag, and no other.
    pub(in crate::cmd) fn only(flag: &str, given: &[String]) -> anyhow::Result<Self> {
        let open =
            |given: &String| BundleFile::open(given, None).with_context(|| format!("--{flag} {given}"));
        Ok(Self { own: None, files: given.iter().map(open).collect::<anyhow::Result<_>>()? })
    }

    pub(in crate::cmd) fn store(&self) -> TrustStore {
        TrustStore::new(self.all())
    }

    fn all(&self) -> Vec<TrustBundle> {
        let files = self.files.iter().map(|file| file.bundle.clone());
        self.own.iter().cloned().chain(files).collect()
    }

    /// Takes every change of the files into `store`, for as long as the process lives.
    pub(in crate::cmd) fn follow(mut self, supervisor: &mut Supervisor, store: TrustStore) {
        if self.files.is_empty() {
            return;
        }
        supervisor.repeated_beside("bundles", LOOK, move || {
            if self.refresh(Instant::now()) {
                store.update(self.all());
            }
        });
    }

    /// Whether any bundle changed. A file that cannot be used changes nothing at first, and is reported once.
    fn refresh(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for file in &mut self.files {
            let found = file.refresh(now);
            let (domain, path) = (file.domain.as_str(), file.path.display());
            match found {
                Found::Same => continue,
                Found::Newer => {
                    tracing::info!(domain, "trust bundle reloaded");
                    file.warn_of_none();
                }
                Found::Unusable(error) => {
                    let (error, minutes) = (format!("{error:#}"), KEEP.as_secs() / 60);
                    tracing::error!(
                        domain,
                        error,
                        minutes,
                        "the trust bundle stays as it was, for so long at most"
                    );
                    continue;
                }
                Found::GivenUp => tracing::error!(
                    domain, %path,
                    "the trust bundle could not be used for too long: no SVID of the domain is trusted until it can"
                ),
            }
            changed = true;
        }
        changed
    }
}

impl BundleFile {
    fn open(given: &str, own: Option<&TrustDomain>) -> anyhow::Result<Self> {
        let (domain, path) = given.split_once('=').ok_or_else(|| anyhow!("write TRUST-DOMAIN=FILE"))?;
        let domain = TrustDomain::new(domain)?;
        if own == Some(&domain) {
            bail!("{} is the trust domain of the built-in CA", domain.as_str());
        }
        let path = PathBuf::from(path);
        let content = read_regular(&path, MAX)?;
        let bundle = TrustBundle::parse(Some(&domain), &content)?;
        let file = Self { domain, path, content, bundle, unusable_since: None };
        file.warn_of_none();
        Ok(file)
    }

    /// It may be meant, and it may be the wrong file.
    fn warn_of_none(&self) {
        if self.bundle.is_none() {
            let (domain, path) = (self.domain.as_str(), self.path.display());
            tracing::warn!(domain, %path, "the trust bundle has no authority: no SVID of the domain is trusted");
        }
    }

    fn refresh(&mut self, now: Instant) -> Found {
        // A file that is gone reads as an empty one, so that its absence too is reported once.
        let (content, missing) = match read_regular(&self.path, MAX) {
            Ok(content) => (content, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let is_known = content == self.content;
        self.content = content;
        if is_known {
            let too_long = self.unusable_since.is_some_and(|since| now.duration_since(since) >= KEEP);
            if !too_long || self.bundle.is_none() {
                return Found::Same;
            }
            self.bundle = TrustBundle::none(self.domain.clone());
            return Found::GivenUp;
        }
        let bundle = match missing {
            None => TrustBundle::parse(Some(&self.domain), &self.content).map_err(anyhow::Error::from),
            Some(error) => Err(error.into()),
        };
        match bundle.with_context(|| self.path.display().to_string()) {
            Ok(bundle) => {
                (self.bundle, self.unusable_since) = (bundle, None);
                Found::Newer
            }
            Err(error) => {
                self.unusable_since.get_or_insert(now);
                Found::Unusable(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use vidimus_core::caller::UnixMillis;

    use super::*;

    fn identity(directory: &std::path::Path, domain: &str) -> LocalIdentity {
        let domain = TrustDomain::new(domain).expect("a trust domain");
        LocalIdentity::open(directory, Some(&domain), UnixMillis(1_800_000_000_000)).expect("an identity")
    }

    /// As one CA follows another: each in a file of its own.
    #[test]
    fn of_one_domain_the_authorities_of_all_files_are_trusted() {
        use vidimus_identity::SpiffeId;
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let own = identity(&at("own"), "vidimus.local");
        let cas = ["old", "new"].map(|name| identity(&at(name), "corp.example"));
        let given = [0, 1].map(|number: usize| {
            let file = at(&format!("{number}.pem"));
            let ca = cas.get(number).expect("two");
            fs::write(&file, ca.bundle()).expect("written");
            format!("corp.example={}", file.display())
        });
        let bundles = Bundles::open(&given, &own).expect("bundles");
        let store = bundles.store();
        let now = UnixMillis(1_800_000_000_000);
        let id = SpiffeId::parse("spiffe://corp.example/bot").expect("an id");
        for ca in &cas {
            let svid = ca.svid(&id, Duration::from_secs(3600), now).expect("an SVID");
            assert!(store.trusts(&svid, now), "both");
        }
        let stranger = identity(&at("stranger"), "corp.example");
        let svid = stranger.svid(&id, Duration::from_secs(3600), now).expect("an SVID");
        assert!(!store.trusts(&svid, now));
    }

    #[test]
    fn what_a_file_says_is_in_force_and_one_that_says_nothing_changes_nothing_for_an_hour() {
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
        let start = Instant::now();
        let trusts = |bundles: &Bundles| bundles.all().iter().filter(|bundle| !bundle.is_none()).count() == 2;
        let refreshed =
            |bundles: &mut Bundles, minutes: u64| bundles.refresh(start + Duration::from_secs(minutes * 60));
        assert!(!refreshed(&mut bundles, 0));
        write(&format!("{}{}", old.bundle(), new.bundle()));
        assert!(refreshed(&mut bundles, 1) && !refreshed(&mut bundles, 2));
        // Another unusable content does not begin the hour anew.
        for (minute, unusable) in [(10, ""), (20, "{"), (30, foreign.bundle()), (40, r#"{"keys": {}}"#)] {
            write(unusable);
            assert!(!refreshed(&mut bundles, minute) && trusts(&bundles), "{unusable}");
        }
        fs::remove_file(&file).expect("removed");
        assert!(!refreshed(&mut bundles, 50) && !refreshed(&mut bundles, 69) && trusts(&bundles));
        assert!(refreshed(&mut bundles, 70) && !trusts(&bundles), "an hour");
        assert!(!refreshed(&mut bundles, 71) && !trusts(&bundles), "said once");
        write(new.bundle());
        assert!(refreshed(&mut bundles, 72) && trusts(&bundles));
        fs::remove_file(&file).expect("removed");
        assert!(!refreshed(&mut bundles, 73) && !refreshed(&mut bundles, 132) && trusts(&bundles), "anew");
        // What it says is in force at once, also that nothing is trusted.
        for nothing in [r#"{"keys": []}"#, r#"{"keys": [{"kty": "EC", "use": "sig"}]}"#] {
            write(nothing);
            assert!(refreshed(&mut bundles, 133) && !trusts(&bundles), "{nothing}");
            write(old.bundle());
            assert!(refreshed(&mut bundles, 134) && trusts(&bundles));
        }
        write(r#"{"keys": []}"#);
        assert!(!trusts(&Bundles::open(&given("corp.example"), &own).expect("a domain may be cut off")));
        write("");
        assert!(Bundles::open(&given("corp.example"), &own).is_err(), "nobody knows what was good");
    }
}
