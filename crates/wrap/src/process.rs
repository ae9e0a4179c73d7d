//! One process of the server: its lines in and out, and its end, with that of its group.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Notify, mpsc, watch};

use crate::channel::Channel;
use crate::fault::{Fault, NO_METHOD};
use crate::line::{Line, Lines};
use crate::message::{Kind, Message, Part};
use crate::routes::Routes;
use crate::standard_error::{self, Quota};

/// Lines that wait for the process to read them.
const WAITING: usize = 64;
/// How long a process may take to end when its standard input has, and again when it was told by a signal.
const GRACE: Duration = Duration::from_secs(2);
/// How long its output may be open when it has ended: something that it has started holds it.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What is started.
#[derive(Clone, Debug)]
pub struct Program {
    /// The command, as a path or as a name on `PATH`.
    pub command: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// All of its environment: nothing else of this process's own is passed on.
    pub environment: Vec<(OsString, OsString)>,
}

/// Who talks with a process.
#[derive(Debug)]
pub(crate) enum Use {
    /// One session. Its stream is for what the server says of itself.
    Session(Arc<Channel>),
    /// All sessions, by their numbers, each with that stream.
    Sessions(Mutex<HashMap<u64, Weak<Channel>>>),
    /// Requests of the stateless era, of anybody.
    Requests,
}

/// A process of the server.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    used: Use,
    lines: Mutex<Option<mpsc::Sender<Bytes>>>,
    routes: Mutex<Routes>,
    garbage: Mutex<Quota>,
    stopping: Notify,
    ended: watch::Sender<Option<Option<ExitStatus>>>,
}

