//! Whether a permitted call would be let through, by the present configuration.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use vidimus_gateway::{Shared, Silent};
use vidimus_registry::Loaded;

use super::configurations::Live;
use super::source::Watching;

/// How long what was read may be on its way into use. It takes microseconds.
const INTO_USE: Duration = Duration::from_secs(2);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(5);

/// How long an accept loop may be silent; it comes round once a second.
const SILENCE: Duration = Duration::from_secs(10);

/// What the admin address shows, and readiness is seen by.
#[derive(Clone)]
pub(super) struct Health {
    pub(super) shared: Arc<Shared>,
    /// What keeps the configurations that decide.
    pub(super) live: Live,
    /// The newest configuration.
    pub(super) loaded: watch::Receiver<Arc<Loaded>>,
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) watching: Arc<Watching>,
    /// How many accept loops there are to be.
    pub(super) loops: usize,
}

impl Health {
    /// Why a permitted call would not be let through now; `None` when it would.
    pub(super) async fn why_not_ready(&self) -> Option<String> {
        if *self.stopping.borrow() {
            return Some("the gateway is stopping".to_owned());
        }
        if !self.shared.ledger.is_open() {
            return Some("the ledger cannot be written, so the gate is closed".to_owned());
        }
        if let Some(reason) = self.shared.why_unkept().await {
            return Some(format!("no key can be had for payloads that policies have kept (@keep): {reason}"));
        }
        if let Some(reason) = self.loaded.borrow().not_ready.clone() {
            return Some(reason);
        }
        if !self.comes_into_use().await {
            return Some(
                "the gateway decides by a configuration that is not the newest one, see /registry".to_owned(),
            );
        }
        if let Some(reason) = self.watching.why_unread() {
            return Some(reason);
        }
        why_deaf(&self.shared.vitals.loops(), self.loops)
    }

    /// Whether the snapshot that decides is the newest one that was compiled.
    fn is_in_force(&self) -> bool {
        self.shared.snapshot().digest() == self.loaded.borrow().snapshot.digest()
    }

    async fn comes_into_use(&self) -> bool {
        let looked = async {
            while !self.is_in_force() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(INTO_USE, looked).await.is_ok()
    }
}

/// Why not every accept loop accepts.
fn why_deaf(loops: &[Silent], all: usize) -> Option<String> {
    if loops.len() < all {
        return Some(format!("{} of {all} accept loops live", loops.len()));
    }
    let silent = loops.iter().find(|it| it.since > SILENCE)?;
    Some(format!("'{}' has not come round for {} s", silent.of, silent.since.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_is_missing_or_silent_is_named() {
        let silent = |seconds| Silent { of: "accept x".to_owned(), since: Duration::from_secs(seconds) };
        assert_eq!(why_deaf(&[silent(1), silent(10)], 2), None);
        assert_eq!(why_deaf(&[silent(1)], 2).as_deref(), Some("1 of 2 accept loops live"));
        assert_eq!(
            why_deaf(&[silent(1), silent(11)], 2).as_deref(),
            Some("'accept x' has not come round for 11 s")
        );
    }
}
