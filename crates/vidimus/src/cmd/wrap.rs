//! `vidimus wrap`: an MCP server that speaks stdio, as streamable HTTP.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use clap::builder::BoolishValueParser;
use tokio::runtime::Builder;
use tracing_subscriber::EnvFilter;
use vidimus_gateway::Vitals;
use vidimus_wrap::{At, Config, Limits, Listener, Program};

use super::quantity;
use super::serve::flags;
use crate::log;

/// Of this process's environment, what every server gets: who it runs as, and how it finds programs and says things. MCP's own SDKs
/// pass on as little.
const INHERITED: [&str; 11] =
    ["HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"];

/// Serves an MCP server that speaks stdio as streamable HTTP, at /mcp.
///
/// Each session has a process of its own, which ends with it; requests of the era without sessions (2026-07-28) have one together, where
/// the server is of that era. Messages pass as they are. Whoever reaches the address uses the server: it is for a gateway that stands
/// before it. As the first process of a container it reaps what has ended, passes signals on and ends with the status of its work.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vidimus wrap npx -y @modelcontextprotocol/server-everything
  vidimus wrap --env GITHUB_TOKEN -- github-mcp-server stdio
  vidimus wrap --shared --idle 1h uvx mcp-server-time
  vidimus wrap --socket /run/tools/mcp.sock -- ./server --verbose

