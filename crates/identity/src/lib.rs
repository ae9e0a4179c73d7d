//! Who calls, for whom, and what Vidimus issues in turn.
//!
//! [`Authenticator`] turns what a caller presents (a bearer token, an X.509-SVID, or both) into exactly one registered
//! principal, the user it acts for and the chain it continues. [`Mint`] issues the credential of the next hop.
//! [`LocalIdentity`] is the built-in CA and issuer for use without a cluster. Nothing after this crate sees a raw token.

mod issue;
mod prove;
mod registration;
mod spiffe;
mod tls;

pub use issue::files::{KeyFileError, existing_random_key, exposed, random_key, read_regular};
pub use issue::key::{Detached, SigningFailed};
pub use issue::keys::{KEY_LEAD, KEY_LIFE, KEY_LOOK};
pub use issue::local::{
    LOCAL_ISSUER, LocalError, LocalIdentity, MAX_LOCAL_TTL, OPERATOR_AUDIENCE, PersonTokenRequest, Svid,
    TokenRequest,
};
pub use issue::mint::{HopToken, MAX_HOP_TTL, Mint, MintError};
pub use issue::replica_keys::{KeyFiles, ListedKey, Rotated, SealingKeys, SharedKeys, SharedKeysError};
pub use prove::account::ServiceAccount;
pub use prove::api_server::{ApiServer, Reading};
pub use prove::detached::{NotKeys, SignerKeys};
pub use prove::people::{Operators, People};
pub use prove::pods::{LivePods, PodScope};
pub use prove::{Authenticator, Config, ConfigError, Evidence, Limits, check_roots};
pub use spiffe::{PeerSvid, SpiffeId, SpiffeIdError, SvidError, TrustDomain};
pub use tls::{
    ClientCertificates, ServerCertificate, ServerLeaf, TlsError, TrustBundle, TrustBundleError, TrustStore,
    named_client_config, named_server_config, server_config,
};
