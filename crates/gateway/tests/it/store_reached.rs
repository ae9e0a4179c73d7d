//! How a store is reached: over TLS, with a password, in a cluster; and what is said where it is not.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    SanType,
};
use serde_json::json;
use vidimus_gateway::{StandingAddress, StandingFiles};

use super::chains::code;
use super::limits::{TOOLS, limited};
use super::logged::Logged;
use super::redis::{PORT, Redis};
use super::world::{World, snapshot};

const LOST: &str = "the store of what gateways share is lost";

/// Keys and certificates of an authority, in files.
struct Certificates {
    directory: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key")
}

impl Certificates {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let authority = CertifiedIssuer::self_signed(params, key()).expect("an authority");
        let all = Self { directory: tempfile::tempdir().expect("a directory"), authority };
        all.write("ca.pem", &all.authority.pem());
        all
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, text).expect("written");
        path
    }

    fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A certificate of `name`, which may be of an address, and its key.
    fn issue(&self, name: &str, address: Option<IpAddr>) -> (PathBuf, PathBuf) {
        let (mut params, key) = (CertificateParams::default(), key());
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names.extend(address.map(SanType::IpAddress));
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        let certificate = self.write(&format!("{name}.pem"), &certificate.pem());
        (certificate, self.write(&format!("{name}.key"), &key.serialize_pem()))
    }
}

/// A store that speaks TLS alone.
async fn encrypted(all: &Certificates, more: &[&str]) -> Redis {
    let (certificate, key) = all.issue("store", Some(Ipv4Addr::LOCALHOST.into()));
    let path = |path: &Path| path.to_str().expect("text").to_owned();
    let ca = path(&all.ca());
    let own = [
        ("--port", "0".to_owned()),
        ("--tls-port", PORT.to_owned()),
        ("--tls-cert-file", path(&certificate)),
        ("--tls-key-file", path(&key)),
        ("--tls-ca-cert-file", ca),
    ];
    let own = own.into_iter().flat_map(|(option, value)| [option.to_owned(), value]);
    Redis::start_with(own.chain(more.iter().map(|&option| option.to_owned())).collect()).await
}

fn at(address: &str, files: StandingFiles) -> StandingAddress {
    address.parse::<StandingAddress>().expect("an address").with(files).expect("files")
}

/// Two gateways at this store take of one limit.
async fn is_shared_by_two(store: impl Fn() -> StandingAddress) {
    let one = World::sharing(store(), None).await;
    let other = World::sharing(store(), Some(&one)).await;
    let limits = json!([{"name": "calls", "requests": 2, "window": {"fixed": "24h"}}]);
    for world in [&one, &other] {
        world.gate.take_into_use(snapshot(&limited(world, &limits, TOOLS)));
        assert_eq!(code(world, world.tool("echo")).await, None);
    }
    for world in [&one, &other] {
        assert_eq!(code(world, world.tool("echo")).await.as_deref(), Some("limit_exceeded"));
    }
}

