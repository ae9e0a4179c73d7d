//! Who calls, for whom, and through whom. Nothing downstream of this looks at a raw token.

mod instance;

use std::sync::Arc;

use crate::entity::EntityId;
use crate::resource::Principal;

pub use instance::{Instance, InstanceKind};

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub i64);

/// The person a workload acts for. Verified; never taken from a request body.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User {
    /// Who vouches for the subject: the `iss` of the token.
    pub issuer: Arc<str>,
    /// Who it is, unique at the issuer: the `sub` of the token.
    pub subject: Arc<str>,
    /// Where the token names one.
    pub email: Option<Arc<str>>,
    /// The groups that the issuer says it is in (`groups` of the token), sorted. Cedar: `in UserGroup::"issuer#group"`.
    pub groups: Arc<[Arc<str>]>,
}

impl User {
    /// `issuer#subject`, the Cedar id of the user and its text in records.
    pub fn id(&self) -> String {
        format!("{}#{}", self.issuer, self.subject)
    }

    /// The user of such an id, of whom no more is known; `None` where it is none. An issuer has no fragment (OpenID Connect Core,
    /// section 2, `iss`), and a subject may have any character.
    pub fn of_id(id: &str) -> Option<Self> {
        let (issuer, subject) = id.split_once('#')?;
        Some(Self { issuer: issuer.into(), subject: subject.into(), email: None, groups: Arc::default() })
    }

    /// `issuer#group`, the Cedar id of one of its groups: two issuers' groups of one name are two.
    pub fn group_id(&self, group: &str) -> String {
        format!("{}#{group}", self.issuer)
    }
}

/// How a call came here: everybody who acted before the present caller, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The transaction id (`txn`), the same for every hop of the chain.
    pub transaction: Arc<str>,
    /// When the first hop was made.
    pub started: UnixMillis,
    /// Principals that acted before the caller, oldest first. Empty on a first hop.
    pub actors: Vec<EntityId>,
}

/// The deepest hop there is: 1 is a call that nobody delegated. The token of a hop names every actor of its chain, each inside the
/// one after it (RFC 8693 section 4.1), so without a limit it would outgrow the headers that carry it.
pub const MAX_DEPTH: usize = 16;

impl Chain {
    /// What the transaction of a chain begins with that began with the token of an issuer other than the gateway.
    pub const ELSEWHERE: &'static str = "ext-";

    /// Whether it began with the token of another issuer: of these it is not known how long they live.
    pub fn began_elsewhere(&self) -> bool {
        self.transaction.starts_with(Self::ELSEWHERE)
    }

    /// Who began it: the first who acted, and of a first hop the `caller` itself.
    pub fn began_by<'a>(&'a self, caller: &'a EntityId) -> &'a EntityId {
        self.actors.first().unwrap_or(caller)
    }

    /// The number of this hop: 1 for a call that nobody delegated.
    pub fn depth(&self) -> i64 {
        i64::try_from(self.actors.len()).unwrap_or(i64::MAX).saturating_add(1)
    }
}

/// What a verified credential proves. Shared between calls that present the same credential.
#[derive(Clone, Debug)]
pub struct Proven {
    /// Who calls.
    pub principal: Principal,
    /// Which of the principal's identities was used, e.g. `oidc:https://login.example#6f0c`, `spiffe://…`, `hop:Agent/a/b`.
    pub identity: Arc<str>,
    /// Which copy of the principal it is; `None` where the credential names none.
    pub instance: Option<Arc<Instance>>,
    /// The person on whose behalf, where the credential names one.
    pub user: Option<User>,
    /// The chain that the credential continues; `None` starts a new one.
    pub delegated: Option<Chain>,
    /// When the credential stops proving anything: the `exp` of a token, the end of a certificate. `None` where it names no end.
    pub expires: Option<UnixMillis>,
}

/// Who is calling, on one call.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What the credential proves.
    pub proven: Arc<Proven>,
    /// The chain of this call: the delegated one, or one with a new transaction.
    pub chain: Arc<Chain>,
}
