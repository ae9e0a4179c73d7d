//! What is asked of the solver about one type of request.

use cedar_policy::{Effect, PolicySet, RequestEnv};
use cedar_policy_symcc::err::{Error, SolverError};
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicy, CompiledPolicySet, CompiledSchema, Env, SymEnv};
use vidimus_core::composed::{Composed, Does, RequestType, schema};
use vidimus_core::snapshot::Snapshot;

use super::solver::{Process, SolverProgram};
use super::witness::{self, Sets};
use super::{Counterexample, NotAsked, rules};

/// How many policies of one type are compared at most: the solver is told of each pair of what they look at.
const MAX_POLICIES: usize = 1_000;

/// Whoever asks the solver.
pub(super) struct Asking {
    compiler: CedarSymCompiler<Process>,
    schema: CompiledSchema,
}

/// What was found of one type by itself.
pub(super) struct Own {
    /// The same policies decide it.
    pub(super) same: bool,
    /// Why nothing was asked.
    pub(super) open: Option<String>,
    /// What the old set lets pass, the new one does.
    pub(super) kept: Implied,
    /// What the new set lets pass, the old one does.
    pub(super) bounded: Implied,
    /// The new set refuses nothing that the old one does not, beside what no policy permits.
    refuses_no_more: Implied,
    /// The old set refuses nothing that the new one does not.
    refuses_no_less: Implied,
    /// Whether some policy looks at arguments.
    pub(super) on_arguments: bool,
    /// Whether it is about the use of a tool.
    pub(super) is_invocation: bool,
}

/// Whether something is so of every request.
#[derive(Clone)]
pub(super) enum Implied {
    Always,
    /// A request of which it is not so, where it is one that can be shown.
    Fails(Option<Box<Counterexample>>),
    /// Why it is not known.
    Unknown(String),
}

impl Implied {
    fn holds(&self, of: &str) -> Result<(), String> {
        match self {
            Self::Always => Ok(()),
            Self::Fails(_) => Err(of.to_owned()),
            Self::Unknown(why) => Err(why.clone()),
        }
    }
}

impl Own {
    fn same(on_arguments: bool) -> Self {
        Self { same: true, ..Self::all(&Implied::Always, on_arguments) }
    }

    fn open(why: String, on_arguments: bool) -> Self {
        Self { open: Some(why.clone()), ..Self::all(&Implied::Unknown(why), on_arguments) }
    }

    fn all(implied: &Implied, on_arguments: bool) -> Self {
        Self {
            same: false,
            open: None,
            kept: implied.clone(),
            bounded: implied.clone(),
            refuses_no_more: implied.clone(),
            refuses_no_less: implied.clone(),
            on_arguments,
            is_invocation: false,
        }
    }

    pub(super) fn counterexamples(&self) -> Vec<Counterexample> {
        let shown = |implied: &Implied| match implied {
            Implied::Fails(shown) => shown.as_deref().cloned(),
            Implied::Always | Implied::Unknown(_) => None,
        };
        [&self.kept, &self.bounded].into_iter().filter_map(shown).collect()
    }

    /// Whether all that passed passes, with what it follows from.
    pub(super) fn kept(&self, with: &[(&RequestType, &Self)]) -> Result<(), String> {
        self.both(with, |own| [&own.kept, &own.refuses_no_more])
    }

    /// Whether nothing passes that did not.
    pub(super) fn bounded(&self, with: &[(&RequestType, &Self)]) -> Result<(), String> {
        self.both(with, |own| [&own.bounded, &own.refuses_no_less])
    }

    fn both(
        &self,
        with: &[(&RequestType, &Self)],
        of: impl Fn(&Self) -> [&Implied; 2],
    ) -> Result<(), String> {
        let [passes, refuses] = of(self);
        passes.holds("not everything that passes one set passes the other")?;
        if with.is_empty() {
            return Ok(());
        }
        refuses.holds("one set refuses what the other only does not permit, which differs where something else permits it")?;
        for (one, part) in with {
            let follows =
                format!("it follows from {} on {} too, which is not the same", one.action, one.resource);
            let [passes, refuses] = of(part);
            passes.holds(&follows)?;
            if rules::tells_refusals(one) {
                refuses.holds(&follows)?;
            }
        }
        Ok(())
    }
}