impl Process {
    /// Starts one. `most` is the length of one message, in bytes.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(program: &Program, name: String, used: Use, most: usize) -> io::Result<Arc<Self>> {
        let mut command = Command::new(&program.command);
        command.args(&program.arguments).env_clear().envs(program.environment.iter().cloned());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: what it starts ends with it unless it leaves the group, and a signal to this process is not one to it.
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("it has no standard streams"));
        };
        let (lines, waiting) = mpsc::channel(WAITING);
        let process = Arc::new(Self {
            name: name.clone(),
            used,
            lines: Mutex::new(Some(lines)),
            routes: Mutex::default(),
            garbage: Mutex::new(Quota::new()),
            stopping: Notify::new(),
            ended: watch::channel(None).0,
        });
        tracing::info!("[{name}] started, process {}", child.id().unwrap_or_default());
        tokio::spawn(write(input, waiting));
        tokio::spawn(standard_error::pass(name, errors));
        tokio::spawn(process.clone().run(child, Lines::new(output, most)));
        Ok(process)
    }

    /// Whether ids are given anew.
    fn is_shared(&self) -> bool {
        !matches!(self.used, Use::Session(_))
    }

    /// Sends a request of `by`, whose answer goes to the channel. Gives the id that the process has for it.
    ///
    /// # Errors
    /// When it is not taken.
    pub(crate) async fn ask(
        &self,
        message: &Message<'_>,
        channel: &Arc<Channel>,
        by: u64,
    ) -> Result<String, Fault> {
        self.routes().has_room()?;
        // It is noted when its line has a place: a client that leaves before leaves nothing behind.
        let place = self.place().await?;
        let mut routes = self.routes();
        let (key, line) = routes.ask(message, channel, by, self.is_shared())?;
        // Before anybody else finds it: what cancels it comes behind it.
        place.send(line);
        Ok(key)
    }

    /// Sends what has no answer: a notification, or a response of the client.
    ///
    /// # Errors
    /// When it is not taken.
    pub(crate) async fn tell(&self, message: &Message<'_>, by: u64) -> Result<(), Fault> {
        if self.is_shared() {
            if message.kind == Kind::Response {
                return Err(Fault::bad("a server that is shared asks nothing of its clients"));
            }
            // Said once, by wrap, of itself.
            if matches!(
                message.method.as_str(),
                "notifications/initialized" | "notifications/roots/list_changed"
            ) {
                return Ok(());
            }
        }
        let place = self.place().await?;
        let mut routes = self.routes();
        // A server answers nothing that it was told to cancel.
        let subject = message.subject.as_ref();
        let cancelled = subject.and_then(|subject| Some((subject, routes.cancel(by, &subject.key)?)));
        match cancelled {
            // By the id that the process has.
            Some((subject, key)) if self.is_shared() => place.send(message.line(&[(subject, key.as_str())])),
            // Only what the same client asked.
            None if self.is_shared() && message.method == "notifications/cancelled" => {}
            _ => place.send(message.line(&[])),
        }
        Ok(())
    }

    /// Tells the process that nobody waits for a request any more.
    pub(crate) fn cancel(&self, key: &str) {
        let asked = self.routes().answered(key);
        if let Some(asked) = asked {
            asked.channel.end();
            let params = format!(r#"{{"requestId":{key},"reason":"the client closed its stream"}}"#);
            self.say(format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}"#));
        }
    }

    /// Tells the process that wrap has taken its answer to `initialize`.
    pub(crate) fn greet(&self) {
        self.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned());
    }

    /// One more session that shares the process.
    pub(crate) fn join(&self, number: u64, listening: &Arc<Channel>) {
        if let Use::Sessions(sessions) = &self.used {
            let mut sessions = sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.retain(|_, session| session.strong_count() > 0);
            sessions.insert(number, Arc::downgrade(listening));
        }
    }

    /// Why it takes nothing any more.
    pub(crate) fn is_over(&self) -> Option<String> {
        self.routes().ended().map(str::to_owned)
    }

    /// Whether it works on something.
    pub(crate) fn is_busy(&self) -> bool {
        self.routes().is_busy()
    }

    /// Ends it: first its input, then it is told by a signal, then it is killed, with its group.
    pub(crate) fn stop(&self) {
        self.stopping.notify_one();
    }

    /// Waits for its end. `None` where its status is not known.
    pub(crate) async fn ended(&self) -> Option<ExitStatus> {
        let mut ended = self.ended.subscribe();
        let status = ended.wait_for(Option::is_some).await.ok()?;
        status.flatten()
    }

    /// Waits for a place among the lines that the process is to read.
    async fn place(&self) -> Result<Place, Fault> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let place = match lines {
            Some(lines) => lines.reserve_owned().await.ok(),
            None => None,
        };
        place.map(Place).ok_or_else(|| Fault::server("the server has ended"))
    }

    /// Sends what wrap says of itself; a process that reads nothing misses it.
    fn say(&self, mut line: String) {
        line.push('\n');
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.as_ref().is_none_or(|lines| lines.try_send(line.into()).is_err()) {
            tracing::debug!("[{}] does not read what it is told", self.name);
        }
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        // Nothing panics while it is held.
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what it says until it or somebody ends it.
    async fn run(self: Arc<Self>, mut child: Child, mut lines: Lines<ChildStdout>) {
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let told = loop {
            tokio::select! {
                line = lines.next() => {
                    if !self.take(line) {
                        break false;
                    }
                }
                _ = child.wait() => break false,
                () = self.stopping.notified() => break true,
            }
        };
        // End of file is what a server ends by.
        drop(self.lines.lock().unwrap_or_else(PoisonError::into_inner).take());
        let status = end(&mut child, group).await;
        let rest = async { while self.take(lines.next().await) {} };
        let _held_open = tokio::time::timeout(LAST_LINES, rest).await.is_err();
        let why = match (told, status) {
            (true, _) => "the session has ended".to_owned(),
            (false, Some(status)) => format!("the server has ended ({status}); initialize starts it anew"),
            (false, None) => "the server has ended; initialize starts it anew".to_owned(),
        };
        tracing::info!("[{}] {why}", self.name);
        let fault = Fault::server(&why);
        let unanswered = self.routes().end(&why);
        for asked in unanswered {
            asked.channel.finish(fault.answer(Some(&asked.id)), fault.status);
        }
        if let Use::Session(listening) = &self.used {
            listening.end();
        }
        self.ended.send_replace(Some(status));
    }

    /// Takes what was read; false at the end.
    fn take(&self, line: io::Result<Option<Line>>) -> bool {
        match line {
            Ok(Some(Line::Whole(line))) if line.trim_ascii().is_empty() => {}
            Ok(Some(Line::Whole(line))) => match Message::read(&line) {
                Ok(message) => self.said(&message),
                Err(why) => self.garbage(&format!("{why}: {}", standard_error::shown(&line))),
            },
            Ok(Some(Line::TooLong(bytes))) => {
                self.garbage(&format!("it has {bytes} bytes, more than --max-message"));
            }
            Ok(None) | Err(_) => return false,
        }
        true
    }

    fn garbage(&self, why: &str) {
        let mut quota = self.garbage.lock().unwrap_or_else(PoisonError::into_inner);
        quota
            .say(&self.name, &format!("standard output has a line that is no message, not passed on: {why}"));
    }

    /// Passes on what the server says, to whom it concerns.
    fn said(&self, message: &Message<'_>) {
        match (message.kind, &message.id) {
            (Kind::Response, Some(id)) => self.answered(message, id),
            (Kind::Response, None) => {
                self.garbage("an error that answers no request");
            }
            (Kind::Notification, _) => self.noted(message),
            (Kind::Request, _) if !self.is_shared() => self.of_itself(message),
            (Kind::Request, id) => {
                let id = id.as_ref().map(|id| message.written(id)).unwrap_or_default();
                // Whose call it concerns nobody can tell; that the client has no such capability was said at the beginning.
                self.say(match message.method.as_str() {
                    "ping" => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#),
                    _ => {
                        let error = json!({"code": NO_METHOD, "message": "a server that is shared asks nothing of its clients"});
                        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#)
                    }
                });
            }
        }
    }

    fn answered(&self, message: &Message<'_>, id: &Part) {
        let Some(asked) = self.routes().answered(&id.key) else {
            return tracing::debug!("[{}] answers what nobody waits for", self.name);
        };
        let mut parts = Vec::new();
        if self.is_shared() {
            parts.push((id, asked.id.as_str()));
            parts.extend(message.subscription.as_ref().map(|of| (of, asked.id.as_str())));
        }
        let status = match (&self.used, message.error) {
            (Use::Requests, Some(NO_METHOD)) => StatusCode::NOT_FOUND,
            (Use::Requests, Some(-32022..=-32020)) => StatusCode::BAD_REQUEST,
            _ => StatusCode::OK,
        };
        asked.channel.finish(message.line(&parts), status);
        // What refuses to be initialized has no session.
        if asked.is_first() && message.error.is_some() && !self.is_shared() {
            self.stop();
        }
    }

    fn noted(&self, message: &Message<'_>) {
        if message.method == "notifications/progress" {
            let asked = message.token.as_ref().and_then(|token| self.routes().by_token(&token.key).cloned());
            let (Some(asked), Some(token)) = (asked, &message.token) else {
                return tracing::debug!("[{}] tells of progress of what nobody waits for", self.name);
            };
            let written = asked.token().unwrap_or_default();
            return asked.channel.push(message.line(&[(token, written)]));
        }
        if !matches!(self.used, Use::Requests) {
            return self.of_itself(message);
        }
        let (asked, only) = {
            let mut routes = self.routes();
            let of = message.subscription.as_ref().and_then(|of| routes.by_id(&of.key).cloned());
            let ends = message.subject.as_ref().filter(|_| message.method == "notifications/cancelled");
            if let Some(ended) = ends.and_then(|ended| routes.answered(&ended.key)) {
                return ended.channel.end();
            }
            (of, routes.only())
        };
        match (asked, &message.subscription, only) {
            (Some(asked), Some(of), _) => asked.channel.push(message.line(&[(of, asked.id.as_str())])),
            // Nothing in it says of which request it is, so it is passed on where there is one alone.
            (None, None, Some(only)) => only.push(message.line(&[])),
            _ => tracing::debug!("[{}] {} is of no request that is known", self.name, message.method),
        }
    }

    /// Passes on what is no answer and tells of no progress.
    fn of_itself(&self, message: &Message<'_>) {
        match &self.used {
            Use::Session(listening) => {
                let read = self.routes().read();
                // While one request is worked on, it is most likely of that, and in its order there.
                let channel = match read.as_slice() {
                    [only] => only,
                    [newest, ..] if !listening.is_read() => newest,
                    _ => listening,
                };
                channel.push(message.line(&[]));
            }
            Use::Sessions(sessions) if message.method.ends_with("/list_changed") => {
                let sessions = sessions.lock().unwrap_or_else(PoisonError::into_inner);
                sessions
                    .values()
                    .filter_map(Weak::upgrade)
                    .for_each(|session| session.push(message.line(&[])));
            }
            // It may have in it what one session must not know of another.
            _ => tracing::debug!("[{}] {} is of no session that is known", self.name, message.method),
        }
    }
}

