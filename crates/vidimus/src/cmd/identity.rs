//! `vidimus identity`: the built-in CA and token issuer, so that nothing external is needed to start.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use serde_json::json;
use vidimus_core::caller::UnixMillis;
use vidimus_core::clock::Clock as _;
use vidimus_gateway::millis;
use vidimus_identity::{
    LOCAL_ISSUER, LocalError, LocalIdentity, PersonTokenRequest, SharedKeys, SpiffeId, TokenRequest,
    TrustDomain,
};

use super::data_directory;
use super::quantity::duration;
use crate::clock::SystemClock;
use crate::output::{self, Format};

/// Issues tokens and certificates with the built-in issuer and CA, for development and for installations without a cluster.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus identity init --data DIR                         # the keys
  vidimus identity token --data DIR --subject invoice-bot  # a token for curl
  vidimus identity bundle --data DIR > bundle.pem          # for clients of TLS")]
pub struct Identity {
    /// The data directory, the same as of `vidimus serve`.
    #[arg(long, env = "VIDIMUS_DATA", global = true, default_value = "vidimus-data")]
    data: PathBuf,
    /// The keys that several gateways share, as of `vidimus serve --shared-keys`: where
    /// they have a built-in issuer and CA, those are meant, and not those in --data.
    #[arg(long, env = "VIDIMUS_SHARED_KEYS", global = true, value_name = "DIR")]
    shared_keys: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes the keys, if they are not there yet, and prints what to register.
    #[command(
        after_help = "Example:\n  vidimus identity init --data /var/lib/vidimus --trust-domain corp.example"
    )]
    Init {
        /// SPIFFE trust domain of the CA; `vidimus.local` where not given.
        #[arg(long)]
        trust_domain: Option<String>,
        /// A key that is gone may be made anew. Tokens or SVIDs that were issued with it are refused from then on; a gateway that runs
        /// goes by the old key until it is started again.
        #[arg(long)]
        replace_lost_keys: bool,
    },
    /// Prints a bearer token for a registered subject.
    #[command(after_help = "Examples:
  TOKEN=$(vidimus identity token --data DIR --subject invoice-bot)
  curl -H \"Authorization: Bearer $TOKEN\" http://127.0.0.1:8080/…
  vidimus identity token --data DIR --subject invoice-bot \\
    --user ada@example.com    # the agent acts for a person")]
    Token {
        /// The subject that a principal is registered with: identities: [{oidc: {issuer: urn:vidimus:local, subject: …}}]
        #[arg(long)]
        subject: String,
        /// The person it acts for; the principal must list urn:vidimus:local under actsFor.
        #[arg(long)]
        user: Option<String>,
        /// Whom the token is for.
        #[arg(long, default_value = "vidimus")]
        audience: String,
        /// How long it is good, e.g. 15m or 8h; at most 24h.
        #[arg(long, default_value = "1h", value_parser = duration)]
        ttl: Duration,
    },
    /// Prints a bearer token of a person who operates the installation, for its admin address.
    ///
    /// What the person may do is in policies: User::"urn:vidimus:local#NAME", or UserGroup::"GROUP". Until one of them permits people
    /// anything, the person `admin` may do everything.
    #[command(after_help = "Examples:
  export VIDIMUS_OPERATOR_TOKEN=$(vidimus identity operator --data DIR)
  vidimus quarantine list
  vidimus identity operator --data DIR --name ada --group soc --ttl 15m")]
    Operator {
        /// Who it is.
        #[arg(long, default_value = "admin")]
        name: String,
        /// A group that it is in; may be given several times.
        #[arg(long)]
        group: Vec<String>,
        /// How long it is good, e.g. 15m or 8h; at most 24h.
        #[arg(long, default_value = "1h", value_parser = duration)]
        ttl: Duration,
    },
    /// Writes an X.509-SVID and its key, and the trust bundle beside them.
    #[command(after_help = "Example:
  vidimus identity svid --data DIR --out /tmp/svid \\
    --spiffe-id spiffe://vidimus.local/ns/finance/sa/invoice-bot
  curl --cert /tmp/svid/svid.pem --key /tmp/svid/svid-key.pem \\
    --cacert /tmp/svid/bundle.pem https://localhost:8443/…")]
    Svid {
        /// The SPIFFE ID, in the CA's trust domain.
        #[arg(long)]
        spiffe_id: String,
        /// Directory for svid.pem, svid-key.pem and bundle.pem.
        #[arg(long)]
        out: PathBuf,
        /// How long it is good; at most 24h.
        #[arg(long, default_value = "24h", value_parser = duration)]
        ttl: Duration,
    },
    /// Prints the CA's trust bundle (PEM).
    #[command(after_help = "Example:\n  vidimus identity bundle --data DIR > bundle.pem")]
    Bundle,
}

