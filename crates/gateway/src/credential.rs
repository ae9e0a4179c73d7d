//! How the one credential of a hop is applied: one step over the finished request, whatever form it takes (a header now; a query
//! parameter or a signature over the request is the same step).

pub(crate) mod aws;

use http::HeaderValue;
use http::header::AUTHORIZATION;
use vidimus_core::call::Destination;
use vidimus_core::permit::Permit;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::llm_provider::ProviderType;

use crate::forward::Outbound;
use crate::gate::{Gate, Shared, millis};

/// Gives a request the credential for its destination, and returns the id of the token if one was minted. A server or an agent of
/// the estate gets a token for exactly this call; a provider, and a server or an API that has one, gets the key that the gateway holds.
///
/// # Errors
/// `credential_unavailable` when a provider's key cannot be read, `internal` when no token can be signed.
pub fn apply(gate: &Gate, outbound: &mut Outbound) -> Result<Option<String>, Refusal> {
    let endpoint = outbound.permit().endpoint()?;
    if endpoint.job.is_some() || endpoint.agent.is_some() || endpoint.is_of_members() {
        // What runs for a call has no credential, and needs none: it is nobody's server. A message to an agent, and each member, gets one of its own.
        return Ok(None);
    }
    let now = gate.clock.now();
    if let Some((name, value)) = gate.provider_credentials.header(outbound.permit(), now.monotonic)? {
        let destination = outbound.permit().destination().clone();
        match &destination {
            Destination::Provider(provider) if provider.provider == ProviderType::Bedrock => {
                aws::strip(outbound.headers_mut());
                let (method, uri) = outbound.address();
                let request = aws::Signed { method, uri, headers: outbound.headers(), body: outbound.body() };
                let added = aws::headers(provider, &value, &request, now.wall)?;
                outbound.headers_mut().extend(added);
            }
            _ => {
                outbound.headers_mut().insert(name, value);
            }
        }
        outbound.bridged(&gate.shared);
        return Ok(None);
    }
    match outbound.permit().destination() {
        Destination::Provider(_) => Ok(None),
        // A server or an API of which the record says that it needs no key is somebody else's, who gets no token of ours.
        Destination::Server(server) if server.endpoint.key.is_some() => {
            outbound.bridged(&gate.shared);
            Ok(None)
        }
        Destination::Server(_) | Destination::Agent(_) => {
            outbound.bridged(&gate.shared);
            let (jti, value) = minted(&gate.shared, outbound.permit())?;
            outbound.headers_mut().insert(AUTHORIZATION, value);
            Ok(Some(jti))
        }
    }
}

/// A token for the hop of a call: its id, and the header that carries it.
///
/// # Errors
/// `internal` when none can be signed.
pub fn minted(shared: &Shared, permit: &Permit) -> Result<(String, HeaderValue), Refusal> {
    let token = shared.mint.mint(permit, millis(shared.clock.now().wall), shared.limits.token_life);
    let token = token.map_err(|error| {
        let message = "no credential could be minted for this hop";
        Refusal::new(Code::Internal, message).with_detail(error)
    })?;
    Ok((token.jti, token.header_value))
}