/// A place for one line.
struct Place(mpsc::OwnedPermit<Bytes>);

impl Place {
    fn send(self, mut line: Vec<u8>) {
        line.push(b'\n');
        self.0.send(line.into());
    }
}

/// Writes to a process what it is to read.
async fn write(mut input: ChildStdin, mut lines: mpsc::Receiver<Bytes>) {
    while let Some(line) = lines.recv().await {
        if input.write_all(&line).await.is_err() {
            return;
        }
    }
}

/// Waits for the end of a process whose input has ended, and sees to it; nothing of its group is left.
async fn end(child: &mut Child, group: Option<Pid>) -> Option<ExitStatus> {
    let kill = |signal| group.is_some_and(|group| kill_process_group(group, signal).is_ok());
    let mut status = tokio::time::timeout(GRACE, child.wait()).await;
    if status.is_err() && kill(Signal::TERM) {
        status = tokio::time::timeout(GRACE, child.wait()).await;
    }
    // Also where it has ended by itself: what it has started is of its group.
    let _nothing_left = kill(Signal::KILL);
    match status {
        Ok(status) => status.ok(),
        Err(_) => child.wait().await.ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTE: &str = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#;
    const CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call"}"#;

    /// A process that reads nothing and says nothing.
    fn silent(used: Use) -> Arc<Process> {
        let program =
            Program { command: "/bin/sleep".into(), arguments: vec!["60".into()], environment: vec![] };
        Process::start(&program, "silent".to_owned(), used, 1024).expect("started")
    }

    fn channel() -> Arc<Channel> {
        Channel::new(1, true, 1024)
    }

    fn read(text: &str) -> Message<'_> {
        Message::read(text.as_bytes()).expect("a message")
    }

    #[tokio::test]
    async fn who_leaves_while_the_line_waits_leaves_nothing_behind() {
        let process = silent(Use::Requests);
        let note = NOTE.replace("/x", &format!("/{}", "x".repeat(4096)));
        let soon = Duration::from_millis(200);
        // What the pipe holds, and what waits for it.
        while tokio::time::timeout(soon, process.tell(&read(&note), 0)).await.is_ok() {}
        let channel = channel();
        let left = tokio::time::timeout(soon, process.ask(&read(CALL), &channel, 0)).await;
        assert!(left.is_err(), "there was a place for its line");
        assert!(!process.is_busy());
        process.stop();
        process.ended().await;
    }

    #[tokio::test]
    async fn what_its_client_cancels_is_waited_for_no_more() {
        let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#;
        for used in [Use::Session(channel()), Use::Sessions(Mutex::default())] {
            let process = silent(used);
            let channel = channel();
            process.ask(&read(CALL), &channel, 1).await.expect("asked");
            process.tell(&read(cancel), 2).await.expect("told");
            assert!(process.is_busy() && !channel.has_ended(), "another than who asked has cancelled it");
            process.tell(&read(cancel), 1).await.expect("told");
            assert!(!process.is_busy() && channel.has_ended());
            process.stop();
        }
    }
}
