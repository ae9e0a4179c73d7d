//! The built-in issuer and CA.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::json;
use vidimus_core::caller::UnixMillis;
use vidimus_core::refusal::Code;
use vidimus_identity::{
    LocalError, LocalIdentity, MAX_LOCAL_TTL, PeerSvid, SpiffeId, TokenRequest, TrustBundle,
    TrustBundleError, TrustDomain,
};

use crate::world::{BOT, GATEWAY, World, agent, code, now, peer, snapshot};

#[tokio::test]
async fn its_tokens_are_verified_without_any_server() {
    let world = World::new();
    let proven = world.bearer(&world.local_token("local-bot", None)).await.unwrap();
    assert_eq!(proven.principal.entity().to_string(), "Agent/finance/invoice-bot");
    assert_eq!(&*proven.identity, "oidc:urn:vidimus:local#local-bot");
    let proven = world.bearer(&world.local_token("local-bot", Some("anna"))).await.unwrap();
    assert_eq!(proven.user.as_ref().unwrap().id(), "urn:vidimus:local#anna");
    let proven = world.both(&world.local_token("anna", None), &peer(BOT)).await.unwrap();
    assert_eq!(proven.user.as_ref().unwrap().id(), "urn:vidimus:local#anna");
    assert_eq!(code(&world.bearer(&world.local_token("anna", None)).await), Err(Code::PrincipalUnknown));
    assert_eq!(world.issuer.discovery_requests() + world.foreign.discovery_requests(), 0);
}

/// Where the built-in issuer is not switched on, its name is nobody's.
#[tokio::test]
async fn without_it_its_name_is_not_allowed() {
    let mut world = World::with(|config| config.local = None);
    let token = world.local_token("local-bot", None);
    assert_eq!(code(&world.bearer(&token).await), Err(Code::IssuerUnreachable), "listed, and no URL");
    let identities = json!([{ "oidc": { "issuer": world.issuer.issuer(), "subject": "bot-1" } }]);
    world.snapshot = snapshot(&[agent("invoice-bot", identities, json!([]))]);
    assert_eq!(code(&world.bearer(&token).await), Err(Code::TokenIssuer));
}

#[tokio::test]
async fn a_token_of_another_installation_is_forged_here() {
    let (world, other) = (World::new(), World::new());
    let token = other.local_token("local-bot", None);
    let refused = world.bearer(&token).await;
    assert_eq!(code(&refused), Err(Code::TokenKeyUnknown));
    let next = refused.err().and_then(|refusal| refusal.next);
    assert!(next.is_some_and(|next| next.contains("their data directory")), "{next:?}");
}

#[test]
fn what_it_does_not_issue() {
    let world = World::new();
    let ask = |subject, user, audience, seconds| {
        let ttl = Duration::from_secs(seconds);
        world.local.token(&TokenRequest { subject, user, audience, ttl, now: now() }).map(|_| ())
    };
    let day = MAX_LOCAL_TTL.as_secs();
    assert!(ask("a", None, GATEWAY, day).is_ok());
    for seconds in [0, day + 1] {
        assert!(matches!(ask("a", None, GATEWAY, seconds), Err(LocalError::Ttl { .. })));
    }
    assert!(matches!(ask("", None, GATEWAY, 1), Err(LocalError::Empty { field: "the subject" })));
    assert!(matches!(ask("a", Some(""), GATEWAY, 1), Err(LocalError::Empty { field: "the user" })));
    assert!(matches!(ask("a", None, "", 1), Err(LocalError::Empty { field: "the audience" })));
    let bot = SpiffeId::parse(BOT).unwrap();
    for seconds in [0, day + 1] {
        let result = world.local.svid(&bot, Duration::from_secs(seconds), now());
        assert!(matches!(result, Err(LocalError::Ttl { .. })));
    }
    let foreign = SpiffeId::parse("spiffe://other.example/x").unwrap();
    let result = world.local.svid(&foreign, Duration::from_secs(60), now());
    assert!(matches!(result, Err(LocalError::OtherTrustDomain { .. })));
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for bad in [names(&[]), names(&["ä.example"])] {
        assert!(world.local.server_certificate(&bad, Duration::from_secs(60), now()).is_err(), "{bad:?}");
    }
}

#[test]
fn an_svid_is_one_by_the_book() {
    let world = World::new();
    let id = SpiffeId::parse(BOT).unwrap();
    let svid = world.local.svid(&id, Duration::from_secs(3600), now()).unwrap();
    let (chain, _) = svid.der().unwrap();
    let peer = PeerSvid::from_certificates(Some(&chain)).unwrap().unwrap();
    assert_eq!(peer.spiffe_id, id);
    assert_eq!(peer.not_after, svid.not_after);
    let life = svid.not_after.0 - now().0;
    assert!((3_590_000..=3_600_000).contains(&life), "{life}");
    assert!(!format!("{svid:?}").contains("BEGIN PRIVATE"), "{svid:?}");

    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("svid.pem"), directory.path().join("svid-key.pem"));
    svid.write(&certificate, &key).unwrap();
    svid.write(&certificate, &key).unwrap();
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&certificate), mode(&key)), (0o644, 0o600));
    assert_eq!(std::fs::read_to_string(&key).unwrap(), svid.key.expose_secret());
}

