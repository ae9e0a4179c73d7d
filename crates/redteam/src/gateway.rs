//! The gateway that is attacked: the real binary, in a process and a directory of its own.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::estate;
use crate::wire::{self, Answer};

// It depends on none of the crates that it attacks; this file is all that is shared.
#[path = "../../testkit/src/port.rs"]
mod port;

/// The gateway must serve within this time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Counters that move when something is refused.
const REFUSALS: [&str; 3] =
    ["vidimus_decisions_total", "vidimus_refusals_not_recorded_total", "vidimus_connections_refused_total"];

/// A running gateway; it is killed with this.
#[derive(Debug)]
pub struct Gateway {
    binary: PathBuf,
    directory: tempfile::TempDir,
    /// Where callers call.
    pub listen: SocketAddr,
    /// Where health and metrics are.
    pub admin: SocketAddr,
    process: Child,
}

impl Gateway {
    /// Starts `binary` on the estate, whose upstream and issuer are these.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start(binary: &Path, upstream: SocketAddr, issuer: &str, times: &[&str]) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("vidimus-redteam-").tempdir()?;
        let (listen, admin) = (free_address(), free_address());
        let [resources, data, secrets] =
            ["resources", "data", "secrets"].map(|name| directory.path().join(name));
        fs::create_dir(&resources)?;
        DirBuilder::new().mode(0o700).create(&secrets)?;
        let objects = estate::resources(upstream, listen, issuer);
        fs::write(resources.join("estate.yaml"), objects)?;
        symlink(data.join("ledger/keys/checkpoint.key"), secrets.join(estate::LINK))?;
        let mut command = plain(binary);
        command
            .arg("serve")
            .arg("--resources")
            .arg(&resources)
            .arg("--data")
            .arg(&data)
            .arg("--secrets")
            .arg(&secrets)
            .args(["--listen", &listen.to_string(), "--admin", &admin.to_string(), "--log", "warn"])
            .args(["--allow-origin", estate::ORIGIN])
            .args(times)
            .env(estate::KEY_VARIABLE, estate::KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(directory.path().join("log"))?);
        let process = command.spawn().with_context(|| format!("{command:?}"))?;
        let mut gateway = Self { binary: binary.to_owned(), directory, listen, admin, process };
        let begun = Instant::now();
        while gateway.get("/readyz").is_none_or(|answer| answer.status != 200) {
            let ended = gateway.process.try_wait()?;
            if ended.is_some() || begun.elapsed() > PATIENCE {
                let said = gateway.get("/readyz").map(|answer| answer.summary());
                bail!("the gateway does not get ready ({ended:?}, {said:?}): {}", gateway.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        fs::write(resources.join("thieves.yaml"), estate::thieves(upstream, &data.display().to_string()))?;
        // Taken up or refused, and shown as one or the other.
        let token = gateway.operator(&data)?;
        while gateway.get_as("/registry", &token).is_none_or(|answer| !answer.contains("thief-by-link")) {
            if begun.elapsed() > PATIENCE {
                bail!("further records are not looked at: {}", gateway.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(gateway)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What it wrote to standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The token of a person who operates it.
    fn operator(&self, data: &Path) -> anyhow::Result<String> {
        let ran = plain(&self.binary).args(["identity", "operator", "--data"]).arg(data).output()?;
        ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        Ok(String::from_utf8(ran.stdout)?.trim().to_owned())
    }

    /// What the admin address answers to whoever it asks nothing of.
    pub fn get(&self, path: &str) -> Option<Answer> {
        self.get_with(path, "")
    }

    fn get_as(&self, path: &str, token: &str) -> Option<Answer> {
        self.get_with(path, &format!("Authorization: Bearer {token}\r\n"))
    }

    fn get_with(&self, path: &str, head: &str) -> Option<Answer> {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{head}Connection: close\r\n\r\n", self.admin);
        let answer = wire::exchange_within(self.admin, &[request.as_bytes()], false, Duration::from_secs(5));
        (answer.status != 0).then_some(answer)
    }

    /// The sum of the counters of what was refused or turned away (`docs/metrics.md`); `None` where they cannot be had. Those of faults
    /// are not among them: what ends in a panic has not been refused.
    pub fn refusals_counted(&self) -> Option<f64> {
        let answer = self.get("/metrics").filter(|answer| answer.status == 200)?;
        let text = String::from_utf8_lossy(&answer.body);
        let counters = text.lines().filter(|line| REFUSALS.iter().any(|name| line.starts_with(name)));
        let refusing = counters.filter(|line| !line.contains("code=\"allowed\""));
        Some(refusing.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Standard output of a command on its data.
    ///
    /// # Errors
    /// When the command fails.
    pub fn command(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut command = plain(&self.binary);
        let output = command.args(words).arg("--data").arg(self.directory.path().join("data")).output()?;
        ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A token of the built-in issuer.
    ///
    /// # Errors
    /// When there is none.
    pub fn token(&self, subject: &str, more: &[&str]) -> anyhow::Result<String> {
        let words = [&["identity", "token", "--subject", subject, "--ttl", "12h"], more].concat();
        Ok(self.command(&words)?.trim().to_owned())
    }

    /// All records, by the id of their call.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn records(&self) -> anyhow::Result<BTreeMap<String, Vec<Value>>> {
        let text = self.command(&["audit", "search", "--kind", "all", "--limit", "0", "-o", "json"])?;
        let mut records: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for line in text.lines() {
            let record: Value = serde_json::from_str(line)?;
            let id = record.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
            records.entry(id).or_default().push(record);
        }
        Ok(records)
    }

    /// Whether it is still there.
    ///
    /// # Errors
    /// With how it ended.
    pub fn alive(&mut self) -> anyhow::Result<()> {
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the gateway has ended: {status}: {}", self.log()),
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Without what the environment would tell it.
fn plain(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("VIDIMUS_")) {
        command.env_remove(name);
    }
    command
}

fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port::unused()).into()
}
