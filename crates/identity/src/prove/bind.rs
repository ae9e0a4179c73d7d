//! From what was verified to whom it proves: exactly one registered principal, and the user it acts for.
//!
//! The rules, in one place (I2, I3, I4):
//! - an SVID alone is its workload; a token alone is the principal that its (issuer, subject) is registered on;
//! - an SVID with a person's token is the workload acting for the person, where the workload's record lists the issuer;
//! - a token with `act` is the actor acting for the subject, under the same condition;
//! - a per-hop token is the principal it was minted for, continuing the chain, and its user under that same condition;
//! - which copy of it calls is said by the cluster's issuer of its pods, and by the certificate of an SVID;
//! - a JWT-SVID is its workload, as an X.509-SVID is; beside one it must be of the same workload;
//! - two credentials that each name a principal are ambiguous, and a person's token alone is nobody;
//! - a chain goes on only while everybody who acted in it may still act;
//! - what is proven ends when the first credential that was needed to prove it ends.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use vidimus_core::caller::{Chain, Instance, Proven, UnixMillis, User};
use vidimus_core::entity::EntityKind;
use vidimus_core::refusal::{self, Code, Refusal};
use vidimus_core::resource::{Identity, Kind, Principal};
use vidimus_core::snapshot::{Claim, Snapshot};

use super::claims::{Actor, Claims, HopClaims};
use super::token::shown;
use super::verified::Verified;
use crate::registration;
use crate::spiffe::{PeerSvid, SpiffeId};
use crate::tls::TrustStore;

/// Prefix of the subject of a Kubernetes ServiceAccount token.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// What binding looks at besides the credential.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registry<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) service_account_issuer: Option<&'a str>,
}

/// Whom the evidence proves, without when that ends.
struct Bound {
    principal: Principal,
    identity: Arc<str>,
    instance: Option<Arc<Instance>>,
    user: Option<User>,
    delegated: Option<Chain>,
}

