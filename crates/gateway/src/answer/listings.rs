//! Who looks at the listings in an answer, and where: what takes long is looked at beside the calls.

use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use vidimus_core::call::Destination;
use vidimus_core::refusal::{Code, Refusal};

use super::Answering;
use crate::first_sight::FirstSights;
use crate::gate::Gate;
use crate::protocol::mcp::listing::Listing;
use crate::protocol::mcp::listing_filter::ListingFilter;

/// From this length on, in bytes, a listing is looked at beside the calls of the thread: some hundred entries are decided.
const LONG: usize = 64 * 1024;

/// Looks at a listing of this length, in bytes: at one that is long beside the calls, one after another.
///
/// # Errors
/// `internal` where nobody looked.
pub async fn looked_at<T: Send + 'static>(
    gate: &Gate,
    length: usize,
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let fault = |error: &dyn std::error::Error| {
        Refusal::new(Code::Internal, "a listing was not looked at").with_detail(error)
    };
    if length <= LONG {
        return Ok(look());
    }
    let turn = gate.long_listings.clone().acquire_owned().await.map_err(|error| fault(&error))?;
    let looked = tokio::task::spawn_blocking(move || {
        // It goes on where its caller leaves, and so does its turn.
        let _turn = turn;
        look()
    });
    looked.await.map_err(|error| fault(&error))
}

/// A listing with only what the caller may use now.
///
/// # Errors
/// As [`ListingFilter::document`] and [`looked_at`].
pub async fn filtered(
    gate: &Gate,
    mut filter: ListingFilter,
    bytes: Bytes,
    listing: Listing,
) -> Result<String, Refusal> {
    looked_at(gate, bytes.len(), move || filter.document(text_of(&bytes)?, listing)).await?
}

fn text_of(bytes: &Bytes) -> Result<&str, Refusal> {
    std::str::from_utf8(bytes)
        .map_err(|_| Refusal::new(Code::UpstreamInvalid, "the upstream's answer is not UTF-8"))
}

impl Answering<'_> {
    /// As [`filtered`], of the answer.
    pub(super) async fn listing(&self, bytes: Bytes, listing: Listing) -> Result<String, Refusal> {
        filtered(self.gate, self.listing_filter()?, bytes, listing).await
    }

    pub(super) fn listing_filter(&self) -> Result<ListingFilter, Refusal> {
        let Destination::Server(server) = &self.destination else {
            return Err(Refusal::new(Code::Internal, "only an MCP server has listings"));
        };
        Ok(ListingFilter {
            shared: self.gate.shared.clone(),
            world: self.world.clone(),
            server: server.clone(),
            caller: self.caller.clone(),
            source_ip: self.asked.source_ip,
            left: AtomicUsize::new(0),
            so_far: self.asked.so_far.clone(),
            kept_back: None,
            first_sights: FirstSights::default(),
        })
    }
}
