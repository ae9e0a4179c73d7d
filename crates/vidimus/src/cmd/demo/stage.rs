//! What the demo runs on: processes, addresses, and a directory. The guard ends them.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;
use serde_json::Value;
use vidimus_ledger::Query;

use super::guard::Group;
use crate::output;

const ESTATE: &str = include_str!("../../../../../examples/demo/estate.yaml");
const POLICIES: &str = include_str!("../../../../../examples/demo/policies.yaml");
/// What agents never see.
const PROVIDER_KEY: &str = "demo-provider-key";
/// From start to ready, of each process.
const PATIENCE: Duration = Duration::from_secs(60);

/// What runs behind the gateway: its name, the port that stands for it in the example files, and its part of `e2e/` with its flags.
const PARTS: [(&str, u16, &str); 9] = [
    (
        "reconciler",
        9101,
        "a2a_agent --kind invoice --name reconciler --next-a2a {url}/a2a/finance/summarizer --mcp {url}/mcp/finance/ledger",
    ),
    (
        "summarizer",
        9102,
        "a2a_agent --kind invoice --name summarizer --next-a2a {url}/a2a/finance/reconciler --mcp {url}/mcp/finance/ledger",
    ),
    ("echo", 9103, "a2a_agent --kind echo"),
    ("ledger", 9104, "dual_era_server --restate {root}/restated"),
    ("everything", 9105, "everything"),
    ("model", 9106, "model_simulator --key {key}"),
    ("files", 9107, "filesystem --root {root}/shared-files"),
    ("pets", 9108, "pets_api --key {key}"),
    ("wrapped", 9109, "wrapped"),
];

/// What a demo is played on.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The upstreams that it needs.
    pub parts: Vec<String>,
    /// What of the example estate stands otherwise: a text, and what is in its place.
    #[serde(default)]
    pub estate: Vec<(String, String)>,
    /// Records and policies of its own, as YAML.
    #[serde(default)]
    pub resources: String,
}

impl Setting {
    /// That of the tour.
    pub fn everything() -> Self {
        Self::of(&["reconciler", "summarizer", "echo", "ledger", "everything", "model", "files"])
    }

    /// The example estate, with these upstreams.
    pub fn of(parts: &[&str]) -> Self {
        Self { parts: parts.iter().map(|part| (*part).to_owned()).collect(), ..Self::default() }
    }

    /// Whether the parts and the texts that it names are there.
    #[cfg(test)]
    pub fn check(&self) -> anyhow::Result<()> {
        for part in &self.parts {
            anyhow::ensure!(PARTS.iter().any(|(name, ..)| name == part), "no part {part}");
        }
        for (from, _) in &self.estate {
            anyhow::ensure!(ESTATE.contains(from), "the estate has no {from}");
        }
        Ok(())
    }

    fn estate(&self) -> String {
        self.estate.iter().fold(ESTATE.to_owned(), |estate, (from, to)| estate.replace(from, to))
    }
}

/// A running demo.
pub struct Stage {
    pub url: String,
    pub resources: PathBuf,
    pub data: PathBuf,
    /// The admin address.
    admin: String,
    components: PathBuf,
    /// What everything that the demo starts belongs to.
    pub group: Group,
    root: PathBuf,
    /// Records shown so far.
    shown: u64,
    /// The call that was shown last.
    pub call: String,
}

impl Stage {
    pub fn start(group: Group, root: PathBuf, components: &Path, setting: &Setting) -> anyhow::Result<Self> {
        let run = components.join("run");
        if !run.exists() {
            bail!("{} is not there: run the demo from the repository, or give --components", run.display());
        }
        let set_up = group.command(components.join("setup.sh")).stdout(Stdio::null()).status()?;
        if !set_up.success() {
            bail!("{} failed; its messages are above", components.join("setup.sh").display());
        }
        let (resources, data) = (root.join("resources"), root.join("data"));
        fs::create_dir_all(&resources)?;
        fs::create_dir_all(&data)?;
        let [listen, admin] = free_ports()?;
        let url = format!("http://127.0.0.1:{listen}");
        let admin = format!("127.0.0.1:{admin}");
        let components = components.to_owned();
        let mut stage =
            Self { url, resources, data, admin, components, root, group, shown: 0, call: String::new() };
        stage.start_upstreams(setting)?;
        stage.start_gateway(listen)?;
        Ok(stage)
    }

