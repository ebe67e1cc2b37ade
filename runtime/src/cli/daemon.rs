//! `skep run`: a node in the foreground, from its logs to its signals.

use std::sync::Mutex;

use skep_actors::account::messages::Password;
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::error::CliError;
use super::terminal;
use crate::config::{FirstAccount, LogConfig, LogFormat, NodeConfig};
use crate::node::Node;
use crate::rpc;

/// Runs a node until it is told to stop.
pub(super) async fn run(config: NodeConfig, stdio: bool) -> Result<(), CliError> {
    start_logs(&config.log)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let first = config.account.clone();
    let node = Node::start(config).await?;
    tracing::info!(data_dir = %node.config().data_dir.display(), "the node runs");
    let made = tokio::select! {
        made = make_first_accounts(&node, &first) => made.map(|()| true),
        _ = terminate.recv() => Ok(false),
        _ = interrupt.recv() => Ok(false),
    };
    match made {
        Err(error) => {
            node.shutdown().await;
            return Err(error);
        }
        Ok(false) => (),
        Ok(true) => tokio::select! {
            _ = node.ended() => (),
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
            () = rpc::serve_stdio(&node), if stdio => (),
        },
    }
    tracing::info!("the node stops");
    let end = node.shutdown().await;
    if end.failed {
        return Err(CliError::Unwell(
            "the node failed too often and has stopped; its log says why".to_owned(),
        ));
    }
    if !end.shutdown.complete {
        let message =
            format!("the node did not stop in time; {} actors were cut off", end.shutdown.actors_left);
        return Err(CliError::Unwell(message));
    }
    Ok(())
}

pub(super) fn start_logs(config: &LogConfig) -> Result<(), CliError> {
    let filter: Targets = config
        .filter
        .parse()
        .map_err(|error| CliError::Usage(format!("log.filter {:?} is wrong: {error}", config.filter)))?;
    let logs = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE);
    let logs = logs.with_writer(Mutex::new(std::io::stderr()));
    let logs = logs.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    // An error says that logs are started already, by a program that embeds this.
    let _ = match config.format {
        LogFormat::Text => logs.finish().with(filter).try_init(),
        LogFormat::Json => logs.json().finish().with(filter).try_init(),
    };
    Ok(())
}

/// Makes the accounts of the configuration, if the node has none.
async fn make_first_accounts(node: &Node, first: &[FirstAccount]) -> Result<(), CliError> {
    if first.is_empty() || !node.accounts().await?.is_empty() {
        return Ok(());
    }
    for account in first {
        let secret = account.password_file.as_deref().map(terminal::password_in).transpose()?;
        let password = secret.map(|secret| Password(secret.reveal().to_owned()));
        let made = match &account.archive {
            None => node.create_account(account.name.clone(), password, |_| ()).await?,
            Some(path) => {
                let archive = tokio::fs::read(path).await.map_err(|error| CliError::file(path, error))?;
                node.import_account(archive, password, |_| ()).await?
            }
        };
        if account.archive.is_some() && !account.name.is_empty() {
            made.rename(account.name.clone()).await?;
        }
        let view = made.describe().await?;
        tracing::info!(account = %view.local, id = %view.id, name = view.name, "an account was made");
    }
    Ok(())
}
