//! One of several gateways: the keys that it has with the others, and the name of its own log (ADR 67).

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use vidimus_core::caller::UnixMillis;
use vidimus_core::clock::Clock as _;
use vidimus_gateway::{Seal, StandingAddress, StandingFiles, millis};
use vidimus_identity::{ListedKey, LocalIdentity, Mint, SharedKeys};

use super::Serve;
use super::supervisor::Supervisor;
use crate::clock::SystemClock;
use crate::cmd::refusals;

/// How often the keys are looked at: whether others are mounted, and whether the time of one has come.
const LOOK: Duration = Duration::from_secs(1);

/// What makes one of several gateways one of them.
#[derive(Debug, Args)]
pub struct ScaleFlags {
    /// Directory of the keys that all gateways of this installation have, such as a
    /// mounted Secret (`vidimus keys generate`): sealed ids, hops' tokens and what the
    /// built-in issuer issued are then good at each of them. It is read again when it
    /// changes, and a newer key is used from the time that its name says. Without it
    /// keys are in --data, and what one gateway gave out no other takes.
    #[arg(long, env = "VIDIMUS_SHARED_KEYS", value_name = "DIR")]
    pub shared_keys: Option<PathBuf>,
    /// What the log in --data is called in its checkpoints, such as
    /// vidimus.example/prod/vidimus-0; a random number is added, so that no two logs
    /// have one name. Only a new log is called so [default: vidimus.local].
    #[arg(long, env = "VIDIMUS_LOG_NAME", value_name = "NAME", value_parser = log_name)]
    pub log_name: Option<String>,
    /// File with the password of the user in --standing, or of its default user, and
    /// nothing else. It is read again for each connection.
    #[arg(long, env = "VIDIMUS_STANDING_PASSWORD", value_name = "FILE", requires = "standing")]
    pub standing_password: Option<PathBuf>,
    /// Authorities that the certificate of --standing may be of, PEM. Without it those of
    /// the system.
    #[arg(long, env = "VIDIMUS_STANDING_CA", value_name = "FILE", requires = "standing")]
    pub standing_ca: Option<PathBuf>,
    /// Certificate that is shown to --standing, where that asks for one, PEM.
    #[arg(long, env = "VIDIMUS_STANDING_CERT", value_name = "FILE", requires_all = ["standing", "standing_key"])]
    pub standing_cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, env = "VIDIMUS_STANDING_KEY", value_name = "FILE", requires = "standing_cert")]
    pub standing_key: Option<PathBuf>,
}

/// The store that is shared, with what a connection to it takes.
///
/// # Errors
/// When a file cannot be used, or is of no use.
pub(super) fn store(serve: &Serve) -> anyhow::Result<Option<StandingAddress>> {
    let files = StandingFiles {
        password: serve.scale.standing_password.clone(),
        authorities: serve.scale.standing_ca.clone(),
        certificate: serve.scale.standing_cert.clone().zip(serve.scale.standing_key.clone()),
    };
    let with = |address: &StandingAddress| address.clone().with(files).context("--standing");
    serve.standing.as_ref().map(with).transpose()
}

/// A name of a log, a URL without scheme.
fn log_name(text: &str) -> anyhow::Result<String> {
    let bad = |c: char| !c.is_ascii_alphanumeric() && !"-._~/:".contains(c);
    ensure!(
        !text.is_empty() && !text.contains(bad) && !text.starts_with('/') && !text.ends_with('/'),
        "write a URL without its scheme, such as vidimus.example/prod/vidimus-0"
    );
    ensure!(text.len() <= 200, "write 200 characters at most");
    Ok(text.to_owned())
}

/// What a log in `directory` is to be called that is not there yet; `None` where it is, or has no name of ours.
pub(super) fn origin(serve: &Serve, directory: &Path) -> Option<String> {
    let name = serve.scale.log_name.as_deref()?;
    match vidimus_ledger::known_key(directory) {
        Ok(key) if !key.name().starts_with(name) => {
            tracing::warn!(
                log = key.name(),
                "the log has a name already, and keeps it: --log-name is of new ones"
            );
            None
        }
        Ok(_) => None,
        // What is wrong with a key is for the ledger to say.
        Err(_) if directory.join("keys").join("checkpoint.key").exists() => None,
        Err(_) => Some(format!("{name}/{:016x}", rand::random::<u64>())),
    }
}

/// The keys of this gateway, shared or its own.
#[derive(Debug)]
pub(super) struct Scale {
    pub(super) seal: Seal,
    shared: Option<Shared>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    keys: SharedKeys,
    /// What is used now, for the log.
    used: Vec<String>,
    /// Why they could not be read the last time.
    unusable: Option<String>,
}

/// Opens the keys, and the built-in identity, which is shared where the keys have one.
///
/// # Errors
/// When keys cannot be read, or are none.
pub(super) fn open(serve: &Serve) -> anyhow::Result<(Scale, Arc<LocalIdentity>)> {
    let (own, now) = (serve.data.join("identity"), now());
    let Some(directory) = &serve.scale.shared_keys else {
        let identity = LocalIdentity::open(&own, None, now).context("the built-in identity")?;
        let seal = Seal::new(&refusals::sealing_key(&serve.data)?)?;
        return Ok((Scale { seal, shared: None }, Arc::new(identity)));
    };
    let keys = SharedKeys::open(directory).context("--shared-keys")?;
    // What is sealed for this gateway alone (what it refuses, what stands in its log) has a key of its own there.
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&own);
    made.with_context(|| own.display().to_string())?;
    let identity = match keys.identity().context("--shared-keys")? {
        Some(identity) => identity,
        None => LocalIdentity::open(&own, None, now).context("the built-in identity")?,
    };
    let seal = Seal::shared(&keys.sealing(now).context("--shared-keys")?)?;
    let used = used(&keys.list(now));
    tracing::info!(keys = used.join(" "), "the keys are shared with other gateways");
    let shared = Shared { directory: directory.clone(), keys, used, unusable: None };
    Ok((Scale { seal, shared: Some(shared) }, Arc::new(identity)))
}

