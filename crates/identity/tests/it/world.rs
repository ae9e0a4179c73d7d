//! What the tests act in: two issuers, a registry, a gateway's identity.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::{Value, json};
use vidimus_core::caller::{Proven, UnixMillis};
use vidimus_core::refusal::{Code, Refusal};
use vidimus_core::resource::{Origin, check};
use vidimus_core::snapshot::Snapshot;
use vidimus_identity::{
    Authenticator, Config, Evidence, LocalIdentity, Mint, PeerSvid, SpiffeId, TokenRequest, TrustBundle,
    TrustDomain, TrustStore,
};
use vidimus_testkit::issuer::{FakeIssuer, now_seconds};

pub(crate) const GATEWAY: &str = "https://gateway.example";
pub(crate) const HOPS: &str = "https://gateway.example/hops";
/// The route that is called where a test does not say another.
pub(crate) const ROUTE: &str = "/mcp/finance/ledger";
pub(crate) const BOT: &str = "spiffe://corp.example/ns/finance/sa/invoice-bot";

pub(crate) struct World {
    /// Issues to workloads and to people.
    pub(crate) issuer: FakeIssuer,
    /// An issuer whose people nobody may act for.
    pub(crate) foreign: FakeIssuer,
    pub(crate) snapshot: Snapshot,
    pub(crate) mint: Arc<Mint>,
    pub(crate) local: Arc<LocalIdentity>,
    pub(crate) gate: Authenticator,
    pub(crate) directory: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(configure: impl FnOnce(&mut Config)) -> Self {
        let (issuer, foreign) = (FakeIssuer::start(), FakeIssuer::start());
        let directory = tempfile::tempdir().unwrap();
        let domain = TrustDomain::new("corp.example").unwrap();
        let local = LocalIdentity::open(directory.path(), Some(&domain), now()).unwrap();
        let mint = Arc::new(Mint::open(directory.path(), HOPS).unwrap());
        let local = Arc::new(local);
        let mut config = Config {
            audiences: vec![GATEWAY.into(), "https://gateway.other".into()],
            mint: mint.clone(),
            local: Some(local.clone()),
            service_account_issuer: Some(foreign.issuer().into()),
            api_server: None,
            allow_insecure_issuers: false,
            issuer_roots: None,
            roots_of_issuers: Vec::new(),
            trust: TrustStore::new(vec![authority()]),
            limits: vidimus_identity::Limits::default(),
        };
        configure(&mut config);
        let gate = Authenticator::new(config).unwrap();
        let snapshot = snapshot(&objects(&issuer.issuer(), &foreign.issuer()));
        Self { issuer, foreign, snapshot, mint, local, gate, directory }
    }

    pub(crate) async fn bearer(&self, token: &str) -> Result<Arc<Proven>, Refusal> {
        self.at(Some(token), None, 0).await
    }

    pub(crate) async fn both(&self, token: &str, peer: &PeerSvid) -> Result<Arc<Proven>, Refusal> {
        self.at(Some(token), Some(peer), 0).await
    }

    pub(crate) async fn on(&self, route: &str, token: &str) -> Result<Arc<Proven>, Refusal> {
        let evidence = Evidence { bearer: Some(token), peer: None, route, now: now() };
        self.gate.authenticate(&self.snapshot, evidence).await
    }

    /// As presented `seconds` from now.
    pub(crate) async fn at(
        &self,
        bearer: Option<&str>,
        peer: Option<&PeerSvid>,
        seconds: i64,
    ) -> Result<Arc<Proven>, Refusal> {
        self.at_moment(bearer, peer, UnixMillis(now().0 + seconds * 1000)).await
    }

    pub(crate) async fn at_moment(
        &self,
        bearer: Option<&str>,
        peer: Option<&PeerSvid>,
        now: UnixMillis,
    ) -> Result<Arc<Proven>, Refusal> {
        self.gate.authenticate(&self.snapshot, Evidence { bearer, peer, route: ROUTE, now }).await
    }

    /// A good token of the agent invoice-bot, with these claims added or in place of its own.
    pub(crate) fn token(&self, claims: Value) -> String {
        self.issuer.token(merged(json!({ "sub": "bot-1", "aud": GATEWAY }), claims))
    }

    pub(crate) fn local_token(&self, subject: &str, user: Option<&str>) -> String {
        use secrecy::ExposeSecret as _;
        let request =
            TokenRequest { subject, user, audience: GATEWAY, ttl: Duration::from_secs(3600), now: now() };
        self.local.token(&request).unwrap().expose_secret().to_owned()
    }
}

