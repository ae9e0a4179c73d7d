//! An issuer of tokens: compared with `iss` byte for byte, so it is kept as it is written.

use schemars::{Schema, SchemaGenerator};
use url::{Host, Url};

use super::{text_with_rules, web_url};
use crate::resource::problem::Fault;

/// The issuer that is built in for development.
pub const BUILT_IN: &str = "urn:vidimus:local";

const LONGEST: u32 = 2048;
const FIX: &str = "write the issuer exactly as it stands in its tokens (iss): https://…";

pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
    let mut rules: Vec<(String, &str)> = web_url::CALLED
        .iter()
        .map(|(rule, message)| (format!("self == '{BUILT_IN}' || ({rule})"), *message))
        .collect();
    rules.push((
        format!(
            "self == '{BUILT_IN}' || self.startsWith('https://') || \
             self.matches(r'^http://(localhost|127\\.[0-9.]+|\\[::1\\])(:[0-9]+)?(/|$)')"
        ),
        "an issuer is https, or http on loopback",
    ));
    rules.push(("!self.contains('?')".to_owned(), "an issuer has no query"));
    let rules: Vec<_> = rules.iter().map(|(rule, message)| (rule.as_str(), *message)).collect();
    text_with_rules(1, LONGEST, &rules)
}

/// OpenID Connect Discovery 1.0, section 3: https, no query, no fragment. Plain http only where nobody else listens.
pub(crate) fn check(text: &str) -> Result<(), Fault> {
    if text == BUILT_IN {
        return Ok(());
    }
    if text.to_ascii_lowercase().starts_with("urn:") {
        return Err(Fault::new(
            "the only issuer that is not a URL is the built-in one",
            format!("write {BUILT_IN}, or an https URL"),
        ));
    }
    let url = web_url::check(text).map_err(|fault| Fault { fix: FIX.to_owned(), ..fault })?;
    if url.query().is_some() {
        return Err(Fault::new("an issuer has no query (OpenID Connect Discovery, section 3)", FIX));
    }
    if url.scheme() != "https" && !is_loopback(&url) {
        return Err(Fault::new(
            "keys fetched over plain http can be replaced on the way",
            "write https://; http is for loopback only",
        ));
    }
    Ok(())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
