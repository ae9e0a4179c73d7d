//! Provider keys: the gateway holds them, the agent never does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use vidimus_core::call::Destination;
use vidimus_core::permit::Permit;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::LlmProvider;
use vidimus_core::resource::llm_provider::{CredentialSource, ProviderType, one_key};

use crate::secrets::{SecretDirectory, SecretKeys};

/// How long a key read from a file is used before the file is read again, so that a rotated key is taken up.
const REREAD: Duration = Duration::from_secs(5);

/// Reads and remembers provider keys. Header values are marked sensitive, so they are not in any `Debug` output.
#[derive(Default)]
pub struct ProviderCredentials {
    /// Where files of keys are; none is read where there is none.
    secrets: Option<SecretDirectory>,
    /// Who holds the keys of Secrets; none is used where there is nobody.
    held: OnceLock<Arc<dyn SecretKeys>>,
    known: Mutex<HashMap<Key, (Instant, HeaderValue)>>,
    /// Why a key could not be read, as the log was told last.
    told: Mutex<HashMap<CredentialSource, String>>,
}

/// A key in the form of one header: two providers may share a key and present it differently.
type Key = (CredentialSource, &'static str);

impl std::fmt::Debug for ProviderCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProviderCredentials")
    }
}

impl ProviderCredentials {
    /// Keys in files of this directory, and in the environment.
    pub fn new(secrets: Option<SecretDirectory>) -> Self {
        Self { secrets, ..Self::default() }
    }

    /// The keys of Secrets are held by `keys` from now on. Who holds them does not change: a second one is passed over.
    pub(crate) fn hold(&self, keys: Arc<dyn SecretKeys>) {
        let _ = self.held.set(keys);
    }

    /// The header that authenticates the gateway to the provider of a permitted call; `None` for a provider that needs none.
    ///
    /// Nobody gets a key without a permit:
    ///
    /// ```compile_fail,E0308
    /// # use vidimus_gateway::ProviderCredentials;
    /// # use vidimus_core::resource::LlmProvider;
    /// fn without_a_permit(keys: &ProviderCredentials, provider: &LlmProvider) {
    ///     let _ = keys.header(provider, std::time::Instant::now());
    /// }
    /// ```
    ///
    /// ```
    /// # use vidimus_gateway::ProviderCredentials;
    /// # use vidimus_core::permit::Permit;
    /// fn with_a_permit(keys: &ProviderCredentials, permit: &Permit) {
    ///     let _ = keys.header(permit, std::time::Instant::now());
    /// }
    /// ```
    ///
    /// # Errors
    /// `credential_unavailable` when the key cannot be read.
    pub fn header(
        &self,
        permit: &Permit,
        now: Instant,
    ) -> Result<Option<(&'static str, HeaderValue)>, Refusal> {
        match permit.destination() {
            Destination::Provider(provider) => self.of(provider, now),
            Destination::Server(_) | Destination::Agent(_) => Ok(None),
        }
    }

    fn of(
        &self,
        provider: &LlmProvider,
        now: Instant,
    ) -> Result<Option<(&'static str, HeaderValue)>, Refusal> {
        if provider.credential == CredentialSource::None {
            return Ok(None);
        }
        let name = match provider.provider {
            ProviderType::Anthropic => "x-api-key",
            ProviderType::Gemini => "x-goog-api-key",
            ProviderType::Azure => "api-key",
            ProviderType::OpenAi | ProviderType::OpenAiCompatible => "authorization",
        };
        // What a cluster holds is as it is now: one that was rotated or deleted is not used once more.
        if matches!(provider.credential, CredentialSource::Secret(_)) {
            return self.present(provider, name).map(|value| Some((name, value)));
        }
        let wanted: Key = (provider.credential.clone(), name);
        let mut known = self.known.lock().map_err(|_| unavailable(provider, "the key store is poisoned"))?;
        if let Some((read, value)) = known.get(&wanted)
            && now.saturating_duration_since(*read) < REREAD
        {
            return Ok(Some((name, value.clone())));
        }
        let value = self.present(provider, name)?;
        known.insert(wanted, (now, value.clone()));
        Ok(Some((name, value)))
    }

    /// The key of a provider as the value of a header, read anew.
    fn present(&self, provider: &LlmProvider, header: &str) -> Result<HeaderValue, Refusal> {
        let key = self.read(&provider.credential).map_err(|reason| self.told(provider, &reason))?;
        let key = key.expose_secret();
        let value = match header {
            "authorization" => HeaderValue::try_from(format!("Bearer {key}")),
            _ => HeaderValue::from_str(key),
        };
        let mut value = value.map_err(|_| unavailable(provider, "the key is not header text"))?;
        value.set_sensitive(true);
        if let Ok(mut told) = self.told.lock() {
            told.remove(&provider.credential);
        }
        Ok(value)
    }

    /// Why the key of a provider cannot be read on this machine now. Of one that a cluster holds the status of its object says it.
    pub(crate) fn why_unavailable(&self, provider: &LlmProvider) -> Option<String> {
        match &provider.credential {
            CredentialSource::None | CredentialSource::Secret(_) => None,
            source => self.read(source).err(),
        }
    }

    /// The refusal; the reason is in the log too, once until it is another one.
    fn told(&self, provider: &LlmProvider, reason: &str) -> Refusal {
        if let Ok(mut told) = self.told.lock()
            && told.get(&provider.credential).is_none_or(|last| last != reason)
        {
            told.insert(provider.credential.clone(), reason.to_owned());
            tracing::warn!(provider = %provider.id.id, reason, "the key of a provider is not available; calls to it are refused");
        }
        unavailable(provider, reason)
    }

