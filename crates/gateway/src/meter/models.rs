//! Of calls of models: what they used, what that cost, and how fast models answer. What has a name in the GenAI conventions (v1.41.1) has that name, their
//! labels and their buckets.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use vidimus_core::resource::LlmProvider;

use super::exemplar::Traced;
use super::{Listed, list};
use crate::protocol::observe::Usage;
use crate::telemetry::provider_name;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Counted {
    provider: Arc<str>,
    model: Arc<str>,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Parted {
    provider: Arc<str>,
    model: Arc<str>,
    part: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Spent {
    provider: Arc<str>,
    model: Arc<str>,
    team: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Used {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    gen_ai_request_model: Arc<str>,
    gen_ai_token_type: &'static str,
    provider: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Took {
    error_type: Option<&'static str>,
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    gen_ai_request_model: Arc<str>,
    provider: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Paced {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    gen_ai_request_model: Arc<str>,
    provider: Arc<str>,
}

/// The model that a call is of, by names of the registry.
#[derive(Clone, Debug)]
pub(crate) struct OfModel {
    /// What is done, by the conventions' word for it.
    pub(crate) operation: &'static str,
    /// The provider's API, by the conventions' word for it.
    pub(crate) api: &'static str,
    /// `namespace/name`.
    pub(crate) provider: Arc<str>,
    pub(crate) model: Arc<str>,
    /// Of who calls.
    pub(crate) team: Arc<str>,
}

impl OfModel {
    /// `None` where the provider's record has no such model.
    pub(crate) fn of(
        provider: &LlmProvider,
        name: &str,
        (operation, team): (&'static str, &Arc<str>),
    ) -> Option<Self> {
        let model = provider.model(name)?.name.clone();
        let (api, provider) = (provider_name(provider.provider), provider.id.id.clone());
        Some(Self { operation, api, provider, model, team: team.clone() })
    }
}

/// What came of a call of a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) usage: Usage,
    /// What the call was charged for, in millionths of the currency unit.
    pub(crate) spend: i64,
    /// From its request to the last of the answer, as the gateway saw them; `None` where nothing was sent.
    pub(crate) took: Option<Duration>,
    /// The code, or the result where it has none; `None` where it went well.
    pub(crate) error: Option<&'static str>,
    /// Of an answer that was streamed and ended well: how long its first token took, and each one after it, where that is known.
    pub(crate) pace: Option<(Duration, Option<Duration>)>,
    /// Its trace, where somebody keeps that.
    pub(crate) trace: Option<u128>,
}

/// The metrics of one model and what is done with it that most of its calls have. They are found by one look instead of one each.
#[derive(Debug, Default)]
struct Usual {
    input: OfTokens,
    output: OfTokens,
    /// Of calls that went well.
    took: OnceLock<HistogramWithExemplars<Traced>>,
    first: OnceLock<HistogramWithExemplars<Traced>>,
    each: OnceLock<HistogramWithExemplars<Traced>>,
}

/// Its tokens in one direction.
#[derive(Debug, Default)]
struct OfTokens {
    all: OnceLock<Counter>,
    of_calls: OnceLock<Histogram>,
}

/// What is measured of them.
#[derive(Debug)]
pub(crate) struct ModelMeter {
    /// Shown to nobody: what it has is in the others.
    usual: Family<Paced, Arc<Usual>>,
    tokens: Family<Counted, Counter>,
    parts: Family<Parted, Counter>,
    spend: Family<Spent, Counter<f64, AtomicU64>>,
    usage: Family<Used, Histogram>,
    duration: Family<Took, HistogramWithExemplars<Traced>>,
    first: Family<Paced, HistogramWithExemplars<Traced>>,
    each: Family<Paced, HistogramWithExemplars<Traced>>,
}

impl Default for ModelMeter {
    fn default() -> Self {
        const USAGE: [f64; 14] = [
            1.0,
            4.0,
            16.0,
            64.0,
            256.0,
            1_024.0,
            4_096.0,
            16_384.0,
            65_536.0,
            262_144.0,
            1_048_576.0,
            4_194_304.0,
            16_777_216.0,
            67_108_864.0,
        ];
        const DURATION: [f64; 14] =
            [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
        const FIRST: [f64; 16] =
            [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
        const EACH: [f64; 13] = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
        Self {
            usual: Family::default(),
            tokens: Family::default(),
            parts: Family::default(),
            spend: Family::default(),
            usage: Family::new_with_constructor(|| Histogram::new(USAGE)),
            duration: Family::new_with_constructor(|| HistogramWithExemplars::new(DURATION.into_iter())),
            first: Family::new_with_constructor(|| HistogramWithExemplars::new(FIRST.into_iter())),
            each: Family::new_with_constructor(|| HistogramWithExemplars::new(EACH.into_iter())),
        }
    }
}

impl ModelMeter {
    pub(super) fn register(&self, registry: &mut Listed) {
        registry.add(&list::TOKENS, self.tokens.clone());
        registry.add(&list::TOKEN_PARTS, self.parts.clone());
        registry.add(&list::SPEND, self.spend.clone());
        registry.add(&list::TOKEN_USAGE, self.usage.clone());
        registry.add(&list::MODEL_DURATION, self.duration.clone());
        registry.add(&list::TIME_TO_FIRST_TOKEN, self.first.clone());
        registry.add(&list::TIME_PER_OUTPUT_TOKEN, self.each.clone());
    }

    /// A call of this model has ended.
    pub(crate) fn answered(&self, of: &OfModel, answered: Answered) {
        let labels = Paced {
            gen_ai_operation_name: of.operation,
            gen_ai_provider_name: of.api,
            gen_ai_request_model: of.model.clone(),
            provider: of.provider.clone(),
        };
        let usual = self.usual.get_or_create_owned(&labels);
        self.used(of, &usual, answered.usage);
        if answered.spend > 0 {
            let (provider, model) = (of.provider.clone(), of.model.clone());
            let labels = Spent { provider, model, team: of.team.clone() };
            self.spend.get_or_create(&labels).inc_by(units(answered.spend));
        }
        let example = answered.trace.map(Traced::of);
        if let Some(took) = answered.took {
            let labelled = || {
                self.duration.get_or_create_owned(&Took {
                    error_type: answered.error,
                    gen_ai_operation_name: of.operation,
                    gen_ai_provider_name: of.api,
                    gen_ai_request_model: of.model.clone(),
                    provider: of.provider.clone(),
                })
            };
            let seconds = took.as_secs_f64();
            match answered.error {
                None => usual.took.get_or_init(labelled).observe(seconds, example, None),
                Some(_) => labelled().observe(seconds, example, None),
            }
        }
        if let Some((first, each)) = answered.pace {
            let firsts = usual.first.get_or_init(|| self.first.get_or_create_owned(&labels));
            firsts.observe(first.as_secs_f64(), example, None);
            if let Some(each) = each {
                let later = usual.each.get_or_init(|| self.each.get_or_create_owned(&labels));
                later.observe(each.as_secs_f64(), example, None);
            }
        }
    }

    fn used(&self, of: &OfModel, usual: &Usual, usage: Usage) {
        let names = || (of.provider.clone(), of.model.clone());
        let directions = [("input", usage.input, &usual.input), ("output", usage.output, &usual.output)];
        for (direction, count, known) in directions {
            let Some(count) = count else { continue };
            let all = known.all.get_or_init(|| {
                let (provider, model) = names();
                self.tokens.get_or_create_owned(&Counted { provider, model, direction })
            });
            all.inc_by(count);
            let of_calls = known.of_calls.get_or_init(|| {
                let (provider, model) = names();
                self.usage.get_or_create_owned(&Used {
                    gen_ai_operation_name: of.operation,
                    gen_ai_provider_name: of.api,
                    gen_ai_request_model: model,
                    gen_ai_token_type: direction,
                    provider,
                })
            });
            of_calls.observe(count as f64);
        }
        let parts = [
            ("cache_read", usage.cached),
            ("cache_creation", usage.cache_written),
            ("reasoning", usage.reasoning),
        ];
        for (part, count) in parts {
            let Some(count) = count else { continue };
            let (provider, model) = names();
            self.parts.get_or_create(&Parted { provider, model, part }).inc_by(count);
        }
    }
}

/// Millionths of the currency unit as units of it.
pub(super) fn units(millionths: i64) -> f64 {
    millionths as f64 / 1e6
}
