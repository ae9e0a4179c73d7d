//! The ledger, as any client of tiled logs reads it (C2SP tlog-tiles), below the prefix `/ledger`. Checkpoints and tiles have nothing but
//! hashes and are a view of the ledger; bundles of entries are its records, which is another view.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use vidimus_core::person::{About, Operation};
use vidimus_ledger::{Ledger, Reading, TilePath, TilesError};

use super::people::{Admin, Asks, Refused};

/// Bundles that are read at once; each may take as many bytes as its records have, at most 16 MiB.
const READERS: usize = 2;

/// A tile never changes. It is for who asked alone.
const FOR_EVER: &str = "private, max-age=31536000, immutable";

/// Where bundles are read.
pub(in crate::cmd::serve) struct Shelf {
    /// Whether somebody is to cosign checkpoints.
    witnessed: bool,
    readers: Arc<Semaphore>,
    /// Where the last bundle ended: whoever reads all of the log asks for the next one.
    reading: Mutex<Option<Reading>>,
}

impl Shelf {
    pub(super) fn new(witnessed: bool) -> Self {
        Self { witnessed, readers: Arc::new(Semaphore::new(READERS)), reading: Mutex::default() }
    }
}

/// The newest checkpoint. Where the ledger has witnesses, the newest that enough of them cosigned, once there is one: who asks for their
/// word gets it, and nobody is shown a past that they have not seen.
pub(super) async fn checkpoint(State(admin): State<Admin>, asks: Asks) -> Result<Response, Refused> {
    asks.may(Operation::Read, About::View("ledger")).await?;
    let ledger = &admin.shared().ledger;
    let cosigned = ledger.cosigned().filter(|_| admin.tiles.witnessed);
    let note =
        cosigned.map_or_else(|| ledger.tiles().checkpoint().to_owned(), |cosigned| cosigned.note.clone());
    let headers =
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "private, no-store")];
    Ok((headers, note).into_response())
}

/// A tile, by what follows `tile/`.
pub(super) async fn tile(
    State(admin): State<Admin>,
    asks: Asks,
    Path(path): Path<String>,
) -> Result<Response, Refused> {
    let wanted = TilePath::parse(&path);
    // What is no path of a tile is looked for like one of hashes: it is decided before it is said.
    let view = if wanted.is_some_and(|wanted| wanted.level.is_none()) { "records" } else { "ledger" };
    asks.may(Operation::Read, About::View(view)).await?;
    let Some(wanted) = wanted else { return Ok(none()) };
    // The files are read where nobody waits, and a place is taken until they are, also where whoever asked has gone. The semaphore is
    // never closed.
    let place = admin.tiles.readers.clone().acquire_owned().await;
    let (ledger, shelf) = (admin.shared().ledger.clone(), admin.tiles.clone());
    let read = tokio::task::spawn_blocking(move || {
        let _place = place;
        read(&ledger, wanted, &shelf.reading)
    })
    .await;
    Ok(match read {
        Ok(Ok(Some(bytes))) => {
            let headers =
                [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, FOR_EVER)];
            (headers, bytes).into_response()
        }
        Ok(Ok(None)) => none(),
        Ok(Err(error)) => {
            tracing::error!(%error, path, "a tile of the ledger cannot be read");
            (StatusCode::INTERNAL_SERVER_ERROR, "the ledger cannot be read there; the log says why\n")
                .into_response()
        }
        Err(error) => {
            tracing::error!(%error, path, "a tile of the ledger was not read");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    })
}

fn read(
    ledger: &Ledger,
    wanted: TilePath,
    reading: &Mutex<Option<Reading>>,
) -> Result<Option<Vec<u8>>, TilesError> {
    let (tiles, TilePath { level, index, width }) = (ledger.tiles(), wanted);
    match level {
        Some(level) => tiles.hashes(level, index, width),
        None => {
            let mut last = reading.lock().unwrap_or_else(PoisonError::into_inner).take();
            let entries = tiles.entries(index, width, &mut last);
            *reading.lock().unwrap_or_else(PoisonError::into_inner) = last;
            entries
        }
    }
}

/// There is no such tile, or not yet.
fn none() -> Response {
    let headers = [(header::CACHE_CONTROL, "private, no-store")];
    (StatusCode::NOT_FOUND, headers, "the ledger has no such tile, or not yet\n").into_response()
}
