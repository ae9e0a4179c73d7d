//! `envoy.service.auth.v3.CheckResponse`, as far as it is used. Numbers of fields are of envoyproxy/data-plane-api:
//! `envoy/service/auth/v3/external_auth.proto`, `envoy/config/core/v3/base.proto`, `envoy/type/v3/http_status.proto`.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Response};
use prost::Message;

use crate::reply::CALL_HEADER;
use crate::xds::{ALLOWED, Field, Struct, Text};

/// `PERMISSION_DENIED`: anything but 0 has Envoy answer, and send nothing.
const DENIED: i32 = 7;
/// `OVERWRITE_IF_EXISTS_OR_ADD`.
const OVERWRITE: i32 = 2;

/// What a data plane writes itself, and cannot be without.
const OF_THE_DATA_PLANE: [HeaderName; 3] = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING];

#[derive(Clone, PartialEq, Message)]
pub(super) struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<Status>,
    #[prost(message, optional, tag = "2")]
    pub(super) denied_response: Option<DeniedHttpResponse>,
    #[prost(message, optional, tag = "3")]
    pub(super) ok_response: Option<OkHttpResponse>,
    #[prost(message, optional, tag = "4")]
    pub(super) dynamic_metadata: Option<Struct>,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DeniedHttpResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<HttpStatus>,
    #[prost(message, repeated, tag = "2")]
    pub(super) headers: Vec<HeaderValueOption>,
    #[prost(string, tag = "3")]
    pub(super) body: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OkHttpResponse {
    #[prost(message, repeated, tag = "2")]
    pub(super) headers: Vec<HeaderValueOption>,
    #[prost(string, repeated, tag = "5")]
    pub(super) headers_to_remove: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    pub(super) response_headers_to_add: Vec<HeaderValueOption>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HttpStatus {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HeaderValueOption {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<HeaderValue>,
    #[prost(int32, tag = "3")]
    pub(super) append_action: i32,
    #[prost(bool, tag = "4")]
    pub(super) keep_empty_value: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HeaderValue {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// The call goes on with `headers`, and with no others of those that were `given`. Each is set anew, also where it stays: a data plane may have
/// joined several lines into the one that was decided upon, and would send them as they came.
pub(super) fn carry(call: &str, given: &HeaderMap, headers: &HeaderMap) -> CheckResponse {
    let is_removed = |name: &&HeaderName| !headers.contains_key(*name) && !OF_THE_DATA_PLANE.contains(*name);
    let ok = OkHttpResponse {
        headers: set(headers),
        headers_to_remove: given.keys().filter(is_removed).map(ToString::to_string).collect(),
        response_headers_to_add: vec![option(CALL_HEADER.as_str(), call)],
    };
    CheckResponse {
        status: Some(Status { code: 0 }),
        denied_response: None,
        ok_response: Some(ok),
        dynamic_metadata: Some(allowed()),
    }
}

/// What a data plane can hold a request against that it was not asked about here (ADR 66).
fn allowed() -> Struct {
    let (key, value) = ALLOWED;
    let value = Some(Text { string_value: value.to_owned() });
    Struct { fields: vec![Field { key: key.to_owned(), value }] }
}

/// The data plane answers this, and sends nothing on.
pub(super) fn answer(response: &Response<()>, body: String) -> CheckResponse {
    let denied = DeniedHttpResponse {
        status: Some(HttpStatus { code: response.status().as_u16().into() }),
        headers: set(response.headers()),
        body,
    };
    CheckResponse {
        status: Some(Status { code: DENIED }),
        denied_response: Some(denied),
        ok_response: None,
        dynamic_metadata: None,
    }
}

/// Each header in one line, in place of all that there are of it: Envoy takes the last of several, whatever they say of being appended (1.40).
fn set(headers: &HeaderMap) -> Vec<HeaderValueOption> {
    let names = headers.keys().filter(|name| !OF_THE_DATA_PLANE.contains(*name));
    let lines = names.map(|name| {
        let lines = headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
        // As a reader may join them (RFC 9110 section 5.3).
        option(name.as_str(), &lines.collect::<Vec<_>>().join(", "))
    });
    lines.collect()
}

fn option(key: &str, value: &str) -> HeaderValueOption {
    let header = HeaderValue { key: key.to_owned(), value: value.to_owned() };
    HeaderValueOption { header: Some(header), append_action: OVERWRITE, keep_empty_value: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for &(name, value) in lines {
            map.append(name, http::HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn what_goes_on_is_set_anew_and_the_rest_of_the_callers_is_removed() {
        let given = map(&[
            ("host", "gw"),
            ("content-length", "2"),
            ("transfer-encoding", "chunked"),
            ("authorization", "Bearer caller"),
            ("x-api-key", "caller"),
            ("cookie", "a=b"),
            ("accept", "*/*"),
        ]);
        let headers = map(&[("authorization", "Bearer hop"), ("accept", "*/*"), ("x-a", "1"), ("x-a", "2")]);
        let response = carry("call-1", &given, &headers);
        let ok = response.ok_response.expect("it goes on");
        assert_eq!(response.status, Some(Status { code: 0 }));
        assert_eq!(ok.headers_to_remove, ["x-api-key", "cookie"]);
        let set: Vec<_> = ok
            .headers
            .iter()
            .map(|one| {
                let header = one.header.as_ref().expect("a header");
                assert_eq!((one.append_action, one.keep_empty_value), (OVERWRITE, true));
                (header.key.as_str(), header.value.as_str())
            })
            .collect();
        for expected in [("authorization", "Bearer hop"), ("accept", "*/*"), ("x-a", "1, 2")] {
            assert!(set.contains(&expected), "{expected:?} in {set:?}");
        }
        assert_eq!(set.len(), 3);
        assert!(!format!("{ok:?}").contains("caller"), "nothing of the caller's credential comes back");
        assert_eq!(ok.response_headers_to_add, [option("vidimus-call", "call-1")]);
    }

    #[test]
    fn an_answer_is_never_one_that_lets_pass() {
        let response = Response::builder().status(200).header("content-type", "application/json").body(());
        let said = answer(&response.expect("a response"), "{}".to_owned());
        assert_eq!(said.status, Some(Status { code: DENIED }), "also where HTTP says 200");
        let denied = said.denied_response.expect("an answer");
        assert_eq!((denied.status, denied.body), (Some(HttpStatus { code: 200 }), "{}".to_owned()));
        assert_eq!(denied.headers, [option("content-type", "application/json")]);
        assert_eq!((said.ok_response, said.dynamic_metadata), (None, None));
    }

    /// By the published numbers of fields: what a real Envoy makes of them, `e2e/envoy` tells.
    #[test]
    fn the_bytes_are_those_of_the_published_messages() {
        let response = carry("c", &map(&[("cookie", "a")]), &map(&[("a", "b")]));
        let expected = b"\x0a\x00\x1a\x2f\x12\x0c\x0a\x06\x0a\x01a\x12\x01b\x18\x02\x20\x01\
            \x2a\x06cookie\x32\x17\x0a\x11\x0a\x0cvidimus-call\x12\x01c\x18\x02\x20\x01\
            \x22\x16\x0a\x14\x0a\x07vidimus\x12\x09\x1a\x07allowed";
        assert_eq!(response.encode_to_vec(), expected, "{:02x?}", response.encode_to_vec());
    }

    /// What `extauthz.vidimus` is in agentgateway's rules: its default deny looks at it.
    #[test]
    fn only_what_is_let_pass_says_so_where_agentgateway_looks_for_it() {
        let said = |response: &CheckResponse| {
            let read =
                crate::xds::contract::read("envoy.service.auth.v3.CheckResponse", &response.encode_to_vec());
            format!("{:?}", read.get_field_by_name("dynamic_metadata"))
        };
        let carried = said(&carry("c", &map(&[]), &map(&[])));
        assert!(carried.contains("vidimus") && carried.contains("allowed"), "{carried}");
        let refused = said(&answer(&Response::new(()), String::new()));
        assert!(!refused.contains("allowed"), "{refused}");
    }
}
