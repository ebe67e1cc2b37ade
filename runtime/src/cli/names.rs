//! `skep names serve`: a name server in the foreground.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use skep_actors::names::NameServer;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::daemon::start_logs;
use super::error::CliError;
use crate::config::NodeConfig;

/// Where the names are, below the data folder.
const FOLDER: &str = "names-served";

/// Serves names until it is told to stop.
pub(super) async fn serve(
    config: &NodeConfig,
    listen: SocketAddr,
    folder: Option<PathBuf>,
    out: &mut dyn Write,
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
    writeln!(out, "serving {} names at http://{}", server.len(), listener.local_addr()?)?;
    out.flush()?;
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
