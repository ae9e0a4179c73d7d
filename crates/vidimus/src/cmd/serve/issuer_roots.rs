//! The roots that single issuers' TLS certificates chain to: those of `--issuer-ca`, and the cluster's own for its own issuer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, ensure};
use url::{Host, Url};
use vidimus_core::snapshot::Snapshot;
use vidimus_identity::{check_roots, read_regular};

use super::Serve;

/// Largest file of roots, in bytes.
const MAX: u64 = 1 << 20;

/// Where Kubernetes puts the CA of its API server into each pod.
const CLUSTER_CA: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// Issuers, each with the PEM of its roots.
pub(super) type IssuerRoots = Vec<(Arc<str>, Vec<u8>)>;

pub(super) fn read(serve: &Serve) -> anyhow::Result<IssuerRoots> {
    let mut roots: IssuerRoots = Vec::with_capacity(serve.issuer_ca.len() + 1);
    for IssuerCa { issuer, file } in &serve.issuer_ca {
        let flag = || format!("--issuer-ca {issuer}={}", file.display());
        let pem = read_regular(file, MAX).with_context(flag)?;
        check_roots(&pem).with_context(flag)?;
        match roots.iter_mut().find(|(known, _)| **known == **issuer) {
            // Of one issuer all count, as while one CA follows another.
            Some((_, known)) => known.extend([b"\n", &*pem].concat()),
            None => roots.push((issuer.as_str().into(), pem)),
        }
    }
    roots.extend(of_cluster(serve, Path::new(CLUSTER_CA))?);
    Ok(roots)
}

/// Says which CAs nothing asks for: their issuers are misspelt, or not registered yet.
pub(super) fn warn_of_unused(serve: &Serve, snapshot: &Snapshot) {
    for unused in unused(serve, snapshot) {
        tracing::warn!(
            "--issuer-ca {}: no token of this issuer is taken, so its CA is not used: no identity (oidc.issuer) and no actsFor of a \
             registered object names it exactly so, and it is not --service-account-issuer",
            unused.issuer
        );
    }
}

fn unused<'s>(serve: &'s Serve, snapshot: &Snapshot) -> Vec<&'s IssuerCa> {
    let is_used = |given: &IssuerCa| {
        serve.service_account_issuer.as_ref() == Some(&given.issuer)
            || serve.operator_issuer.contains(&given.issuer)
            || snapshot.issuers().any(|issuer| issuer == given.issuer)
    };
    serve.issuer_ca.iter().filter(|given| !is_used(given)).collect()
}

/// The cluster's CA, where `--service-account-issuer` is an address inside this cluster and no other CA is given for it.
fn of_cluster(serve: &Serve, file: &Path) -> anyhow::Result<Option<(Arc<str>, Vec<u8>)>> {
    let Some(issuer) = serve.service_account_issuer.as_deref() else { return Ok(None) };
    if serve.issuer_ca.iter().any(|given| given.issuer == issuer) || !is_in_cluster(issuer) || !file.exists()
    {
        return Ok(None);
    }
    let pem = read_regular(file, MAX).with_context(|| format!("the cluster's CA, {}", file.display()))?;
    Ok(Some((issuer.into(), pem)))
}

/// The API server by its own name: `kubernetes.default.svc`, with or without the cluster's domain.
fn is_in_cluster(issuer: &str) -> bool {
    let url = Url::parse(issuer).ok();
    let Some(Host::Domain(name)) = url.as_ref().and_then(Url::host) else { return false };
    let rest = name.strip_prefix("kubernetes.default");
    rest.is_some_and(|rest| rest.is_empty() || rest == ".svc" || rest.starts_with(".svc."))
}

/// One `--issuer-ca`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerCa {
    /// Exactly as it stands in its tokens.
    issuer: String,
    file: PathBuf,
}

