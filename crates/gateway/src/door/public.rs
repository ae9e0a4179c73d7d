//! Documents that anybody may read: the keys that verify minted tokens, and where to get a token for a route.

use http::{Method, Response};
use serde_json::json;
use vidimus_core::refusal::{Code, Refusal};

use crate::gate::Gate;
use crate::reply::{self, ReplyBody, Shape};
use crate::route::Route;

const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource";

pub(super) fn document(gate: &Gate, method: &Method, path: &str) -> Response<ReplyBody> {
    let refuse = |refusal: &Refusal| reply::refused(&Shape::Plain, refusal, "", None);
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
            Some(route) if route.is_empty() || Route::parse(route).is_some() => {
                protected_resource(gate, route)
            }
            _ => refuse(&Refusal::new(Code::RouteUnknown, "no such document")),
        },
    }
}

/// RFC 9728. Says the same of every route, registered or not: what exists is not public.
fn protected_resource(gate: &Gate, route: &str) -> Response<ReplyBody> {
    let world = gate.snapshot();
    let mut issuers: Vec<&str> = world.issuers().filter(|issuer| issuer.starts_with("http")).collect();
    issuers.sort_unstable();
    issuers.dedup();
    reply::document(
        json!({
            "resource": format!("{}{route}", gate.public_url),
            "authorization_servers": issuers,
            "bearer_methods_supported": ["header"],
            "resource_name": "Vidimus",
        })
        .to_string(),
    )
}
