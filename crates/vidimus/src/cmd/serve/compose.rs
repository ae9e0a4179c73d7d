//! Puts the parts together. Startup is a reload from empty; the order is: what exists, who we are, the ledger, the listeners.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use vidimus_core::clock::Clock as _;
use vidimus_gateway::listener::{self, Listener};
use vidimus_gateway::{
    AddressGuard, Gate, KeepAlive, Limits, Seal, Shared, Telemetry, Upstream, millis, record_count,
};
use vidimus_identity::{Authenticator, KEY_LOOK, LocalIdentity, Mint, TrustStore};
use vidimus_ledger::{Durability, Ledger};
use vidimus_registry::Loaded;

use crate::clock::SystemClock;
use crate::cmd::check::Counts;
use crate::cmd::{data_directory, refusals};

use super::bundles::Bundles;
use super::{DurabilityArg, Serve, admin, issuer_roots, taken, tls};

pub(super) fn run(serve: &Serve) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    if !serve.admin.ip().is_loopback() {
        tracing::warn!(
            admin = %serve.admin,
            "the admin address is not loopback: it names every object and asks nobody who they are; let only your monitoring reach it"
        );
    }
    if !serve.listen.ip().is_loopback() && !serve.insecure_listen {
        bail!(
            "--listen {}: plain HTTP is served on loopback only; use --tls-listen, or --insecure-listen if something else protects it",
            serve.listen
        );
    }
    fs::read_dir(&serve.resources).with_context(|| format!("--resources {}", serve.resources.display()))?;
    data_directory::prepare(&serve.data)?;

    let control =
        Builder::new_multi_thread().worker_threads(1).enable_all().thread_name("vidimus-control").build()?;
    let _inside = control.enter();
    // Before the listeners: whoever reaches them may ask `vidimus identity` for a token.
    let keys = serve.data.join("identity");
    let identity =
        LocalIdentity::open(&keys, None, millis(SystemClock.now().wall)).context("the built-in identity")?;
    let identity = Arc::new(identity);
    let sealing_key = refusals::sealing_key(&serve.data)?;
    // It is locked: only who has it may keep what is refused.
    let ledger = ledger(serve)?;
    let keeping = refusals::kept(&serve.data, &sealing_key)?;
    let (loaded, _watching) = vidimus_registry::watch(&serve.resources, Some(keeping))
        .with_context(|| format!("--resources {}", serve.resources.display()))?;
    taken::log(&loaded.borrow(), "loaded");
    issuer_roots::warn_of_unused(serve, &loaded.borrow().snapshot);
    let bundles = Bundles::open(&serve.trust_bundle, &identity)?;
    let trust = bundles.store();
    bundles.follow(&control, trust.clone());
    let sockets = Sockets::open(serve)?;
    let plain = sockets.plain.local_addr()?;
    let seal = Seal::new(&sealing_key)?;
    let (shared, mint) = shared(serve, &loaded.borrow(), (&identity, &trust, seal, ledger), plain)?;
    let shared = Arc::new(shared);
    turn_keys(&control, mint)?;
    let tls =
        sockets.tls.map(|socket| tls::listener(&control, serve, &identity, trust, socket)).transpose()?;
    reload(&control, shared.clone(), loaded.clone());
    let (stop, stopping) = watch::channel(false);
    admin::serve(&control, sockets.admin, (shared.clone(), loaded, stopping.clone()))?;

    let listeners: Vec<Listener> =
        [Some(Listener { socket: sockets.plain, tls: None }), tls].into_iter().flatten().collect();
    let workers = start_workers(serve, &shared, &listeners, &stopping)?;
    // Each worker has its own, so that the sockets are closed when the workers stop listening.
    drop(listeners);
    tracing::info!(
        listen = %serve.listen, tls = %serve.tls_listen.map_or("off".to_owned(), |address| address.to_string()), admin = %serve.admin, workers = workers.len(),
        ledger = shared.ledger.size(), ms = begun.elapsed().as_millis(), "serving"
    );
    control.block_on(stop_signal())?;
    tracing::info!("stopping: running calls may end, new ones are refused");
    // At once: nobody is ready, nobody listens.
    stop.send_replace(true);
    for worker in workers {
        if worker.join().is_err() {
            tracing::error!("a worker ended by a panic");
        }
    }
    // No worker is left to record it.
    control.block_on(record_count(&shared));
    control.block_on(shared.ledger.close());
    shared.telemetry.flush();
    Ok(ExitCode::SUCCESS)
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

fn ledger(serve: &Serve) -> anyhow::Result<Ledger> {
    let durability = match serve.durability {
        DurabilityArg::Commit => Durability::Commit,
        DurabilityArg::Sync => Durability::Sync,
    };
    let dir = serve.data.join("ledger");
    Ledger::open(vidimus_ledger::Config { dir, durability, ..vidimus_ledger::Config::default() })
        .context("the ledger")
}

