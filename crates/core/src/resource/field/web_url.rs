//! A URL that the gateway calls.

use std::net::IpAddr;

use schemars::{Schema, SchemaGenerator};
use url::{Host, Url};

use super::special_purpose::{may_be_allowed, why_not_called};
use super::text_with_rules;
use crate::resource::problem::Fault;

const LONGEST: u32 = 2048;
/// What to write in place of what is no such URL.
const FIX: &str = "write http:// or https://, a host, and a path, as in http://ledger-mcp.finance:9000/mcp";
/// The same of a server of gRPC, which has no path.
const FIX_GRPC: &str =
    "write http:// (HTTP/2 without TLS) or https://, a host, and a port, as in http://invoices.finance:50051";

/// The CEL rules of any URL that is called: `self` is the text. Kubernetes cannot estimate what a rule on a part of a URL
/// costs, and then refuses it: hence expressions on the whole. An address in disguise (`http://2852039166`) and port 0 pass here;
/// the status of the object says the rest.
pub(super) const CALLED: [(&str, &str); 4] = [
    (
        "isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != ''",
        "must be an http or https URL",
    ),
    (
        "!self.contains('#') && !self.matches('^[A-Za-z]+:[/][/][^/?#]*@')",
        "must not carry user info or a fragment",
    ),
    (
        r"!self.matches(r'^(?i)https?://((169[.]254|(0|22[4-9]|23[0-9])[.][0-9]+)[.][0-9]+[.][0-9]+([:/?]|$)|\[(fe[89ab][0-9a-f]:|ff[0-9a-f]{2}:|::\]))')",
        "must not be a link-local, unspecified or multicast address",
    ),
    (
        r"!self.matches(r'^(?i)https?://(metadata([.]google[.]internal)?|instance-data([.]ec2[.]internal)?|100[.]100[.]100[.]200|168[.]63[.]129[.]16|192[.]0[.]0[.]192|\[fd00:ec2::254\])[.]?([:/?]|$)')",
        "must not be the metadata service of a cloud",
    ),
];

pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    text_with_rules(1, LONGEST, &CALLED)
}

/// A URL that somebody is asked to call on a caller's word, held to what a registered one is held to.
///
/// # Errors
/// What is wrong with it, in words that may be shown.
pub fn check_given(text: &str) -> Result<Url, String> {
    check(text).map_err(|fault| fault.reason)
}

/// The URL of a gRPC server: the paths of its methods are their own.
pub(crate) fn check_grpc(text: &str) -> Result<Url, Fault> {
    let url = check(text).map_err(|fault| {
        let fix = if fault.fix == FIX { FIX_GRPC.to_owned() } else { fault.fix };
        Fault { reason: fault.reason, fix }
    })?;
    if url.path() != "/" || url.query().is_some() {
        return Err(Fault::new("has a path or a query, which gRPC has no place for", "leave both out"));
    }
    Ok(url)
}

pub(crate) fn check(text: &str) -> Result<Url, Fault> {
    let url = Url::parse(text).map_err(|error| Fault::new(format!("not a URL: {error}"), FIX))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Fault::new(format!("the scheme {} cannot be called", url.scheme()), FIX));
    }
    // The URL library reads `https:host`, tabs and backslashes as browsers do; others do not, so they are refused.
    if !text.to_ascii_lowercase().starts_with(&format!("{}://", url.scheme()))
        || text.contains('\\')
        || text.chars().any(|c| c.is_control() || c == ' ')
    {
        return Err(Fault::new("the URL can be read in two ways", FIX));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Fault::new(
            "the URL carries user info",
            "remove it; an MCP server or agent gets a per-hop token, a provider a credential",
        ));
    }
    if url.fragment().is_some() {
        return Err(Fault::new(
            "the URL carries a fragment, which is never sent",
            "remove the part from # on",
        ));
    }
    if url.port() == Some(0) {
        return Err(Fault::new("nothing listens on port 0", "write the port of the server, or none"));
    }
    check_host(&url)?;
    Ok(url)
}

fn check_host(url: &Url) -> Result<(), Fault> {
    let why = match url.host() {
        Some(Host::Ipv4(address)) => why_not_called(IpAddr::V4(address), &[]),
        Some(Host::Ipv6(address)) => why_not_called(IpAddr::V6(address), &[]),
        Some(Host::Domain(name)) => {
            is_metadata_name(name).then_some("it names the metadata service of a cloud")
        }
        None => Some("it has no host"),
    };
    let Some(why) = why else { return Ok(()) };
    let address = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        Some(Host::Domain(_)) | None => None,
    };
    // Which addresses a gateway allows is said where it is started, not in records.
    let allowed =
        address.map(|address| address.to_canonical()).filter(|address| may_be_allowed(&(*address).into()));
    let fix = match allowed {
        Some(address) => format!(
            "write a name that resolves to {address} (DNS, or /etc/hosts where the gateway runs), and start the gateway with \
             --allow-upstream {address}: an installation may allow this address, a record alone may not"
        ),
        None => "write the host of the server itself".to_owned(),
    };
    Err(Fault::new(format!("the address must not be called: {why}"), fix))
}

fn is_metadata_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    ["metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record alone allows no special address; where an installation may, the fix says how.
    #[test]
    fn an_address_that_may_be_allowed_is_told_from_one_that_may_not() {
        for (url, fix) in [
            ("http://100.64.0.7:8080/mcp", "--allow-upstream 100.64.0.7"),
            ("http://[::ffff:100.64.0.7]/mcp", "--allow-upstream 100.64.0.7"),
            ("http://100.100.100.200/", "--allow-upstream 100.100.100.200"),
            ("http://0.0.0.0/", "write the host of the server itself"),
            ("http://metadata.google.internal/", "write the host of the server itself"),
        ] {
            let fault = check(url).expect_err(url);
            assert!(fault.fix.contains(fix), "{url}: {fault:?}");
        }
        for url in ["http://10.0.0.1/", "http://127.0.0.1:1/", "https://mcp.example/a?b=c"] {
            assert!(check(url).is_ok(), "{url}");
        }
    }
}