impl Scale {
    /// What mints hops' tokens.
    ///
    /// # Errors
    /// When a key cannot be read or made.
    pub(super) fn mint(&self, serve: &Serve, issuer: &str) -> anyhow::Result<Mint> {
        let Some(shared) = &self.shared else {
            let mint = Mint::open(&serve.data.join("identity"), issuer);
            return mint.context("the keys of minted tokens");
        };
        if serve.public_url.is_none() {
            tracing::warn!(
                issuer,
                "--shared-keys without --public-url: tokens name this gateway alone, and no other takes them"
            );
        }
        Mint::shared(&shared.keys, issuer, now()).context("--shared-keys")
    }

    /// Takes what becomes of shared keys into use, for as long as the process lives. Without them it does nothing.
    pub(super) fn follow(self, supervisor: &mut Supervisor, mint: Arc<Mint>) {
        let Self { seal, shared: Some(mut shared) } = self else { return };
        supervisor.repeated_beside("shared keys", LOOK, move || shared.look(&seal, &mint, now()));
    }
}

impl Shared {
    /// Reads the keys again. Where they cannot be read, those of before stay: calls go on by what all others have too.
    fn look(&mut self, seal: &Seal, mint: &Mint, now: UnixMillis) {
        match SharedKeys::open(&self.directory) {
            Ok(keys) => {
                self.keys = keys;
                self.unusable = None;
            }
            Err(error) => {
                let error = error.to_string();
                if self.unusable.as_ref() != Some(&error) {
                    tracing::error!(error, "--shared-keys cannot be used; the keys stay as they were");
                    self.unusable = Some(error);
                }
            }
        }
        if let Err(error) = self.take(seal, mint, now) {
            tracing::error!(error = format!("{error:#}"), "--shared-keys: the keys stay as they were");
        }
    }

    fn take(&mut self, seal: &Seal, mint: &Mint, now: UnixMillis) -> anyhow::Result<()> {
        let listed = self.keys.list(now);
        let used = used(&listed);
        // With the same keys nothing is done: what is known of verified tokens stays known.
        if used == self.used {
            return Ok(());
        }
        seal.take(&self.keys.sealing(now)?)?;
        mint.take(&self.keys, now)?;
        tracing::info!(keys = used.join(" "), "the shared keys changed");
        self.used = used;
        Ok(())
    }
}

/// Each key with its state.
fn used(listed: &[ListedKey]) -> Vec<String> {
    listed.iter().map(|key| format!("{}={}", key.file, key.state)).collect()
}

fn now() -> UnixMillis {
    millis(SystemClock.now().wall)
}

#[cfg(test)]
mod tests {
    use vidimus_identity::KeyFiles;

    use super::*;

    const ISSUER: &str = "https://gateway.example";
    const KEEP: Duration = Duration::from_secs(3600);

    fn shared(directory: &Path) -> (Shared, Seal, Mint) {
        let keys = SharedKeys::open(directory).expect("keys");
        let seal = Seal::shared(&keys.sealing(now()).expect("keys")).expect("a seal");
        let mint = Mint::shared(&keys, ISSUER, now()).expect("a mint");
        let used = used(&keys.list(now()));
        (Shared { directory: directory.to_owned(), keys, used, unusable: None }, seal, mint)
    }

    /// A key is published when it is there, and signs when its time has come; one that is gone is not published any more; what cannot be read
    /// changes nothing.
    #[test]
    fn what_is_mounted_anew_is_taken_into_use() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = &directory.path().join("keys");
        let mut files = KeyFiles::generate(at, None, now()).expect("keys");
        files.write(at, &[]).expect("written");
        let (mut shared, seal, mint) = shared(at);
        let first = mint.jwks();
        shared.look(&seal, &mint, now());
        assert_eq!(mint.jwks(), first);
        let later = UnixMillis(now().0 + 60_000);
        files.rotate(now(), later, KEEP).expect("rotated");
        files.write(at, &[]).expect("written");
        shared.look(&seal, &mint, now());
        let both = mint.jwks();
        assert!(both.len() > first.len() && both != first, "{both}");
        shared.look(&seal, &mint, later);
        let turned = mint.jwks();
        assert!(turned != both && turned.len() == both.len(), "another one is the first: {turned}");
        fs::write(at.join("README"), "").expect("written");
        shared.look(&seal, &mint, later);
        assert!(mint.jwks() == turned && shared.unusable.is_some());
        fs::remove_file(at.join("README")).expect("removed");
        let gone =
            shared.keys.list(later).into_iter().filter(|key| key.state == "former").map(|key| key.file);
        files.write(at, &gone.collect::<Vec<_>>()).expect("written");
        // `files` has them still, and `write` puts the former back before it takes them away.
        shared.look(&seal, &mint, later);
        assert!(mint.jwks().len() == first.len() && mint.jwks() != first && shared.unusable.is_none());
    }

    #[test]
    fn a_log_has_a_name_that_can_be_in_a_checkpoint() {
        for good in ["vidimus.example/prod/vidimus-0", "a", "localhost:8080/x"] {
            assert!(log_name(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a b", "a+b", "a\nb", "é"] {
            assert!(log_name(bad).is_err(), "{bad}");
        }
    }
}