pub(crate) fn merged(mut base: Value, over: Value) -> Value {
    let members = over.as_object().unwrap().clone();
    base.as_object_mut().unwrap().extend(members);
    base
}

pub(crate) fn now() -> UnixMillis {
    UnixMillis(now_seconds() * 1000)
}

/// The CA of the workloads.
static CA: LazyLock<LocalIdentity> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    LocalIdentity::open(directory.path(), Some(&TrustDomain::new("corp.example").unwrap()), now()).unwrap()
});

/// The bundle of the CA of the workloads.
pub(crate) fn authority() -> TrustBundle {
    TrustBundle::parse(None, CA.bundle().as_bytes()).unwrap()
}

/// The certificate in it, base64 as a bundle document has it.
pub(crate) fn authority_der() -> String {
    CA.bundle().lines().filter(|line| !line.starts_with('-')).collect()
}

/// A workload that presented a good SVID.
pub(crate) fn peer(id: &str) -> PeerSvid {
    let svid = CA.svid(&SpiffeId::parse(id).unwrap(), Duration::from_secs(3600), now()).unwrap();
    PeerSvid::from_certificates(Some(&svid.der().unwrap().0)).unwrap().unwrap()
}

pub(crate) fn code(result: &Result<Arc<Proven>, Refusal>) -> Result<String, Code> {
    result.as_ref().map(|proven| proven.principal.entity().to_string()).map_err(|refusal| refusal.code)
}

pub(crate) fn snapshot(objects: &[Value]) -> Snapshot {
    let objects = objects.iter().map(|object| check(&Origin::default(), object).unwrap()).collect();
    let (snapshot, rejected) = Snapshot::build(objects);
    assert_eq!(rejected, []);
    snapshot
}

pub(crate) fn agent(name: &str, identities: Value, acts_for: Value) -> Value {
    json!({
        "apiVersion": "vidimus.dev/v1alpha1",
        "kind": "Agent",
        "metadata": { "name": name, "namespace": "finance" },
        "spec": {
            "owner": "first.last@example.com", "team": "finance", "purpose": "a test", "riskLevel": "low",
            "identities": identities, "actsFor": acts_for,
            "endpoint": { "url": format!("http://{name}.finance:8080") },
        },
    })
}

pub(crate) fn objects(issuer: &str, foreign: &str) -> Vec<Value> {
    let people = json!([{ "issuer": issuer }, { "issuer": "urn:vidimus:local" }]);
    let oidc = |subject: &str| json!({ "oidc": { "issuer": issuer, "subject": subject } });
    let claims = json!({ "tenant": "a", "tier": "1" });
    let with_claims = json!({ "oidc": { "issuer": issuer, "subject": "tenant-bot", "claims": claims } });
    vec![
        agent(
            "invoice-bot",
            json!([
                { "spiffe": BOT },
                oidc("bot-1"),
                { "serviceAccount": { "name": "invoice-bot" } },
                { "oidc": { "issuer": "urn:vidimus:local", "subject": "local-bot" } },
            ]),
            people.clone(),
        ),
        agent("summarizer", json!([oidc("bot-2"), { "spiffe": "spiffe://corp.example/summarizer" }]), people),
        agent("tenant", json!([with_claims]), json!([])),
        agent(
            "twice",
            json!([{ "oidc": { "issuer": foreign, "subject": "system:serviceaccount:finance:invoice-bot" } }]),
            json!([]),
        ),
        json!({
            "apiVersion": "vidimus.dev/v1alpha1",
            "kind": "ServiceIdentity",
            "metadata": { "name": "reporting", "namespace": "finance" },
            "spec": { "owner": "first.last@example.com", "team": "finance", "riskLevel": "low",
                      "identities": [oidc("svc-reporting")] },
        }),
        json!({
            "apiVersion": "vidimus.dev/v1alpha1",
            "kind": "MCPServer",
            "metadata": { "name": "ledger", "namespace": "finance" },
            "spec": { "owner": "first.last@example.com", "team": "finance", "riskLevel": "low",
                      "endpoint": { "url": "http://ledger-mcp.finance:9000/mcp" } },
        }),
        json!({
            "apiVersion": "vidimus.dev/v1alpha1",
            "kind": "LLMProvider",
            "metadata": { "name": "openai", "namespace": "platform" },
            "spec": { "owner": "first.last@example.com", "type": "openAI", "credential": { "none": {} }, "models": [{ "name": "gpt-5.2-mini" }] },
        }),
    ]
}