#[test]
fn it_is_made_once_and_keeps_its_trust_domain() {
    let directory = tempfile::tempdir().unwrap();
    let open = |domain: Option<&str>| {
        let domain = domain.map(|domain| TrustDomain::new(domain).unwrap());
        LocalIdentity::open(directory.path(), domain.as_ref(), now())
    };
    let bundles: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| open(Some("corp.example")).unwrap().bundle().to_owned())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(bundles.iter().all(|bundle| *bundle == bundles[0]), "one winner");
    let again = open(None).unwrap();
    assert_eq!(again.trust_domain().as_str(), "corp.example");
    assert_eq!(again.bundle(), bundles[0]);
    assert!(matches!(open(Some("other.example")), Err(LocalError::OtherTrustDomain { .. })));
    for file in ["ca-key.pem", "issuer-key.pem"] {
        let mode = std::fs::metadata(directory.path().join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file}");
    }
    let mut files: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["ca-key.pem", "ca.pem", "issuer-key.pem"]);
    assert!(!format!("{again:?}").contains("PRIVATE"));
    let fresh = tempfile::tempdir().unwrap();
    let default = LocalIdentity::open(fresh.path(), None, now()).unwrap();
    assert_eq!(default.trust_domain().as_str(), "vidimus.local");
    let absurd = LocalIdentity::open(&fresh.path().join("x"), None, UnixMillis(i64::MAX));
    assert!(absurd.is_err(), "a time that no certificate can carry");
}

/// A certificate that is gone is not one that was never made: the next could be of another trust domain.
#[test]
fn a_certificate_that_is_gone_is_not_taken_for_a_first_start() {
    let directory = tempfile::tempdir().unwrap();
    let corp = TrustDomain::new("corp.example").unwrap();
    let certificate = directory.path().join("ca.pem");
    LocalIdentity::open(directory.path(), Some(&corp), now()).unwrap();
    std::fs::remove_file(&certificate).unwrap();
    for asked in [None, Some(&corp)] {
        let lost = LocalIdentity::open(directory.path(), asked, now()).unwrap_err();
        assert!(matches!(lost, LocalError::CertificateLost { .. }), "{lost}");
        assert!(lost.to_string().contains("--replace-lost-keys") && !certificate.exists(), "{lost}");
    }
    LocalIdentity::open_replacing_lost_keys(directory.path(), Some(&corp), now()).unwrap();
    assert_eq!(LocalIdentity::open(directory.path(), None, now()).unwrap().trust_domain(), &corp);
    // A first start that was killed before its end goes on.
    for gone in [&["ca.pem"][..], &["ca.pem", "ca-key.pem"], &["ca.pem", "ca-key.pem", "issuer-key.pem"]] {
        for file in gone {
            std::fs::remove_file(directory.path().join(file)).unwrap();
        }
        std::fs::write(directory.path().join(".first-start"), "").unwrap();
        LocalIdentity::open(directory.path(), Some(&corp), now()).unwrap();
        assert!(!directory.path().join(".first-start").exists());
    }
}

#[test]
fn trust_bundles_say_whose_they_are() {
    let world = World::new();
    let corp = TrustDomain::new("corp.example").unwrap();
    let other = TrustDomain::new("other.example").unwrap();
    let pem = world.local.bundle();
    assert_eq!(TrustBundle::parse(None, pem.as_bytes()).unwrap().trust_domain(), &corp);
    assert_eq!(TrustBundle::parse(Some(&corp), pem.as_bytes()).unwrap().trust_domain(), &corp);
    let wrong = TrustBundle::parse(Some(&other), pem.as_bytes());
    assert!(matches!(wrong, Err(TrustBundleError::OtherTrustDomain { .. })));

    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let document = |keys: serde_json::Value| json!({ "spiffe_sequence": 1, "keys": keys }).to_string();
    let svid = json!({ "use": "x509-svid", "kty": "EC", "x5c": [der] });
    let jwt = json!({ "use": "jwt-svid", "kty": "EC", "kid": "x" });
    let other = json!({ "use": "sig", "kty": "EC", "kid": "x" });
    for (keys, nothing) in [(json!([jwt, svid]), false), (json!([]), true), (json!([other]), true)] {
        let bundle = TrustBundle::parse(Some(&corp), document(keys).as_bytes()).unwrap();
        assert_eq!((bundle.trust_domain(), bundle.is_none()), (&corp, nothing));
    }
    for bad in [
        document(json!([{ "use": "x509-svid", "x5c": [] }])),
        document(json!([{ "use": "x509-svid", "x5c": [der, der] }])),
        document(json!([{ "use": "x509-svid", "x5c": ["!"] }])),
        document(json!([{ "use": "x509-svid", "x5c": ["AAAA"] }])),
        "{}".to_owned(),
        String::new(),
        "text".to_owned(),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
    ] {
        assert!(TrustBundle::parse(Some(&corp), bad.as_bytes()).is_err(), "{bad}");
    }
}
