//! The ledger, as any client of tiled logs reads it (C2SP tlog-tiles), below the prefix `/ledger`. Checkpoints and tiles have nothing but
//! hashes and are a view of the ledger; bundles of entries are its records, which is another view.

use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
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
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let wanted = TilePath::parse(&path);
    // What is no path of a tile is looked for like one of hashes: it is decided before it is said.
    let view = if wanted.is_some_and(|wanted| wanted.level.is_none()) { "records" } else { "ledger" };
    asks.may(Operation::Read, About::View(view)).await?;
    let Some(wanted) = wanted else { return Ok(none()) };
    let is_bundle = wanted.level.is_none();
    let takes_gzip = is_bundle && takes_gzip(&headers);
    // The files are read where nobody waits, and a place is taken until they are, also where whoever asked has gone. The semaphore is
    // never closed.
    let place = admin.tiles.readers.clone().acquire_owned().await;
    let (ledger, shelf) = (admin.shared().ledger.clone(), admin.tiles.clone());
    let read = tokio::task::spawn_blocking(move || {
        let _place = place;
        let Some(bytes) = read(&ledger, wanted, &shelf.reading)? else { return Ok(None) };
        Ok::<_, TilesError>(Some(match takes_gzip.then(|| zipped(&bytes)) {
            Some(Ok(zip)) => (zip, true),
            _ => (bytes, false),
        }))
    })
    .await;
    Ok(match read {
        Ok(Ok(Some((bytes, is_zipped)))) => {
            let headers =
                [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, FOR_EVER)];
            let mut response = (headers, bytes).into_response();
            let headers = response.headers_mut();
            if is_zipped {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            // Hashes are never zipped: they would be no smaller.
            if is_bundle {
                headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
            }
            response
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

/// Whether whoever asks takes gzip and says so (RFC 9110, 12.5.3): bundles SHOULD be sent by it (C2SP tlog-tiles, "Log entries").
fn takes_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        // A weight of nothing refuses it, and one that is none says nothing.
        let weight = parameters.split_once('=').map_or("1", |(_, weight)| weight.trim());
        name.trim().eq_ignore_ascii_case("gzip") && weight.parse::<f32>().is_ok_and(|weight| weight > 0.0)
    })
}

fn zipped(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// There is no such tile, or not yet.
fn none() -> Response {
    let headers = [(header::CACHE_CONTROL, "private, no-store")];
    (StatusCode::NOT_FOUND, headers, "the ledger has no such tile, or not yet\n").into_response()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn who_takes_gzip_says_so() {
        for (lines, takes) in [
            (&["gzip"][..], true),
            (&["deflate, GZIP;q=0.5"], true),
            (&["br", "gzip ; q=1"], true),
            (&[], false),
            (&["*"], false),
            (&["gzip;q=0"], false),
            (&["gzip; q=0.000, br"], false),
            (&["gzip;q=x"], false),
            (&["identity, gzippo"], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(line));
            }
            assert_eq!(takes_gzip(&headers), takes, "{lines:?}");
        }
    }

    #[test]
    fn what_is_zipped_is_what_it_was() {
        let bundle = b"records ".repeat(10_000);
        let zip = zipped(&bundle).expect("zipped");
        assert!(zip.len() < bundle.len() / 20, "{}", zip.len());
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&*zip).read_to_end(&mut back).expect("unzipped");
        assert!(back == bundle);
    }
}
