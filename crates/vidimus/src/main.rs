//! The binary: it composes, nothing else. Roles are subcommands.

mod clock;
mod cmd;
mod output;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<cmd::serve::Serve>),
    Check(cmd::check::Check),
    Identity(cmd::identity::Identity),
    Policy(cmd::policy::Policy),
    Audit(cmd::audit::Audit),
    Demo(cmd::demo::Demo),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Serve(serve) => cmd::serve::run(&serve),
        Command::Check(check) => cmd::check::run(&check, cli.output),
        Command::Identity(identity) => cmd::identity::run(&identity, cli.output),
        Command::Policy(policy) => cmd::policy::run(&policy, cli.output),
        Command::Audit(audit) => cmd::audit::run(&audit, cli.output),
        Command::Demo(demo) => cmd::demo::run(&demo),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

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
