//! The log of a process that serves: lines wait in a bounded queue for a thread that does nothing but write them to standard error.
//!
//! Whoever logs neither waits nor fails, whatever standard error is: a pipe that nobody reads, one whose reader has gone, a full disk.
//! A lost log is a nuisance; a call that waits for it, or a task that ends by it, is a hole in what is governed. What is lost is
//! counted (`vidimus_log_lines_lost_total`), and said in the log as soon as there is one again. Panics go the same way.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::time::Duration;

use serde_json::json;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use vidimus_core::clock::Clock as _;
use vidimus_gateway::{Vitals, rfc3339};

use crate::clock::SystemClock;

/// Bytes of lines that wait to be written.
const QUEUE: usize = 4 * 1024 * 1024;

/// How long the end of the process waits for what is queued.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Takes lines; each is one call of [`Write::write`].
#[derive(Clone, Debug)]
pub struct Log {
    lines: Sender<Said>,
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    most: usize,
    /// Whether each line is an object of JSON.
    json: bool,
    bytes: AtomicUsize,
    /// Lost since it was said last.
    lost: AtomicU64,
    vitals: Vitals,
}

#[derive(Debug)]
enum Said {
    Line(Vec<u8>),
    /// All before it are to be written by when this is answered.
    End(SyncSender<()>),
}

/// Sends the log of this process to standard error, and panics to the log.
///
/// # Errors
/// When the thread cannot be started, or standard error is not open.
pub fn begin(filter: EnvFilter, json: bool, vitals: &Vitals) -> io::Result<Log> {
    let plain =
        !io::stderr().is_terminal() || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    // Of its own, so that nothing else that writes to standard error waits for the lock of this thread.
    let to = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let log = Log::to(to, QUEUE, json, vitals)?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(!plain)
        .log_internal_errors(false)
        .with_writer(log.clone());
    if json {
        subscriber.json().init();
    } else {
        subscriber.init();
    }
    let vitals = vitals.clone();
    // The standard hook writes to standard error, and waits until it can.
    std::panic::set_hook(Box::new(move |panic| {
        vitals.panics().inc();
        let thread = std::thread::current();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let what = panic.payload_as_str().unwrap_or("a panic");
        tracing::error!(thread = thread.name().unwrap_or_default(), place, "panic: {what}");
    }));
    Ok(log)
}

impl Log {
    /// Writes to `to`, of which at most `most` bytes wait.
    fn to(to: impl Write + Send + 'static, most: usize, json: bool, vitals: &Vitals) -> io::Result<Self> {
        let (lines, said) = mpsc::channel();
        let queue = Arc::new(Queue::new(most, json, vitals));
        let writes = queue.clone();
        std::thread::Builder::new().name("vidimus-log".to_owned()).spawn(move || writes.write(to, &said))?;
        Ok(Self { lines, queue })
    }

    /// Waits a moment for what is queued: the process ends.
    pub fn end(&self) {
        let (written, all) = mpsc::sync_channel(1);
        if self.lines.send(Said::End(written)).is_ok() {
            // What cannot be written by then is lost with the process.
            let _ = all.recv_timeout(LAST_LINES);
        }
    }
}

impl Write for Log {
    /// Never fails and never waits: what cannot be queued is lost, and counted.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let queue = &self.queue;
        if queue.bytes.fetch_add(line.len(), Ordering::Relaxed) + line.len() > queue.most {
            queue.bytes.fetch_sub(line.len(), Ordering::Relaxed);
            queue.lose();
        } else if self.lines.send(Said::Line(line.to_vec())).is_err() {
            queue.lose();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Queue {
    fn new(most: usize, json: bool, vitals: &Vitals) -> Self {
        let (bytes, lost) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self { most, json, bytes, lost, vitals: vitals.clone() }
    }

    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.vitals.log_lines_lost().inc();
    }

    /// The body of the thread. A line that cannot be written is lost, and the next one is tried: disks become free again.
    fn write(&self, mut to: impl Write, said: &Receiver<Said>) {
        while let Ok(said) = said.recv() {
            match said {
                Said::Line(line) => {
                    self.bytes.fetch_sub(line.len(), Ordering::Relaxed);
                    self.tell(&mut to);
                    if to.write_all(&line).is_err() {
                        self.lose();
                    }
                }
                Said::End(written) => {
                    self.tell(&mut to);
                    // Who waits may have given up.
                    let _gave_up = written.try_send(()).is_err();
                }
            }
        }
    }

    /// Says how many lines were lost, if any were since it was said last.
    fn tell(&self, to: &mut impl Write) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 && writeln!(to, "{}", self.notice(lost)).is_err() {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }

    /// The line that stands for `lost` others, in the form that they have.
    fn notice(&self, lost: u64) -> String {
        let message = format!("{lost} lines of the log were lost here");
        if !self.json {
            return message;
        }
        let time = rfc3339(SystemClock.now().wall);
        json!({"timestamp": time, "level": "WARN", "fields": {"message": message}, "target": "vidimus::log"})
            .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(log: &mut Log, count: usize) {
        for number in 0..count {
            assert_eq!(log.write(format!("line {number}\n").as_bytes()).expect("taken"), 7 + number / 10);
        }
    }

    #[test]
    fn whoever_logs_neither_waits_nor_fails_and_what_is_lost_is_counted_and_said() {
        let vitals = Vitals::default();
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let mut log = Log::to(writer, 70, false, &vitals).expect("a log");
        // Nobody reads, so the thread waits as soon as the pipe is full.
        let large = [b"x".repeat(69), b"\n".to_vec()].concat();
        for _ in 0..20_000 {
            assert_eq!(log.write(&large).expect("taken"), 70);
        }
        assert!(vitals.log_lines_lost().get() > 10_000);
        let read = std::thread::spawn(move || io::read_to_string(&mut reader).expect("text"));
        log.end();
        lines(&mut log, 5);
        log.end();
        drop(log);
        let text = read.join().expect("no panic");
        assert!(text.ends_with("line 3\nline 4\n"));
        let said = text.lines().filter_map(|line| line.strip_suffix(" lines of the log were lost here"));
        let said: u64 = said.map(|count| count.parse::<u64>().expect("a number")).sum();
        assert_eq!(said, vitals.log_lines_lost().get());
        assert_eq!(text.lines().filter(|line| line.starts_with('x')).count() as u64 + said, 20_000);
    }

    #[test]
    fn a_reader_that_has_gone_and_a_full_disk_lose_lines_and_nothing_else() {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("opened");
        let to: [Box<dyn Write + Send>; 2] = [Box::new(writer), Box::new(full)];
        for to in to {
            let vitals = Vitals::default();
            let mut log = Log::to(to, QUEUE, false, &vitals).expect("a log");
            lines(&mut log, 10);
            log.end();
            assert_eq!(vitals.log_lines_lost().get(), 10);
        }
    }

    #[test]
    fn what_was_lost_is_said_in_the_form_of_the_lines() {
        let notice = |json| Queue::new(0, json, &Vitals::default()).notice(3);
        let message = "3 lines of the log were lost here";
        assert_eq!(notice(false), message);
        let said: serde_json::Value = serde_json::from_str(&notice(true)).expect("JSON");
        assert_eq!((&said["level"], &said["fields"]["message"]), (&json!("WARN"), &json!(message)));
    }
}
