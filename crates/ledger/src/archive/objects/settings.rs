//! Where a bucket is, and what opens it: what every client of S3 is told by the variables `AWS_*`, and the files that they name.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut};
use object_store::path::Path as ObjectPath;
use object_store::{BackoffConfig, ClientConfigKey, RetryConfig};
use url::Url;

use super::Objects;
use crate::archive::ArchiveError;

/// How often a request is sent once more that nobody answered, or that was answered with 5xx.
const TRIES: usize = 4;
/// From a request to the last time that it is sent once more.
const PATIENCE: Duration = Duration::from_secs(60);
/// Until a connection is there; while nothing comes; until an answer is whole, which may be a segment of 64 MiB.
const TIMEOUTS: [(ClientConfigKey, &str); 3] = [
    (ClientConfigKey::ConnectTimeout, "5s"),
    (ClientConfigKey::ReadTimeout, "30s"),
    (ClientConfigKey::Timeout, "5m"),
];

/// A prefix in a bucket of an S3-compatible store, with what is needed to open it. Its text form, also for debugging, has no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Bucket {
    name: Box<str>,
    prefix: ObjectPath,
    /// The variables `AWS_*`, and `HOME`.
    settings: BTreeMap<String, String>,
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.name)?;
        if self.prefix.is_root() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Bucket {
    /// Of what follows `s3://`, with the settings of this process's environment.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, prefix) = text.split_once('/').unwrap_or((text, ""));
        let of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        let of_prefix = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-=".contains(&byte);
        let is_name = (3..=63).contains(&name.len()) && name.bytes().all(of_name);
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if !is_name || prefix.starts_with('/') || !prefix.bytes().all(of_prefix) {
            return None;
        }
        let prefix = ObjectPath::parse(prefix).ok()?;
        let text =
            |(name, value): (OsString, OsString)| name.into_string().ok().zip(value.into_string().ok());
        let settings = std::env::vars_os().filter_map(text);
        let settings = settings.filter(|(name, _)| name == "HOME" || name.starts_with("AWS_")).collect();
        Some(Self { name: name.into(), prefix, settings })
    }

    /// With these settings in the place of the environment's.
    #[must_use]
    pub fn with_settings(self, settings: BTreeMap<String, String>) -> Self {
        Self { settings, ..self }
    }

    /// Opens it. Nobody is asked yet.
    pub(in crate::archive) fn open(&self) -> Result<Objects, ArchiveError> {
        Objects::new(Arc::new(self.store()?), self.prefix.clone(), self.to_string())
    }

    /// As the settings say, and the files that they name.
    pub(in crate::archive) fn store(&self) -> Result<AmazonS3, ArchiveError> {
        let mut builder = AmazonS3Builder::new();
        for (name, value) in self.settings.iter().filter(|(_, value)| !value.is_empty()) {
            if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
                let value = if is_address(&key) { self.address(name, value)? } else { value.clone() };
                builder = builder.with_config(key, value);
            }
        }
        builder = self.with_credentials(self.with_plain_http(builder)?)?;
        for (key, value) in TIMEOUTS {
            builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
        }
        // Whoever is on the way would have the records, and could answer for the store.
        let any_certificate = AmazonS3ConfigKey::Client(ClientConfigKey::AllowInvalidCertificates);
        let retry =
            RetryConfig { backoff: BackoffConfig::default(), max_retries: TRIES, retry_timeout: PATIENCE };
        builder
            .with_config(any_certificate, "false")
            .with_bucket_name(&*self.name)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            // The store holds what it got against this before it answers.
            .with_checksum_algorithm(Checksum::SHA256)
            .with_retry(retry)
            .build()
            .map_err(|error| self.wrong(super::why(&error)))
    }

    fn wrong(&self, why: String) -> ArchiveError {
        ArchiveError::Store { doing: "address", at: self.to_string(), why }
    }

    /// An address in a variable, in the form that the client can use: it panics at one that is no URL.
    fn address(&self, name: &str, value: &str) -> Result<String, ArchiveError> {
        if value.contains('@') {
            // It may have a password in it, and is not repeated.
            let write = "write https://HOST[:PORT], and set AWS_ACCESS_KEY_ID";
            return Err(self.wrong(format!("{name} has a user in it: {write}")));
        }
        let url = value.parse::<Url>().ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(url) = url else {
            let write = "write https://HOST[:PORT]";
            return Err(self.wrong(format!("{name} is '{value}', which is no URL of http or https: {write}")));
        };
        let text = url.as_str();
        let bare = text.strip_suffix('/').filter(|_| url.path() == "/");
        Ok(bare.unwrap_or(text).to_owned())
    }

    /// Plain HTTP is for a store on this machine, and where somebody says so.
    fn with_plain_http(&self, builder: AmazonS3Builder) -> Result<AmazonS3Builder, ArchiveError> {
        let said = |key: AmazonS3ConfigKey| builder.get_config_value(&key);
        let endpoint = said(AmazonS3ConfigKey::S3Endpoint).or_else(|| said(AmazonS3ConfigKey::Endpoint));
        let endpoint = endpoint.unwrap_or_default().to_ascii_lowercase();
        let allow = AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp);
        let is_allowed = said(allow).is_some_and(|said| {
            matches!(said.to_ascii_lowercase().as_str(), "1" | "true" | "on" | "yes" | "y")
        });
        let Some(rest) = endpoint.strip_prefix("http://") else { return Ok(builder) };
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        let is_here = matches!(host, "127.0.0.1" | "localhost") || rest.starts_with("[::1]");
        if is_here || is_allowed {
            return Ok(builder.with_config(allow, "true"));
        }
        let why = "its endpoint is plain http, by which everybody on the way reads the records: write https://, or set \
                   AWS_ALLOW_HTTP=true";
        Err(self.wrong(why.to_owned()))
    }

    /// Credentials of a file, where nothing else says which. It is read each time, as it may have others by now.
    fn with_credentials(&self, builder: AmazonS3Builder) -> Result<AmazonS3Builder, ArchiveError> {
        let others = [
            AmazonS3ConfigKey::AccessKeyId,
            AmazonS3ConfigKey::SecretAccessKey,
            AmazonS3ConfigKey::WebIdentityTokenFile,
            AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
            AmazonS3ConfigKey::ContainerCredentialsFullUri,
        ];
        if others.iter().any(|key| builder.get_config_value(key).is_some()) {
            return Ok(builder);
        }
        let setting = |name: &str| self.settings.get(name).filter(|value| !value.is_empty());
        let named = setting("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
        let usual = || setting("HOME").map(|home| Path::new(home).join(".aws/credentials"));
        let Some(path) = named.clone().or_else(usual) else { return Ok(builder) };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(_) if named.is_none() => return Ok(builder),
            Err(error) => return Err(self.wrong(format!("{}: {error}", path.display()))),
        };
        let profile = setting("AWS_PROFILE").map_or("default", String::as_str);
        let Some((id, secret, token)) = credentials(&text, profile) else {
            return Err(self.wrong(format!(
                "{} has no aws_access_key_id and aws_secret_access_key of the profile '{profile}'",
                path.display()
            )));
        };
        let builder = builder.with_access_key_id(id).with_secret_access_key(secret);
        Ok(match token {
            Some(token) => builder.with_token(token),
            None => builder,
        })
    }
}

