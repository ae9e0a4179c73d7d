//! `grpc.health.v1.Health/Check` at the door of data planes: an Envoy whose cluster has a `grpc_health_check` asks it, and takes a gateway that
//! does not answer `SERVING` out of those that it asks about calls. It is no call, and on no record
//! (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).

use prost::Message;
use vidimus_core::refusal::{Code, Refusal};

pub(super) const PATH: &str = "/grpc.health.v1.Health/Check";
/// The longest question, framed, in bytes: it is the name of a service.
pub(super) const MOST: usize = 1024;
/// Of whom it is told how it is; so is the whole, which has no name.
const SERVICE: &str = "envoy.service.auth.v3.Authorization";

#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    /// `SERVING` is 1, `NOT_SERVING` is 2.
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Answers whether calls are decided here, as `serves` has it.
///
/// # Errors
/// `message_invalid` for what is no question; `route_unknown` for a service that is not served here.
pub(super) fn answer(message: &[u8], serves: bool) -> Result<Vec<u8>, Refusal> {
    let asked = HealthCheckRequest::decode(message).map_err(|error| {
        Refusal::new(Code::MessageInvalid, "this is no grpc.health.v1.HealthCheckRequest").with_detail(error)
    })?;
    if !matches!(asked.service.as_str(), "" | SERVICE) {
        let refusal = Refusal::new(Code::RouteUnknown, "health is told of a service that is not served here");
        return Err(refusal.with_next(
            "Leave service_name of grpc_health_check out, or write envoy.service.auth.v3.Authorization.",
        ));
    }
    Ok(HealthCheckResponse { status: if serves { 1 } else { 2 } }.encode_to_vec())
}