    fn read(&self, source: &CredentialSource) -> Result<SecretString, String> {
        let text: SecretString = match source {
            CredentialSource::None => String::new().into(),
            CredentialSource::Env(name) => {
                std::env::var(&**name).map_err(|_| format!("environment variable {name} is not set"))?.into()
            }
            CredentialSource::File(named) => {
                let secrets = self.secrets.as_ref();
                secrets.ok_or("no directory of secrets is configured (--secrets)")?.read(named)?.into()
            }
            CredentialSource::Secret(named) => {
                self.held.get().ok_or("no cluster holds Secrets for this gateway")?.read(named)?
            }
        };
        Ok(one_key(text.expose_secret())?.into())
    }
}

fn unavailable(provider: &LlmProvider, reason: &str) -> Refusal {
    Refusal::new(
        Code::CredentialUnavailable,
        format!("the key of LLMProvider {} is not available", provider.id.id),
    )
    .with_detail(reason)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use vidimus_core::resource::llm_provider::SecretKey;

    use super::*;
    use crate::protocol::tests::provider;

    #[test]
    fn without_a_directory_no_file_is_read() {
        let mut provider = (*provider()).clone();
        provider.credential = CredentialSource::File("/proc/self/environ".into());
        let refused = ProviderCredentials::default().of(&provider, Instant::now()).map(|_| ()).unwrap_err();
        assert_eq!(refused.code, Code::CredentialUnavailable);
        assert!(refused.detail.is_some_and(|detail| detail.contains("--secrets")));
    }

    /// What a cluster holds for one Secret: a key, or why it has none.
    #[derive(Debug)]
    struct Held(Mutex<Result<&'static str, &'static str>>);

    impl SecretKeys for Held {
        fn read(&self, named: &SecretKey) -> Result<SecretString, String> {
            assert_eq!(named.to_string(), "Secret platform/models, key k");
            self.0.lock().unwrap().map(SecretString::from).map_err(str::to_owned)
        }
    }

    /// At once: nothing of it is remembered from one call to the next.
    #[test]
    fn a_key_of_a_secret_is_used_as_it_is_now() {
        let named = SecretKey { namespace: "platform".into(), name: "models".into(), key: "k".into() };
        let mut given = (*provider()).clone();
        (given.provider, given.credential) = (ProviderType::OpenAi, CredentialSource::Secret(named));
        let credentials = ProviderCredentials::default();
        let now = Instant::now();
        let sent = || match credentials.of(&given, now) {
            Ok(header) => Ok(header.expect("needed").1.to_str().expect("text").to_owned()),
            Err(refused) => {
                assert_eq!(refused.code, Code::CredentialUnavailable);
                Err(refused.detail.expect("why"))
            }
        };
        assert!(sent().is_err_and(|why| why.contains("no cluster")));
        let held = Arc::new(Held(Mutex::new(Err("Secret platform/models does not exist"))));
        credentials.hold(held.clone());
        for (is, says) in [
            (Err("it does not exist"), Err("does not exist")),
            (Ok("key-1"), Ok("Bearer key-1")),
            (Ok("key-2\n"), Ok("Bearer key-2")),
            (Ok("key-2\r\nx-other: 1"), Err("not one key")),
            (Ok(""), Err("is empty")),
            (Err("it does not exist"), Err("does not exist")),
        ] {
            *held.0.lock().unwrap() = is;
            match says {
                Ok(text) => assert_eq!(sent().as_deref(), Ok(text)),
                Err(why) => assert!(sent().is_err_and(|told| told.contains(why)), "{is:?}"),
            }
        }
        assert_eq!(credentials.why_unavailable(&given), None);
    }

    #[test]
    fn one_key_is_sent_in_each_providers_own_form() {
        let at = tempfile::tempdir().expect("a directory");
        let file = at.path().join("key");
        std::fs::write(&file, "key-1\n").expect("written");
        for (path, mode) in [(file.as_path(), 0o600), (at.path(), 0o700)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        }
        let source = CredentialSource::File("key".into());
        let secrets = SecretDirectory::open(at.path(), None).expect("secrets");
        let credentials = ProviderCredentials::new(Some(secrets));
        for (kind, name, value) in [
            (ProviderType::OpenAi, "authorization", "Bearer key-1"),
            (ProviderType::Anthropic, "x-api-key", "key-1"),
            (ProviderType::Gemini, "x-goog-api-key", "key-1"),
            (ProviderType::Azure, "api-key", "key-1"),
            (ProviderType::OpenAiCompatible, "authorization", "Bearer key-1"),
        ] {
            let mut given = (*provider()).clone();
            (given.provider, given.credential) = (kind, source.clone());
            let (header, sent) = credentials.of(&given, Instant::now()).expect("available").expect("needed");
            assert_eq!((header, sent.as_bytes()), (name, value.as_bytes()));
            assert!(sent.is_sensitive() && !format!("{sent:?}").contains("key-1"));
        }
        let mut missing = (*provider()).clone();
        missing.credential = CredentialSource::Env("VIDIMUS_NO_SUCH_VARIABLE".into());
        assert_eq!(
            credentials.of(&missing, Instant::now()).map(|_| ()).map_err(|r| r.code),
            Err(Code::CredentialUnavailable)
        );
        missing.credential = CredentialSource::None;
        assert_eq!(credentials.of(&missing, Instant::now()), Ok(None));
    }
}
