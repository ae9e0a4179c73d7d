//! Provider keys: the gateway holds them, the agent never does.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use http::HeaderValue;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::LlmProvider;
use vidimus_core::resource::llm_provider::{CredentialSource, ProviderType};

/// How long a key read from a file is used before the file is read again, so that a rotated key is taken up.
const REREAD: Duration = Duration::from_secs(5);
/// Largest key file, bytes.
const LARGEST: u64 = 16 * 1024;

/// Reads and remembers provider keys. Header values are marked sensitive, so they are not in any `Debug` output.
#[derive(Default)]
pub struct Lender(Mutex<HashMap<Lent, (Instant, HeaderValue)>>);

/// A key in the form of one header: two providers may share a key and present it differently.
type Lent = (CredentialSource, &'static str);

impl std::fmt::Debug for Lender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lender")
    }
}

impl Lender {
    /// The header that authenticates the gateway to a provider; `None` for a provider that needs none.
    ///
    /// # Errors
    /// `credential_unavailable` when the key cannot be read.
    pub fn header(&self, provider: &LlmProvider) -> Result<Option<(&'static str, HeaderValue)>, Refusal> {
        if provider.credential == CredentialSource::None {
            return Ok(None);
        }
        let name = match provider.provider {
            ProviderType::Anthropic => "x-api-key",
            ProviderType::OpenAi | ProviderType::OpenAiCompatible => "authorization",
        };
        let now = Instant::now();
        let lent: Lent = (provider.credential.clone(), name);
        let mut known = self.0.lock().map_err(|_| unavailable(provider, "the key store is poisoned"))?;
        if let Some((read, value)) = known.get(&lent)
            && now.duration_since(*read) < REREAD
        {
            return Ok(Some((name, value.clone())));
        }
        let key = read(&provider.credential).map_err(|reason| unavailable(provider, &reason))?;
        let text = if name == "authorization" { format!("Bearer {key}") } else { key };
        let mut value =
            HeaderValue::from_str(&text).map_err(|_| unavailable(provider, "the key is not header text"))?;
        value.set_sensitive(true);
        known.insert(lent, (now, value.clone()));
        Ok(Some((name, value)))
    }
}

fn read(source: &CredentialSource) -> Result<String, String> {
    let text = match source {
        CredentialSource::None => String::new(),
        CredentialSource::Env(name) => {
            std::env::var(&**name).map_err(|_| format!("environment variable {name} is not set"))?
        }
        CredentialSource::File(path) => {
            let size = std::fs::metadata(&**path).map_err(|e| format!("{path}: {e}"))?.len();
            if size > LARGEST {
                return Err(format!("{path} is larger than {LARGEST} bytes"));
            }
            std::fs::read_to_string(&**path).map_err(|e| format!("{path}: {e}"))?
        }
    };
    let key = text.trim();
    if key.is_empty() { Err("the key is empty".to_owned()) } else { Ok(key.to_owned()) }
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
    use super::*;
    use crate::protocol::tests::provider;

    #[test]
    fn one_key_is_lent_in_each_providers_own_form() {
        let file = std::env::temp_dir().join(format!("vidimus-lend-{}", std::process::id()));
        std::fs::write(&file, "key-1\n").expect("written");
        let source = CredentialSource::File(file.display().to_string().into());
        let lender = Lender::default();
        for (kind, name, value) in [
            (ProviderType::OpenAi, "authorization", "Bearer key-1"),
            (ProviderType::Anthropic, "x-api-key", "key-1"),
            (ProviderType::OpenAiCompatible, "authorization", "Bearer key-1"),
        ] {
            let mut given = (*provider()).clone();
            (given.provider, given.credential) = (kind, source.clone());
            let (header, lent) = lender.header(&given).expect("available").expect("needed");
            assert_eq!((header, lent.as_bytes()), (name, value.as_bytes()));
            assert!(lent.is_sensitive() && !format!("{lent:?}").contains("key-1"));
        }
        std::fs::remove_file(&file).expect("removed");
        let mut missing = (*provider()).clone();
        missing.credential = CredentialSource::Env("VIDIMUS_NO_SUCH_VARIABLE".into());
        assert_eq!(lender.header(&missing).map(|_| ()).map_err(|r| r.code), Err(Code::CredentialUnavailable));
        missing.credential = CredentialSource::None;
        assert_eq!(lender.header(&missing), Ok(None));
    }
}
