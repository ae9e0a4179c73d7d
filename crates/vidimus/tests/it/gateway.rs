//! A gateway that runs.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{command, resources, run};

pub(crate) use vidimus_testkit::port::unused as free_port;

/// Far longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Gateway {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) admin: String,
    pub(crate) listen: String,
    process: Child,
}

impl Gateway {
    /// Serves a directory in which everything is in order; its server is at `port`.
    pub(crate) fn start(port: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        resources(&directory.path().join("resources"), port);
        Self::serve(directory, command(&["serve"]), |_| ())
    }

    /// The same, after `with` has changed the command.
    pub(crate) fn start_with(port: u16, with: impl FnOnce(&mut Command)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        resources(&directory.path().join("resources"), port);
        Self::serve(directory, command(&["serve"]), with)
    }

    /// Serves a directory as it is found.
    pub(crate) fn start_in(directory: tempfile::TempDir) -> Self {
        Self::serve(directory, command(&["serve"]), |_| ())
    }

    /// The same, with a limit of open files.
    pub(crate) fn start_limited(port: u16, files: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        resources(&directory.path().join("resources"), port);
        Self::serve(directory, limited(files), |_| ())
    }

    /// Starts one, and waits for nothing.
    pub(crate) fn begin_in(directory: tempfile::TempDir, with: impl FnOnce(&mut Command)) -> Self {
        Self::spawn(directory, command(&["serve"]), with)
    }

    /// The status and the log of one that ends by itself.
    pub(crate) fn ends(with: impl FnOnce(&mut Command)) -> (Option<i32>, String) {
        Self::ended(command(&["serve"]), with)
    }

    /// The same, with a limit of open files.
    pub(crate) fn ends_limited(files: u32) -> (Option<i32>, String) {
        Self::ended(limited(files), |_| ())
    }

    fn ended(command: Command, with: impl FnOnce(&mut Command)) -> (Option<i32>, String) {
        let directory = tempfile::tempdir().unwrap();
        resources(&directory.path().join("resources"), 1);
        let (_, code, log) = Self::ended_in(directory, command, with);
        (code, log)
    }

    /// The same, of a directory as it is found.
    pub(crate) fn ends_in(
        directory: tempfile::TempDir,
        with: impl FnOnce(&mut Command),
    ) -> (tempfile::TempDir, Option<i32>, String) {
        Self::ended_in(directory, command(&["serve"]), with)
    }

    fn ended_in(
        directory: tempfile::TempDir,
        command: Command,
        with: impl FnOnce(&mut Command),
    ) -> (tempfile::TempDir, Option<i32>, String) {
        let mut gateway = Self::spawn(directory, command, with);
        let code = gateway.process.wait().unwrap().code();
        let log = fs::read_to_string(gateway.path("log")).unwrap();
        let directory = std::mem::replace(&mut gateway.directory, tempfile::tempdir().unwrap());
        (directory, code, log)
    }

    fn serve(directory: tempfile::TempDir, command: Command, with: impl FnOnce(&mut Command)) -> Self {
        Self::spawn(directory, command, with).ready()
    }

    fn ready(self) -> Self {
        self.wait("ready", |gateway| gateway.get("/readyz").is_some_and(|answer| answer.contains(" 200 ")));
        self
    }

    fn spawn(directory: tempfile::TempDir, command: Command, with: impl FnOnce(&mut Command)) -> Self {
        let addresses = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        Self::spawn_at(addresses, directory, command, with)
    }

