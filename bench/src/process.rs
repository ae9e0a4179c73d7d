//! What the kernel tells of a process: processor time, memory, and its end.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

/// A child that does not outlive this process's interest in it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    what: &'static str,
}

impl Running {
    pub(crate) fn spawn(what: &'static str, command: &mut Command) -> anyhow::Result<Self> {
        let child = command.spawn().with_context(|| format!("{what} cannot be started: {command:?}"))?;
        Ok(Self { child, what })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stdout(&mut self) -> anyhow::Result<std::process::ChildStdout> {
        self.child.stdout.take().context("its standard output is not piped")
    }

    /// An error when it has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended: {status}", self.what),
        }
    }

    /// Asks it to end, and waits; an error when it ends with one or does not end.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let deadline = Instant::now() + Duration::from_secs(15);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "{} ended with {status}", self.what);
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("{} did not end when it was asked to", self.what)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the processor time of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuClock {
    pid: u32,
}

/// Processor time of a process at one moment.
#[derive(Clone, Debug)]
pub(crate) struct CpuTime {
    /// Nanoseconds on a processor, by living thread (`/proc/PID/task/TID/schedstat`).
    threads: BTreeMap<u32, u64>,
    /// User and system time of all threads, ended ones as well, in clock ticks (`/proc/PID/stat`).
    ticks: u64,
}

impl CpuClock {
    pub(crate) const fn of(pid: u32) -> Self {
        Self { pid }
    }

    pub(crate) fn own() -> Self {
        Self::of(std::process::id())
    }

    pub(crate) fn read(self) -> anyhow::Result<CpuTime> {
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{}/task", self.pid)).context("the process is gone")? {
            let entry = entry?;
            let thread = entry.file_name().to_string_lossy().parse()?;
            // A thread may end between listing and reading.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let running = text.split_ascii_whitespace().next().context("schedstat is empty")?;
            threads.insert(thread, running.parse()?);
        }
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        Ok(CpuTime { threads, ticks: ticks(&stat)? })
    }
}

/// Fields 14 and 15 of proc_pid_stat(5). The second field, the name, may hold anything, and ends with the last parenthesis.
fn ticks(stat: &str) -> anyhow::Result<u64> {
    let (_, rest) = stat.rsplit_once(") ").context("/proc/PID/stat has no name")?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut next =
        || fields.next().context("/proc/PID/stat is too short")?.parse::<u64>().context("/proc/PID/stat");
    Ok(next()? + next()?)
}

impl CpuTime {
    /// Processor time between the two readings. The clock with nanoseconds misses threads that ended in between, the one that
    /// does not counts in hundredths of a second: the first is taken, unless the second shows that something is missing.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let before = |thread| earlier.threads.get(thread).copied().unwrap_or(0);
        let fine: u64 = self.threads.iter().map(|(thread, now)| now.saturating_sub(before(thread))).sum();
        let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
        let coarse = self.ticks.saturating_sub(earlier.ticks) * tick;
        Duration::from_nanos(if coarse > fine + 2 * tick { coarse } else { fine })
    }
}

/// Resident memory in bytes (`VmRSS`).
pub(crate) fn resident(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_that_of_the_work_done() {
        let clock = CpuClock::own();
        let (before, begun) = (clock.read().unwrap(), Instant::now());
        while begun.elapsed() < Duration::from_millis(50) {
            std::hint::black_box(());
        }
        let spent = clock.read().unwrap().since(&before);
        assert!(spent > Duration::from_millis(10), "{spent:?}");
        assert!(resident(std::process::id()).unwrap() > 1_000_000);
    }

    #[test]
    fn ended_threads_are_not_lost() {
        let at =
            |threads: &[(u32, u64)], ticks| CpuTime { threads: threads.iter().copied().collect(), ticks };
        let before = at(&[(1, 5), (2, 100)], 10);
        assert_eq!(at(&[(1, 1_005), (3, 7)], 10).since(&before), Duration::from_nanos(1_007));
        assert_eq!(
            at(&[(1, 1_005)], 110).since(&before),
            Duration::from_secs(1),
            "thread 2 used it up and ended"
        );
        assert_eq!(ticks("7 (a b) c) S 1 1 1 0 -1 4194304 9 9 9 9 30 12 0 0 20 0").unwrap(), 42);
    }
}
