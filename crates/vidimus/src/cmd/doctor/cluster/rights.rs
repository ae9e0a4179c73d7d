//! What ServiceAccounts may do: who follows the cluster what it must, and nobody what he must not.

use serde_json::{Value, json};

use super::super::check;
use super::installed::{Installed, Source};
use super::{LEASE, Look, apply};

/// What an account may do more than the gateway needs. Of Secrets each verb is enough to read them.
const TOO_MUCH: [(&str, &str, &str); 5] = [
    ("get", "", "secrets"),
    ("list", "", "secrets"),
    ("watch", "", "secrets"),
    ("create", "", "pods"),
    ("patch", "vidimus.dev", "policies"),
];
/// In so many of the namespaces that are followed it is looked for that.
const LOOKED_AT: usize = 10;
/// Where the API server has the keys of its tokens.
const KEYS: &str = "/openid/v1/jwks";

/// A ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Account {
    /// As the API server knows it: its name, and the groups that it is in.
    fn user(&self) -> (String, Vec<String>) {
        let Self { namespace, name } = self;
        let groups = ["system:serviceaccounts", "system:authenticated"].map(str::to_owned);
        let own = format!("system:serviceaccounts:{namespace}");
        (format!("system:serviceaccount:{namespace}:{name}"), groups.into_iter().chain([own]).collect())
    }
}

/// Looks at who follows the cluster, and at the gateway where that is another one. Where this user may not ask about one right, no other is asked about.
pub(super) fn look(
    look: &mut Look<'_>,
    installed: &Installed,
    (follows, gateway): (&Account, Option<&Account>),
) -> anyhow::Result<()> {
    let Some(()) = needed(look, installed, follows)? else { return Ok(()) };
    for account in [Some(follows), gateway].into_iter().flatten() {
        let Some(()) = too_much(look, installed, account)? else { return Ok(()) };
    }
    Ok(())
}

/// The rights that it must have, each in the first of its places in which it does not.
fn needed(look: &mut Look<'_>, installed: &Installed, account: &Account) -> anyhow::Result<Option<()>> {
    let mut rights = vec![("list", "agents", ""), ("watch", "policies", "")];
    if installed.writes {
        rights.push(("patch", "agents", "status"));
    }
    for (verb, resource, subresource) in rights {
        for namespace in installed.followed() {
            let asked = json!({"verb": verb, "group": "vidimus.dev", "resource": resource, "subresource": subresource, "namespace": namespace});
            let Some(allowed) = may(look, account, "resourceAttributes", &asked)? else { return Ok(None) };
            if !allowed {
                let within = if namespace.is_empty() { String::new() } else { format!(" in {namespace}") };
                missing(look, account, format!("{verb} {resource} {subresource}").trim_end(), &within);
                break;
            }
        }
    }
    if installed.writes {
        let asked = json!({"verb": "update", "group": "coordination.k8s.io", "resource": "leases", "name": LEASE, "namespace": look.namespace});
        let Some(allowed) = may(look, account, "resourceAttributes", &asked)? else { return Ok(None) };
        if !allowed {
            missing(look, account, "update leases", "");
        }
    }
    // What is published elsewhere is fetched there.
    let at_server = |issuer: &String| issuer.starts_with("https://kubernetes.default");
    if installed.source == Source::Cluster && installed.issuer.as_ref().is_some_and(at_server) {
        let asked = json!({"verb": "get", "path": KEYS});
        let Some(allowed) = may(look, account, "nonResourceAttributes", &asked)? else { return Ok(None) };
        if !allowed {
            missing(
                look,
                account,
                &format!("get {KEYS}"),
                " (ClusterRole system:service-account-issuer-discovery)",
            );
        }
    }
    Ok(Some(()))
}

fn missing(look: &mut Look<'_>, account: &Account, right: &str, within: &str) {
    let Account { namespace, name } = account;
    let fix = format!(
        "{}; where {name} is not the account of the gateway, name it by --service-account",
        apply(look.namespace, look.name)
    );
    let what = format!("ServiceAccount {namespace}/{name}: {right}{within} is not allowed");
    look.report.find(check::CLUSTER_RIGHTS_MISSING, what, fix);
}

/// The rights that it must not have. What it has in all namespaces it has in its own.
fn too_much(look: &mut Look<'_>, installed: &Installed, account: &Account) -> anyhow::Result<Option<()>> {
    let places: Vec<&str> = std::iter::once(look.namespace)
        .chain(installed.namespaces.iter().map(String::as_str).take(LOOKED_AT))
        .collect();
    for (verb, group, resource) in TOO_MUCH {
        for namespace in &places {
            let asked = json!({"verb": verb, "group": group, "resource": resource, "namespace": namespace});
            let Some(allowed) = may(look, account, "resourceAttributes", &asked)? else { return Ok(None) };
            if allowed {
                let Account { namespace: of, name } = account;
                let fix = format!(
                    "kubectl get rolebindings,clusterrolebindings -A -o wide | grep {name} names the binding; delete it"
                );
                let what = format!("ServiceAccount {of}/{name}: {verb} {resource} in {namespace} is allowed");
                look.report.find(check::CLUSTER_RIGHTS_WIDE, what, fix);
                break;
            }
        }
    }
    Ok(Some(()))
}

/// Whether the ServiceAccount may; `None` where this user may not ask.
fn may(look: &mut Look<'_>, account: &Account, of: &str, attributes: &Value) -> anyhow::Result<Option<bool>> {
    let (user, groups) = account.user();
    look.review(&json!({"user": user, "groups": groups, of: attributes}))
}
