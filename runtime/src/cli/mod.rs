//! The command line: `skep run` is a node, everything else speaks to one over its unix socket.
//!
//! Results go to standard output, as tables or with `--json` as JSON; errors are one line on
//! standard error. The exit code is 0 when it was done, 1 when not, 2 when it could not be meant.

mod args;
mod calls;
mod commands;
mod conferences;
mod daemon;
mod devices;
mod error;
mod files;
mod follow;
mod linking;
mod names;
mod profile;
mod render;
mod sip;
mod terminal;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use serde::Serialize;

use self::args::{Cli, Command, NamesCommand};
use self::commands::Session;
use self::error::CliError;
use crate::config::{DEFAULT, NodeConfig};
use crate::rpc::reference;

/// The whole program `skep`.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are asked for, or all there is to say to no arguments at all.
        Err(error) if error.exit_code() == 0 || std::env::args_os().len() == 1 => error.exit(),
        Err(error) => return fail(&usage(&error)),
    };
    // Not locked: `skep run --stdio` writes from another thread.
    match run(cli, &mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// What clap says, without the usage below it.
fn usage(error: &clap::Error) -> CliError {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return CliError::Usage("a command is missing at the end; see --help".to_owned());
    }
    let text = error.to_string();
    let what = text.split("\n\nUsage:").next().unwrap_or_default();
    let what = what.strip_prefix("error: ").unwrap_or(what).split("\n\nFor more").next().unwrap_or_default();
    CliError::Usage(format!("{}; see --help", what.trim()))
}

fn fail(error: &CliError) -> ExitCode {
    let code = error.exit_code();
    if code != ExitCode::SUCCESS {
        // If nobody sees standard error either, the exit code is all there is.
        let _ = writeln!(std::io::stderr(), "{}", error.line());
    }
    code
}

fn run(cli: Cli, out: &mut dyn Write) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(execute(cli, out));
    // A read of standard input cannot be called off; it must not keep the program.
    runtime.shutdown_background();
    result
}

/// Does one command.
async fn execute(cli: Cli, out: &mut dyn Write) -> Result<(), CliError> {
    if cli.print_default_config {
        return Ok(out.write_all(DEFAULT.as_bytes())?);
    }
    let Some(command) = cli.command else {
        return Err(CliError::Usage("what shall be done? see skep --help".to_owned()));
    };
    match command {
        Command::ApiReference => return Ok(out.write_all(reference::markdown().as_bytes())?),
        Command::Completions { shell } => {
            // Made in memory first: the generator panics when its output is closed early.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "skep", &mut script);
            return Ok(out.write_all(&script)?);
        }
        _ => (),
    }
    let mut config = NodeConfig::load(cli.config.as_deref())?;
    if let Some(folder) = cli.data_dir {
        config.data_dir = folder;
    }
    if let Command::Run { stdio } = command {
        return daemon::run(config, stdio).await;
    }
    if let Command::Names(NamesCommand::Serve { listen, folder }) = command {
        return names::serve(&config, listen, folder, Output { out, json: cli.json }).await;
    }
    let socket = cli.socket.or_else(|| config.socket()).ok_or_else(|| {
        CliError::Usage("the node has no unix socket (rpc.unix is empty); name one with --socket".to_owned())
    })?;
    let mut session = Session::connect(&socket, Output { out, json: cli.json }).await?;
    match command {
        Command::Account(command) => session.account(command).await,
        Command::Profile(args) => session.profile(args).await,
        Command::Device(args) => session.device(args).await,
        Command::Contact(args) => session.contact(args).await,
        Command::Conversation(args) => session.conversation(args).await,
        Command::Message(args) => session.message(args).await,
        Command::File(args) => session.file(args).await,
        Command::Dht(command) => session.dht(command).await,
        Command::Node(command) => session.node(command).await,
        Command::Names(command) => session.names(command).await,
        Command::Call(args) => session.calls(args).await,
        Command::Sip(command) => session.sip(command).await,
        Command::Run { .. } | Command::ApiReference | Command::Completions { .. } => Ok(()),
    }
}

/// Where results go.
struct Output<'a> {
    out: &'a mut dyn Write,
    json: bool,
}

impl Output<'_> {
    /// Shows a result in one form or the other.
    fn show<T: Serialize>(&mut self, value: &T, render: impl FnOnce(&T) -> String) -> Result<(), CliError> {
        if self.json {
            serde_json::to_writer(&mut *self.out, value).map_err(std::io::Error::from)?;
            writeln!(self.out)?;
        } else {
            writeln!(self.out, "{}", render(value))?;
        }
        Ok(self.out.flush()?)
    }
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