    fn start_upstreams(&mut self, setting: &Setting) -> anyhow::Result<()> {
        self.write_provider_key()?;
        let files = self.root.join("shared-files");
        fs::create_dir_all(&files)?;
        fs::write(files.join("readme.txt"), "shared by finance\n")?;
        let (mut estate, mut resources) = (setting.estate(), setting.resources.clone());
        // Started together, waited for one by one: most of their time is loading.
        let mut outputs = Vec::new();
        for (name, placeholder, command) in PARTS {
            if setting.parts.iter().any(|part| part == name) {
                outputs.push((name, placeholder, self.start_upstream(name, command)?));
            }
        }
        for (name, placeholder, output) in outputs {
            let port = self.port_of(name, output)?;
            let (from, to) = (format!("127.0.0.1:{placeholder}"), format!("127.0.0.1:{port}"));
            estate = estate.replace(&from, &to);
            resources = resources.replace(&from, &to);
        }
        fs::write(self.resources.join("estate.yaml"), estate)?;
        fs::write(self.resources.join("policies.yaml"), POLICIES)?;
        if !resources.is_empty() {
            fs::write(self.resources.join("scene.yaml"), resources)?;
        }
        Ok(())
    }

    fn start_upstream(&self, name: &str, command: &str) -> anyhow::Result<Option<ChildStdout>> {
        let root = self.root.display().to_string();
        let words = command.split(' ').map(|word| {
            word.replace("{url}", &self.url).replace("{root}", &root).replace("{key}", PROVIDER_KEY)
        });
        let log = fs::File::create(self.root.join(format!("{name}.err")))?;
        let mut child = self
            .group
            .command(self.components.join("run"))
            .args(words)
            .args(["--port", "0", "--log"])
            .arg(self.log(name))
            .env("VIDIMUS_BIN", std::env::current_exe()?)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(child.stdout.take())
    }

    /// The port that a part says it listens on, once it does.
    fn port_of(&self, name: &str, output: Option<ChildStdout>) -> anyhow::Result<u16> {
        let mut line = String::new();
        BufReader::new(output.ok_or_else(|| anyhow!("{name} has no output"))?).read_line(&mut line)?;
        line.trim().strip_prefix("ready ").and_then(|port| port.parse().ok()).ok_or_else(|| {
            let log = fs::read_to_string(self.root.join(format!("{name}.err"))).unwrap_or_default();
            anyhow!("{name} did not start: {log}")
        })
    }

    /// For its owner alone, as the gateway wants it.
    fn write_provider_key(&self) -> anyhow::Result<()> {
        let secrets = self.root.join("secrets");
        fs::DirBuilder::new().mode(0o700).create(&secrets)?;
        let key = secrets.join("provider.key");
        let mut key = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(key)?;
        Ok(key.write_all(PROVIDER_KEY.as_bytes())?)
    }

