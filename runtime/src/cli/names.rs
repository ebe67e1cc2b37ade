//! Names: asked for at the node, and served in the foreground by `skep names serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use skep_actors::names::NameServer;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::args::NamesCommand;
use super::commands::Session;
use super::daemon::start_logs;
use super::error::CliError;
use super::{Output, render};
use crate::config::NodeConfig;
use crate::rpc::schema::method::{NamesLookup, NamesRegister, NamesSearch};
use crate::rpc::schema::{NameParams, RegisterParams};

/// Where the names are, below the data folder.
const FOLDER: &str = "names-served";

/// What a name server says when it serves.
#[derive(Serialize)]
struct Serving {
    names: usize,
    url: String,
}

/// Serves names until it is told to stop.
pub(super) async fn serve(
    config: &NodeConfig,
    listen: SocketAddr,
    folder: Option<PathBuf>,
    mut output: Output<'_>,
) -> Result<(), CliError> {
    start_logs(&config.log)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let folder = folder.unwrap_or_else(|| config.data_dir.join(FOLDER));
    let opened = tokio::task::spawn_blocking(move || NameServer::open(&folder)).await;
    let opened = opened.map_err(|error| CliError::Unwell(error.to_string()))?;
    let server = Arc::new(opened.map_err(|error| CliError::Unwell(error.to_string()))?);
    let listener = TcpListener::bind(listen).await;
    let listener =
        listener.map_err(|error| CliError::Unwell(format!("cannot listen at {listen}: {error}")))?;
    let serving = Serving { names: server.len(), url: format!("http://{}", listener.local_addr()?) };
    output.show(&serving, |serving| format!("serving {} names at {}", serving.names, serving.url))?;
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(server.serve(listener, stopped));
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
    }
    tracing::info!("the name server stops");
    // It listens until it has ended.
    let _ = stop.send(true);
    serving.await.map_err(|error| CliError::Unwell(error.to_string()))
}

impl Session<'_> {
    /// What the node is asked about names.
    pub(super) async fn names(&mut self, command: NamesCommand) -> Result<(), CliError> {
        match command {
            NamesCommand::Lookup { name } => {
                self.call(NamesLookup, NameParams { text: name }, render::named).await
            }
            NamesCommand::Search { text } => {
                self.call(NamesSearch, NameParams { text }, render::profiles).await
            }
            NamesCommand::Register { name, account, password } => {
                let account = self.find_account(&account).await?;
                let password = self.archive_password(account, &password).await?;
                self.call(NamesRegister, RegisterParams { account, name, password }, render::named).await
            }
            // It needs no node.
            NamesCommand::Serve { .. } => Ok(()),
        }
    }
}
