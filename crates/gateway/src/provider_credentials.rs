//! Keys of providers, and of servers and APIs that have one: the gateway holds them, the agent never does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use vidimus_core::call::Destination;
use vidimus_core::permit::Permit;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::api_key::presented;
use vidimus_core::resource::llm_provider::{CredentialSource, ProviderType, one_key};
use vidimus_core::resource::{Endpoint, LlmProvider, McpServer, Object};

use crate::credential::aws;
use crate::secrets::{SecretDirectory, SecretKeys};

/// In place of a header field, of keys by which requests are signed.
const AWS: &str = "aws";

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

/// A key in the form of one header: two providers may share a key and present it differently, also by another scheme.
type Key = (CredentialSource, Box<str>, Option<Box<str>>);

/// A key that is wanted: whose it is, where it comes from, and by which header field and scheme it is presented.
#[derive(Clone, Copy, Debug)]
struct Wanted<'a> {
    kind: &'static str,
    id: &'a str,
    source: &'a CredentialSource,
    header: &'a str,
    scheme: Option<&'a str>,
}

/// The key that goes to a destination: the kind and the id of its record, and the field that says where the key comes from. `None` where it gets none.
pub(crate) fn key_of(destination: &Destination) -> Option<(&'static str, &str, &'static str)> {
    let (wanted, field) = match destination {
        Destination::Provider(provider) => (Wanted::of_provider(provider), "spec.credential"),
        Destination::Server(server) => (Wanted::of_server(server)?, field_of(server)),
        Destination::Agent(_) => return None,
    };
    (*wanted.source != CredentialSource::None).then_some((wanted.kind, wanted.id, field))
}

/// Where the record of a server says where its key comes from.
fn field_of(server: &McpServer) -> &'static str {
    let Endpoint { openapi, grpc_tools, .. } = &server.endpoint;
    match (openapi, grpc_tools) {
        (Some(_), _) => "spec.openapi.credential",
        (None, Some(_)) => "spec.grpc.credential",
        (None, None) => "spec.endpoint.credential",
    }
}

impl<'a> Wanted<'a> {
    fn of_provider(provider: &'a LlmProvider) -> Self {
        let header = match provider.provider {
            ProviderType::Anthropic => "x-api-key",
            ProviderType::Gemini => "x-goog-api-key",
            ProviderType::Azure => "api-key",
            // No field of a request: what it has is signed with, or a bearer ([`crate::credential`]).
            ProviderType::Bedrock => AWS,
            ProviderType::OpenAi | ProviderType::OpenAiCompatible => "authorization",
        };
        let scheme = (header == "authorization").then_some("Bearer");
        Self { kind: "LLMProvider", id: &provider.id.id, source: &provider.credential, header, scheme }
    }

