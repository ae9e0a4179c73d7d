//! Documents that anybody may read: the keys that verify minted tokens, and where to get a token for a route.

use http::{Method, Response};
use serde_json::{Value, json};
use vidimus_core::refusal::{Code, Refusal};

use crate::gate::Gate;
use crate::reply::{self, ReplyBody};
use crate::route::Route;

const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource";

pub(super) fn document(gate: &Gate, method: &Method, path: &str) -> Response<ReplyBody> {
    let refuse = |refusal: &Refusal| {
        // Clients look for documents where some server may have them, so one that is not here is counted and no more.
        gate.meter.decided(None, Some(refusal.code));
        reply::refused(reply::plain(refusal, ""), refusal, "", None)
    };
    if *method != Method::GET {
        return refuse(&Refusal::method_not_allowed("a public document", "GET"));
    }
    match path {
        "/.well-known/jwks.json" => reply::document(gate.mint.jwks()),
        "/.well-known/openid-configuration" | "/.well-known/oauth-authorization-server" => {
            let keys = format!("{}/.well-known/jwks.json", gate.public_url);
            reply::document(
                json!({"issuer": gate.mint.issuer(), "jwks_uri": keys, "id_token_signing_alg_values_supported": ["ES256"],
                    "response_types_supported": [], "subject_types_supported": ["public"]})
                .to_string(),
            )
        }
        _ => match path.strip_prefix(RESOURCE_METADATA) {
            Some("") => protected_resource(gate, ""),
            Some(path) => match Route::parse(path) {
                Some(route) => protected_resource(gate, &route.address()),
                None => refuse(&Refusal::new(Code::RouteUnknown, "no such document")),
            },
            None => refuse(&Refusal::new(Code::RouteUnknown, "no such document")),
        },
    }
}

/// Where the RFC 9728 document of the route that a request path is on can be had. It names the route, not the path: that is what
/// a token for it has as audience.
pub(crate) fn metadata_url(public_url: &str, path: &str) -> String {
    let route = Route::parse(path).map(|route| route.address()).unwrap_or_default();
    format!("{public_url}{RESOURCE_METADATA}{route}")
}

/// RFC 9728. Says the same of every route, registered or not: what exists is not public.
fn protected_resource(gate: &Gate, route: &str) -> Response<ReplyBody> {
    let world = gate.snapshot();
    let mut issuers: Vec<&str> = world.issuers().filter(|issuer| issuer.starts_with("http")).collect();
    issuers.sort_unstable();
    issuers.dedup();
    reply::document(metadata(&format!("{}{route}", gate.public_url), &issuers).to_string())
}

/// Members without a value are left out (section 3.2).
fn metadata(resource: &str, issuers: &[&str]) -> Value {
    let mut document =
        json!({"resource": resource, "bearer_methods_supported": ["header"], "resource_name": "Vidimus"});
    if !issuers.is_empty()
        && let Some(members) = document.as_object_mut()
    {
        members.insert("authorization_servers".to_owned(), json!(issuers));
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_of_a_longer_path_is_that_of_its_route() {
        let url = |path| metadata_url("https://gw.example", path);
        let well_known = "https://gw.example/.well-known/oauth-protected-resource";
        assert_eq!(url("/llm/p/openai/v1/chat/completions"), format!("{well_known}/llm/p/openai"));
        assert_eq!(url("/a2a/f/b/.well-known/agent-card.json"), format!("{well_known}/a2a/f/b"));
        assert_eq!(url("/mcp/finance/ledger"), format!("{well_known}/mcp/finance/ledger"));
        assert_eq!(url("/nothing"), well_known);
    }

    #[test]
    fn no_issuer_is_no_member() {
        assert_eq!(metadata("https://gw/mcp/f/l", &[]).get("authorization_servers"), None);
        let issuers = ["https://login.example"];
        assert_eq!(metadata("https://gw/mcp/f/l", &issuers)["authorization_servers"], json!(issuers));
    }
}
