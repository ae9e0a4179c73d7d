//! The binary: it composes, nothing else. Roles are subcommands.

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
  vidimus demo                                       a complete governed system, explained step by step
  vidimus check examples/demo                        are these resources and policies in order?
  vidimus serve --resources DIR --data DIR           govern calls by the resources in DIR
  vidimus audit search --outcome deny --since 1h     who was refused, and why
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
    fn the_help_of_every_command_shows_an_example() {
        fn without(command: &clap::Command, path: &str, found: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name());
            if !command.get_after_help().is_some_and(|help| help.to_string().starts_with("Example")) {
                found.push(path.clone());
            }
            command.get_subcommands().for_each(|below| without(below, &path, found));
        }
        let mut found = Vec::new();
        Cli::command().debug_assert();
        without(&Cli::command(), "", &mut found);
        assert!(found.is_empty(), "{found:?}");
    }
}
