//! Of issuers of tokens.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::{Listed, list};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    issuer: String,
}

/// What is known of issuers.
#[derive(Debug, Default)]
pub(super) struct IssuerMeter {
    unfetched: Family<Of, Gauge>,
}

impl IssuerMeter {
    pub(super) fn register(&self, registry: &mut Listed) {
        registry.add(&list::ISSUERS_UNFETCHED, self.unfetched.clone());
    }

    /// The keys of these could not be fetched; those of all others were, or nobody asked for them.
    pub(super) fn unfetched<'a>(&self, issuers: impl IntoIterator<Item = &'a str>) {
        self.unfetched.clear();
        for issuer in issuers {
            self.unfetched.get_or_create(&Of { issuer: issuer.to_owned() }).set(1);
        }
    }
}
