//! Who looks at the listings in an answer, and where: what takes long is looked at beside the calls.

use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use vidimus_core::call::Destination;
use vidimus_core::refusal::{Code, Refusal};

use super::Answering;
use crate::protocol::mcp::listing::Listing;
use crate::protocol::mcp::listing_filter::ListingFilter;

/// From this length on, in bytes, a listing is looked at beside the calls of the thread: some hundred entries are decided.
pub(super) const LONG: usize = 64 * 1024;

impl Answering<'_> {
    /// A listing that is long to be looked at, which is done beside the calls, one after another.
    pub(super) async fn long_listing(&self, bytes: Bytes, listing: Listing) -> Result<String, Refusal> {
        let fault = |error: &dyn std::error::Error| {
            Refusal::new(Code::Internal, "a listing was not looked at").with_detail(error)
        };
        let turns = self.gate.long_listings.clone();
        let turn = turns.acquire_owned().await.map_err(|error| fault(&error))?;
        let mut filter = self.listing_filter()?;
        let filtered = tokio::task::spawn_blocking(move || {
            // It goes on where its caller leaves, and so does its turn.
            let _turn = turn;
            // It was read as UTF-8 already.
            filter.document(std::str::from_utf8(&bytes).unwrap_or_default(), listing)
        });
        filtered.await.map_err(|error| fault(&error))?
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
            redacts: None,
        })
    }
}
