//! Puts the parts together. Startup is a reload from empty; the order is: what exists, who we are, the ledger, the listeners.

use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use vidimus_core::clock::Clock as _;
use vidimus_core::snapshot::Snapshot;
use vidimus_gateway::listener::Listener;
use vidimus_gateway::{
    KEY_LENGTH, Limits, PayloadKeys, SecretDirectory, Shared, Stood, Telemetry, Vitals, millis,
};
use vidimus_identity::{
    ApiServer, Authenticator, KEY_LOOK, LocalIdentity, Mint, Operators, People, TrustStore,
};
use vidimus_ledger::{ArchiveAt, Durability, Ledger};
use vidimus_registry::Loaded;

use crate::clock::SystemClock;
use crate::cmd::check::Counts;
use crate::cmd::{data_directory, refusals};

use super::admin::people::Admin;
use super::before_start::BeforeStart;
use super::bundles::Bundles;
use super::filed::Filed;
use super::health::Health;
use super::issuer_roots::IssuerRoots;
use super::scale::{self, Scale};
use super::supervisor::Supervisor;
use super::workers::{Workers, join, start_workers};
use super::{
    DurabilityArg, Serve, admin, admission, cluster_issuer, configurations, data_planes, descriptors, disk,
    filed, index, issuer_roots, jobs, retention, runs, seen, sinks, source, standing, taken, tls, traces,
    webhook, witnesses, xds,
};

/// Before a snapshot is taken into use again whose taking panicked.
const AGAIN: Duration = Duration::from_millis(100);
/// How long a start waits for the store that gateways share.
const AGREES: Duration = Duration::from_secs(5);

pub(super) fn run(serve: &Serve, vitals: Vitals) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    check(serve)?;
    data_directory::prepare(&serve.data)?;
    let secrets = secrets(serve)?;

    let workers = serve.threads.map_or_else(cores, usize::from);
    let limits = descriptors::divide(limits(serve), workers)?;
    let control =
        Builder::new_multi_thread().worker_threads(1).enable_all().thread_name("vidimus-control").build()?;
    let inside = control.enter();
    let mut supervisor = Supervisor::new(control.handle().clone(), vitals.clone());
    // Before the listeners: whoever reaches them may ask `vidimus identity` for a token.
    let (scale, identity) = scale::open(serve)?;
    let sealing_key = refusals::sealing_key(&serve.data)?;
    // It is locked: only who has it may keep what is refused.
    let ledger = ledger(serve)?;
    let kept = refusals::all_kept(&serve.data, &sealing_key)?;
    let (stood, standing_file) =
        standing::open(&serve.data, &sealing_key, &ledger).context("what stands by acts")?;
    let (loaded, watching) = source::open(&mut supervisor, &control, serve, kept, stood.overlay.clone())?;
    say_read(serve, &loaded.borrow(), secrets.as_ref());
    let roots = issuer_roots::read(serve)?;
    let people = people(serve, &identity, roots.clone())?;
    let bundles = Bundles::open(&serve.trust_bundle, &identity)?;
    let trust = bundles.store();
    bundles.follow(&mut supervisor, trust.clone());
    let sockets = Sockets::open(serve)?;
    let (plain, admin_address) = (sockets.plain.local_addr()?, sockets.admin.local_addr()?);
    let tls_address = sockets.tls.as_ref().map(TcpListener::local_addr).transpose()?;
    let given = secrets.clone();
    let api_server = cluster_issuer::api_server(&watching);
    let keys = (&identity, &scale);
    let parts = Parts { keys, roots, api_server, trust: &trust, ledger, stood, limits, vitals, secrets };
    let (shared, mint) = shared(serve, &loaded.borrow(), parts, plain)?;
    let before = BeforeStart::begin(&shared, &serve.data.join("ledger"), &loaded)?;
    turn_keys(&mut supervisor, mint, scale)?;
    cluster_issuer::follow(&mut supervisor, &shared);
    let data_planes = data_planes::listener(&mut supervisor, serve, &identity, &trust)?;
    xds::begin(&mut supervisor, serve, (&shared, &loaded), (&identity, &trust))?;
    let tls = sockets
        .tls
        .map(|socket| tls::listener(&mut supervisor, serve, &identity, trust, socket))
        .transpose()?;
    source::follow(&mut supervisor, serve, &shared, &watching)?;
    let run = control.block_on(runs::begin(serve, &shared))?;
    seen::begin(&mut supervisor, serve, &shared, &watching);
    let filed = filed::begin(&mut supervisor, serve, &shared, &loaded.borrow());
    standing::follow(&mut supervisor, shared.clone(), watching.clone(), standing_file);
    let listeners = [Some(Listener::plain(sockets.plain)), tls, data_planes].into_iter().flatten().collect();
    let (stop, stopping) = watch::channel(false);
    let opened = Opened {
        addresses: (plain, admin_address, tls_address),
        admin: sockets.admin,
        before,
        filed,
        given,
        listeners,
        loaded,
        people,
        sealing_key,
        stopping,
        watching: watching.clone(),
        workers,
    };
    let mut running = Workers::new();
    // It is on record that it began: whatever fails from here on, so is its end.
    let ended = serve_until_told((&mut supervisor, &control), (serve, begun), &shared, opened, &mut running);
    // At once: nobody is ready, nobody listens, and another writes statuses, beside the calls that may end.
    stop.send_replace(true);
    control.block_on(watching.give_back());
    end_calls(running, &control, &watching);
    // No worker is left that records anything.
    control.block_on(runs::end(serve, &shared, run, &ended));
    shared.telemetry.flush();
    drop(inside);
    // What looks at files may be waiting for one.
    control.shutdown_timeout(Duration::from_secs(1));
    ended.map(|(code, _)| code)
}

