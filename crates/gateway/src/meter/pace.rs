//! How fast models answer, by the names and buckets of the GenAI conventions (v1.41.1).

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::{Listed, list};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    provider: String,
    model: String,
}

/// What is measured of models' answers that are streamed. Both names are registered ones.
#[derive(Debug)]
pub(crate) struct PaceMeter {
    first: Family<Asked, Histogram>,
    each: Family<Asked, Histogram>,
}

impl Default for PaceMeter {
    fn default() -> Self {
        const FIRST: [f64; 16] =
            [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
        const EACH: [f64; 13] = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
        Self {
            first: Family::new_with_constructor(|| Histogram::new(FIRST)),
            each: Family::new_with_constructor(|| Histogram::new(EACH)),
        }
    }
}

impl PaceMeter {
    pub(super) fn register(&self, registry: &mut Listed) {
        registry.add(&list::TIME_TO_FIRST_TOKEN, self.first.clone());
        registry.add(&list::TIME_PER_OUTPUT_TOKEN, self.each.clone());
    }

    /// An answer came well: how long its first token took, and each one after it, where that is known.
    pub(crate) fn answered(&self, (provider, model): (&str, &str), first: Duration, each: Option<Duration>) {
        let asked = Asked { provider: provider.to_owned(), model: model.to_owned() };
        self.first.get_or_create(&asked).observe(first.as_secs_f64());
        if let Some(each) = each {
            self.each.get_or_create(&asked).observe(each.as_secs_f64());
        }
    }
}