fn shared(
    serve: &Serve,
    loaded: &Loaded,
    (identity, trust, seal, ledger): (&Arc<LocalIdentity>, &TrustStore, Seal, Ledger),
    address: SocketAddr,
) -> anyhow::Result<(Shared, Arc<Mint>)> {
    let scheme_and_host = || format!("http://{address}");
    let public_url =
        serve.public_url.clone().unwrap_or_else(scheme_and_host).trim_end_matches('/').to_owned();
    let mut audiences: Vec<Arc<str>> = vec!["vidimus".into(), public_url.as_str().into()];
    audiences.extend(serve.audience.iter().map(|audience| audience.as_str().into()));
    let mint = Arc::new(
        Mint::open(&serve.data.join("identity"), public_url.as_str()).context("the keys of minted tokens")?,
    );
    let authenticator = Authenticator::new(vidimus_identity::Config {
        audiences,
        mint: mint.clone(),
        local: Some(identity.clone()),
        service_account_issuer: serve.service_account_issuer.as_deref().map(Into::into),
        allow_insecure_issuers: false,
        issuer_roots: None,
        roots_of_issuers: issuer_roots::read(serve)?,
        trust: trust.clone(),
        limits: vidimus_identity::Limits::default(),
    })?;
    let limits = Limits {
        message_body: serve.max_body,
        header_time: serve.header_time,
        body_time: serve.body_time,
        idle_stream: serve.stream_idle_time,
        ..Limits::default()
    };
    let shared = Shared::new(vidimus_gateway::Config {
        snapshot: loaded.snapshot.clone(),
        authenticator,
        mint: mint.clone(),
        ledger,
        seal,
        telemetry: Telemetry::new(serve.otlp_endpoint.as_deref())?,
        limits,
        public_url,
        allowed_origins: serve.allow_origin.clone(),
        clock: Arc::new(SystemClock),
    });
    shared.meter.reloaded(loaded.snapshot.objects().len(), Counts::of(loaded).not_in_order());
    Ok((shared, mint))
}

/// Lets one key of minted tokens follow another, for as long as the runtime lives.
fn turn_keys(control: &Runtime, mint: Arc<Mint>) -> anyhow::Result<()> {
    let turn = move || mint.turn_keys(millis(SystemClock.now().wall));
    turn().context("the keys of minted tokens")?;
    control.spawn(async move {
        loop {
            tokio::time::sleep(KEY_LOOK).await;
            // It writes files, and may wait for another process that does.
            let turned = tokio::task::spawn_blocking(turn.clone()).await;
            match turned.map_err(anyhow::Error::from).and_then(|turned| Ok(turned?)) {
                Ok(()) => {}
                Err(error) => tracing::error!(%error, "the keys of minted tokens stay as they were"),
            }
        }
    });
    Ok(())
}

/// Takes every new snapshot into use.
fn reload(control: &Runtime, shared: Arc<Shared>, mut loaded: watch::Receiver<Arc<Loaded>>) {
    control.spawn(async move {
        while loaded.changed().await.is_ok() {
            let now = loaded.borrow_and_update().clone();
            shared.take_into_use(now.snapshot.clone());
            shared.meter.reloaded(now.snapshot.objects().len(), Counts::of(&now).not_in_order());
            taken::log(&now, "reloaded");
        }
    });
}

type Workers = Vec<std::thread::JoinHandle<()>>;

fn start_workers(
    serve: &Serve,
    shared: &Arc<Shared>,
    listeners: &[Listener],
    stopping: &watch::Receiver<bool>,
) -> anyhow::Result<Workers> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let count = serve.threads.map_or(cores, usize::from);
    let open = Arc::new(AtomicUsize::new(0));
    let guard = AddressGuard {
        denied: serve.deny_upstream.clone().into(),
        allowed: serve.allow_upstream.clone().into(),
    };
    let mut workers = Vec::with_capacity(count);
    for number in 0..count {
        let gate = Gate {
            shared: shared.clone(),
            upstream: Upstream::new(guard.clone(), KeepAlive::default()).context("the system's TLS roots")?,
        };
        let listeners = listeners.iter().map(Listener::try_clone).collect::<std::io::Result<Vec<_>>>()?;
        let (open, stopping) = (open.clone(), stopping.clone());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let worker =
            std::thread::Builder::new().name(format!("vidimus-worker-{number}")).spawn(move || {
                if let Err(error) = runtime.block_on(listener::serve(gate, listeners, open, stopping)) {
                    tracing::error!(%error, "a worker could not serve");
                }
                runtime.shutdown_timeout(Duration::from_secs(1));
            })?;
        workers.push(worker);
    }
    Ok(workers)
}

async fn stop_signal() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}
