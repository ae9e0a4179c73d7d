//! The gateway's spans on their way to a collector. They wait in a bounded queue; what finds no place there, and what the collector does not take, is
//! lost, and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor as _,
};

use crate::vitals::Vitals;

/// So many spans wait at most, as the SDK has it.
pub(super) const MOST: usize = 2_048;

/// What takes spans, and exports them in the background.
#[derive(Debug)]
pub(super) struct Queue {
    processor: BatchSpanProcessor,
    most: usize,
    /// How many wait.
    waiting: Arc<AtomicUsize>,
    vitals: Vitals,
}

impl Queue {
    /// Of at most `most` spans. The SDK's own queue is as long, so that nothing is dropped there, where nobody counts it.
    pub(super) fn to<E: SpanExporter + 'static>(exporter: E, most: usize, vitals: &Vitals) -> Self {
        let waiting = Arc::new(AtomicUsize::new(0));
        let counted = Counted { exporter, waiting: waiting.clone(), vitals: vitals.clone() };
        let config = BatchConfigBuilder::default().with_max_queue_size(most).build();
        let mut processor = BatchSpanProcessor::builder(counted).with_batch_config(config).build();
        processor.set_resource(&Resource::builder().with_service_name("vidimus").build());
        Self { processor, most, waiting, vitals: vitals.clone() }
    }

    /// Takes a span, where there is a place for it.
    pub(super) fn push(&self, span: SpanData) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return self.vitals.own_spans("dropped", 1);
        }
        self.processor.on_end(span);
    }

    /// Sends what waits.
    pub(super) fn flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }
}

/// An exporter of which is counted what becomes of its spans.
#[derive(Debug)]
struct Counted<E> {
    exporter: E,
    waiting: Arc<AtomicUsize>,
    vitals: Vitals,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        let exported = self.exporter.export(batch).await;
        let result = if exported.is_ok() { "sent" } else { "failed" };
        self.vitals.own_spans(result, count as u64);
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use opentelemetry_sdk::error::OTelSdkError;

    use super::*;
    use crate::telemetry::Telemetry;
    use crate::trace::TraceContext;
    use vidimus_core::clock::Moment;

    /// A collector that says when a batch came, and takes it when it is told to.
    #[derive(Debug)]
    struct Collector {
        came: Sender<usize>,
        takes: Mutex<Receiver<bool>>,
    }

    impl SpanExporter for Collector {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.came.send(batch.len()).expect("a test");
            let takes = self.takes.lock().expect("one thread").recv().expect("a test");
            if takes { Ok(()) } else { Err(OTelSdkError::InternalFailure("away".to_owned())) }
        }
    }

    /// A gateway's span ends.
    fn one(telemetry: &Telemetry) {
        let (wall, monotonic) = (std::time::SystemTime::now(), std::time::Instant::now());
        let span = telemetry.span(&TraceContext::from_header(None), Moment { wall, monotonic });
        span.expect("it is exported").end("ok", None, 200, wall);
    }

    #[test]
    fn what_finds_no_place_and_what_is_not_taken_is_counted() {
        let (vitals, (came, arrivals)) = (Vitals::default(), channel());
        let (takes, told) = channel();
        let queue = Queue::to(Collector { came, takes: Mutex::new(told) }, 4, &vitals);
        let telemetry = Telemetry::of(queue);
        let count = |result| vitals.own_spans_of(result);
        (0..3).for_each(|_| one(&telemetry));
        std::thread::scope(|scope| {
            scope.spawn(|| telemetry.flush());
            assert_eq!(arrivals.recv().expect("a batch"), 3);
            // While the collector has these, four more find a place.
            (0..6).for_each(|_| one(&telemetry));
            assert_eq!([count("sent"), count("failed"), count("dropped")], [0, 0, 2]);
            takes.send(false).expect("it waits");
        });
        assert_eq!([count("sent"), count("failed"), count("dropped")], [0, 3, 2]);
        takes.send(true).expect("it waits");
        telemetry.flush();
        assert_eq!(arrivals.recv().expect("a batch"), 4);
        assert_eq!([count("sent"), count("failed"), count("dropped")], [4, 3, 2]);
        one(&telemetry);
        assert_eq!(count("dropped"), 2, "there is room again");
        takes.send(true).expect("it waits");
    }
}
