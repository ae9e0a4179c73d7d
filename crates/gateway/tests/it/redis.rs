//! A real store (Redis or Valkey) that a test starts and stops.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use vidimus_gateway::StandingAddress;

/// Stands for the port of a store in its options.
pub const PORT: &str = "PORT";

/// The command that starts one, as `e2e/redis/setup.sh` finds or fetches it.
fn command() -> &'static str {
    static COMMAND: OnceLock<String> = OnceLock::new();
    COMMAND.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/redis/setup.sh");
        let found = Command::new(script).stderr(Stdio::inherit()).output().expect("e2e/redis/setup.sh");
        assert!(found.status.success(), "no redis-server: see what e2e/redis/setup.sh says");
        String::from_utf8(found.stdout).expect("text").trim().to_owned()
    })
}

/// A running store, in memory only.
pub struct Redis {
    port: u16,
    /// Beside those of each.
    options: Vec<String>,
    server: Option<Child>,
}

impl Redis {
    pub async fn start() -> Self {
        Self::start_with(vec!["--port".into(), PORT.into()]).await
    }

    /// With these options, of which [`PORT`] becomes its port.
    pub async fn start_with(options: Vec<String>) -> Self {
        let port = vidimus_testkit::port::unused();
        let with_port = |option: String| if option == PORT { port.to_string() } else { option };
        let options = options.into_iter().map(with_port).collect();
        let mut redis = Self { port, options, server: None };
        redis.restart().await;
        redis
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Starts it on its port, with nothing in it.
    pub async fn restart(&mut self) {
        let server = Command::new(command())
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(&self.options)
            .stdout(Stdio::null())
            .spawn();
        self.server = Some(server.expect("a server"));
        for _ in 0..500 {
            if tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("redis-server does not listen");
    }

    /// All that is in it is gone.
    pub async fn flush(&self) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await;
        let (mut stream, mut answer) = (stream.expect("connected"), [0; 5]);
        stream.write_all(b"FLUSHALL\r\n").await.expect("sent");
        stream.read_exact(&mut answer).await.expect("answered");
        assert_eq!(&answer, b"+OK\r\n");
    }

    /// What the server answers to a command, as it says it; its arguments have no spaces.
    pub async fn says(&self, command: &str) -> String {
        self.exchange(format!("{command}\r\n")).await
    }

    /// Adds an act to the list that gateways agree on, behind the one with the id `last`: as a gateway does, and without looking at it.
    pub async fn add_act(&self, era: &str, last: &str, id: &str, act: &str) {
        let script = include_str!("../../src/standing/store/acts_append.lua");
        let arguments = ["EVAL", script, "2", "{vidimus}:acts", "{vidimus}:acts:list", era, last, act, id];
        let mut sent = format!("*{}\r\n", arguments.len());
        for argument in arguments {
            sent.push_str(&format!("${}\r\n{argument}\r\n", argument.len()));
        }
        let answer = self.exchange(sent).await;
        assert!(answer.starts_with(':') && !answer.starts_with(":0"), "{answer}");
    }

    async fn exchange(&self, sent: String) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await;
        let (mut stream, mut answer) = (stream.expect("connected"), Vec::new());
        stream.write_all(format!("{sent}QUIT\r\n").as_bytes()).await.expect("sent");
        stream.read_to_end(&mut answer).await.expect("answered");
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    pub fn address(&self) -> StandingAddress {
        format!("redis://127.0.0.1:{}", self.port).parse().expect("an address")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}
