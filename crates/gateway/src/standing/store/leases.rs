//! Calls at once, of all gateways: each has a place in the store until its lease runs out, which its gateway renews while the call is under way. What a
//! gateway held that died is free when its leases have run out, and so is what could not be given back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Script, ScriptInvocation};

use super::{Store, TOGETHER, millis};

/// How long a place is held that is not renewed.
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// How often all are renewed.
pub(super) const RENEWED: Duration = Duration::from_secs(3);

static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("renew.lua")));
static GIVE_BACK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("give_back.lua")));

/// The places that this gateway holds: by their numbers, of which key. As many as calls are under way at most.
#[derive(Debug)]
pub(super) struct Leases {
    /// In the names of all of them, so that no other gateway has one by the same name.
    run: u64,
    next: AtomicU64,
    held: Mutex<HashMap<u64, Arc<str>>>,
}

impl Leases {
    pub(super) fn new() -> Self {
        Self { run: rand::random(), next: AtomicU64::new(0), held: Mutex::default() }
    }

    /// What the place of this number is called in the store.
    pub(super) fn name(&self, number: u64) -> String {
        format!("{:016x}-{number}", self.run)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<u64, Arc<str>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of these places, one script.
    fn of(
        &self,
        mut script: ScriptInvocation<'static>,
        places: &[(u64, Arc<str>)],
    ) -> ScriptInvocation<'static> {
        script.arg(millis(LEASE));
        for (number, key) in places {
            script.key(&**key).arg(self.name(*number));
        }
        script
    }
}

/// A place of a call among those at once. Dropping it gives it back.
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub struct Lease {
    store: Arc<Store>,
    number: u64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(key) = self.store.leases.held().remove(&self.number) else { return };
        let (store, place) = (self.store.clone(), (self.number, key));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut given_back = Box::pin(async move {
            let script = store.leases.of(GIVE_BACK.prepare_invoke(), &[place]);
            let _: Result<u64, _> = store.run(&script).await;
        });
        // It is on its way before the next call of this gateway is. Nobody waits for its end: where it does not arrive, the lease runs out.
        if given_back.as_mut().now_or_never().is_none() {
            runtime.spawn(given_back);
        }
    }
}

impl Store {
    /// The number of a place that is to be taken.
    pub fn next_place(&self) -> u64 {
        self.leases.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The place of this number is held from now on: taken in the store, or to be told to it when it is connected to.
    pub fn hold(self: &Arc<Self>, number: u64, key: Arc<str>) -> Lease {
        self.leases.held().insert(number, key);
        Lease { store: self.clone(), number }
    }

    /// All places that are held stay so; also those that the store has lost, since their calls are under way.
    pub(super) async fn renew(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        let all: Vec<_> = self.leases.held().iter().map(|(number, key)| (*number, key.clone())).collect();
        for together in all.chunks(TOGETHER) {
            let script = self.leases.of(RENEW.prepare_invoke(), together);
            let _: u64 = script.invoke_async(connection).await?;
            // One that was given back meanwhile would be held for nobody.
            let is_over = |(number, _): &&(u64, Arc<str>)| !self.leases.held().contains_key(number);
            let over: Vec<_> = together.iter().filter(is_over).cloned().collect();
            if !over.is_empty() {
                let script = self.leases.of(GIVE_BACK.prepare_invoke(), &over);
                let _: u64 = script.invoke_async(connection).await?;
            }
        }
        Ok(())
    }
}
