//! `vidimus keys`: the keys that several gateways share (ADR 67).

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use vidimus_core::caller::UnixMillis;
use vidimus_core::clock::Clock as _;
use vidimus_gateway::millis;
use vidimus_identity::{KeyFiles, SharedKeys, TrustDomain, read_regular};

use super::quantity::duration;
use crate::clock::SystemClock;
use crate::output::{self, Format};

/// Largest Secret that is read, in bytes: Kubernetes takes 1 MiB, and base64 and the fields of a server come on top.
const MAX: u64 = 4 << 20;
/// What `kubectl apply` keeps there has the former keys in it.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Makes and rotates the keys that several gateways share, as files or as a Secret (`vidimus serve --shared-keys`, docs/scale.md).
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus keys generate --out /etc/vidimus/keys
  vidimus keys generate --secret vidimus-keys -n vidimus | kubectl create -f -
  vidimus keys rotate --out /etc/vidimus/keys
  kubectl get secret vidimus-keys -n vidimus -o json \\
    | vidimus keys rotate --from - | kubectl apply -f -
  vidimus keys list /etc/vidimus/keys")]
pub struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Generate(Generate),
    Rotate(Rotate),
    List(List),
}

/// Makes the first keys: one that seals ids, one that signs hops' tokens, and a built-in issuer and CA.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus keys generate --out /etc/vidimus/keys
  vidimus keys generate --secret vidimus-keys -n vidimus | kubectl create -f -

Take kubectl create, which refuses where the Secret is there: kubectl apply
replaces its keys, and all that was sealed and signed by them is void.")]
struct Generate {
    /// Directory for them; made where it is missing. One that has keys is left alone.
    #[arg(long, value_name = "DIR", required_unless_present = "secret")]
    out: Option<PathBuf>,
    /// Print them as a Secret of this name instead: YAML, or with -o json JSON.
    #[arg(long, value_name = "NAME", conflicts_with = "out", value_parser = object_name)]
    secret: Option<String>,
    /// The Secret's namespace.
    #[arg(long, short = 'n', value_name = "NAMESPACE", requires = "secret", value_parser = object_name)]
    namespace: Option<String>,
    /// SPIFFE trust domain of the CA; `vidimus.local` where not given.
    #[arg(long)]
    trust_domain: Option<String>,
}

/// Adds a key that seals and one that signs, used after a while, and drops those of which nothing is good any more.
///
/// Until then all gateways accept the new ones, so each must have read them by then, and each upstream that keeps a copy of the key set.
/// The built-in issuer and CA stay.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus keys rotate --out /etc/vidimus/keys
  kubectl get secret vidimus-keys -n vidimus -o json \\
    | vidimus keys rotate --from - | kubectl apply -f -")]
struct Rotate {
    /// The directory that has them.
    #[arg(long, value_name = "DIR", required_unless_present = "from")]
    out: Option<PathBuf>,
    /// File with the Secret that has them, as JSON (- is standard input); the Secret with
    /// the keys after the rotation is printed: YAML, or with -o json JSON.
    #[arg(long, value_name = "FILE", conflicts_with = "out")]
    from: Option<PathBuf>,
    /// After what time the new keys are used.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    after: Duration,
    /// How long a key still opens the ids that it sealed, once another one seals. What
    /// was sealed before (sessions, tasks) is refused from then on.
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = duration)]
    keep: Duration,
}

/// Prints which keys are in a directory, from when each is used, and which are used now. Nothing that is secret.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  vidimus keys list /etc/vidimus/keys")]
struct List {
    /// The directory that has them.
    #[arg(value_name = "DIR", env = "VIDIMUS_SHARED_KEYS")]
    directory: PathBuf,
}

