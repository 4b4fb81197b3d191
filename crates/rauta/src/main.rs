//! The agent and its command line: wires everything, owns no logic of the data plane.

mod agent;
mod cli;
mod commands;
mod output;
mod settings;
mod view;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, ExplainCommand, MigrateCommand};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let socket = cli.socket.as_ref();
    let result = match &cli.command {
        Command::Run(args) => commands::run::run(args, socket),
        Command::Check(args) => commands::check::run(args),
        Command::Status(args) => commands::ask::status(*args, socket),
        Command::Ready => commands::ready::run(socket),
        Command::Routes(args) => commands::ask::routes(*args, socket),
        Command::Backends(args) => commands::ask::backends(*args, socket),
        Command::Explain(ExplainCommand::Request(args)) => commands::explain::run(args, socket),
        Command::Explain(ExplainCommand::Flow(args)) => commands::kernel::explain_flow(args, socket),
        Command::Flows(args) => commands::kernel::flows(args, socket),
        Command::Drops(args) => commands::kernel::drops(*args, socket),
        Command::Trace(args) => commands::kernel::trace(*args, socket),
        Command::Detach(args) => commands::detach::run(args),
        Command::Doctor(args) => commands::doctor::run(args),
        Command::Migrate(MigrateCommand::IngressNginx(args)) => commands::migrate::run(args),
        Command::Echo(args) => commands::echo::run(args),
        Command::Demo => commands::demo::run(),
        Command::Linger => commands::linger::wait(),
        Command::Completions { shell } => commands::completions::run(*shell),
    };
    result.unwrap_or_else(|error| {
        // The whole chain on one line: what, on what, why. Nobody can be told that standard error is gone.
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        ExitCode::FAILURE
    })
}
