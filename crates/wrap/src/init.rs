//! The first process of a container: the kernel gives it every process whose parent has ended, and no signal that it does not ask for.
//!
//! So it does nothing but this: the work is a child of it, which gets its signals, and whose status it ends with.

use std::io;
use std::process::{Child, Command, ExitCode};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait};
use tokio::signal::unix::{SignalKind, signal};

/// What is passed on to the child.
const SIGNALS: [(SignalKind, Signal); 4] = [
    (SignalKind::terminate(), Signal::TERM),
    (SignalKind::interrupt(), Signal::INT),
    (SignalKind::hangup(), Signal::HUP),
    (SignalKind::quit(), Signal::QUIT),
];

/// Where this is the first process: starts this program again with the same arguments, reaps every process that ends, and gives the
/// status of that child. `None` where it is not.
///
/// # Errors
/// When the child cannot be started or waited for.
pub async fn run_as_init() -> io::Result<Option<ExitCode>> {
    if getpid() != Pid::INIT {
        return Ok(None);
    }
    // Before the child is there: what ends before anybody asks is found all the same.
    let mut ended = signal(SignalKind::child())?;
    let child = pid(&Command::new(std::env::current_exe()?).args(std::env::args_os().skip(1)).spawn()?)?;
    for (kind, passed) in SIGNALS {
        let mut signals = signal(kind)?;
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                // It may have ended; then this process is about to.
                let _ = kill_process(child, passed);
            }
        });
    }
    loop {
        while let Some((pid, status)) = reaped()? {
            if pid == child
                && let Some(code) = code(status)
            {
                return Ok(Some(code));
            }
        }
        ended.recv().await;
    }
}

fn pid(child: &Child) -> io::Result<Pid> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::other("the child has no process id"))
}

/// A process that has ended; `None` where none has.
fn reaped() -> io::Result<Option<(Pid, WaitStatus)>> {
    match wait(WaitOptions::NOHANG) {
        Ok(ended) => Ok(ended),
        Err(rustix::io::Errno::CHILD | rustix::io::Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// As a shell says it: the status, or 128 and the signal. `None` where the process has not ended.
fn code(status: WaitStatus) -> Option<ExitCode> {
    let code = status.exit_status().or_else(|| Some(128 + status.terminating_signal()?))?;
    Some(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}