    /// That of a server or an API; `None` of one that gets a token for each call.
    fn of_server(server: &'a McpServer) -> Option<Self> {
        let key = server.endpoint.key.as_ref()?;
        let (id, source) = (&server.id.id, &key.source);
        Some(Self { kind: "MCPServer", id, source, header: &key.header, scheme: key.scheme.as_deref() })
    }
}

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

    /// The header that authenticates the gateway to the provider, the server or the API of a permitted call; `None` for one that has no key.
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
    ) -> Result<Option<(HeaderName, HeaderValue)>, Refusal> {
        match permit.destination() {
            Destination::Provider(provider) => self.of(Wanted::of_provider(provider), now),
            Destination::Server(server) => {
                Wanted::of_server(server).map_or(Ok(None), |wanted| self.of(wanted, now))
            }
            Destination::Agent(_) => Ok(None),
        }
    }

    fn of(&self, wanted: Wanted<'_>, now: Instant) -> Result<Option<(HeaderName, HeaderValue)>, Refusal> {
        if *wanted.source == CredentialSource::None {
            return Ok(None);
        }
        let name = HeaderName::from_bytes(wanted.header.as_bytes());
        let name = name.map_err(|_| unavailable(wanted, "its header is no header field"))?;
        // What a cluster holds is as it is now: one that was rotated or deleted is not used once more.
        if matches!(wanted.source, CredentialSource::Secret(_)) {
            return self.present(wanted).map(|value| Some((name, value)));
        }
        let key: Key = (wanted.source.clone(), wanted.header.into(), wanted.scheme.map(Into::into));
        let mut known = self.known.lock().map_err(|_| unavailable(wanted, "the key store is poisoned"))?;
        if let Some((read, value)) = known.get(&key)
            && now.saturating_duration_since(*read) < REREAD
        {
            return Ok(Some((name, value.clone())));
        }
        let value = self.present(wanted)?;
        known.insert(key, (now, value.clone()));
        Ok(Some((name, value)))
    }

    /// A key as the value of its header, read anew.
    fn present(&self, wanted: Wanted<'_>) -> Result<HeaderValue, Refusal> {
        let key = self.read(wanted).map_err(|reason| self.told(wanted, &reason))?;
        let key = key.expose_secret();
        let value = presented(wanted.scheme, key).map_err(|reason| self.told(wanted, reason))?;
        let mut value =
            HeaderValue::try_from(value).map_err(|_| unavailable(wanted, "the key is not header text"))?;
        value.set_sensitive(true);
        if let Ok(mut told) = self.told.lock() {
            told.remove(wanted.source);
        }
        Ok(value)
    }

    /// Why the key of an object cannot be read on this machine now. Of one that a cluster holds the status of its object says it.
    pub(crate) fn why_unavailable(&self, object: &Object) -> Option<String> {
        let wanted = match object {
            Object::LlmProvider(provider) => Wanted::of_provider(provider),
            Object::McpServer(server) => Wanted::of_server(server)?,
            Object::Agent(_) | Object::Service(_) | Object::Policy(_) => return None,
        };
        match wanted.source {
            CredentialSource::None | CredentialSource::Secret(_) => None,
            _ => match self.read(wanted) {
                Ok(key) => presented(wanted.scheme, key.expose_secret()).err().map(str::to_owned),
                Err(reason) => Some(reason),
            },
        }
    }

    /// The refusal; the reason is in the log too, once until it is another one.
    fn told(&self, wanted: Wanted<'_>, reason: &str) -> Refusal {
        if let Ok(mut told) = self.told.lock()
            && told.get(wanted.source).is_none_or(|last| last != reason)
        {
            told.insert(wanted.source.clone(), reason.to_owned());
            let Wanted { kind, id, .. } = wanted;
            tracing::warn!(
                kind,
                id,
                reason,
                "a key that the gateway holds is not available; calls that need it are refused"
            );
        }
        unavailable(wanted, reason)
    }

    fn read(&self, wanted: Wanted<'_>) -> Result<SecretString, String> {
        let text: SecretString = match wanted.source {
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
        let key = one_key(text.expose_secret())?;
        // An API may have a header field of that name.
        if (wanted.kind, wanted.header) == ("LLMProvider", AWS) && !aws::is_key(key) {
            return Err(aws::FORM.to_owned());
        }
        Ok(key.into())
    }
}

fn unavailable(Wanted { kind, id, .. }: Wanted<'_>, reason: &str) -> Refusal {
    const NEXT: &str = "The server's key could not be read; check credential in spec.endpoint, spec.openapi or spec.grpc of the MCPServer.";
    let message = format!("the key of {kind} {id} is not available");
    let refusal = Refusal::new(Code::CredentialUnavailable, message).with_detail(reason);
    if kind == "MCPServer" { refusal.with_next(NEXT) } else { refusal }
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
        let refused = ProviderCredentials::default()
            .of(Wanted::of_provider(&provider), Instant::now())
            .map(|_| ())
            .unwrap_err();
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
        let sent = || match credentials.of(Wanted::of_provider(&given), now) {
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
        assert_eq!(credentials.why_unavailable(&Object::LlmProvider(Arc::new(given))), None);
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
            (ProviderType::Bedrock, "aws", "key-1"),
        ] {
            let mut given = (*provider()).clone();
            (given.provider, given.credential) = (kind, source.clone());
            let (header, sent) = credentials
                .of(Wanted::of_provider(&given), Instant::now())
                .expect("available")
                .expect("needed");
            assert_eq!((header.as_str(), sent.as_bytes()), (name, value.as_bytes()));
            assert!(sent.is_sensitive() && !format!("{sent:?}").contains("key-1"));
        }
        // What is no key pair is told as what cannot be read is.
        let pair = at.path().join("pair");
        std::fs::write(&pair, "AKID:\n").expect("written");
        std::fs::set_permissions(&pair, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        let mut given = (*provider()).clone();
        (given.provider, given.credential) = (ProviderType::Bedrock, CredentialSource::File("pair".into()));
        let refused = credentials.of(Wanted::of_provider(&given), Instant::now()).map(|_| ());
        assert!(refused.is_err_and(|refused| refused.detail.is_some_and(|why| *why == *aws::FORM)));
        let why = credentials.why_unavailable(&Object::LlmProvider(Arc::new(given)));
        assert_eq!(why.as_deref(), Some(aws::FORM));
        let mut missing = (*provider()).clone();
        missing.credential = CredentialSource::Env("VIDIMUS_NO_SUCH_VARIABLE".into());
        assert_eq!(
            credentials.of(Wanted::of_provider(&missing), Instant::now()).map(|_| ()).map_err(|r| r.code),
            Err(Code::CredentialUnavailable)
        );
        missing.credential = CredentialSource::None;
        assert_eq!(credentials.of(Wanted::of_provider(&missing), Instant::now()), Ok(None));
    }
}