/// What the log says of a store that is not come to.
async fn said_of(store: StandingAddress) -> String {
    let logged = Logged::begin();
    let world = World::looking_for(store, None).await;
    for _ in 0..1000 {
        if let Some(line) = logged.with(LOST).pop() {
            assert!(!world.gate.shared.has_store());
            return line;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing is said");
}

#[tokio::test]
async fn a_store_is_shared_over_tls_by_a_user_with_a_password_in_a_database() {
    let all = Certificates::new();
    // As docs/admin.md has it.
    let user = [
        "--user",
        "vidimus",
        "on",
        ">hunter2",
        "~{vidimus}:*",
        "&{vidimus}:*",
        "+@connection",
        "+@read",
        "+@write",
        "+@scripting",
        "+@pubsub",
        "+time",
    ];
    let more = [&["--tls-auth-clients", "no", "--user", "default", "off"], &user[..]].concat();
    let redis = encrypted(&all, &more).await;
    let password = all.write("password", "hunter2\n");
    let address = format!("rediss://vidimus@127.0.0.1:{}/3", redis.port());
    let files = StandingFiles { password: Some(password), authorities: Some(all.ca()), certificate: None };
    is_shared_by_two(|| at(&address, files.clone())).await;
    all.write("password", "correct-horse");
    let said = said_of(at(&address, files.clone())).await;
    assert!(said.contains("--standing-password") && !said.contains("correct-horse"), "{said}");
    let said = said_of(at(&address, StandingFiles { password: None, ..files })).await;
    assert!(said.contains("--standing-password"), "{said}");
}

/// Attack: somebody on the way answers as the store, with a certificate of their own.
#[tokio::test]
async fn a_store_is_not_believed_without_its_authority_nor_by_another_name() {
    let (all, others) = (Certificates::new(), Certificates::new());
    let redis = encrypted(&all, &["--tls-auth-clients", "no"]).await;
    let of = |host: &str, authorities: Option<PathBuf>| {
        at(&format!("rediss://{host}:{}", redis.port()), StandingFiles { authorities, ..Default::default() })
    };
    for (host, authorities) in
        [("127.0.0.1", None), ("127.0.0.1", Some(others.ca())), ("localhost", Some(all.ca()))]
    {
        let said = said_of(of(host, authorities)).await;
        assert!(said.contains("--standing-ca"), "{said}");
    }
}

#[tokio::test]
async fn a_store_that_asks_for_a_certificate_is_shown_one() {
    let all = Certificates::new();
    let redis = encrypted(&all, &["--tls-auth-clients", "yes"]).await;
    let address = format!("rediss://127.0.0.1:{}", redis.port());
    let files = StandingFiles { authorities: Some(all.ca()), ..Default::default() };
    let said = said_of(at(&address, files.clone())).await;
    assert!(said.contains("--standing-cert"), "{said}");
    let certificate = Some(all.issue("gateway", None));
    is_shared_by_two(|| at(&address, StandingFiles { certificate: certificate.clone(), ..files.clone() }))
        .await;
}

#[tokio::test]
async fn tls_at_a_plain_port_and_the_other_way_round_are_told() {
    let all = Certificates::new();
    let (plain, encrypted) = (Redis::start().await, encrypted(&all, &["--tls-auth-clients", "no"]).await);
    let said =
        said_of(at(&format!("redis://127.0.0.1:{}", encrypted.port()), StandingFiles::default())).await;
    assert!(said.contains("write rediss://"), "{said}");
    let files = StandingFiles { authorities: Some(all.ca()), ..Default::default() };
    let said = said_of(at(&format!("rediss://127.0.0.1:{}", plain.port()), files)).await;
    assert!(said.contains("write redis://"), "{said}");
}

/// A node of a cluster, with a directory for what it knows of the others.
struct Member {
    redis: Redis,
    bus: u16,
    _directory: tempfile::TempDir,
}

impl Member {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let at = directory.path().to_str().expect("text").to_owned();
        let bus = vidimus_testkit::port::unused();
        let options =
            ["--port", PORT, "--cluster-enabled", "yes", "--cluster-port", &bus.to_string(), "--dir", &at]
                .map(str::to_owned);
        Self { redis: Redis::start_with(options.to_vec()).await, bus, _directory: directory }
    }

    async fn until(&self, command: &str, says: &str) {
        let mut said = String::new();
        for _ in 0..1000 {
            said = self.redis.says(command).await;
            if said.contains(says) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{command}: {said}");
    }
}

/// All that gateways share is of one slot, so one node has it: each script has its keys there, and any node says which it is.
#[tokio::test]
async fn a_cluster_is_a_store_and_any_node_of_it_leads_there() {
    let (has_all, other) = (Member::start().await, Member::start().await);
    has_all.until("CLUSTER ADDSLOTSRANGE 0 16383", "OK").await;
    let meet = format!("CLUSTER MEET 127.0.0.1 {} {}", has_all.redis.port(), has_all.bus);
    other.until(&meet, "OK").await;
    has_all.until("CLUSTER INFO", "cluster_state:ok").await;
    other.until("GET {vidimus}:born", "MOVED").await;
    for member in [&has_all, &other] {
        has_all.until("FLUSHALL", "OK").await;
        is_shared_by_two(|| member.redis.address()).await;
    }
    // All keys, in one slot.
    let slot = has_all.redis.says("CLUSTER KEYSLOT {vidimus}").await;
    let slot = slot.lines().next().and_then(|line| line.strip_prefix(':')).expect("a slot").to_owned();
    let count = async |command: String| has_all.redis.says(&command).await.lines().next().map(str::to_owned);
    let in_slot = count(format!("CLUSTER COUNTKEYSINSLOT {slot}")).await;
    assert_eq!(in_slot, count("DBSIZE".into()).await);
    let said =
        said_of(at(&format!("redis://127.0.0.1:{}/1", has_all.redis.port()), StandingFiles::default())).await;
    assert!(said.contains("database"), "{said}");
}

#[tokio::test]
async fn a_replica_of_a_store_is_told_from_what_takes_writes() {
    let redis = Redis::start().await;
    let world = World::sharing(redis.address(), None).await;
    let limits = json!([{"name": "calls", "requests": 9, "window": {"fixed": "24h"}}]);
    world.gate.take_into_use(snapshot(&limited(&world, &limits, TOOLS)));
    assert_eq!(code(&world, world.tool("echo")).await, None);
    // Nobody is there, so it stays as it is, and takes no writes.
    redis.says(&format!("REPLICAOF 127.0.0.1 {}", vidimus_testkit::port::unused())).await;
    let logged = Logged::begin();
    assert_eq!(code(&world, world.tool("echo")).await.as_deref(), Some("standing_unavailable"));
    for _ in 0..500 {
        if !logged.with("it is a replica").is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!logged.with("it is a replica").is_empty(), "{:?}", logged.with(LOST));
    redis.says("REPLICAOF NO ONE").await;
    world.until_shared(true).await;
    assert_eq!(code(&world, world.tool("echo")).await, None);
}