pub fn run(identity: &Identity, format: Format) -> anyhow::Result<ExitCode> {
    let now = millis(SystemClock.now().wall);
    let shared = identity.shared_keys.as_deref();
    match &identity.command {
        Command::Init { trust_domain, replace_lost_keys } => {
            init(&identity.data, trust_domain.as_deref(), *replace_lost_keys, format)?;
        }
        Command::Token { subject, user, audience, ttl } => {
            let request = TokenRequest { subject, user: user.as_deref(), audience, ttl: *ttl, now };
            let token = existing(&identity.data, shared)?.token(&request)?;
            match format {
                Format::Table => output::line(token.expose_secret()),
                Format::Json => {
                    output::json(&json!({"token": token.expose_secret(), "expires_in": ttl.as_secs()}))?;
                }
            }
        }
        Command::Operator { name, group, ttl } => {
            let request = PersonTokenRequest { subject: name, groups: group, ttl: *ttl, now };
            let token = existing(&identity.data, shared)?.person_token(&request)?;
            match format {
                Format::Table => output::line(token.expose_secret()),
                Format::Json => {
                    output::json(&json!({"token": token.expose_secret(), "expires_in": ttl.as_secs()}))?;
                }
            }
        }
        Command::Svid { spiffe_id, out, ttl } => {
            let local = existing(&identity.data, shared)?;
            let svid = local.svid(&SpiffeId::parse(spiffe_id)?, *ttl, now)?;
            fs::create_dir_all(out).with_context(|| format!("--out {}", out.display()))?;
            let bundle = out.join("bundle.pem");
            svid.write(&out.join("svid.pem"), &out.join("svid-key.pem"))?;
            fs::write(&bundle, local.bundle()).with_context(|| bundle.display().to_string())?;
            match format {
                Format::Table => output::line(&format!("{spiffe_id} in {}", out.display())),
                Format::Json => output::json(
                    &json!({"spiffe_id": spiffe_id, "directory": out, "not_after_ms": svid.not_after.0}),
                )?,
            }
        }
        Command::Bundle => {
            let local = existing(&identity.data, shared)?;
            match format {
                Format::Table => output::line(local.bundle().trim_end()),
                Format::Json => output::json(&json!({"bundle": local.bundle()}))?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn init(
    data: &Path,
    trust_domain: Option<&str>,
    replace_lost_keys: bool,
    format: Format,
) -> anyhow::Result<()> {
    let domain = trust_domain.map(TrustDomain::new).transpose()?;
    data_directory::prepare(data)?;
    let open_it =
        if replace_lost_keys { LocalIdentity::open_replacing_lost_keys } else { LocalIdentity::open };
    let local = open_by(open_it, data, domain.as_ref())?;
    let domain = local.trust_domain().as_str();
    match format {
        Format::Json => output::json(&json!({"issuer": LOCAL_ISSUER, "trust_domain": domain})),
        Format::Table => {
            output::line(&format!("issuer        {LOCAL_ISSUER}"));
            output::line(&format!("trust domain  {domain}"));
            output::line("register a principal with one of:");
            output::line(&format!("  identities: [{{oidc: {{issuer: \"{LOCAL_ISSUER}\", subject: NAME}}}}]"));
            output::line(&format!("  identities: [{{spiffe: \"spiffe://{domain}/ns/NAMESPACE/sa/NAME\"}}]"));
            Ok(())
        }
    }
}

/// The identity that is there, of `shared` keys where those have one. Making one here would give a token or a certificate that no gateway knows.
pub(super) fn existing(data: &Path, shared: Option<&Path>) -> anyhow::Result<LocalIdentity> {
    let shared = shared.map(|directory| SharedKeys::open(directory)?.identity()).transpose();
    if let Some(identity) = shared.context("--shared-keys")?.flatten() {
        return Ok(identity);
    }
    let there = data_directory::is_there("the built-in identity", &data.join("identity").join("ca.pem"))?;
    if !there {
        bail!(
            "no identity in {}; give the --data of `vidimus serve`, or run `vidimus identity init`",
            data.display()
        );
    }
    open(data, None)
}

fn open(data: &Path, trust_domain: Option<&TrustDomain>) -> anyhow::Result<LocalIdentity> {
    open_by(LocalIdentity::open, data, trust_domain)
}

fn open_by(
    open: fn(&Path, Option<&TrustDomain>, UnixMillis) -> Result<LocalIdentity, LocalError>,
    data: &Path,
    trust_domain: Option<&TrustDomain>,
) -> anyhow::Result<LocalIdentity> {
    open(&data.join("identity"), trust_domain, millis(SystemClock.now().wall))
        .with_context(|| format!("the built-in identity in {}", data.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_init_makes_an_identity() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let error = existing(&data, None).unwrap_err().to_string();
        assert!(error.contains("no identity in") && error.contains("identity init"), "{error}");
        assert!(!data.exists(), "nothing is made by asking");
        init(&data, None, false, Format::Json).unwrap();
        let bundle = existing(&data, None).unwrap().bundle().to_owned();
        assert_eq!(existing(&data, None).unwrap().bundle(), bundle, "the same one each time");
    }

    #[test]
    fn a_key_that_is_lost_is_made_anew_only_when_that_is_said() {
        for (name, other, lost) in
            [("ca-key.pem", "issuer-key.pem", "SVID"), ("issuer-key.pem", "ca-key.pem", "token")]
        {
            let dir = tempfile::tempdir().unwrap();
            let data = dir.path().join("data");
            let key = |name: &str| fs::read(data.join("identity").join(name)).ok();
            init(&data, Some("corp.example"), false, Format::Json).unwrap();
            let before = (key(name), key(other), existing(&data, None).unwrap().bundle().to_owned());
            fs::remove_file(data.join("identity").join(name)).unwrap();
            for refused in [existing(&data, None).map(drop), init(&data, None, false, Format::Json)] {
                let said = format!("{:#}", refused.unwrap_err());
                assert!(said.contains(name) && said.contains("is missing") && said.contains(lost), "{said}");
                assert!(said.contains("--replace-lost-keys"), "{said}");
            }
            assert_eq!((key(name), key(other)), (None, before.1.clone()), "nothing was made");
            init(&data, Some("other.example"), true, Format::Json).unwrap_err();
            init(&data, None, true, Format::Json).unwrap();
            let local = existing(&data, None).unwrap();
            assert_eq!(local.trust_domain().as_str(), "corp.example");
            assert_eq!(
                local.bundle() == before.2,
                name == "issuer-key.pem",
                "with its key the CA is another"
            );
            assert!(key(name).is_some() && key(name) != before.0);
            assert_eq!(key(other), before.1);
        }
    }
}