/// Whether a setting is the address of somebody to be asked.
const fn is_address(key: &AmazonS3ConfigKey) -> bool {
    matches!(
        key,
        AmazonS3ConfigKey::Endpoint
            | AmazonS3ConfigKey::S3Endpoint
            | AmazonS3ConfigKey::StsEndpoint
            | AmazonS3ConfigKey::MetadataEndpoint
            | AmazonS3ConfigKey::ContainerCredentialsFullUri
    )
}

/// The id, the secret and perhaps the token of a profile, as a file of credentials has them.
fn credentials<'a>(text: &'a str, profile: &str) -> Option<(&'a str, &'a str, Option<&'a str>)> {
    let (mut within, mut id, mut secret, mut token) = (false, None, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            within = name.trim() == profile;
        } else if let Some((name, value)) = line.split_once('=').filter(|_| within) {
            match name.trim() {
                "aws_access_key_id" => id = Some(value.trim()),
                "aws_secret_access_key" => secret = Some(value.trim()),
                "aws_session_token" => token = Some(value.trim()),
                _ => {}
            }
        }
    }
    Some((id?, secret?, token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::ArchiveAt;

    fn opened(settings: &[(&str, &str)]) -> Result<(), String> {
        let Ok(ArchiveAt::Bucket(bucket)) = "s3://corp-audit/vidimus".parse() else { panic!("a bucket") };
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let bucket = bucket.with_settings(settings.collect());
        assert_eq!(format!("{bucket:?}"), "s3://corp-audit/vidimus");
        bucket.store().map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_has_profiles() {
        let text = "# c\n[default]\naws_access_key_id=a\naws_secret_access_key = b=c\n[ other ]\naws_session_token = t\n\
                    aws_access_key_id = d\n aws_secret_access_key = e\nregion = x\n[half]\naws_access_key_id = f\n";
        assert_eq!(credentials(text, "default"), Some(("a", "b=c", None)));
        assert_eq!(credentials(text, "other"), Some(("d", "e", Some("t"))));
        for (text, profile) in [(text, "half"), (text, "none"), ("", "default")] {
            assert_eq!(credentials(text, profile), None, "{profile}");
        }
    }

    #[test]
    fn what_is_not_there_or_would_be_read_on_the_way_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("credentials").display().to_string();
        let named = ("AWS_SHARED_CREDENTIALS_FILE", &*file);
        let error = opened(&[named]).expect_err("it is missing");
        assert!(error.contains(&file), "{error}");
        let text = "[default]\naws_access_key_id = id\naws_secret_access_key = hunter2\n";
        std::fs::write(&file, text).expect("written");
        assert_eq!(opened(&[named]), Ok(()));
        let error = opened(&[named, ("AWS_PROFILE", "audit")]).expect_err("no such profile");
        assert!(error.contains("'audit'") && !error.contains("hunter2"), "{error}");
        let with = |endpoint: &str, more: &[(&str, &str)]| {
            let settings = [
                ("AWS_ACCESS_KEY_ID", "id"),
                ("AWS_SECRET_ACCESS_KEY", "hunter2"),
                ("AWS_ENDPOINT_URL_S3", endpoint),
            ];
            opened(&[&settings[..], more].concat())
        };
        for (endpoint, is_fine) in [
            ("https://s3.example", true),
            ("http://127.0.0.1:7070", true),
            ("http://localhost:7070", true),
            ("http://[::1]:7070", true),
            ("http://s3.example", false),
            ("http://127.0.0.1.example:7070", false),
            ("http://localhost:x@s3.example", false),
        ] {
            assert_eq!(with(endpoint, &[]).is_ok(), is_fine, "{endpoint}");
        }
        assert_eq!(with("http://s3.example", &[("AWS_ALLOW_HTTP", "true")]), Ok(()));
        // Unset, as empty variables are.
        assert_eq!(with("", &[]), Ok(()));
        for endpoint in
            ["minio.example", "127.0.0.1:29100", "localhost:9000", "//minio", "https://", "ftp://a"]
        {
            let error = with(endpoint, &[]).expect_err(endpoint);
            let names = format!("AWS_ENDPOINT_URL_S3 is '{endpoint}'");
            assert!(error.contains(&names) && error.contains("https://HOST"), "{error}");
            for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS", "AWS_METADATA_ENDPOINT"] {
                let error = with("https://s3.example", &[(name, endpoint)]).expect_err(endpoint);
                assert!(error.contains(name), "{error}");
            }
        }
        let error = with("https://id:hunter2@s3.example", &[]).expect_err("a user");
        assert!(error.contains("AWS_ENDPOINT_URL_S3") && !error.contains("hunter2"), "{error}");
    }
}
