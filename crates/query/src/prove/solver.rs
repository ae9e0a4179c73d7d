//! The solver: a program of its own that is asked in SMT-LIB and may neither take as long as it likes, nor say as much, nor stay.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cedar_policy_symcc::err::SolverError;
use cedar_policy_symcc::solver::{Decision, DecisionWithModel, Solver};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// The longest question, in bytes.
const MAX_QUESTION: usize = 64 << 20;

/// The longest answer, in bytes: a model has a line for each entity, attribute and set of a counterexample.
const MAX_ANSWER: usize = 16 << 20;

/// How much is kept of what it says on standard error.
const MAX_REMARK: usize = 2_048;

/// What the program has beyond the time limit that it is told, before it is ended.
const GRACE: Duration = Duration::from_secs(2);

/// Which program is asked, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SolverProgram {
    /// A path, or a name that is looked for on `PATH`. It is run as `PROGRAM --lang smt --tlimit-per=MILLISECONDS`, as cvc5 is.
    pub program: PathBuf,
    /// How long it may take for one question.
    pub limit: Duration,
}

/// The program while it runs. It is started by the first question, and again by the one after it was ended.
#[derive(Debug)]
pub(super) struct Process {
    of: SolverProgram,
    question: Vec<u8>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    remark: Arc<Mutex<Vec<u8>>>,
}

impl Process {
    pub(super) fn new(of: SolverProgram) -> Self {
        Self { of, question: Vec::new(), running: None }
    }

    /// Forgets what was written of a question that was not asked.
    pub(super) fn begin(&mut self) {
        self.question.clear();
    }

    /// Whether it is a solver: it says that nothing is satisfiable together with everything.
    pub(super) async fn introduce(&mut self) -> Result<(), SolverError> {
        self.question = b"(reset)\n(set-logic ALL)\n(assert true)\n".to_vec();
        match self.ask(false).await? {
            DecisionWithModel::Sat { .. } => Ok(()),
            _ => Err(SolverError::Solver("it does not know that true can be".to_owned())),
        }
    }

    pub(super) async fn end(&mut self) {
        if let Some(running) = self.running.take() {
            running.end().await;
        }
    }

    async fn ask(&mut self, model: bool) -> Result<DecisionWithModel, SolverError> {
        let question = std::mem::take(&mut self.question);
        if question.len() > MAX_QUESTION {
            return Err(SolverError::Solver(format!(
                "the question has more than {} MiB",
                MAX_QUESTION >> 20
            )));
        }
        let mut running = match self.running.take() {
            Some(running) => running,
            None => Running::start(&self.of)?,
        };
        match timeout(self.of.limit + GRACE, running.answer(&question, model)).await {
            Ok(Ok(answer)) => {
                self.running = Some(running);
                Ok(answer)
            }
            Ok(Err(error)) => {
                let remark = running.end().await;
                Err(match error {
                    SolverError::Solver(said) if !remark.is_empty() => {
                        SolverError::Solver(format!("{said}: {remark}"))
                    }
                    error => error,
                })
            }
            Err(_) => {
                running.end().await;
                Err(SolverError::Solver(format!("no answer within {} s", self.of.limit.as_secs_f32())))
            }
        }
    }
}

