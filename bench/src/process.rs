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
    /// Whether what it started ends with it.
    tree: bool,
}

impl Running {
    pub(crate) fn spawn(what: &'static str, command: &mut Command) -> anyhow::Result<Self> {
        let child = command.spawn().with_context(|| format!("{what} cannot be started: {command:?}"))?;
        Ok(Self { child, what, tree: false })
    }

    /// With all that it will start. In this process's group, so that an interrupt at the terminal reaches them as well.
    pub(crate) fn spawn_tree(what: &'static str, command: &mut Command) -> anyhow::Result<Self> {
        let mut running = Self::spawn(what, command)?;
        running.tree = true;
        Ok(running)
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
        let children = if self.tree { descendants(self.pid()).unwrap_or_default() } else { Vec::new() };
        for child in children {
            let pid = i32::try_from(child).ok().and_then(rustix::process::Pid::from_raw);
            let _ = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the processor time of a process, alone or with all that it started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuClock {
    pid: u32,
    tree: bool,
}

/// Processor time at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpuTime {
    /// Nanoseconds on a processor, by living thread (`/proc/PID/task/TID/schedstat`).
    threads: BTreeMap<u32, u64>,
    /// User and system time of all threads, ended ones as well, in clock ticks (`/proc/PID/stat`).
    ticks: u64,
    /// Of `threads`, the one that makes the ledger durable.
    syncing: u64,
}

/// The name of the gateway's thread that does nothing but sync the ledger's files.
const SYNC_THREAD: &str = "ledger-sync";

impl CpuClock {
    pub(crate) const fn of(pid: u32) -> Self {
        Self { pid, tree: false }
    }

    /// With its living descendants.
    pub(crate) const fn tree(pid: u32) -> Self {
        Self { pid, tree: true }
    }

    pub(crate) fn own() -> Self {
        Self::of(std::process::id())
    }

    pub(crate) fn read(self) -> anyhow::Result<CpuTime> {
        let mut time = CpuTime::default();
        time.add(self.pid)?;
        if self.tree {
            for child in descendants(self.pid)? {
                // One may end between listing and reading; then what it used is lost to the finer clock only.
                let _ = time.add(child);
            }
        }
        Ok(time)
    }
}

impl CpuTime {
    fn add(&mut self, pid: u32) -> anyhow::Result<()> {
        for entry in fs::read_dir(format!("/proc/{pid}/task")).context("the process is gone")? {
            let entry = entry?;
            let thread = entry.file_name().to_string_lossy().parse()?;
            // A thread may end between listing and reading.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let running = text.split_ascii_whitespace().next().context("schedstat is empty")?;
            let running = running.parse()?;
            self.threads.insert(thread, running);
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            self.syncing += if name.trim_end() == SYNC_THREAD { running } else { 0 };
        }
        self.ticks += ticks(&fs::read_to_string(format!("/proc/{pid}/stat"))?)?;
        Ok(())
    }
}

/// The living children of a process, theirs, and so on.
fn descendants(pid: u32) -> anyhow::Result<Vec<u32>> {
    let mut parents: Vec<(u32, u32)> = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Ok(child) = entry.file_name().to_string_lossy().parse() else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let parent =
            stat.rsplit_once(") ").and_then(|(_, rest)| rest.split_ascii_whitespace().nth(1)?.parse().ok());
        parents.extend(parent.map(|parent| (child, parent)));
    }
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(of) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(child, _)| *child));
        next += 1;
    }
    Ok(found.split_off(1))
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

    /// What of it went into syncing the ledger's files, in a thread of its own.
    pub(crate) fn syncing_since(&self, earlier: &Self) -> Duration {
        Duration::from_nanos(self.syncing.saturating_sub(earlier.syncing))
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
        let spent = || clock.read().unwrap().since(&before);
        // On a busy machine the time on a processor is a part of the time that passes.
        while spent() <= Duration::from_millis(10) && begun.elapsed() < Duration::from_secs(10) {
            (0..100_000).for_each(|step| _ = std::hint::black_box(step));
        }
        assert!(spent() > Duration::from_millis(10), "{:?}", spent());
        assert!(resident(std::process::id()).unwrap() > 1_000_000);
    }

    #[test]
    fn a_tree_has_the_time_of_the_children() {
        let own = CpuClock::tree(std::process::id());
        let before = own.read().unwrap();
        let mut command = Command::new("sh");
        let mut child = Running::spawn("sh", command.args(["-c", "while :; do :; done"])).unwrap();
        let begun = Instant::now();
        let spent = || own.read().unwrap().since(&before);
        while spent() <= Duration::from_millis(50) && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(10));
        }
        child.check().unwrap();
        assert!(descendants(std::process::id()).unwrap().contains(&child.pid()));
        assert!(spent() > Duration::from_millis(50), "{:?}", spent());
    }

    #[test]
    fn ended_threads_are_not_lost() {
        let at = |threads: &[(u32, u64)], ticks| CpuTime {
            threads: threads.iter().copied().collect(),
            ticks,
            syncing: 0,
        };
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
