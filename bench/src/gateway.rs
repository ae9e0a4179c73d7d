//! The gateway that is measured: the release binary, in a process and a directory of its own.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::estate;
use crate::process::Running;
use crate::wire;

/// The gateway must serve within this time, or the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How the gateway is started.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The `vidimus` binary.
    pub(crate) binary: PathBuf,
    pub(crate) resources: PathBuf,
    /// Holds the data directories, one for each start.
    pub(crate) data: PathBuf,
    /// Further flags.
    pub(crate) more: Vec<String>,
}

/// A gateway that serves.
#[derive(Debug)]
pub(crate) struct Gateway {
    process: Running,
    config: Config,
    data: PathBuf,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    /// From the start of the process to the first `200` of `/readyz`.
    pub(crate) start: Duration,
}

impl Gateway {
    /// Starts it on the data directory of that name, which may exist.
    pub(crate) fn start(config: &Config, name: &str) -> anyhow::Result<Self> {
        let data = config.data.join(name);
        let (address, admin) = (free_address()?, free_address()?);
        let log = config.data.join(format!("{name}.log"));
        let mut command = Command::new(&config.binary);
        command
            .arg("serve")
            .arg("--resources")
            .arg(&config.resources)
            .arg("--data")
            .arg(&data)
            .args(["--listen", &address.to_string(), "--admin", &admin.to_string(), "--log", "warn"])
            .args(&config.more)
            .env(estate::PROVIDER_KEY_VARIABLE, estate::PROVIDER_KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?);
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("VIDIMUS_"))
        {
            command.env_remove(name);
        }
        let begun = Instant::now();
        let mut process = Running::spawn("the gateway", &mut command)?;
        while !wire::get(admin, "/readyz").is_ok_and(|reply| reply.status == 200) {
            let alive = process.check();
            if alive.is_err() || begun.elapsed() > PATIENCE {
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("the gateway does not serve ({alive:?}): {said}");
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        let start = begun.elapsed();
        Ok(Self { process, config: config.clone(), data, address, admin, start })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// A token of the built-in issuer for each caller.
    pub(crate) fn tokens(&self) -> anyhow::Result<Vec<String>> {
        (0..estate::CALLERS)
            .map(|number| {
                let token = self.command(&["identity", "token", "--subject", &estate::caller(number)])?;
                let token = token.trim();
                ensure!(token.split('.').count() == 3, "not a JWT: {token:?}");
                Ok(token.to_owned())
            })
            .collect()
    }

    /// Standard output of a `vidimus` command on the gateway's data.
    pub(crate) fn command(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.config.binary);
        command.args(arguments).arg("--data").arg(&self.data);
        let output = command.output().with_context(|| format!("{command:?}"))?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {}: {error}", output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The value of one metric, given with all its labels in the order of `/metrics`; 0 when it is not there yet.
    pub(crate) fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let text = wire::get(self.admin, "/metrics")?.expect(&[200])?.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(Ok(0), |value| value.trim().parse().with_context(|| format!("{name} {value}")))
    }

    /// An act of an operator at the admin address.
    pub(crate) fn act(&self, operator: &str, path: &str, act: &Value) -> anyhow::Result<()> {
        let headers =
            [format!("authorization: Bearer {operator}"), "content-type: application/json".to_owned()];
        let request = wire::request("POST", path, self.admin, &headers, &act.to_string());
        wire::exchange(self.admin, &request)?.expect(&[200]).map(drop)
    }

    /// Ends it as an operator would.
    pub(crate) fn end(self) -> anyhow::Result<()> {
        self.process.stop()
    }

    /// Ends it, and removes its data.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        let data = self.data.clone();
        self.end()?;
        fs::remove_dir_all(&data).with_context(|| data.display().to_string())
    }
}

/// Runs `vidimus check`: what was left out would not be measured.
pub(crate) fn check(binary: &Path, resources: &Path) -> anyhow::Result<usize> {
    let mut command = Command::new(binary);
    command.args(["check", "-o", "json"]).arg(resources);
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "the directory has faults: {said} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: Value = serde_json::from_slice(&output.stdout)?;
    Ok(report
        .get("objects")
        .and_then(Value::as_array)
        .context("no objects in the report of vidimus check")?
        .len())
}

/// A loopback address that nobody listened on a moment ago.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
