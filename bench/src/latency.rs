//! Latencies of one measurement: a histogram with three significant digits, in nanoseconds.

use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;

/// Longest latency that is told apart from a longer one.
const LONGEST: Duration = Duration::from_secs(60);

/// Latencies, counted.
#[derive(Clone, Debug)]
pub(crate) struct Latency(Histogram<u64>);

impl Latency {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let longest = u64::try_from(LONGEST.as_nanos())?;
        Ok(Self(Histogram::new_with_bounds(1, longest, 3).context("histogram bounds")?))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Microseconds that a share (0 to 1) of the requests stayed within.
    pub(crate) fn quantile_us(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1_000.0
    }
}

/// The middle value; of an even number of values the mean of the two in the middle. `None` of none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    match sorted.len() % 2 {
        1 => Some(upper),
        _ => sorted.get(sorted.len() / 2 - 1).map(|lower| f64::midpoint(*lower, upper)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median([9.0, 1.0, 5.0, 6.0]), Some(5.5));
        let mut latency = Latency::new().unwrap();
        (1..=100).for_each(|us| latency.record(Duration::from_micros(us)));
        latency.record(Duration::from_secs(3_600));
        assert!((latency.quantile_us(0.5) - 51.0).abs() < 0.1, "{}", latency.quantile_us(0.5));
        assert!(
            (latency.quantile_us(1.0) / 60e6 - 1.0).abs() < 0.01,
            "what is longer than the longest counts as it"
        );
    }
}