pub(super) fn issuer_ca(text: &str) -> anyhow::Result<IssuerCa> {
    const WRITE: &str = "write ISSUER=FILE, as in https://kubernetes.default.svc=/etc/ca.crt";
    let (issuer, file) = text.rsplit_once('=').ok_or_else(|| anyhow!(WRITE))?;
    ensure!(issuer.starts_with("https://"), "only an https issuer has a CA; {WRITE}");
    ensure!(!file.is_empty(), WRITE);
    Ok(IssuerCa { issuer: issuer.to_owned(), file: file.into() })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;
    use vidimus_core::caller::UnixMillis;
    use vidimus_identity::LocalIdentity;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        serve: Serve,
    }

    fn serve(flags: &str) -> Serve {
        let line = ["serve", "--resources", "r", "--data", "d"].into_iter().chain(flags.split_whitespace());
        Line::try_parse_from(line).expect("flags").serve
    }

    #[test]
    fn the_clusters_own_issuer_has_the_clusters_ca_unless_another_is_given() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("ca.crt");
        fs::write(&file, "pem").expect("written");
        let given = directory.path().join("given.crt");
        let ca = |name: &str| {
            let at = directory.path().join(name);
            LocalIdentity::open(&at, None, UnixMillis(1_800_000_000_000)).expect("a CA").bundle().to_owned()
        };
        let (old, new) = (ca("old"), ca("new"));
        fs::write(&given, &old).expect("written");
        for (issuer, found) in [
            ("https://kubernetes.default.svc", true),
            ("https://kubernetes.default.svc.cluster.local", true),
            ("https://kubernetes.default", true),
            ("https://kubernetes.default.svc.corp.example:6443", true),
            ("https://kubernetes.default.evil.example", false),
            ("https://xkubernetes.default.svc", false),
            ("https://oidc.eks.eu-west-1.amazonaws.com/id/A", false),
            ("https://10.0.0.1", false),
        ] {
            let serve = serve(&format!("--service-account-issuer {issuer}"));
            let expected = found.then(|| (Arc::from(issuer), b"pem".to_vec()));
            assert_eq!(of_cluster(&serve, &file).expect("read"), expected, "{issuer}");
            assert_eq!(of_cluster(&serve, &directory.path().join("none")).expect("read"), None);
        }
        let issuer = "https://kubernetes.default.svc";
        let both =
            serve(&format!("--service-account-issuer {issuer} --issuer-ca {issuer}={}", given.display()));
        assert_eq!(of_cluster(&both, &file).expect("read"), None);
        assert_eq!(read(&both).expect("read"), [(Arc::from(issuer), old.clone().into_bytes())]);
        let next = directory.path().join("next.crt");
        fs::write(&next, &new).expect("written");
        let twice =
            format!("--issuer-ca {issuer}={} --issuer-ca {issuer}={}", given.display(), next.display());
        let all = [(Arc::from(issuer), format!("{old}\n{new}").into_bytes())];
        assert_eq!(read(&serve(&twice)).expect("read"), all, "the old one and its successor");
        for not_pem in ["", "given", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"] {
            fs::write(&next, not_pem).expect("written");
            let said = format!("{:#}", read(&serve(&twice)).expect_err("no CA"));
            assert!(said.contains("--issuer-ca") && said.contains("next.crt"), "{said}");
        }
        assert!(read(&serve("--issuer-ca https://a.example=/none")).is_err());
    }

    #[test]
    fn a_ca_that_nothing_asks_for_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let agent = "apiVersion: vidimus.dev/v1alpha1\nkind: Agent\nmetadata: {name: x, namespace: a}\nspec: {owner: ada.l@example.com, \
            team: t, purpose: p, riskLevel: low, identities: [{oidc: {issuer: \"https://a.example\", subject: s}}], \
            actsFor: [{issuer: \"https://people.example\"}]}\n";
        fs::write(directory.path().join("a.yaml"), agent).expect("written");
        let loaded = vidimus_registry::load(directory.path());
        assert_eq!(loaded.rejections, []);
        for (flags, expected) in [
            ("--issuer-ca https://a.example=f", vec![]),
            ("--issuer-ca https://people.example=f", vec![]),
            ("--issuer-ca https://a.example/=f", vec!["https://a.example/"]),
            ("--issuer-ca https://c.example=f --service-account-issuer https://c.example", vec![]),
            ("--issuer-ca https://c.example=f,https://a.example=f", vec!["https://c.example"]),
        ] {
            let serve = serve(flags);
            let found: Vec<&str> =
                unused(&serve, &loaded.snapshot).into_iter().map(|given| given.issuer.as_str()).collect();
            assert_eq!(found, expected, "{flags}");
        }
    }

    #[test]
    fn an_issuers_ca_is_given_with_its_issuer() {
        let taken = IssuerCa { issuer: "https://a.example/x?y=z".to_owned(), file: "/ca".into() };
        assert_eq!(issuer_ca("https://a.example/x?y=z=/ca").expect("taken"), taken);
        for text in ["https://a.example", "/ca", "http://a.example=/ca", "https://a.example=", ""] {
            assert!(issuer_ca(text).is_err(), "{text}");
        }
    }
}