    fn spawn_at(
        [listen, admin]: [String; 2],
        directory: tempfile::TempDir,
        mut command: Command,
        with: impl FnOnce(&mut Command),
    ) -> Self {
        let log = fs::File::create(directory.path().join("log")).unwrap();
        command
            .args(["--listen", &listen, "--admin", &admin, "--threads", "1"])
            .arg("--resources")
            .arg(directory.path().join("resources"))
            .arg("--data")
            .arg(directory.path().join("data"))
            .stdout(Stdio::null())
            .stderr(log);
        with(&mut command);
        let process = command.spawn().unwrap();
        Self { directory, admin, listen, process }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    pub(crate) fn wait(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(
                begun.elapsed() < PATIENCE,
                "not {what}: {}",
                fs::read_to_string(self.path("log")).unwrap()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the admin address answers to an operator, or for what it asks nobody, with its head.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        let asks_nobody = ["/healthz", "/readyz", "/metrics"].contains(&path);
        let token = (!asks_nobody).then(|| self.operator("admin", &[]));
        let head = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        self.admin("GET", path, &head, "")
    }

    /// What the admin address answers to a request with further lines in its head.
    pub(crate) fn admin(&self, method: &str, path: &str, head: &str, body: &str) -> Option<String> {
        exchange(
            &self.admin,
            &format!(
                "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{head}\r\n{body}",
                self.admin,
                body.len()
            ),
        )
    }

    /// A token of a person.
    pub(crate) fn operator(&self, name: &str, groups: &[&str]) -> String {
        let data = self.path("data");
        let mut words = vec!["identity", "operator", "--data", &data, "--name", name];
        words.extend(groups.iter().flat_map(|group| ["--group", group]));
        let ran = run(&words);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.out.trim().to_owned()
    }

    /// Kills it, and starts another one in its place.
    pub(crate) fn killed_and_started(mut self) -> Self {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        Self::serve(directory, command(&["serve"]), |_| ())
    }

    /// Kills it, and starts another one at the same addresses, after something was seen of it being away.
    pub(crate) fn killed_and_started_there(mut self, seen: impl FnOnce(&Self)) -> Self {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        seen(&self);
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        let addresses = [self.listen.clone(), self.admin.clone()];
        Self::spawn_at(addresses, directory, command(&["serve"]), |_| ()).ready()
    }

    /// Calls the tool `get`, with a token or without one.
    pub(crate) fn call(&self, token: Option<&str>) -> String {
        exchange(&self.listen, &self.request(token)).unwrap_or_default()
    }

    /// What the gateway answers to these bytes.
    pub(crate) fn exchange(&self, request: &str) -> String {
        exchange(&self.listen, request).unwrap_or_default()
    }

    /// The bytes of that call.
    pub(crate) fn request(&self, token: Option<&str>) -> String {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get","arguments":{},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        format!(
            "POST /mcp/a/tools HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{token}Content-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\n\
             Mcp-Name: get\r\nContent-Length: {}\r\n\r\n{body}",
            self.listen,
            body.len()
        )
    }

    pub(crate) fn token(&self) -> String {
        let ran = run(&["identity", "token", "--data", &self.path("data"), "--subject", "bot"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.out.trim().to_owned()
    }

    pub(crate) fn signal(&self, name: &str) {
        let told = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status().unwrap();
        assert!(told.success());
    }

    /// Tells it to stop, and waits until it has. What is left is its directory.
    pub(crate) fn stop(mut self) -> (tempfile::TempDir, Option<i32>) {
        self.signal("TERM");
        let code = self.process.wait().unwrap().code();
        (std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap()), code)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It has ended already where a test stopped it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `serve`, in a process that may open so many files.
fn limited(files: u32) -> Command {
    let inner = command(&[]);
    let mut outer = Command::new("sh");
    outer.args(["-c", &format!("ulimit -n {files} && exec \"$0\" serve \"$@\"")]).arg(inner.get_program());
    for (name, _) in inner.get_envs() {
        outer.env_remove(name);
    }
    outer.stdin(Stdio::null());
    outer
}

/// An upstream that takes a request and hangs up, but says that it lists no tools where the gateway asks that by itself.
pub(crate) fn upstream_that_hangs_up() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in socket.incoming() {
            let (mut request, mut stream) = ([0; 65536], stream.unwrap());
            let read = stream.read(&mut request).unwrap_or_default();
            let request = String::from_utf8_lossy(&request[..read]);
            // Head and body are sent as one; an id that is text is the gateway's.
            let Some((before, _)) = request.split_once(r#"","method":"tools/list""#) else { continue };
            let Some((_, id)) = before.rsplit_once(r#""id":""#) else { continue };
            let body = format!(r#"{{"jsonrpc":"2.0","id":"{id}","result":{{"tools":[]}}}}"#);
            let length = body.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
        }
    });
    port
}

pub(crate) fn exchange(address: &str, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// Flips a byte in the middle of the newest segment of a ledger.
pub(crate) fn damage(data: &Path) {
    let segments = fs::read_dir(data.join("ledger/segments")).unwrap();
    let newest: PathBuf = segments.map(|entry| entry.unwrap().path()).max().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end / 2] ^= 1;
    fs::write(&newest, bytes).unwrap();
}
