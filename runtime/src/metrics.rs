//! `/metrics` for Prometheus and `/healthz` for whoever restarts the node.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use skep_actors::supervision::ActorRow;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::rpc::{Server, serve_http};

/// Serves both until `stop` says so.
pub(crate) async fn serve(
    listener: TcpListener,
    server: Arc<Server>,
    stop: watch::Receiver<bool>,
    limit: usize,
) {
    let router =
        Router::new().route("/metrics", get(metrics)).route("/healthz", get(health)).with_state(server);
    serve_http(listener, router, stop, limit).await;
}

/// 200 when other nodes of the DHT answer, 503 when not.
async fn health(State(server): State<Arc<Server>>) -> Response {
    let reachable = server.node().health().await.is_ok_and(|health| health.reachable);
    let status = if reachable { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, if reachable { "reachable\n" } else { "the DHT is not reachable\n" }).into_response()
}

async fn metrics(State(server): State<Arc<Server>>) -> impl IntoResponse {
    let node = server.node();
    let mut page = Page::default();
    actors(&mut page, &node.tree().rows());
    page.single("skep_panics_total", "counter", "Panics caught since the start.", node.tree().panics());
    page.single("skep_uptime_seconds", "gauge", "Time since the start.", node.uptime().0.as_secs());
    let health = node.health().await.unwrap_or_default();
    page.single(
        "skep_dht_reachable",
        "gauge",
        "1 when other nodes of the DHT answer.",
        u64::from(health.reachable),
    );
    page.single("skep_dht_peers", "gauge", "Connected nodes of the DHT.", number(health.peers));
    page.single("skep_dht_values", "gauge", "Values kept for the DHT.", number(health.stored_values));
    page.single("skep_dht_published", "gauge", "Values published by this node.", number(health.published));
    let counters = server.counters();
    for (name, help, counter) in [
        ("skep_rpc_requests_total", "Requests to the control interface.", &counters.requests),
        ("skep_rpc_errors_total", "Requests that failed.", &counters.errors),
        ("skep_rpc_refused_total", "Control connections refused.", &counters.refused),
    ] {
        page.single(name, "counter", help, counter.load(Ordering::Relaxed));
    }
    let open = number(counters.connections.load(Ordering::Relaxed));
    page.single("skep_rpc_connections", "gauge", "Control connections open.", open);
    if let Some(resident) = resident_bytes() {
        page.single("process_resident_memory_bytes", "gauge", "Resident memory.", resident);
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page.text)
}

/// The actors by kind: as many as there may be of one kind, the page stays small.
fn actors(page: &mut Page, rows: &[ActorRow]) {
    type Read = fn(&ActorRow) -> u64;
    let columns: [(&str, &str, &str, Read); 10] = [
        ("skep_actors", "gauge", "Actors alive.", |_| 1),
        ("skep_actor_mailbox_messages", "gauge", "Messages waiting.", |row| number(row.mailbox)),
        (
            "skep_actor_tasks",
            "gauge",
            "What actors run beside their turns: a router one for each channel, a peer for each connection.",
            |row| number(row.tasks),
        ),
        ("skep_actor_turns_total", "counter", "Turns taken.", |row| row.turns),
        ("skep_actor_busy_microseconds_total", "counter", "Time in turns.", |row| row.busy_us),
        ("skep_actor_waited_microseconds_total", "counter", "Time in mailboxes.", |row| row.waited_us),
        ("skep_actor_rejected_total", "counter", "Messages refused, mailbox full.", |row| row.rejected),
        ("skep_actor_dropped_total", "counter", "Messages dropped for newer ones.", |row| row.dropped),
        ("skep_actor_coalesced_total", "counter", "Messages merged.", |row| row.coalesced),
        ("skep_actor_restarts_total", "counter", "Restarts of actors alive.", |row| row.restarts),
    ];
    for (name, kind, help, read) in columns {
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for row in rows {
            let sum = sums.entry(row.kind).or_default();
            *sum = sum.saturating_add(read(row));
        }
        page.family(name, kind, help, sums.into_iter());
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Resident memory of this process, where the system tells it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// A page in Prometheus' text format.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a string does not fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.head(name, kind, help);
        let _ = writeln!(self.text, "{name} {value}");
    }

    fn family<'a>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        values: impl Iterator<Item = (&'a str, u64)>,
    ) {
        self.head(name, kind, help);
        for (actor, value) in values {
            let _ = writeln!(self.text, "{name}{{actor=\"{actor}\"}} {value}");
        }
    }
}