pub fn run(keys: &Keys, format: Format) -> anyhow::Result<ExitCode> {
    let now = millis(SystemClock.now().wall);
    match &keys.command {
        Command::Generate(asked) => generate(asked, now, format),
        Command::Rotate(asked) => rotate(asked, now, format),
        Command::List(asked) => list(asked, now, format),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn generate(asked: &Generate, now: UnixMillis, format: Format) -> anyhow::Result<()> {
    let domain = asked.trust_domain.as_deref().map(TrustDomain::new).transpose().context("--trust-domain")?;
    match (&asked.out, &asked.secret) {
        (Some(directory), _) => {
            KeyFiles::none_in(directory).context("--out")?;
            let files = KeyFiles::generate(directory, domain.as_ref(), now)?;
            files.write(directory, &[]).context("--out")?;
            said(&files.contents().map(|(name, _)| name.to_owned()).collect::<Vec<_>>(), &[], format)
        }
        (None, Some(name)) => {
            let files = KeyFiles::generate(Path::new(name), domain.as_ref(), now)?;
            let mut metadata = Map::from_iter([("name".to_owned(), json!(name))]);
            metadata
                .extend(asked.namespace.iter().map(|namespace| ("namespace".to_owned(), json!(namespace))));
            print(&metadata, &files, format)
        }
        (None, None) => bail!("give --out or --secret"),
    }
}

fn rotate(asked: &Rotate, now: UnixMillis, format: Format) -> anyhow::Result<()> {
    let after = i64::try_from(asked.after.as_millis()).context("--after")?;
    let from = UnixMillis(now.0.saturating_add(after));
    match (&asked.out, &asked.from) {
        (Some(directory), _) => {
            let mut files = KeyFiles::read(directory).context("--out")?;
            let rotated = files.rotate(now, from, asked.keep).context("--out")?;
            files.write(directory, &rotated.dropped).context("--out")?;
            said(&rotated.added, &rotated.dropped, format)
        }
        (None, Some(file)) => {
            let secret = Secret::read(file).with_context(|| format!("--from {}", file.display()))?;
            let (metadata, mut files) =
                secret.opened().with_context(|| format!("--from {}", file.display()))?;
            files.rotate(now, from, asked.keep).context("--from")?;
            print(&metadata, &files, format)
        }
        (None, None) => bail!("give --out or --from"),
    }
}

fn list(asked: &List, now: UnixMillis, format: Format) -> anyhow::Result<()> {
    let listed = SharedKeys::open(&asked.directory)?.list(now);
    match format {
        Format::Json => {
            for key in &listed {
                let from = instant(key.from);
                output::json(
                    &json!({"file": key.file, "purpose": key.purpose, "from": from, "state": key.state}),
                )?;
            }
        }
        Format::Table => {
            let mut table = output::table(&["PURPOSE", "STATE", "FROM", "FILE"], &[3], output::width());
            for key in &listed {
                let from = output::when(&instant(key.from), None);
                let row = [key.purpose, key.state, from.as_str(), key.file.as_str()];
                table.add_row(row.map(output::cell));
            }
            output::line(&table.to_string());
        }
    }
    Ok(())
}

/// RFC 3339.
fn instant(time: UnixMillis) -> String {
    Timestamp::from_millisecond(time.0).unwrap_or_default().to_string()
}

/// What was done to a directory.
fn said(added: &[String], dropped: &[String], format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::json(&json!({"added": added, "dropped": dropped}));
    }
    added.iter().for_each(|name| output::line(&format!("added    {name}")));
    dropped.iter().for_each(|name| output::line(&format!("dropped  {name}")));
    Ok(())
}

/// A Secret, as far as it is looked at.
#[derive(Deserialize)]
struct Secret {
    kind: String,
    metadata: Metadata,
    #[serde(default)]
    data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    namespace: Option<String>,
    #[serde(default)]
    labels: Map<String, Value>,
    #[serde(default)]
    annotations: Map<String, Value>,
}

impl Secret {
    fn read(file: &Path) -> anyhow::Result<Self> {
        let mut text = Vec::new();
        if file == Path::new("-") {
            std::io::stdin().lock().take(MAX).read_to_end(&mut text)?;
        } else {
            text = read_regular(file, MAX)?;
        }
        // What a parser quotes of what it does not understand may be a key.
        let secret: Self = serde_json::from_slice(&text)
            .ok()
            .context("is no Secret as JSON, as of `kubectl get secret NAME -o json`")?;
        ensure!(secret.kind == "Secret", "is no Secret");
        Ok(secret)
    }

    /// What is kept of its metadata, and the keys.
    fn opened(self) -> anyhow::Result<(Map<String, Value>, KeyFiles)> {
        let Metadata { name, namespace, labels, mut annotations } = self.metadata;
        annotations.remove(APPLIED);
        let files = self.data.into_iter().map(|(file, text)| {
            let content =
                STANDARD.decode(text).ok().with_context(|| format!("{name}/{file}: is no base64"))?;
            Ok((file, content))
        });
        let files = KeyFiles::given(Path::new(&name), files.collect::<anyhow::Result<Vec<_>>>()?)?;
        let mut metadata = Map::from_iter([("name".to_owned(), json!(name))]);
        metadata.extend(namespace.map(|namespace| ("namespace".to_owned(), json!(namespace))));
        for (member, values) in [("labels", labels), ("annotations", annotations)] {
            if !values.is_empty() {
                metadata.insert(member.to_owned(), Value::Object(values));
            }
        }
        Ok((metadata, files))
    }
}

/// Prints a Secret with these keys.
fn print(metadata: &Map<String, Value>, files: &KeyFiles, format: Format) -> anyhow::Result<()> {
    let data = files.contents().map(|(name, content)| (name.to_owned(), json!(STANDARD.encode(content))));
    let data: Map<String, Value> = data.collect();
    if format == Format::Json {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": data});
        return output::json(&secret);
    }
    output::line("apiVersion: v1\nkind: Secret\ntype: Opaque");
    // JSON is YAML.
    output::line(&format!("metadata: {}\ndata:", serde_json::to_string(metadata)?));
    data.iter().for_each(|(name, content)| output::line(&format!("  {name}: {content}")));
    Ok(())
}

/// A name of an object in a cluster (RFC 1123).
fn object_name(text: &str) -> anyhow::Result<String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let is_edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let is_good = is_edge(text.chars().next()) && is_edge(text.chars().next_back()) && text.chars().all(good);
    ensure!(is_good && text.len() <= 253, "write lower-case letters, digits, - and ., as in vidimus-keys");
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `kubectl get secret -o json` gives one back, with what a server adds.
    #[test]
    fn a_secret_is_rotated_and_keeps_what_is_not_a_key() {
        let now = UnixMillis(1_800_000_000_000);
        let files = KeyFiles::generate(Path::new("vidimus-keys"), None, now).unwrap();
        let data: Map<String, Value> =
            files.contents().map(|(name, bytes)| (name.to_owned(), json!(STANDARD.encode(bytes)))).collect();
        let given = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": data, "metadata": {
            "name": "vidimus-keys", "namespace": "vidimus", "uid": "1", "resourceVersion": "7",
            "labels": {"app": "vidimus"}, "annotations": {APPLIED: "keys", "team": "platform"},
        }});
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret.json");
        std::fs::write(&file, given.to_string()).unwrap();
        let (metadata, mut found) = Secret::read(&file).unwrap().opened().unwrap();
        assert_eq!(
            Value::Object(metadata),
            json!({"name": "vidimus-keys", "namespace": "vidimus", "labels": {"app": "vidimus"}, "annotations": {"team": "platform"}})
        );
        assert_eq!(found.shared().unwrap().list(now), files.shared().unwrap().list(now));
        found.rotate(now, now, Duration::ZERO).unwrap();
        assert_eq!(found.shared().unwrap().list(now).len(), 4);
        for (wrong, says) in [
            ("{".to_owned(), "no Secret"),
            (given.to_string().replace("\"kind\":\"Secret\"", "\"kind\":\"ConfigMap\""), "no Secret"),
            (
                given.to_string().replace("\"ca.pem\":\"", "\"ca.pem\":\"!"),
                "vidimus-keys/ca.pem: is no base64",
            ),
            (given.to_string().replace("\"ca.pem\"", "\"tls.crt\""), "no name of a shared key"),
        ] {
            std::fs::write(&file, wrong).unwrap();
            let error = Secret::read(&file).and_then(Secret::opened).map(drop).unwrap_err();
            assert!(format!("{error:#}").contains(says), "{error:#}");
        }
        for (name, good) in
            [("vidimus-keys", true), ("a.b", true), ("A", false), ("a\nb", false), ("-a", false), ("", false)]
        {
            assert_eq!(object_name(name).is_ok(), good, "{name}");
        }
    }
}