impl Registry<'_> {
    /// Whom the evidence proves. A refusal says what it proved all the same.
    pub(crate) fn bind(&self, bearer: Option<&Verified>, peer: Option<&PeerSvid>) -> Result<Proven, Refusal> {
        let bound = self.principal_of(bearer, peer).and_then(|bound| {
            // A cached credential is bound again for each configuration, so this is looked at once for each.
            bound.delegated.as_ref().map_or(Ok(()), |chain| self.snapshot.check_chain(chain))?;
            Ok(bound)
        });
        let bound = bound.map_err(|refusal| match named(bearer, peer) {
            Some(named) => refusal.of(named),
            None => refusal,
        })?;
        let Bound { principal, identity, instance, user, delegated } = bound;
        Ok(Proven { principal, identity, instance, user, delegated, expires: end(bearer, peer) })
    }

    fn principal_of(&self, bearer: Option<&Verified>, peer: Option<&PeerSvid>) -> Result<Bound, Refusal> {
        match (bearer, peer) {
            (None, None) => Err(Refusal::new(Code::CredentialMissing, "no credential was presented")),
            (None, Some(peer)) => Ok(workload(self.peer(peer)?, &peer.spiffe_id, Some(peer))),
            (Some(Verified::Hop { hop, .. }), peer) => self.hop(hop, peer),
            (Some(Verified::Svid { id, .. }), peer) => self.jwt_svid(id, peer),
            (Some(Verified::Issued { claims, .. }), None) => self.bearer_alone(claims),
            (Some(Verified::Issued { claims, .. }), Some(peer)) => self.workload_and_user(claims, peer),
        }
    }

    /// One workload's two forms of SVID prove what each proves alone.
    fn jwt_svid(&self, id: &SpiffeId, peer: Option<&PeerSvid>) -> Result<Bound, Refusal> {
        if peer.is_some_and(|peer| peer.spiffe_id != *id) {
            let message = "the JWT-SVID is of another workload than the X.509-SVID";
            return Err(Refusal::new(Code::CredentialAmbiguous, message));
        }
        Ok(workload(self.registered_svid(id)?, id, peer))
    }

    fn peer(&self, peer: &PeerSvid) -> Result<&Principal, Refusal> {
        self.registered_svid(&peer.spiffe_id)
    }

    fn registered_svid(&self, id: &SpiffeId) -> Result<&Principal, Refusal> {
        let id = id.as_str();
        self.snapshot.principal_by_spiffe(id).ok_or_else(|| match self.snapshot.claims_on_spiffe(id) {
            [] => {
                Refusal::new(Code::PrincipalUnknown, format!("no principal is registered with {}", shown(id)))
            }
            claims => Snapshot::contested(&shown(id), claims),
        })
    }

    /// The caller is whom the token was minted for. With an SVID, it must be the same.
    fn hop(&self, hop: &HopClaims, peer: Option<&PeerSvid>) -> Result<Bound, Refusal> {
        let key = &*hop.destination.id;
        let (principal, kind) = match hop.destination.kind {
            EntityKind::Agent => (self.snapshot.agent(key).cloned().map(Principal::Agent), Kind::Agent),
            EntityKind::Service => {
                (self.snapshot.service(key).cloned().map(Principal::Service), Kind::ServiceIdentity)
            }
            _ => return Err(not_for_caller(hop)),
        };
        let principal = principal.ok_or_else(|| self.snapshot.absent(kind, key, Code::PrincipalUnknown))?;
        // What bears the name now may be somebody else: it is the one only while it has all that it had.
        let present: Vec<String> = registration::marks(principal.identities()).collect();
        if hop.registered.iter().any(|mark| !present.iter().any(|now| **now == **mark)) {
            let message =
                format!("an identity of {} was taken back since this token was minted", hop.destination);
            return Err(Refusal::new(Code::TokenDestination, message));
        }
        if let Some(user) = &hop.user {
            may_act_for(&principal, &user.issuer)?;
        }
        let identity = match peer {
            Some(peer) if self.peer(peer)?.entity() != principal.entity() => return Err(not_for_caller(hop)),
            Some(peer) => Arc::from(peer.spiffe_id.as_str()),
            None => Arc::from(format!("hop:{}", hop.destination)),
        };
        let (user, delegated) = (hop.user.clone(), Some(hop.chain.clone()));
        Ok(Bound { principal, identity, instance: certificate(peer), user, delegated })
    }

    fn bearer_alone(&self, claims: &Claims) -> Result<Bound, Refusal> {
        if !claims.actors.is_empty() {
            return self.actor_for_subject(claims);
        }
        let (issuer, subject) = (&*claims.issuer, &*claims.subject);
        let principal = self.principal(issuer, subject, claims)?.ok_or_else(|| nobody(issuer, subject))?;
        Ok(Bound {
            principal: principal.clone(),
            identity: oidc(issuer, subject),
            instance: self.pod(claims)?,
            user: None,
            delegated: None,
        })
    }

    /// RFC 8693 section 4.1: `act` is who acts, the subject is for whom.
    fn actor_for_subject(&self, claims: &Claims) -> Result<Bound, Refusal> {
        let mut named = Vec::with_capacity(claims.actors.len());
        for actor in &claims.actors {
            named.push(self.actor(actor, claims)?);
        }
        let Some(((principal, identity), prior)) = named.split_first() else {
            return Err(Refusal::new(Code::Internal, "an actor was expected"));
        };
        let user = self.user(claims, principal)?;
        // Every prior actor counts as a hop, or a chain could be made to look shorter than it is.
        let delegated = (!prior.is_empty()).then(|| Chain {
            transaction: transaction(claims),
            started: claims.issued.unwrap_or_default(),
            actors: prior.iter().rev().map(|(principal, _)| principal.id()).collect(),
        });
        let (principal, identity) = ((*principal).clone(), identity.clone());
        Ok(Bound { principal, identity, instance: None, user: Some(user), delegated })
    }

    /// An issuer can speak for its own subjects only, so an actor of another issuer is not believed.
    fn actor(&self, actor: &Actor, claims: &Claims) -> Result<(&Principal, Arc<str>), Refusal> {
        if !actor.of(&claims.issuer) {
            let message = "an actor ('act') of the token belongs to another issuer than the token";
            return Err(Refusal::new(Code::PrincipalUnknown, message));
        }
        let principal = self.principal(&claims.issuer, &actor.subject, claims)?;
        let principal = principal.ok_or_else(|| nobody(&claims.issuer, &actor.subject))?;
        Ok((principal, oidc(&claims.issuer, &actor.subject)))
    }

    /// The SVID is the workload; the token can only add the user.
    fn workload_and_user(&self, claims: &Claims, peer: &PeerSvid) -> Result<Bound, Refusal> {
        let principal = self.peer(peer)?;
        if claims.actors.is_empty() {
            let user = self.user(claims, principal)?;
            return Ok(Bound { user: Some(user), ..workload(principal, &peer.spiffe_id, Some(peer)) });
        }
        let acting = self.actor_for_subject(claims)?;
        if acting.principal.entity() != principal.entity() {
            let message = "the actor in the token is another principal than the SVID";
            return Err(Refusal::new(Code::CredentialAmbiguous, message));
        }
        let identity = Arc::from(peer.spiffe_id.as_str());
        Ok(Bound { identity, instance: certificate(Some(peer)), ..acting })
    }

    /// The token's subject as the person that `principal` acts for.
    fn user(&self, claims: &Claims, principal: &Principal) -> Result<User, Refusal> {
        if self.registered(&claims.issuer, &claims.subject)?.is_some() {
            let message = "the token's subject is itself a registered principal; present one identity only";
            return Err(Refusal::new(Code::CredentialAmbiguous, message));
        }
        may_act_for(principal, &claims.issuer)?;
        Ok(User {
            issuer: claims.issuer.clone(),
            subject: claims.subject.clone(),
            email: claims.email.clone(),
            groups: claims.groups_of_person()?,
        })
    }

    /// The principal registered with (issuer, subject) whose configured claims, if any, the token has exactly.
    fn principal(&self, issuer: &str, subject: &str, claims: &Claims) -> Result<Option<&Principal>, Refusal> {
        let Some(principal) = self.registered(issuer, subject)? else { return Ok(None) };
        let fits = principal.identities().iter().any(|identity| match identity {
            Identity::Oidc { issuer: i, subject: s, claims: wanted } => {
                **i == *issuer
                    && **s == *subject
                    && wanted.iter().all(|(name, value)| claims.has(name, value))
            }
            Identity::ServiceAccount { namespace, name } => {
                self.service_account(issuer, subject) == Some((&**namespace, &**name))
            }
            Identity::Spiffe(_) => false,
        });
        if fits {
            return Ok(Some(principal));
        }
        let message =
            format!("the token lacks a claim that the registration of {} asks for", principal.entity());
        Err(Refusal::new(Code::PrincipalUnknown, message))
    }

    /// The one principal that (issuer, subject) names, as OIDC subject or as ServiceAccount.
    fn registered(&self, issuer: &str, subject: &str) -> Result<Option<&Principal>, Refusal> {
        let by_subject = self.snapshot.principal_by_oidc(issuer, subject);
        let by_account = self
            .service_account(issuer, subject)
            .and_then(|(namespace, name)| self.snapshot.principal_by_service_account(namespace, name));
        match (by_subject, by_account) {
            (Some(one), Some(other)) if one.entity() != other.entity() => Err(Refusal::new(
                Code::CredentialAmbiguous,
                format!(
                    "the token names {} by subject and {} by ServiceAccount",
                    one.entity(),
                    other.entity()
                ),
            )),
            // What is contested is not somebody else's either: its token is no person's.
            (one, other) => match self.claims(issuer, subject) {
                [] => Ok(one.or(other)),
                claims => Err(Snapshot::contested(&shown(&oidc(issuer, subject)), claims)),
            },
        }
    }

    /// Who claims the subject, or the ServiceAccount, that (issuer, subject) names, where it is contested.
    fn claims(&self, issuer: &str, subject: &str) -> &[Claim] {
        match (self.snapshot.claims_on_oidc(issuer, subject), self.service_account(issuer, subject)) {
            ([], Some((namespace, name))) => self.snapshot.claims_on_service_account(namespace, name),
            (claims, _) => claims,
        }
    }

    /// The pod that a token is bound to. Of no issuer but the cluster's own is it believed.
    fn pod(&self, claims: &Claims) -> Result<Option<Arc<Instance>>, Refusal> {
        let account = self.service_account(&claims.issuer, &claims.subject);
        let Some(((namespace, name), said)) = account.zip(claims.kubernetes.as_ref()) else {
            return Ok(None);
        };
        said.pod(namespace, name)
    }

    pub(super) fn service_account<'t>(&self, issuer: &str, subject: &'t str) -> Option<(&'t str, &'t str)> {
        (self.service_account_issuer == Some(issuer)).then_some(())?;
        let (namespace, name) = subject.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
        (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
    }
}

