//! Nothing of the demo outlives it: neither a process nor the directory with its keys, however the demo ends.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

/// Waits for the end of its input, which comes when the demo ends, also when it is killed; then ends the process group and
/// deletes the directory. Killing is repeated as long as the group is there: the demo may be starting something just then.
/// (`-s`: dash takes `kill -KILL --` for a number.)
const SCRIPT: &str = "trap '' HUP INT TERM
cat >/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -s KILL -- \"-$1\" 2>/dev/null || break; sleep 0.05; done
for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- \"$2\" 2>/dev/null && break; sleep 0.1; done";

/// Keeps the process group of everything that the demo starts, and the directory of everything it writes.
#[derive(Debug)]
pub struct Guard {
    pub group: Group,
    /// Leads the group, so that the group is there as long as the guard is.
    leader: Child,
    watcher: Child,
}

/// A process group, by the process that leads it.
#[derive(Clone, Copy, Debug)]
pub struct Group(i32);

impl Group {
    /// A command that ends with the demo. It reads nothing: a key pressed is the demo's.
    pub fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).process_group(self.0);
        command
    }
}

impl Guard {
    pub fn new(root: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(root).with_context(|| root.display().to_string())?;
        let mut leader = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .context("starting cat")?;
        let group = Group(i32::try_from(leader.id())?);
        let watcher = Command::new("sh")
            .args(["-c", SCRIPT, "vidimus-demo-guard", &group.0.to_string()])
            .arg(root)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn();
        match watcher {
            Ok(watcher) => Ok(Self { group, leader, watcher }),
            Err(error) => {
                // Nothing else was started yet.
                let _ = leader.kill();
                let _ = leader.wait();
                let _ = fs::remove_dir_all(root);
                Err(error).context("starting sh")
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        // It has killed the leader too; gone already is as good.
        let _ = self.watcher.wait();
        let _ = self.leader.kill();
        let _ = self.leader.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_and_directory_go_with_the_guard() {
        let root = tempfile::tempdir().unwrap().keep();
        let guard = Guard::new(&root).unwrap();
        fs::write(root.join("key"), "secret").unwrap();
        // A process of a process, as a shell script's.
        let mut child = guard.group.command("sh").args(["-c", "sleep 1000 & sleep 1000"]).spawn().unwrap();
        assert!(child.try_wait().unwrap().is_none());
        drop(guard);
        assert!(!child.wait().unwrap().success());
        assert!(!root.exists());
    }
}
