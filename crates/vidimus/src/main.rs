//! The binary: it composes, nothing else. Roles are subcommands.

mod clock;
mod cmd;
mod log;
mod output;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use output::Format;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Vidimus governs every call that AI agents make: to tools (MCP), to other agents (A2A), to models.
///
/// It authenticates each call, decides it with Cedar (nothing is allowed until a policy permits it), mints a credential for that
/// one hop, and keeps a record that an auditor can verify without trusting anybody.
#[derive(Debug, Parser)]
#[command(name = "vidimus", version, after_help = EXAMPLES, propagate_version = true)]
struct Cli {
    /// How results are printed: for people, or as JSON (one document, or one a line).
    #[arg(short = 'o', long = "output", global = true, value_enum, default_value_t = Format::Table, env = "VIDIMUS_OUTPUT")]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  vidimus demo                                   # a governed system, explained
  vidimus check examples/demo                    # is everything in order?
  vidimus serve --resources DIR --data DIR       # govern calls
  vidimus audit search --outcome deny --since 1h # who was refused, and why

Exit codes of every command: 0 done, or the answer is yes; 1 the answer is no;
2 not done, also where nothing has the id or the name that was given
";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<cmd::serve::Serve>),
    Doctor(Box<cmd::doctor::Doctor>),
    Check(cmd::check::Check),
    Register(cmd::register::Register),
    Registry(Box<cmd::registry::Registry>),
    Identity(cmd::identity::Identity),
    Install(cmd::install::Install),
    Wrap(Box<cmd::wrap::Wrap>),
    ClientConfig(cmd::client_config::ClientConfig),
    Keys(cmd::keys::Keys),
    Policy(cmd::policy::Policy),
    Audit(Box<cmd::audit::Audit>),
    Trace(cmd::trace::Trace),
    Admission(cmd::admission::Admission),
    Approvals(Box<cmd::approvals::Approvals>),
    Pods(cmd::pods::Pods),
    Quarantine(Box<cmd::quarantine::Quarantine>),
    Grant(Box<cmd::grant::Grant>),
    Declassify(Box<cmd::declassify::Declassify>),
    Resources(cmd::resources::Resources),
    Codes(cmd::codes::Codes),
    Demo(cmd::demo::Demo),
    #[command(visible_alias = "completion")]
    Completions(cmd::shell::Completions),
    Man(cmd::shell::Man),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => return not_run(&said),
    };
    output::speak(cli.output);
    let result = match cli.command {
        Command::Serve(serve) => cmd::serve::run(&serve),
        Command::Doctor(doctor) => cmd::doctor::run(&doctor, cli.output),
        Command::Check(check) => cmd::check::run(&check, cli.output),
        Command::Register(register) => cmd::register::run(&register, cli.output),
        Command::Registry(registry) => cmd::registry::run(&registry),
        Command::Identity(identity) => cmd::identity::run(&identity, cli.output),
        Command::Install(install) => cmd::install::run(&install, cli.output),
        Command::Wrap(wrap) => cmd::wrap::run(&wrap),
        Command::ClientConfig(client) => cmd::client_config::run(&client, cli.output),
        Command::Keys(keys) => cmd::keys::run(&keys, cli.output),
        Command::Policy(policy) => cmd::policy::run(&policy, cli.output),
        Command::Audit(audit) => cmd::audit::run(&audit, cli.output),
        Command::Trace(trace) => cmd::trace::run(&trace, cli.output),
        Command::Admission(admission) => cmd::admission::run(&admission, cli.output),
        Command::Approvals(approvals) => cmd::approvals::run(&approvals, cli.output),
        Command::Pods(pods) => cmd::pods::run(&pods, cli.output),
        Command::Quarantine(quarantine) => cmd::quarantine::run(&quarantine, cli.output),
        Command::Grant(grant) => cmd::grant::run(&grant, cli.output),
        Command::Declassify(declassify) => cmd::declassify::run(&declassify, cli.output),
        Command::Resources(resources) => cmd::resources::run(&resources, cli.output),
        Command::Codes(codes) => cmd::codes::run(&codes, cli.output),
        Command::Demo(demo) => cmd::demo::run(&demo),
        Command::Completions(shell) => cmd::shell::completions(&shell, &mut Cli::command()),
        Command::Man(man) => cmd::shell::man(&man, Cli::command()),
    };
    output::ended(result.unwrap_or_else(|error| {
        output::error(&error);
        ExitCode::from(2)
    }))
}

/// Help that was asked for, or what is wrong with the command line.
fn not_run(said: &clap::Error) -> ExitCode {
    let text = said.render();
    if !said.use_stderr() {
        match output::is_plain() {
            true => output::line(text.to_string().trim_end()),
            false => output::line(text.ansi().to_string().trim_end()),
        }
        return output::ended(ExitCode::SUCCESS);
    }
    if wants_json(std::env::args_os().skip(1), std::env::var_os("VIDIMUS_OUTPUT")) {
        output::speak(Format::Json);
        let text = text.to_string();
        output::error(&anyhow::anyhow!("{}", text.trim().trim_start_matches("error: ")));
    } else {
        // Nothing can be done when standard error is gone.
        let _ = said.print();
    }
    ExitCode::from(2)
}

/// Whether a command line that could not be understood whole asks for JSON.
fn wants_json(words: impl Iterator<Item = OsString>, environment: Option<OsString>) -> bool {
    let mut is_value = false;
    let mut found = environment;
    for word in words {
        let word = word.to_string_lossy();
        if std::mem::replace(&mut is_value, matches!(&*word, "-o" | "--output")) {
            found = Some(word.as_ref().into());
        } else if let Some(value) = word.strip_prefix("--output=").or_else(|| word.strip_prefix("-o")) {
            found = Some(value.trim_start_matches('=').into());
        }
    }
    found.is_some_and(|found| found == "json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_asked_for_however_it_is_written() {
        for (line, environment, wanted) in [
            ("check -o json", None, true),
            ("check -ojson", None, true),
            ("-o=json check", None, true),
            ("check --output json", None, true),
            ("check --output=json", None, true),
            ("check", Some("json"), true),
            ("check -o table", Some("json"), false),
            ("check json", None, false),
            ("check -o", None, false),
        ] {
            let words = line.split(' ').map(Into::into);
            assert_eq!(wants_json(words, environment.map(Into::into)), wanted, "{line} {environment:?}");
        }
    }

    #[test]
    fn the_help_of_every_command_shows_examples_that_can_be_copied() {
        fn look(command: &clap::Command, path: &str, found: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            if !help.starts_with("Example") {
                found.push(format!("{path}: no example"));
            }
            // A terminal of 80 columns would break a longer one, and copying it would run half a command.
            let long = help.lines().filter(|line| line.chars().count() > 80);
            found.extend(long.map(|line| format!("{path}: over 80 columns: {line}")));
            command.get_subcommands().for_each(|below| look(below, &path, found));
        }
        let mut found = Vec::new();
        Cli::command().debug_assert();
        look(&Cli::command(), "", &mut found);
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}