/// What can be told to be wrong before anything is begun.
fn check(serve: &Serve) -> anyhow::Result<()> {
    check_addresses(serve)?;
    // A year may pass until something is archived.
    serve.archive.as_ref().map_or(Ok(()), ArchiveAt::check).context("--archive")?;
    source::check(serve)
}

/// Waits until the workers have ended, and until what they decided by is kept for the next start: some of it came into force meanwhile.
fn end_calls(running: Workers, control: &Runtime, watching: &source::Watching) {
    join(running);
    control.block_on(watching.settled());
}

/// What is there when it is on record that this gateway begins.
struct Opened {
    /// Of plain HTTP, for people, and of TLS.
    addresses: (SocketAddr, SocketAddr, Option<SocketAddr>),
    admin: TcpListener,
    before: BeforeStart,
    filed: Filed,
    given: Option<SecretDirectory>,
    listeners: Vec<Listener>,
    loaded: watch::Receiver<Arc<Loaded>>,
    people: Arc<People>,
    sealing_key: [u8; KEY_LENGTH],
    stopping: watch::Receiver<bool>,
    watching: Arc<source::Watching>,
    workers: usize,
}

/// Begins all that serves, and waits until it is to end; why it does. The workers that it began are in `running`, also where it fails.
fn serve_until_told(
    (supervisor, control): (&mut Supervisor, &Runtime),
    (serve, begun): (&Serve, Instant),
    shared: &Arc<Shared>,
    opened: Opened,
    running: &mut Workers,
) -> anyhow::Result<(ExitCode, String)> {
    let Opened { before, filed, listeners, loaded, stopping, watching, workers, .. } = opened;
    let (plain, admin_address, tls_address) = opened.addresses;
    let mut signals = runs::Signals::hear()?;
    let witnessed = tell(supervisor, serve, shared, opened.given, opened.addresses)?;
    let live = configurations::begin(supervisor, serve, shared);
    control.block_on(live.before(&shared.snapshot()));
    supervisor.essential("snapshots", reload(shared.clone(), loaded.clone(), (live.clone(), filed), before));
    if let Some(told) = control.block_on(signals.unless_told(agrees(supervisor, serve, shared))) {
        return Ok(told);
    }
    look_after_disk(supervisor, serve, shared, opened.sealing_key)?;
    admission::begin(supervisor, serve, shared, &loaded)?;
    let health = Health {
        shared: shared.clone(),
        live,
        loaded,
        stopping: stopping.clone(),
        watching: watching.clone(),
        loops: workers * listeners.len(),
    };
    let admin = Admin::new(health, opened.people, witnessed, &serve.data);
    admin::serve(supervisor, (opened.admin, &serve.admin_name), admin)?;
    let runner = jobs::begin(supervisor, serve, shared, &watching)?;
    start_workers(
        supervisor,
        serve,
        (workers, shared, &stopping, runner),
        (listeners.as_slice(), &mut *running),
    )?;
    // Each worker has its own, so that the sockets are closed when the workers stop listening.
    drop(listeners);
    say_serving(shared, (plain, tls_address, admin_address), running.len(), begun);
    Ok(control.block_on(runs::until_told(supervisor, signals))?)
}

