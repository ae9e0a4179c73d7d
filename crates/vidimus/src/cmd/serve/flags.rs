//! Values of flags that would be taken and then do nothing, or not what was meant: refused, with what to write.

use std::ffi::OsStr;

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, Command};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use url::{Host, Url};
use vidimus_core::resource::{Network, may_be_allowed};
use vidimus_gateway::listener::authority;
use vidimus_gateway::{SinkAddress, StandingAddress};
use vidimus_ledger::ArchiveAt;

/// Reads a value that may have a secret in it: what is wrong is said without the value, since standard error is often a log.
#[derive(Clone, Debug)]
pub(in crate::cmd) struct Unshown<T>(pub(in crate::cmd) fn(&str) -> anyhow::Result<T>);

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Unshown<T> {
    type Value = T;

    fn parse_ref(&self, cmd: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        let text = value.to_str().ok_or_else(|| clap::Error::new(ErrorKind::InvalidUtf8).with_cmd(cmd))?;
        (self.0)(text).map_err(|error| {
            let flag = arg.map(ToString::to_string).unwrap_or_default();
            let said = format!("invalid value for '{flag}', which is not shown: {error:#}");
            clap::Error::raw(ErrorKind::ValueValidation, said).with_cmd(cmd)
        })
    }
}

/// Kept as it is written: it is compared with what tokens say.
pub(in crate::cmd) fn public_url(text: &str) -> anyhow::Result<String> {
    const WRITE: &str = "write the address alone, as in https://gateway.example:8443";
    let url = web_url(text, WRITE)?;
    ensure!(url.query().is_none(), "it has a query; {WRITE}");
    ensure!(url.fragment().is_none(), "it has a fragment; {WRITE}");
    Ok(text.to_owned())
}

pub(super) fn otlp_endpoint(text: &str) -> anyhow::Result<String> {
    web_url(text, "write the whole address, as in http://collector:4318/v1/traces")?;
    Ok(text.to_owned())
}

pub(super) fn audience(text: &str) -> anyhow::Result<String> {
    ensure!(!text.trim().is_empty(), "an empty audience is in no token; write one, or leave the option out");
    Ok(text.to_owned())
}

/// A host name as it stands in `Host`, without a port.
pub(in crate::cmd) fn host_name(text: &str) -> anyhow::Result<String> {
    ensure!(authority::is_name(text), "write the host name alone, as in vidimus-admin.monitoring.svc");
    Ok(text.to_owned())
}

/// An origin as browsers send it (RFC 6454 section 6.2): it is compared byte by byte.
pub(in crate::cmd) fn origin(text: &str) -> anyhow::Result<String> {
    const WRITE: &str = "write scheme://host[:port], as in https://app.example";
    ensure!(text != "null", "any page can be of origin null; {WRITE}");
    let url = Url::parse(text).with_context(|| WRITE)?;
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else { bail!("it has no host; {WRITE}") };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let sent = format!("{}://{host}{port}", url.scheme());
    ensure!(text == sent, "a browser never sends that; write {sent}");
    Ok(sent)
}

/// A range that no call goes to unless it is allowed. What allows nothing, or more than somebody looked at, is no range to allow.
pub(super) fn allowed_network(text: &str) -> anyhow::Result<Network> {
    let network = network(text)?;
    ensure!(
        may_be_allowed(&network),
        "it does not lie within one range that is never called; write that range or a part of it, as in 100.64.0.0/10 (loopback and \
         private addresses need no leave)"
    );
    Ok(network)
}

/// Where gateways share what they count. What is an argument is seen by whoever lists processes, so a password is none.
#[derive(Clone, Debug)]
pub(super) struct Standing;

impl TypedValueParser for Standing {
    type Value = StandingAddress;

