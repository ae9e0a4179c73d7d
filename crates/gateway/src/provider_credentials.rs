//! Provider keys: the gateway holds them, the agent never does.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use http::HeaderValue;
use vidimus_core::call::Destination;
use vidimus_core::permit::Permit;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::LlmProvider;
use vidimus_core::resource::llm_provider::{CredentialSource, ProviderType};

use crate::secrets::SecretDirectory;

/// How long a key read from a file is used before the file is read again, so that a rotated key is taken up.
const REREAD: Duration = Duration::from_secs(5);

/// Reads and remembers provider keys. Header values are marked sensitive, so they are not in any `Debug` output.
#[derive(Default)]
pub struct ProviderCredentials {
    /// Where files of keys are; none is read where there is none.
    secrets: Option<SecretDirectory>,
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
            ProviderType::OpenAi | ProviderType::OpenAiCompatible => "authorization",
        };
        let wanted: Key = (provider.credential.clone(), name);
        let mut known = self.known.lock().map_err(|_| unavailable(provider, "the key store is poisoned"))?;
        if let Some((read, value)) = known.get(&wanted)
            && now.saturating_duration_since(*read) < REREAD
        {
            return Ok(Some((name, value.clone())));
        }
        let key = self.read(&provider.credential).map_err(|reason| self.told(provider, &reason))?;
        let text = if name == "authorization" { format!("Bearer {key}") } else { key };
        let mut value =
            HeaderValue::from_str(&text).map_err(|_| unavailable(provider, "the key is not header text"))?;
        value.set_sensitive(true);
        known.insert(wanted, (now, value.clone()));
        if let Ok(mut told) = self.told.lock() {
            told.remove(&provider.credential);
        }
        Ok(Some((name, value)))
    }

    /// Why the key of a provider cannot be read now.
    pub(crate) fn why_unavailable(&self, provider: &LlmProvider) -> Option<String> {
        if provider.credential == CredentialSource::None {
            None
        } else {
            self.read(&provider.credential).err()
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

    fn read(&self, source: &CredentialSource) -> Result<String, String> {
        let text = match source {
            CredentialSource::None => String::new(),
            CredentialSource::Env(name) => {
                std::env::var(&**name).map_err(|_| format!("environment variable {name} is not set"))?
            }
            CredentialSource::File(named) => {
                let secrets = self.secrets.as_ref();
                secrets.ok_or("no directory of secrets is configured (--secrets)")?.read(named)?
            }
        };
        one_key(text.trim()).map(str::to_owned)
    }
}

/// The one key that a source holds: two in one file, or a key in odd bytes, would be read differently by the next reader.
fn one_key(text: &str) -> Result<&str, String> {
    match text {
        "" => Err("the key is empty".to_owned()),
        key if key.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(key),
        _ => Err("it is not one key: it has white space, or characters that no key has".to_owned()),
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

    use super::*;
    use crate::protocol::tests::provider;

    #[test]
    fn a_source_holds_exactly_one_key() {
        for (text, key) in [
            ("key-1", Some("key-1")),
            ("", None),
            ("key-1 key-2", None),
            ("key-1\nkey-2", None),
            ("key-1\u{0}", None),
            ("k\u{e9}y", None),
            ("\u{feff}key-1", None),
        ] {
            assert_eq!(one_key(text).ok(), key, "{text:?}");
        }
        // Without a directory no file is read.
        let mut provider = (*provider()).clone();
        provider.credential = CredentialSource::File("/proc/self/environ".into());
        let refused = ProviderCredentials::default().of(&provider, Instant::now()).map(|_| ()).unwrap_err();
        assert_eq!(refused.code, Code::CredentialUnavailable);
        assert!(refused.detail.is_some_and(|detail| detail.contains("--secrets")));
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