fn say_read(serve: &Serve, loaded: &Loaded, secrets: Option<&SecretDirectory>) {
    taken::log_first(loaded, secrets);
    issuer_roots::warn_of_unused(serve, &loaded.snapshot);
}

fn say_serving(
    shared: &Shared,
    (plain, tls, admin): (SocketAddr, Option<SocketAddr>, SocketAddr),
    workers: usize,
    begun: Instant,
) {
    tracing::info!(
        listen = %plain, tls = %tls.map_or("off".to_owned(), |address| address.to_string()), admin = %admin, workers,
        ledger = shared.ledger.size(), ms = begun.elapsed().as_millis(), "serving"
    );
}

/// Begins what others outside are told, where any are; whether the ledger has witnesses.
fn tell(
    supervisor: &mut Supervisor,
    serve: &Serve,
    shared: &Arc<Shared>,
    secrets: Option<SecretDirectory>,
    own: (SocketAddr, SocketAddr, Option<SocketAddr>),
) -> anyhow::Result<bool> {
    webhook::begin(supervisor, serve, shared, secrets.clone(), own)?;
    sinks::begin(supervisor, serve, shared, secrets, own)?;
    witnesses::begin(supervisor, serve, shared)
}

/// That what is recorded has room and can be found, and what was kept long enough goes.
fn look_after_disk(
    supervisor: &mut Supervisor,
    serve: &Serve,
    shared: &Arc<Shared>,
    key: [u8; KEY_LENGTH],
) -> anyhow::Result<()> {
    disk::watch(supervisor, shared.clone(), serve.data.clone(), serve.disk_reserve);
    retention::begin(supervisor, serve, shared, key);
    traces::look_after(supervisor, serve, shared);
    Ok(index::follow(supervisor, serve, shared)?)
}

/// Keeps to the store that gateways share, if they do, and waits until it is known what people did at other gateways meanwhile: calls are not decided
/// by what stood when this one stopped, where that can be helped. Then ends what was begun to be shredded.
async fn agrees(supervisor: &mut Supervisor, serve: &Serve, shared: &Arc<Shared>) {
    if serve.standing.is_some() {
        know_others(supervisor, shared).await;
    }
    shared.end_shredding().await;
}

async fn know_others(supervisor: &mut Supervisor, shared: &Arc<Shared>) {
    supervisor.essential("standing", shared.clone().follow_store());
    let agrees = async {
        while !shared.has_store() {
            tokio::time::sleep(AGAIN).await;
        }
    };
    if tokio::time::timeout(AGREES, agrees).await.is_err() {
        tracing::error!(
            "what people did at other gateways is not known yet: the store that they share does not answer"
        );
    }
}