    fn parse_ref(
        &self,
        cmd: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<StandingAddress, clap::Error> {
        Unshown(standing).parse_ref(cmd, arg, value)
    }

    fn parse_ref_(
        &self,
        cmd: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<StandingAddress, clap::Error> {
        let parse = if source == ValueSource::CommandLine { standing_of_argument } else { standing };
        Unshown(parse).parse_ref(cmd, arg, value)
    }
}

fn standing(text: &str) -> anyhow::Result<StandingAddress> {
    const WRITE: &str = "write rediss://[user@]host[:port][/database], or redis:// for one without TLS";
    text.parse().map_err(|error| anyhow!("{error}; {WRITE}"))
}

fn standing_of_argument(text: &str) -> anyhow::Result<StandingAddress> {
    let address = standing(text)?;
    ensure!(
        !address.has_password(),
        "it has a password, which belongs into a file (--standing-password) or into the environment (VIDIMUS_STANDING)"
    );
    Ok(address)
}

/// Who is sent the ledger's records.
pub(in crate::cmd) fn sink(text: &str) -> anyhow::Result<SinkAddress> {
    Ok(text.trim().parse()?)
}

/// Where what goes from the ledger is copied to.
pub(in crate::cmd) fn archive(text: &str) -> anyhow::Result<ArchiveAt> {
    Ok(text.parse()?)
}

/// What a ServiceAccount's token says of its issuer, and where its keys are fetched.
pub(super) fn issuer(text: &str) -> anyhow::Result<String> {
    const WRITE: &str = "write the issuer as it stands in the tokens, as in https://kubernetes.default.svc";
    let url = web_url(text, WRITE)?;
    ensure!(url.query().is_none() && url.fragment().is_none(), "it has a query or a fragment; {WRITE}");
    let is_loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    ensure!(
        url.scheme() == "https" || is_loopback,
        "keys fetched over plain http can be replaced on the way; {WRITE}"
    );
    Ok(text.to_owned())
}

/// An address alone may be meant as a network, or as one host.
pub(super) fn network(text: &str) -> anyhow::Result<Network> {
    let network: Network = text.parse()?;
    let host = if text.contains(':') { 128 } else { 32 };
    ensure!(text.contains('/'), "{text} has no prefix length; write {text}/{host} to mean this one address");
    Ok(network)
}

/// A word that is no level would be taken for the name of a part of the program, of which everything is logged, and of all else nothing.
pub(in crate::cmd) fn log_filter(text: &str) -> anyhow::Result<String> {
    const WRITE: &str =
        "write error, warn, info, debug, trace or off, or of a part, as in info,vidimus_gateway=debug";
    for directive in text.split(',') {
        let is_level = directive.trim().parse::<LevelFilter>().is_ok();
        ensure!(is_level || directive.contains(['=', '[']), "'{directive}' is not a level; {WRITE}");
    }
    EnvFilter::try_new(text).with_context(|| WRITE)?;
    Ok(text.to_owned())
}

/// What is logged by that text. What the client of a cluster would write of each request that fails is left out, unless it is asked for by name:
/// who asks says it, once, and with what to do.
pub(super) fn filter(text: &str) -> anyhow::Result<EnvFilter> {
    let quiet = if text.contains("kube_client") { "" } else { ",kube_client=off" };
    EnvFilter::try_new(format!("{text}{quiet}")).map_err(|error| anyhow!("--log {text}: {error}"))
}

fn web_url(text: &str, write: &str) -> anyhow::Result<Url> {
    let url = Url::parse(text).with_context(|| write.to_owned())?;
    ensure!(matches!(url.scheme(), "http" | "https"), "it is not an http or https URL; {write}");
    ensure!(url.username().is_empty() && url.password().is_none(), "it has a user or password; {write}");
    Ok(url)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::super::Serve;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        serve: Serve,
    }

    #[test]
    fn a_flag_that_would_do_nothing_is_refused_and_says_what_to_write() {
        Line::command().debug_assert();
        for (flags, says) in [
            ("--tls-cert a --tls-key b", "--tls-listen"),
            ("--issuer-ca /etc/ca.crt", "ISSUER=FILE"),
            ("--issuer-ca http://127.0.0.1:1=a", "only an https issuer"),
            ("--otlp-endpoint collector:4318", "http://collector:4318/v1/traces"),
            ("--sink kafka://broker:9092", "write otlp+https://HOST"),
            ("--sink otlp+https://user:word@collector", "belong into a file"),
            ("--sink-from 7", "--sink"),
            ("--otlp-endpoint collector", "http://collector:4318/v1/traces"),
            ("--otlp-endpoint ftp://collector", "http://collector:4318/v1/traces"),
            ("--allow-origin app.example", "https://app.example"),
            ("--allow-origin *", "https://app.example"),
            ("--allow-origin null", "https://app.example"),
            ("--allow-origin https://app.example/", "write https://app.example"),
            ("--allow-origin https://App.example:443/x", "write https://app.example"),
            ("--allow-origin https://a.example,b.example", "https://app.example"),
            ("--audience=", "audience"),
            ("--audience a,,b", "audience"),
            ("--public-url gateway.example", "https://gateway.example:8443"),
            ("--public-url ws://gateway.example", "https://gateway.example:8443"),
            ("--public-url https://u:p@gateway.example", "https://gateway.example:8443"),
            ("--public-url https://gateway.example?a=b", "https://gateway.example:8443"),
            ("--public-url https://gateway.example/#a", "https://gateway.example:8443"),
            ("--header-time 0s", "refuse every call"),
            ("--admin-name admin.svc:9901", "the host name alone"),
            ("--allow-upstream 0.0.0.0/0", "100.64.0.0/10"),
            ("--allow-upstream 100.0.0.0/8", "100.64.0.0/10"),
            ("--allow-upstream 10.0.0.0/8", "100.64.0.0/10"),
            ("--allow-upstream 2002::/16", "100.64.0.0/10"),
            ("--allow-upstream pods", "not a network"),
            ("--deny-upstream pods", "not a network"),
            ("--header-time 30", "write 30s"),
            ("--keep-records 365", "write 365s"),
            ("--keep-records 2h", "write 1d or more"),
            ("--archive a", "--keep-records"),
            ("--archive s3://corp-audit/a?x --keep-records 30d", "s3://BUCKET/PREFIX"),
            ("--max-body 4X", "such as 4MB"),
            ("--listen 8080", "127.0.0.1:8080"),
            ("--standing https://127.0.0.1", "write rediss://"),
            ("--standing rediss://127.0.0.1/#insecure", "takes none"),
            ("--standing rediss://vidimus:word@127.0.0.1", "--standing-password"),
            ("--standing-password a", "--standing"),
            ("--standing rediss://127.0.0.1 --standing-cert a", "--standing-key"),
            ("--standing rediss://127.0.0.1 --standing-key a", "--standing-cert"),
            ("--webhook https://chat.example/x", "--webhook-secret"),
            ("--webhook http://chat.example/x --webhook-secret a --secrets b", "an https URL"),
            ("--webhook https://chat.example/x --webhook-secret a", "--secrets"),
            ("--webhook-secret a --secrets b", "--webhook"),
            ("--witness https://witness.example/", "write its key, a space and its address"),
            ("--witness-quorum 2", "--witness"),
            ("--standing 127.0.0.1:6379", "redis://"),
            ("--standing redis://a:b@", "redis://"),
            ("--log verbose", "is not a level"),
            ("--log info,gateway", "'gateway' is not a level"),
            ("--log vidimus_gateway=verbose", "write error, warn"),
            ("--service-account-issuer kubernetes", "https://kubernetes.default.svc"),
            ("--service-account-issuer http://10.0.0.1", "plain http"),
            ("--deny-upstream 10.0.0.1", "10.0.0.1/32"),
            ("--deny-upstream fd00::1", "fd00::1/128"),
            ("--deny-upstream 10.0.0.0/33", "is not a network"),
        ] {
            let error = parsed(flags).map(drop).unwrap_err();
            assert!(error.contains(says), "{flags}: {error}");
        }
    }

    /// Attack: a secret in an address that has something else wrong, read from the log of a start that failed.
    #[test]
    fn what_may_be_secret_is_not_shown_where_it_is_wrong() {
        for flags in [
            "--sink otlp+https://collector/hunter2?bad=1",
            "--sink otlp+https://u:hunter2@collector",
            "--webhook https://u:p@chat.example/hunter2 --webhook-secret a --secrets b",
            "--webhook http://chat.example/hunter2 --webhook-secret a --secrets b",
            "--standing rediss://:hunter2@127.0.0.1",
            "--standing https://:hunter2@127.0.0.1",
            "--standing redis://:hunter2@",
            "--otlp-endpoint http://u:hunter2@collector/v1/traces",
            "--archive s3://id:hunter2@corp-audit/vidimus --keep-records 30d",
        ] {
            let error = parsed(flags).map(drop).unwrap_err();
            let flag = flags.split(' ').next().unwrap();
            assert!(error.contains(flag) && !error.contains("hunter2"), "{flags}: {error}");
        }
    }

    #[test]
    fn what_works_is_taken_as_it_is_written() {
        let flags = "--tls-listen 127.0.0.1:8443 --tls-cert a --tls-key b --trust-bundle corp.example=a \
            --otlp-endpoint http://collector:4318/v1/traces --audience a,b --public-url https://gateway.example/base/ \
            --allow-origin https://app.example,http://localhost:3000,chrome-extension://abcdef \
            --listen localhost:8080 --admin localhost:9901 --max-body 4MB --body-time 1m30s --deny-upstream 10.0.0.0/8,fd00::/8 \
            --allow-upstream 100.64.0.0/10,198.18.0.0/16 \
            --standing rediss://vidimus@127.0.0.1:6379/1 --standing-password a --standing-ca b \
            --standing-cert c --standing-key d --archive s3://corp-audit/vidimus --keep-records 30d \
            --log warn,vidimus_gateway=debug --service-account-issuer http://127.0.0.1:1";
        let serve = parsed(flags).unwrap();
        assert_eq!(
            serve.allow_origin,
            ["https://app.example", "http://localhost:3000", "chrome-extension://abcdef"]
        );
        assert_eq!(serve.public_url.as_deref(), Some("https://gateway.example/base/"));
        assert_eq!(serve.audience, ["a", "b"]);
        let archive = serve.archive.as_ref().map(ToString::to_string);
        assert_eq!(archive.as_deref(), Some("s3://corp-audit/vidimus"));
        assert_eq!(
            (serve.max_body, serve.body_time.as_secs(), serve.deny_upstream.len()),
            (4_000_000, 90, 2)
        );
        assert_eq!(serve.listen.to_string(), "127.0.0.1:8080");
    }

    fn parsed(flags: &str) -> Result<Serve, String> {
        let line = ["serve", "--resources", "r", "--data", "d"].into_iter().chain(flags.split_whitespace());
        // As it is shown: the reason and the cause.
        Line::try_parse_from(line).map(|line| line.serve).map_err(|error| error.to_string())
    }

    /// The client of a cluster writes a line of each request that fails: 87 of 98 in a minute without an API server.
    #[test]
    fn what_the_client_of_a_cluster_would_log_is_asked_for_by_name() {
        let shown = |text: &str| super::filter(text).expect("a filter").to_string();
        for text in ["info", "warn,vidimus_gateway=debug", "off"] {
            assert!(shown(text).contains("kube_client=off"), "{text}: {}", shown(text));
        }
        assert!(!shown("info,kube_client=debug").contains("off"));
    }
}