In an image, before the command of the server:
  ENTRYPOINT [\"vidimus\", \"wrap\", \"--listen\", \"0.0.0.0:8000\", \\
              \"--insecure-listen\", \"--allow-host\", \"tools.mcp.svc\", \"--\"]
  CMD [\"node\", \"server.js\"]

Then register it: spec.endpoint.url is http://127.0.0.1:8000/mcp (docs/wrap.md)")]
pub struct Wrap {
    /// Address to serve at; must be loopback unless --insecure-listen is given.
    #[arg(long, env = "VIDIMUS_WRAP_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8000", value_parser = quantity::socket)]
    listen: SocketAddr,
    /// Unix socket to serve at instead, for processes of the same user.
    #[arg(long, env = "VIDIMUS_WRAP_SOCKET", value_name = "FILE")]
    socket: Option<PathBuf>,
    /// Allow an address other than loopback: there is no authentication, so a network policy or a mesh must say who reaches it.
    #[arg(long, env = "VIDIMUS_WRAP_INSECURE_LISTEN", value_parser = BoolishValueParser::new())]
    insecure_listen: bool,
    /// Names that clients reach it by, without a port, besides addresses and localhost: any other may be a page's that was led here.
    #[arg(long, env = "VIDIMUS_WRAP_ALLOW_HOST", value_name = "NAME", value_delimiter = ',', value_parser = flags::host_name)]
    allow_host: Vec<String>,
    /// Browser origins that may call; all others are refused.
    #[arg(long, env = "VIDIMUS_WRAP_ALLOW_ORIGIN", value_name = "ORIGIN", value_delimiter = ',', value_parser = flags::origin)]
    allow_origin: Vec<String>,
    /// One process for all sessions, for a server that keeps nothing of who calls. It cannot ask its clients anything then (sampling,
    /// elicitation, roots), and what it says of itself reaches them only where it is that a list has changed.
    #[arg(long, env = "VIDIMUS_WRAP_SHARED", value_parser = BoolishValueParser::new())]
    shared: bool,
    /// A variable of this environment that the server gets, by its name, or one with a value: NAME or NAME=VALUE. A secret is better
    /// passed by its name: values stand in the list of processes. Without this the server gets HOME, PATH, the locale and such alone.
    #[arg(long, env = "VIDIMUS_WRAP_ENV", value_name = "NAME[=VALUE]", value_delimiter = ',', value_parser = flags::Unshown(variable), hide_env_values = true)]
    env: Vec<(String, Option<String>)>,
    /// The server gets all of this environment but what begins with VIDIMUS_.
    #[arg(long, env = "VIDIMUS_WRAP_ENV_ALL", value_parser = BoolishValueParser::new())]
    env_all: bool,
    /// Sessions at once; one more is refused.
    #[arg(long, env = "VIDIMUS_WRAP_MAX_SESSIONS", value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    max_sessions: u16,
    /// Largest message, either way: 4MB, 512KiB, or a number of bytes. A longer line of the server is passed over.
    #[arg(long, env = "VIDIMUS_WRAP_MAX_MESSAGE", value_name = "SIZE", default_value = "4MiB", value_parser = quantity::body_size)]
    max_message: usize,
    /// How long a session lasts that nobody uses or listens to.
    #[arg(long, env = "VIDIMUS_WRAP_IDLE", value_name = "DURATION", default_value = "30m", value_parser = quantity::time_limit)]
    idle: Duration,
    /// What goes to standard error: error, warn, info, debug, or a filter. What the server says there is info.
    #[arg(long, env = "VIDIMUS_LOG", default_value = "info", value_parser = flags::log_filter)]
    log: String,
    /// Log as JSON, one object a line.
    #[arg(long, env = "VIDIMUS_LOG_JSON", value_parser = BoolishValueParser::new())]
    log_json: bool,
    /// The server and its arguments.
    #[arg(value_name = "COMMAND", required = true, num_args = 1.., trailing_var_arg = true)]
    command: Vec<OsString>,
}

impl Wrap {
    fn config(&self) -> anyhow::Result<Config> {
        let at = match &self.socket {
            Some(path) => At::Socket(path.clone()),
            None => At::Tcp(self.listen),
        };
        ensure!(
            self.socket.is_some() || self.insecure_listen || self.listen.ip().is_loopback(),
            "--listen {} is not loopback, and whoever reaches it uses the server; give --insecure-listen where the network says who \
             that is",
            self.listen
        );
        let (command, arguments) = self.command.split_first().context("COMMAND is the server to start")?;
        let environment = self.environment()?;
        let path = environment.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.as_os_str());
        ensure!(
            is_program(command, path.unwrap_or_default()),
            "there is no program {}; write its path, or see that it is on PATH",
            command.display()
        );
        Ok(Config {
            program: Program { command: command.clone(), arguments: arguments.to_vec(), environment },
            at,
            hosts: self.allow_host.clone(),
            origins: self.allow_origin.clone(),
            shared: self.shared,
            limits: Limits { sessions: self.max_sessions.into(), message: self.max_message, idle: self.idle },
        })
    }

    /// What the server gets of the environment; what is set by the command line comes last.
    fn environment(&self) -> anyhow::Result<Vec<(OsString, OsString)>> {
        let is_ours = |name: &OsStr| name.as_encoded_bytes().starts_with(b"VIDIMUS_");
        let is_inherited = |name: &OsStr| INHERITED.iter().any(|inherited| name == *inherited);
        let mut environment: Vec<_> = std::env::vars_os()
            .filter(|(name, _)| is_inherited(name) || self.env_all && !is_ours(name))
            .collect();
        for (name, value) in &self.env {
            let value = match value {
                Some(value) => OsString::from(value),
                None => std::env::var_os(name)
                    .with_context(|| format!("--env {name}: it is not set; set it, or write {name}=VALUE"))?,
            };
            environment.push((OsString::from(name), value));
        }
        Ok(environment)
    }
}

/// `NAME` or `NAME=VALUE`.
fn variable(text: &str) -> anyhow::Result<(String, Option<String>)> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    let is_name = !name.is_empty()
        && !name.starts_with(|letter: char| letter.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    ensure!(is_name, "write NAME or NAME=VALUE; a value that has a comma is passed by its name");
    Ok((name.to_owned(), value))
}

/// Whether there is a file to start: by its path, or by its name in one of the directories of `PATH`.
fn is_program(command: &OsStr, path: &OsStr) -> bool {
    if command.as_encoded_bytes().contains(&b'/') {
        return Path::new(command).is_file();
    }
    std::env::split_paths(path).any(|directory| directory.join(command).is_file())
}

pub fn run(wrap: &Wrap) -> anyhow::Result<ExitCode> {
    let config = wrap.config()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    if let Some(code) = runtime.block_on(vidimus_wrap::run_as_init()).context("the first process")? {
        return Ok(code);
    }
    let filter =
        EnvFilter::try_new(&wrap.log).map_err(|error| anyhow::anyhow!("--log {}: {error}", wrap.log))?;
    let log = log::begin(filter, wrap.log_json, &Vitals::default()).context("the log")?;
    let ended = runtime.block_on(async {
        let at = match &config.at {
            At::Tcp(address) => format!("--listen {address}"),
            At::Socket(path) => format!("--socket {}", path.display()),
        };
        let listener = Listener::bind(&config.at).await.context(at)?;
        let url = listener.url()?;
        tracing::info!("serves {} at {url}", config.program.command.display());
        anyhow::Ok(vidimus_wrap::serve(config, &listener).await?)
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    log.end();
    Ok(ended?.map_or(ExitCode::SUCCESS, code))
}

/// As a shell says it: the status, or 128 and the signal.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        wrap: Wrap,
    }

    fn parsed(line: &str) -> Result<Wrap, String> {
        let words = ["wrap"].into_iter().chain(line.split(' ').filter(|word| !word.is_empty()));
        Line::try_parse_from(words).map(|line| line.wrap).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_behind_the_command_is_the_servers() {
        Line::command().debug_assert();
        for line in ["sh -c x --listen y", "-- sh -c x --listen y"] {
            let wrap = parsed(line).expect("parsed");
            assert_eq!(wrap.command, ["sh", "-c", "x", "--listen", "y"], "{line}");
            assert_eq!(wrap.listen.to_string(), "127.0.0.1:8000");
        }
    }

    #[test]
    fn a_flag_that_would_do_nothing_is_refused_and_says_what_to_write() {
        for (line, says) in [
            ("", "COMMAND"),
            ("--unknown sh", "--unknown"),
            ("--max-sessions 0 sh", "1..=4096"),
            ("--max-message 1 sh", "from 1KiB"),
            ("--idle 0s sh", "time limit"),
            ("--allow-host tools.svc:80 sh", "the host name alone"),
            ("--allow-origin app.example sh", "https://app.example"),
            ("--env 1A sh", "NAME=VALUE"),
            ("--listen 0.0.0.0:1 sh", "--insecure-listen"),
            ("no-such-program-anywhere", "on PATH"),
            ("./no/such/program", "write its path"),
            ("--env NO_SUCH_VARIABLE_ANYWHERE sh", "it is not set"),
        ] {
            let error = parsed(line).and_then(|wrap| wrap.config().map_err(|error| error.to_string()));
            let error = error.map(drop).expect_err(line);
            assert!(error.contains(says), "{line}: {error}");
        }
        let secret = parsed("--env A!=hunter2 sh").expect_err("refused");
        assert!(!secret.contains("hunter2"), "{secret}");
    }

    #[test]
    fn the_server_gets_no_more_of_the_environment_than_is_said() {
        let names = |line: &str| -> Vec<String> {
            let environment = parsed(line).expect("parsed").environment().expect("an environment");
            environment.into_iter().map(|(name, _)| name.to_string_lossy().into_owned()).collect()
        };
        let inherited = names("sh");
        assert!(inherited.iter().any(|name| name == "PATH"));
        assert!(inherited.iter().all(|name| INHERITED.contains(&name.as_str())), "{inherited:?}");
        // Cargo sets it for a test.
        assert!(names("--env-all sh").iter().any(|name| name == "CARGO_MANIFEST_DIR"));
        assert!(
            names("--env CARGO_MANIFEST_DIR,A=b=c sh").ends_with(&["CARGO_MANIFEST_DIR".into(), "A".into()])
        );
    }
}
