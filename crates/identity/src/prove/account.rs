//! Parts of an installation by their ServiceAccount tokens: a data plane that is given its configuration is no principal, and is in no record.

use std::sync::Arc;

use vidimus_core::caller::UnixMillis;
use vidimus_core::json::Json;
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::snapshot::Snapshot;

use super::Authenticator;
use super::audience::Audience;
use super::bind::Registry;
use super::claims::{Claims, name};
use super::token::{Kind, Token, parse_json, shown};

/// A ServiceAccount that the cluster's issuer vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// When the token ends that proves it.
    pub expires: UnixMillis,
}

impl Authenticator {
    /// Whose token of the cluster's issuer `bearer` is, which has to be meant for `audience` itself: a token for calls is none for this, and
    /// the other way round. Needs a Tokio runtime when the issuer's keys are fetched.
    ///
    /// # Errors
    /// `token_*`, `issuer_unreachable`, `pod_gone`, `pod_unknown`, and `principal_unknown` for a token that is of no ServiceAccount.
    pub async fn service_account(
        &self,
        snapshot: &Snapshot,
        bearer: &str,
        audience: &Arc<str>,
        now: UnixMillis,
    ) -> Result<ServiceAccount, Refusal> {
        let token = Token::parse(bearer)?;
        let payload = parse_json(&token.payload, "payload")?;
        let issuer = name(&payload, "iss")?;
        if self.service_account_issuer.as_deref() != Some(issuer) {
            let message = format!("issuer {} is not the cluster's", shown(issuer));
            return Err(Refusal::new(Code::TokenIssuer, message).with_next(
                "Present a ServiceAccount token of the issuer given with --service-account-issuer.",
            ));
        }
        token.check_kind(Kind::Issued)?;
        self.source(snapshot, issuer)?.verify(&token, now).await?;
        let claims = Claims::read(&payload)?;
        claims.times.check(now)?;
        check_audience(&payload, audience)?;
        let registry = Registry { snapshot, service_account_issuer: self.service_account_issuer.as_deref() };
        let account = registry.service_account(&claims.issuer, &claims.subject);
        let Some((namespace, account)) = account.filter(|_| claims.actors.is_empty()) else {
            let message = format!("subject {} is no ServiceAccount", shown(&claims.subject));
            return Err(Refusal::new(Code::PrincipalUnknown, message));
        };
        if let Some(said) = &claims.kubernetes
            && let Some(copy) = said.pod(namespace, account)?
        {
            self.pods.check_copy(&copy, claims.issued)?;
        }
        Ok(ServiceAccount {
            namespace: namespace.into(),
            name: account.into(),
            expires: claims.times.expires,
        })
    }
}

fn check_audience(payload: &Json<'_>, audience: &Arc<str>) -> Result<(), Refusal> {
    match Audience::read(payload, std::slice::from_ref(audience), audience)? {
        Audience::Gateway => Ok(()),
        Audience::Routes { said, .. } => {
            let message = format!("the token is meant for somebody else: {said}");
            let next = "Mount a projected ServiceAccount token of the audience that is accepted.";
            Err(Refusal::new(Code::TokenAudience, message).with_next(next))
        }
    }
}