impl Asking {
    pub(super) async fn begin(solver: SolverProgram) -> Result<Self, NotAsked> {
        let fault = |fault: &dyn ToString| NotAsked::Fault(fault.to_string());
        let program = solver.program.display().to_string();
        let mut process = Process::new(solver);
        process.introduce().await.map_err(|error| NotAsked::NoSolver {
            program,
            said: match error {
                SolverError::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    "is not there".to_owned()
                }
                SolverError::Io(error) => format!("cannot be run: {error}"),
                SolverError::Solver(said) => format!("does not answer as one: {said}"),
                other => format!("does not answer as one: {other}"),
            },
        })?;
        let schema = CompiledSchema::new(schema().map_err(|error| fault(&error))?);
        let compiler = CedarSymCompiler::new(process).map_err(|error| fault(&error))?;
        Ok(Self { compiler, schema: schema.map_err(|error| fault(&error))? })
    }

    pub(super) async fn end(mut self) {
        self.compiler.solver_mut().end().await;
    }

    /// What is found of one type by itself. An error is a fault of this program.
    pub(super) async fn about(&mut self, of: &RequestType, worlds: [&Snapshot; 2]) -> Result<Own, String> {
        let [old, new] = worlds.map(|world| world.composed(of));
        let sets = Sets::new(old?, new?);
        let on_arguments = sets.all().any(|one| one.on_arguments);
        let is_invocation = of.action == "invokeTool";
        let own = if sets.are_same() {
            Own::same(on_arguments)
        } else if let Some(why) = rules::unknown_to_cedar(sets.changed()) {
            Own::open(why, on_arguments)
        } else if sets.all().count() > MAX_POLICIES {
            Own::open(format!("more than {MAX_POLICIES} policies are about it"), on_arguments)
        } else {
            match self.compared(of, &sets).await {
                Ok(own) => Own { on_arguments, ..own },
                Err(why) => Own::open(why, on_arguments),
            }
        };
        Ok(Own { is_invocation, ..own })
    }

    /// An error is why nothing is known.
    async fn compared(&mut self, of: &RequestType, sets: &Sets) -> Result<Own, String> {
        let env = of.env().ok_or("no type of the schema")?;
        let symbolic = self.schema.sym_env(&env).map_err(|error| error.to_string())?;
        for one in sets.changed() {
            self.never_fails(one, (&env, &symbolic)).await?;
        }
        let plain = |side: &[Composed]| {
            set(side.iter().filter(|one| is_plain(one)).map(|one| Ok(one.policy.clone())))
        };
        let refusing = |side: &[Composed]| {
            let forbids = side.iter().filter(|one| is_plain(one) && one.policy.effect() == Effect::Forbid);
            set(forbids.map(Composed::as_permit))
        };
        let [old, new] = [plain(&sets.old)?, plain(&sets.new)?];
        let [old, new] = [self.compiled(&old, (&env, &symbolic))?, self.compiled(&new, (&env, &symbolic))?];
        let kept = match self.implies(&old, &new).await {
            Answer::Always => Implied::Always,
            Answer::Fails(found) => witness::shown(sets, &found, |[old, new]| old && !new),
            Answer::Unknown(why) => Implied::Unknown(why),
        };
        let bounded = match self.implies(&new, &old).await {
            Answer::Always => Implied::Always,
            Answer::Fails(found) => witness::shown(sets, &found, |[old, new]| new && !old),
            Answer::Unknown(why) => Implied::Unknown(why),
        };
        let (mut refuses_no_more, mut refuses_no_less) = (Implied::Always, Implied::Always);
        if rules::tells_refusals(of) {
            let [old, new] = [refusing(&sets.old)?, refusing(&sets.new)?];
            let [old, new] =
                [self.compiled(&old, (&env, &symbolic))?, self.compiled(&new, (&env, &symbolic))?];
            refuses_no_more = self.implies(&new, &old).await.unshown();
            refuses_no_less = self.implies(&old, &new).await.unshown();
        }
        Ok(Own { kept, bounded, refuses_no_more, refuses_no_less, ..Own::all(&Implied::Always, false) })
    }

    fn compiled(
        &self,
        policies: &PolicySet,
        (env, symbolic): (&RequestEnv, &SymEnv),
    ) -> Result<CompiledPolicySet, String> {
        let schema = self.schema.schema();
        let compiled = CompiledPolicySet::compile_with_custom_symenv(policies, env, schema, symbolic.clone());
        compiled.map_err(|error| error.to_string())
    }

    async fn implies(&mut self, one: &CompiledPolicySet, other: &CompiledPolicySet) -> Answer {
        self.compiler.solver_mut().begin();
        match self.compiler.check_implies_with_counterexample_opt(one, other).await {
            Ok(None) => Answer::Always,
            Ok(Some(found)) => Answer::Fails(Box::new(found)),
            Err(error) => Answer::Unknown(unknown(&error)),
        }
    }

    /// A policy that fails denies, which Cedar does not know: one that only one set has must not be able to.
    async fn never_fails(
        &mut self,
        one: &Composed,
        (env, symbolic): (&RequestEnv, &SymEnv),
    ) -> Result<(), String> {
        let schema = self.schema.schema();
        let compiled = CompiledPolicy::compile_with_custom_symenv(&one.policy, env, schema, symbolic.clone());
        let compiled = compiled.map_err(|error| format!("{}: {error}", one.id))?;
        self.compiler.solver_mut().begin();
        match self.compiler.check_never_errors_opt(&compiled).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("{} can fail: what fails denies, which Cedar does not know", one.id)),
            Err(error) => Err(format!("whether {} can fail: {}", one.id, unknown(&error))),
        }
    }
}

enum Answer {
    Always,
    Fails(Box<Env>),
    Unknown(String),
}

impl Answer {
    fn unshown(self) -> Implied {
        match self {
            Self::Always => Implied::Always,
            Self::Fails(_) => Implied::Fails(None),
            Self::Unknown(why) => Implied::Unknown(why),
        }
    }
}

/// What Cedar decides as we do. What holds and what changes is the same in both sets where anything is asked, and left out: whatever
/// passes is held and changed by the same.
fn is_plain(one: &Composed) -> bool {
    matches!(one.does, Does::Permits | Does::Refuses)
}

fn set(policies: impl Iterator<Item = Result<cedar_policy::Policy, String>>) -> Result<PolicySet, String> {
    let policies = policies.collect::<Result<Vec<_>, _>>()?;
    PolicySet::from_policies(policies).map_err(|error| error.to_string())
}

fn unknown(error: &Error) -> String {
    match error {
        Error::SolverUnknown => "the solver does not know, or not in time".to_owned(),
        Error::SolverError(SolverError::Solver(said)) => format!("the solver: {said}"),
        Error::SolverError(error) => format!("the solver: {error}"),
        error => error.to_string(),
    }
}