    fn start_gateway(&mut self, listen: u16) -> anyhow::Result<()> {
        let log = fs::File::create(self.root.join("gateway.err"))?;
        let mut gateway = self
            .group
            .command(std::env::current_exe()?)
            .args([
                "serve",
                "--listen",
                &format!("127.0.0.1:{listen}"),
                "--admin",
                &self.admin,
                "--admin-url",
                &format!("http://{}", self.admin),
                "--resources",
            ])
            .arg(&self.resources)
            .arg("--data")
            .arg(&self.data)
            .arg("--secrets")
            .arg(self.root.join("secrets"))
            .stderr(log)
            .spawn()?;
        let until = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", listen)).is_err() {
            if Instant::now() > until || gateway.try_wait()?.is_some() {
                bail!("the gateway did not start: {}", fs::read_to_string(self.root.join("gateway.err"))?);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The log of requests that reached an upstream.
    pub fn log(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.jsonl"))
    }

    /// A token of the built-in issuer.
    pub fn token(&self, subject: &str, user: Option<&str>) -> anyhow::Result<String> {
        let mut command = self.group.command(std::env::current_exe()?);
        command.args(["identity", "token", "--subject", subject, "--data"]).arg(&self.data);
        if let Some(user) = user {
            command.args(["--user", user]);
        }
        let done = command.output()?;
        if !done.status.success() {
            bail!("no token for {subject}: {}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(String::from_utf8(done.stdout)?.trim().to_owned())
    }

    /// Drives an official client; its steps, one JSON object each.
    pub fn client(&self, part: &str, path: &str, token: &str, flags: &[&str]) -> anyhow::Result<Vec<Value>> {
        let done = self
            .group
            .command(self.components.join("run"))
            .arg(part)
            .args(["--url", &format!("{}{path}", self.url)])
            .args(flags)
            .env("VIDIMUS_TOKEN", token)
            .output()?;
        let lines = String::from_utf8(done.stdout)?;
        if lines.is_empty() {
            bail!("{part} printed nothing: {}", String::from_utf8_lossy(&done.stderr));
        }
        lines.lines().map(|line| serde_json::from_str(line).map_err(Into::into)).collect()
    }

    /// Drives an official client, and gives its steps while it is at work.
    pub fn client_at_work(
        &self,
        part: &str,
        path: &str,
        token: &str,
        flags: &[&str],
    ) -> anyhow::Result<AtWork> {
        let mut child = self
            .group
            .command(self.components.join("run"))
            .arg(part)
            .args(["--url", &format!("{}{path}", self.url)])
            .args(flags)
            .env("VIDIMUS_TOKEN", token)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().with_context(|| format!("{part} has no output"))?;
        Ok(AtWork { lines: BufReader::new(output).lines(), part: part.to_owned() })
    }

    /// A command of somebody who operates the gateway, as it would be typed, and what it says; it has to work.
    pub fn operate(&self, words: &[&str]) -> anyhow::Result<()> {
        let done = self.typed(words)?;
        if !done.status.success() {
            bail!("vidimus {} failed: {}", words.join(" "), String::from_utf8_lossy(&done.stderr));
        }
        Ok(())
    }

    /// The same, whether it works or not.
    pub fn typed(&self, words: &[&str]) -> anyhow::Result<Output> {
        let quoted = |word: &&str| match word.contains(' ') {
            true => format!("'{word}'"),
            false => (*word).to_owned(),
        };
        output::line(&format!("  $ vidimus {}", words.iter().map(quoted).collect::<Vec<_>>().join(" ")));
        let mut command = self.group.command(std::env::current_exe()?);
        command
            .args(words)
            .env("VIDIMUS_ADMIN", &self.admin)
            .env("VIDIMUS_DATA", &self.data)
            .env("VIDIMUS_RESOURCES", &self.resources);
        let done = command.output()?;
        for line in String::from_utf8_lossy(&done.stdout).lines() {
            output::line(&format!("    {line}"));
        }
        Ok(done)
    }

    /// Writes a file beside what the demo runs on.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        fs::write(self.root.join(name), text).with_context(|| name.to_owned())
    }

    /// Decisions and refusals since the last time, oldest first.
    pub fn news(&mut self) -> anyhow::Result<Vec<Value>> {
        let mut news = Vec::new();
        for hit in vidimus_ledger::search(&self.data.join("ledger"), &Query::default())? {
            let hit = hit?;
            if hit.index < self.shown {
                continue;
            }
            self.shown = hit.index + 1;
            let record: Value = serde_json::from_slice(&hit.record)?;
            if output::text(&record, "kind") != "effect" {
                news.push(record);
            }
        }
        Ok(news)
    }

    /// What to try while everything runs.
    pub fn invite(&self) {
        let (data, resources) = (self.data.display(), self.resources.display());
        for line in [
            "Still running. Try, in another terminal:".to_owned(),
            format!("  export VIDIMUS_DATA={data} VIDIMUS_RESOURCES={resources}"),
            "  vidimus audit search --outcome deny".to_owned(),
            "  vidimus policy explain --principal Agent/finance/risky-bot \\\n    --resource Tool/finance/ledger/get_invoice".to_owned(),
            "  TOKEN=$(vidimus identity token --subject invoice-bot)".to_owned(),
            format!("  e2e/run mcp_client.py --url {}/mcp/finance/ledger --token \"$TOKEN\" \\\n    --era 2026 --call get_invoice '{{\"id\": \"INV-1\"}}'", self.url),
            format!("  $EDITOR {resources}/policies.yaml    # live when saved"),
            "Ctrl-C ends it and deletes its directory.".to_owned(),
        ] {
            output::line(&line);
        }
    }
}

/// A client at work.
#[derive(Debug)]
pub struct AtWork {
    lines: Lines<BufReader<ChildStdout>>,
    part: String,
}

impl AtWork {
    /// The next step of this name, once it is done.
    pub fn step(&mut self, name: &str) -> anyhow::Result<Value> {
        for line in self.lines.by_ref() {
            let step: Value = serde_json::from_str(&line?)?;
            if output::text(&step, "step") == name {
                return Ok(step);
            }
        }
        bail!("{} did not get to {name}", self.part)
    }
}

fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    // Held open together, so that they differ.
    let held: Vec<TcpListener> =
        (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let mut ports = [0; N];
    for (port, socket) in ports.iter_mut().zip(&held) {
        *port = socket.local_addr()?.port();
    }
    Ok(ports)
}