/// The rule of `actsFor`, whichever credential names the person.
fn may_act_for(principal: &Principal, issuer: &str) -> Result<(), Refusal> {
    if principal.may_act_for(issuer) {
        return Ok(());
    }
    let message = format!("{} may not act for people of {}", principal.entity(), shown(issuer));
    Err(Refusal::new(Code::UserNotAllowed, message))
}

/// What verified credentials name, whether or not anybody is registered with it: the workload, and the person where the token
/// can only be one's.
fn named(bearer: Option<&Verified>, peer: Option<&PeerSvid>) -> Option<refusal::Verified> {
    let workload = peer.map(|peer| Arc::from(peer.spiffe_id.as_str()));
    let instance = certificate(peer);
    let Some(verified) = bearer else {
        return Some(refusal::Verified { identity: workload?, instance, user: None });
    };
    Some(match verified {
        Verified::Hop { hop, .. } => refusal::Verified {
            identity: workload.unwrap_or_else(|| format!("hop:{}", hop.destination).into()),
            instance,
            user: hop.user.as_ref().map(|user| user.id().into()),
        },
        Verified::Svid { id, .. } => {
            let identity = workload.unwrap_or_else(|| id.as_str().into());
            refusal::Verified { identity, instance, user: None }
        }
        Verified::Issued { claims, .. } => {
            let person = format!("{}#{}", claims.issuer, claims.subject);
            let actor = claims.actors.first().filter(|actor| actor.of(&claims.issuer));
            let actor = actor.map(|actor| oidc(&claims.issuer, &actor.subject));
            match workload.or(actor) {
                Some(identity) => refusal::Verified { identity, instance, user: Some(person.into()) },
                None => {
                    let identity = oidc(&claims.issuer, &claims.subject);
                    refusal::Verified { identity, instance, user: None }
                }
            }
        }
    })
}

