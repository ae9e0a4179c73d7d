//! By what an agent or a service is registered, in short marks: so that a hop's token is good only for whom the name still stands.

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use vidimus_core::resource::Identity;

/// Bytes of a digest that make a mark: enough that nobody registers an identity with the mark of another.
const LENGTH: usize = 12;

/// A mark for each identity. It says nothing of the identity to whom does not know it.
pub(crate) fn marks(identities: &[Identity]) -> impl Iterator<Item = String> {
    identities.iter().map(mark)
}

fn mark(identity: &Identity) -> String {
    let parts: Vec<&str> = match identity {
        Identity::Spiffe(id) => vec!["spiffe", id],
        Identity::Oidc { issuer, subject, claims } => {
            let claims = claims.iter().flat_map(|(name, value)| [name.as_str(), value]);
            ["oidc", issuer, subject].into_iter().chain(claims).collect()
        }
        Identity::ServiceAccount { namespace, name } => vec!["account", namespace, name],
    };
    let mut context = Context::new(&SHA256);
    for part in parts {
        // The length keeps the parts apart.
        context.update(&part.len().to_le_bytes());
        context.update(part.as_bytes());
    }
    URL_SAFE_NO_PAD.encode(context.finish().as_ref().get(..LENGTH).unwrap_or_default())
}