impl Running {
    fn start(of: &SolverProgram) -> Result<Self, SolverError> {
        let mut command = Command::new(&of.program);
        command.args(["--lang", "smt"]).arg(format!("--tlimit-per={}", of.limit.as_millis()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = pipes else {
            return Err(SolverError::Solver("it has no standard input or output".to_owned()));
        };
        let remark = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(listen(errors, remark.clone()));
        Ok(Self { child, input, output: BufReader::new(output), remark })
    }

    async fn answer(&mut self, question: &[u8], model: bool) -> Result<DecisionWithModel, SolverError> {
        let mut left = MAX_ANSWER;
        self.say(question, "(check-sat)\n").await?;
        match self.line(&mut left).await?.trim() {
            "unsat" => Ok(DecisionWithModel::Unsat),
            "unknown" => Ok(DecisionWithModel::Unknown),
            "sat" if !model => Ok(DecisionWithModel::Sat { model: String::new() }),
            "sat" => {
                self.say(&[], "(get-model)\n").await?;
                self.model(&mut left).await
            }
            other => Err(SolverError::Solver(shortened(other))),
        }
    }

    /// From a line `(` to a line `)`.
    async fn model(&mut self, left: &mut usize) -> Result<DecisionWithModel, SolverError> {
        let mut model = self.line(left).await?;
        if model.trim() != "(" {
            return Err(SolverError::Solver(shortened(&model)));
        }
        loop {
            let line = self.line(left).await?;
            model.push_str(&line);
            if line.trim() == ")" {
                return Ok(DecisionWithModel::Sat { model });
            }
        }
    }

    async fn say(&mut self, question: &[u8], command: &str) -> Result<(), SolverError> {
        let ended = |_| SolverError::Solver("it ended".to_owned());
        self.input.write_all(question).await.map_err(ended)?;
        self.input.write_all(command.as_bytes()).await.map_err(ended)?;
        self.input.flush().await.map_err(ended)
    }

    async fn line(&mut self, left: &mut usize) -> Result<String, SolverError> {
        let mut bytes = Vec::new();
        let mut bounded = (&mut self.output).take(*left as u64);
        let read = bounded.read_until(b'\n', &mut bytes).await?;
        *left -= read;
        match (read, *left) {
            (_, 0) => Err(SolverError::Solver(format!("it answers with more than {} MiB", MAX_ANSWER >> 20))),
            (0, _) => Err(SolverError::Solver("it ended".to_owned())),
            _ => String::from_utf8(bytes)
                .map_err(|_| SolverError::Solver("it answers with what is no text".to_owned())),
        }
    }

    /// Ends it, and gives what it said on standard error.
    async fn end(mut self) -> String {
        // What was said before it ended is on its way yet.
        let _ = timeout(Duration::from_millis(100), self.child.wait()).await;
        // It may have ended by itself.
        let _ = self.child.start_kill();
        let _ = self.child.wait().await;
        tokio::task::yield_now().await;
        let remark = self.remark.lock().unwrap_or_else(PoisonError::into_inner);
        shortened(&String::from_utf8_lossy(&remark))
    }
}

impl Solver for Process {
    fn smtlib_input(&mut self) -> &mut (dyn AsyncWrite + Unpin + Send) {
        &mut self.question
    }

    async fn enable_models(&mut self) -> Result<(), SolverError> {
        self.question.extend_from_slice(b"(set-option :produce-models true)\n");
        Ok(())
    }

    async fn check_sat(&mut self) -> Result<Decision, SolverError> {
        Ok(match self.ask(false).await? {
            DecisionWithModel::Sat { .. } => Decision::Sat,
            DecisionWithModel::Unsat => Decision::Unsat,
            DecisionWithModel::Unknown => Decision::Unknown,
        })
    }

    async fn check_sat_with_model(&mut self) -> Result<DecisionWithModel, SolverError> {
        self.ask(true).await
    }
}

/// Reads all that is said, so that nobody waits for it to be read, and keeps the end of it.
async fn listen(mut errors: ChildStderr, remark: Arc<Mutex<Vec<u8>>>) {
    let mut piece = [0; 1024];
    while let Ok(read) = errors.read(&mut piece).await {
        let Some(said) = piece.get(..read).filter(|said| !said.is_empty()) else { return };
        let mut remark = remark.lock().unwrap_or_else(PoisonError::into_inner);
        remark.extend_from_slice(said);
        let beyond = remark.len().saturating_sub(MAX_REMARK);
        remark.drain(..beyond);
    }
}

/// The last line of it that says something, and not too much of that.
fn shortened(text: &str) -> String {
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    line.chars().take(240).collect()
}

#[cfg(test)]
mod tests;
