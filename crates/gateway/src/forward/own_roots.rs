//! Clients for endpoints that name their own roots (`spec.endpoint.caFile`), whose file is read again when it changes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use vidimus_core::refusal::{Code, Refusal};
use vidimus_identity::read_regular;

use super::connect::{self, Client, Connecting};

/// How long the roots read from a file are used before the file is looked at again.
const REREAD: Duration = Duration::from_secs(5);

/// Largest file of roots, in bytes: those of all public authorities are a fourth of it.
pub(crate) const MAX: u64 = 1 << 20;

/// What to do about roots that cannot be used.
const ROOTS: &str = "Let spec.endpoint.caFile name a file that the gateway may read, with at least one certificate in PEM; \
    nothing was sent.";

/// Clients, by the file of their roots.
#[derive(Debug, Default)]
pub(super) struct OwnRoots(Mutex<HashMap<Arc<str>, Read>>);

/// What was made of a file.
#[derive(Debug)]
struct Read {
    /// When it was looked at last.
    at: Instant,
    /// What it held then, whether that could be used or not.
    content: Vec<u8>,
    client: Client,
}

impl OwnRoots {
    /// The client that trusts what `file` holds now. Calls that are on their way by the former roots go on. A file that cannot be
    /// used any more changes nothing, and is reported once.
    ///
    /// # Errors
    /// `upstream_unreachable` for a file that could not be used yet.
    pub(super) fn client(&self, file: &Arc<str>, connecting: &Connecting) -> Result<Client, Refusal> {
        let poisoned = || Refusal::new(Code::Internal, "the upstream clients are in an unknown state");
        let mut clients = self.0.lock().map_err(|_| poisoned())?;
        let now = Instant::now();
        let Some(known) = clients.get_mut(file) else {
            let unusable = |error: std::io::Error| {
                let message = "the roots of the upstream's endpoint could not be read";
                let refusal = Refusal::new(Code::UpstreamUnreachable, message).with_next(ROOTS);
                refusal.with_detail(format!("{file}: {error}"))
            };
            let content = read_regular(Path::new(&**file), MAX).map_err(unusable)?;
            let client = connect::client(connecting, Some(&content)).map_err(unusable)?;
            clients.insert(file.clone(), Read { at: now, content, client: client.clone() });
            return Ok(client);
        };
        if now.saturating_duration_since(known.at) >= REREAD {
            known.at = now;
            known.refresh(file, connecting);
        }
        Ok(known.client.clone())
    }
}

impl Read {
    fn refresh(&mut self, file: &str, connecting: &Connecting) {
        // A file that is gone reads as an empty one, so that its absence too is reported once.
        let (content, missing) = match read_regular(Path::new(file), MAX) {
            Ok(content) => (content, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        if content == self.content {
            return;
        }
        let client = missing.map_or_else(|| connect::client(connecting, Some(&content)), Err);
        self.content = content;
        match client {
            Ok(client) => {
                tracing::info!(file, "the roots of an endpoint were read again");
                self.client = client;
            }
            Err(error) => tracing::error!(file, %error, "the roots of an endpoint stay as they were"),
        }
    }
}