/// When what the evidence proves ends. Where token and certificate were both used, neither alone proves it, so it ends with the
/// first of them.
fn end(bearer: Option<&Verified>, peer: Option<&PeerSvid>) -> Option<UnixMillis> {
    let token = bearer.map(|verified| verified.times().expires);
    token.into_iter().chain(peer.map(|peer| peer.not_after)).min()
}

fn workload(principal: &Principal, id: &SpiffeId, peer: Option<&PeerSvid>) -> Bound {
    let (principal, identity) = (principal.clone(), Arc::from(id.as_str()));
    Bound { principal, identity, instance: certificate(peer), user: None, delegated: None }
}

/// The copy that a certificate names. A JWT-SVID names none.
fn certificate(peer: Option<&PeerSvid>) -> Option<Arc<Instance>> {
    peer.map(|peer| peer.instance.clone())
}

fn oidc(issuer: &str, subject: &str) -> Arc<str> {
    format!("oidc:{issuer}#{subject}").into()
}

/// The transaction of a chain that began elsewhere. A foreign `txn` could name a transaction of ours, so the id is derived from
/// what the issuer vouches for: the same for every presentation of the token.
fn transaction(claims: &Claims) -> Arc<str> {
    let issued = claims.issued.unwrap_or_default();
    let actors: Vec<&str> = claims.actors.iter().map(|actor| actor.subject.as_str()).collect();
    let text = format!("{}\n{}\n{}\n{}", claims.issuer, claims.subject, issued.0, actors.join("\n"));
    let digest = digest(&SHA256, text.as_bytes());
    let mut id = String::from(Chain::ELSEWHERE);
    HEXLOWER.encode_append(digest.as_ref().get(..16).unwrap_or_default(), &mut id);
    id.into()
}

fn nobody(issuer: &str, subject: &str) -> Refusal {
    let message = format!(
        "no principal is registered with subject {} of {}; a person's token alone is not an agent's",
        shown(subject),
        shown(issuer)
    );
    Refusal::new(Code::PrincipalUnknown, message)
}

fn not_for_caller(hop: &HopClaims) -> Refusal {
    let message =
        format!("this token was minted for {}, and proves nothing of anybody else", hop.destination);
    Refusal::new(Code::TokenDestination, message)
}

/// A peer whose certificate has run out, or whose CA is not trusted any more, proves nothing, however long its connection lives on.
pub(crate) fn check_peer(trust: &TrustStore, peer: &PeerSvid, now: UnixMillis) -> Result<(), Refusal> {
    let refused = |message: String| Err(Refusal::new(Code::SvidInvalid, message));
    if now >= peer.not_after {
        return refused(
            "the X.509-SVID of this connection has expired; connect again with a new one".to_owned(),
        );
    }
    if !trust.vouches_for(peer, now) {
        let domain = peer.spiffe_id.trust_domain();
        return refused(format!(
            "the trust bundle of {domain} does not vouch for the X.509-SVID of this connection; connect again with a new one"
        ));
    }
    Ok(())
}