fn check_addresses(serve: &Serve) -> anyhow::Result<()> {
    if !serve.admin.ip().is_loopback() {
        tracing::warn!(
            admin = %serve.admin,
            "the admin address is not loopback and is plain HTTP: who reads a person's token on the way can use it; put TLS \
             before it, and let only your monitoring and operators reach it"
        );
    }
    if !serve.listen.ip().is_loopback() && !serve.insecure_listen {
        bail!(
            "--listen {}: plain HTTP is served on loopback only; use --tls-listen, or --insecure-listen if something else protects it",
            serve.listen
        );
    }
    Ok(())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn limits(serve: &Serve) -> Limits {
    Limits {
        message_body: serve.max_body,
        header_time: serve.header_time,
        body_time: serve.body_time,
        idle_stream: serve.stream_idle_time,
        ..Limits::default()
    }
}

/// The listening sockets, bound before anything is served, so that a taken address is an error at once.
struct Sockets {
    plain: TcpListener,
    tls: Option<TcpListener>,
    admin: TcpListener,
}

impl Sockets {
    fn open(serve: &Serve) -> anyhow::Result<Self> {
        let bind = |flag: &str, address: SocketAddr| -> anyhow::Result<TcpListener> {
            let socket = TcpListener::bind(address).with_context(|| format!("--{flag} {address}"))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        Ok(Self {
            plain: bind("listen", serve.listen)?,
            tls: serve.tls_listen.map(|address| bind("tls-listen", address)).transpose()?,
            admin: bind("admin", serve.admin)?,
        })
    }
}

/// The directory that `credential.file` is read from.
fn secrets(serve: &Serve) -> anyhow::Result<Option<SecretDirectory>> {
    let open = |path| SecretDirectory::open(path, Some(&serve.data)).context("--secrets");
    serve.secrets.as_deref().map(open).transpose()
}

fn ledger(serve: &Serve) -> anyhow::Result<Ledger> {
    let durability = match serve.durability {
        DurabilityArg::Commit => Durability::Commit,
        DurabilityArg::Sync => Durability::Sync,
    };
    let dir = serve.data.join("ledger");
    let origin = scale::origin(serve, &dir);
    Ledger::open(vidimus_ledger::Config { dir, origin, durability, ..vidimus_ledger::Config::default() })
        .context("the ledger")
}

/// What a gateway is made from, as far as it is made here.
struct Parts<'a> {
    keys: (&'a Arc<LocalIdentity>, &'a Scale),
    /// Of issuers that have their own, read once: a file that changes in between would be two things.
    roots: IssuerRoots,
    /// Who has the keys of the cluster's issuer.
    api_server: Option<Arc<dyn ApiServer>>,
    trust: &'a TrustStore,
    ledger: Ledger,
    stood: Stood,
    limits: Limits,
    vitals: Vitals,
    secrets: Option<SecretDirectory>,
}

fn shared(
    serve: &Serve,
    loaded: &Loaded,
    parts: Parts<'_>,
    address: SocketAddr,
) -> anyhow::Result<(Arc<Shared>, Arc<Mint>)> {
    let Parts { keys: (identity, scale), roots, api_server, trust, ledger, stood, limits, vitals, secrets } =
        parts;
    let public_url = serve.callers_url(address);
    let mut audiences: Vec<Arc<str>> = vec!["vidimus".into(), public_url.as_str().into()];
    audiences.extend(serve.audience.iter().map(|audience| audience.as_str().into()));
    let mint = Arc::new(scale.mint(serve, &public_url)?);
    let authenticator = Authenticator::new(vidimus_identity::Config {
        audiences,
        mint: mint.clone(),
        local: Some(identity.clone()),
        service_account_issuer: serve.service_account_issuer.as_deref().map(Into::into),
        api_server,
        allow_insecure_issuers: false,
        issuer_roots: None,
        roots_of_issuers: roots,
        trust: trust.clone(),
        limits: vidimus_identity::Limits::default(),
    })?;
    let shared = Shared::new(vidimus_gateway::Config {
        snapshot: loaded.snapshot.clone(),
        authenticator,
        mint: mint.clone(),
        ledger,
        stood,
        seal: scale.seal.clone(),
        telemetry: Telemetry::new(serve.otlp_endpoint.as_deref(), &vitals)?,
        limits,
        secrets,
        public_url,
        admin_url: serve.people_url(),
        allowed_origins: serve.allow_origin.clone(),
        clock: Arc::new(SystemClock),
        store: scale::store(serve)?,
        spans: traces::open(serve)?,
        payload_keys: PayloadKeys::of_data(&serve.data),
        vitals,
    });
    shared.meter.reloaded(loaded.snapshot.objects().len(), Counts::of(loaded).not_in_order());
    shared.prepare_issuer();
    Ok((Arc::new(shared), mint))
}

/// Who operates this installation.
fn people(
    serve: &Serve,
    identity: &Arc<LocalIdentity>,
    roots_of_issuers: IssuerRoots,
) -> anyhow::Result<Arc<People>> {
    let people = People::new(Operators {
        issuers: serve.operator_issuer.iter().map(|issuer| issuer.as_str().into()).collect(),
        audiences: serve.operator_audience.iter().map(|audience| audience.as_str().into()).collect(),
        groups_claim: serve.operator_groups_claim.as_str().into(),
        local: Some(identity.clone()),
        roots_of_issuers,
        limits: vidimus_identity::Limits::default(),
    });
    Ok(Arc::new(people?))
}

/// Lets one key of minted tokens follow another, for as long as the process lives.
fn turn_keys(supervisor: &mut Supervisor, mint: Arc<Mint>, scale: Scale) -> anyhow::Result<()> {
    scale.follow(supervisor, mint.clone());
    let turn = move || mint.turn_keys(millis(SystemClock.now().wall));
    turn().context("the keys of minted tokens")?;
    supervisor.repeated("keys", KEY_LOOK, move || {
        let turn = turn.clone();
        async move {
            // It writes files, and may wait for another process that does.
            let turned = tokio::task::spawn_blocking(turn).await;
            match turned.map_err(anyhow::Error::from).and_then(|turned| Ok(turned?)) {
                Ok(()) => {}
                Err(error) => tracing::error!(%error, "the keys of minted tokens stay as they were"),
            }
        }
    });
    Ok(())
}

/// Waits until something else stands by acts than in `now`. It waits for ever where nothing more comes.
async fn acted(mut loaded: watch::Receiver<Arc<Loaded>>, now: &Snapshot) {
    while loaded.changed().await.is_ok() {
        if !loaded.borrow_and_update().snapshot.stands_as(now) {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// Takes every new snapshot into use. It ends when no more can come: what reads the directory has ended. Also where what was counted before the start
/// cannot be read, as the start would have: what the first whole one limits is not begun anew.
async fn reload(
    shared: Arc<Shared>,
    mut loaded: watch::Receiver<Arc<Loaded>>,
    (live, filed): (configurations::Live, Filed),
    mut before: BeforeStart,
) {
    // What was changed while nothing ran is known when all that is configured is there.
    let mut begun = loaded.borrow().not_ready.is_none();
    if begun {
        shared.void_since_start();
    }
    while loaded.changed().await.is_ok() {
        let now = loaded.borrow_and_update().clone();
        // It reads files, once.
        if let Err(error) = tokio::task::block_in_place(|| before.take_up(&shared, &now)) {
            tracing::error!(error = format!("{error:#}"), "no configuration is taken into use");
            return;
        }
        // What an act does waits for nothing.
        let is_of_act = !now.snapshot.stands_as(&shared.snapshot());
        if !is_of_act {
            tokio::select! {
                () = live.before(&now.snapshot) => {}
                () = acted(loaded.clone(), &now.snapshot) => {}
            }
        }
        let done = catch_unwind(AssertUnwindSafe(|| {
            shared.vitals.fault_point("snapshots");
            // First what decides: what is said of it may fail.
            shared.take_into_use(now.snapshot.clone());
            if is_of_act {
                live.went(&now.snapshot);
            }
            filed.went(&now);
            shared.meter.reloaded(now.snapshot.objects().len(), Counts::of(&now).not_in_order());
            taken::log(&now, "reloaded");
        }));
        if done.is_err() {
            shared.vitals.restarted("snapshots");
            tokio::time::sleep(AGAIN).await;
            loaded.mark_changed();
        } else if !begun && now.not_ready.is_none() {
            begun = true;
            shared.void_since_start();
        }
        // Beside it: what is brought into force waits for no store.
        let voiding = shared.clone();
        tokio::spawn(async move { voiding.record_void().await });
    }
}
