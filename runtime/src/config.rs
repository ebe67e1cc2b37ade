//! The configuration: a TOML file, changed by `SKEP_…` variables of the environment.
//!
//! Every setting has a default, so an empty file is a good one. `skep --print-default-config`
//! prints [`DEFAULT`], which names and explains them all. A key that does not exist is an error, not
//! a silent nothing.
//!
//! ```
//! let config = skep::NodeConfig::parse("[dht]\nbootstrap = ['192.0.2.7:4222']", |_| None).unwrap();
//! assert_eq!(config.dht.bootstrap, ["192.0.2.7:4222"]);
//! let error = skep::NodeConfig::parse("[dht]\nbotstrap = []", |_| None).unwrap_err();
//! assert!(error.to_string().contains("line 2"));
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use skep_protocol::names::ServerUrl;

/// The default configuration, every setting explained.
pub const DEFAULT: &str = include_str!("default.toml");

/// Longest configuration file, in bytes: far more than any, so that a wrong path is noticed.
const MAX_FILE: u64 = 1024 * 1024;

/// Why there is no configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {} cannot be read: {problem}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        problem: String,
    },
    /// The text is not TOML, or says something that does not exist.
    #[error("the configuration is wrong in line {line}: {problem}")]
    Wrong {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A variable of the environment has a value that its setting cannot have.
    #[error("the environment variable {variable} is wrong: {problem}")]
    Variable {
        /// Its name.
        variable: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Everything a node is started with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeConfig {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Threads that run actors.
    pub threads: usize,
    /// The DHT.
    pub dht: DhtConfig,
    /// Links to peers.
    pub links: LinksConfig,
    /// Names instead of ids.
    pub names: NamesConfig,
    /// Control of the node.
    pub rpc: RpcConfig,
    /// Metrics.
    pub metrics: MetricsConfig,
    /// Logs.
    pub log: LogConfig,
    /// Limits.
    pub limits: LimitsConfig,
    /// Files.
    pub files: FilesConfig,
    /// Accounts made when the node starts and has none.
    pub account: Vec<FirstAccount>,
    /// For tests of the node.
    pub debug: DebugConfig,
}

/// How the node takes part in the DHT.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DhtConfig {
    /// Which network, or both.
    pub network: DhtNetwork,
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// Nodes to join through.
    pub bootstrap: Vec<String>,
    /// Whether OpenDHT nodes in the local network are looked for, and this one can be found.
    pub local_discovery: bool,
}

/// A network that carries the DHT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DhtNetwork {
    /// Skep's own, over TCP.
    #[default]
    Kad,
    /// OpenDHT, over UDP: that of Jami.
    #[serde(rename = "opendht")]
    OpenDht,
    /// Both at once.
    Both,
}

/// Where peers may be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinksConfig {
    /// Whether loopback addresses are offered to peers.
    pub loopback: bool,
}

/// Who is asked for names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NamesConfig {
    /// The name server of all accounts; empty for none.
    #[serde(deserialize_with = "server_or_none")]
    pub server: Option<ServerUrl>,
}

fn server_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ServerUrl>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

/// How the node is controlled.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RpcConfig {
    /// The unix socket; empty for none.
    pub unix: PathBuf,
    /// Where WebSocket clients connect.
    pub websocket: Option<SocketAddr>,
    /// The file with the token that WebSocket clients must show.
    pub token_file: PathBuf,
    /// Web origins whose pages may connect.
    pub origins: Vec<String>,
}

/// Where metrics and health are served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Address of the HTTP server.
    pub listen: Option<SocketAddr>,
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// A level, or `part=level` separated by commas.
    pub filter: String,
    /// For people or for programs.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What the node may use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Connections on each control endpoint.
    pub rpc_connections: usize,
    /// Events kept for a slow subscriber.
    pub event_buffer: usize,
    /// Jobs of disk, git and RSA at once.
    pub blocking_workers: usize,
}

/// How much files may take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilesConfig {
    /// Longest file that is fetched, in bytes.
    pub largest: Option<u64>,
    /// Most bytes that the fetched files of an account may take together.
    pub quota: Option<u64>,
}

/// An account made when the node starts and has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FirstAccount {
    /// Display name of a new account.
    pub name: String,
    /// An archive to import instead of making a new account.
    pub archive: Option<PathBuf>,
    /// A file whose first line is the password of the archive.
    pub password_file: Option<PathBuf>,
}

/// For tests of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DebugConfig {
    /// Whether `node.inject_panic` works.
    pub fault_injection: bool,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            data_dir: default_data_dir(),
            threads: 2,
            dht: DhtConfig::default(),
            links: LinksConfig::default(),
            names: NamesConfig::default(),
            rpc: RpcConfig::default(),
            metrics: MetricsConfig::default(),
            log: LogConfig::default(),
            limits: LimitsConfig::default(),
            files: FilesConfig::default(),
            account: Vec::new(),
            debug: DebugConfig::default(),
        }
    }
}

impl Default for DhtConfig {
    fn default() -> Self {
        let any: [SocketAddr; 2] = [([0, 0, 0, 0], 4222).into(), ([0_u16; 8], 4222).into()];
        Self {
            network: DhtNetwork::default(),
            listen: any.to_vec(),
            bootstrap: Vec::new(),
            local_discovery: false,
        }
    }
}

impl Default for RpcConfig {
    fn default() -> Self {
        Self {
            unix: "control.sock".into(),
            websocket: None,
            token_file: "rpc.token".into(),
            origins: Vec::new(),
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { rpc_connections: 64, event_buffer: 1024, blocking_workers: 4 }
    }
}

/// `$XDG_DATA_HOME/skep`, or `~/.local/share/skep`.
fn default_data_dir() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_DATA_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/share")))
        .map_or_else(|| PathBuf::from("skep-data"), |base| base.join("skep"))
}

/// How the text of a variable becomes the value of a setting.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Number,
    Flag,
    /// Separated by commas.
    List,
}

/// The settings that the environment can change: `dht.listen` is `SKEP_DHT_LISTEN`.
const VARIABLES: &[(&str, Kind)] = &[
    ("data_dir", Kind::Text),
    ("threads", Kind::Number),
    ("dht.network", Kind::Text),
    ("dht.listen", Kind::List),
    ("dht.bootstrap", Kind::List),
    ("dht.local_discovery", Kind::Flag),
    ("links.loopback", Kind::Flag),
    ("names.server", Kind::Text),
    ("rpc.unix", Kind::Text),
    ("rpc.websocket", Kind::Text),
    ("rpc.token_file", Kind::Text),
    ("rpc.origins", Kind::List),
    ("metrics.listen", Kind::Text),
    ("log.filter", Kind::Text),
    ("log.format", Kind::Text),
    ("limits.rpc_connections", Kind::Number),
    ("limits.event_buffer", Kind::Number),
    ("limits.blocking_workers", Kind::Number),
    ("files.largest", Kind::Number),
    ("files.quota", Kind::Number),
    ("debug.fault_injection", Kind::Flag),
];

impl NodeConfig {
    /// A node embedded in a program: everything in this folder, no control endpoints.
    #[must_use]
    pub fn in_folder(data_dir: impl Into<PathBuf>) -> Self {
        let rpc = RpcConfig { unix: PathBuf::new(), ..RpcConfig::default() };
        Self { data_dir: data_dir.into(), rpc, ..Self::default() }
    }

    /// Reads the file, if one is named, and the environment.
    ///
    /// # Errors
    /// [`ConfigError`] when the file cannot be read or anything in it or in the environment is wrong.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let text = match file {
            None => String::new(),
            Some(path) => {
                read(path).map_err(|problem| ConfigError::Unreadable { path: path.to_owned(), problem })?
            }
        };
        Self::parse(&text, |name| std::env::var(name).ok())
    }

    /// Reads a configuration from its text and from variables.
    ///
    /// # Errors
    /// [`ConfigError`] when anything in them is wrong.
    pub fn parse(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| wrong(text, &error))?;
        let mut table: toml::Table = toml::from_str(text).map_err(|error| wrong(text, &error))?;
        for (setting, kind) in VARIABLES {
            let name = format!("SKEP_{}", setting.replace('.', "_").to_uppercase());
            let Some(value) = variable(&name) else { continue };
            let explain = |problem: String| ConfigError::Variable { variable: name.clone(), problem };
            insert(&mut table, setting, kind.value(&value).map_err(explain)?);
            // After each one, so that the error can name it.
            config = table.clone().try_into().map_err(|error: toml::de::Error| explain(one_line(&error)))?;
        }
        Ok(config)
    }

    /// A path of the configuration: relative ones are below the data folder.
    #[must_use]
    pub fn path(&self, path: &Path) -> PathBuf {
        self.data_dir.join(path)
    }

    /// The unix socket, if there is to be one.
    #[must_use]
    pub fn socket(&self) -> Option<PathBuf> {
        (!self.rpc.unix.as_os_str().is_empty()).then(|| self.path(&self.rpc.unix))
    }
}

impl Kind {
    fn value(self, text: &str) -> Result<toml::Value, String> {
        match self {
            Self::Text => Ok(toml::Value::String(text.to_owned())),
            Self::Number => {
                text.parse().map(toml::Value::Integer).map_err(|_| format!("{text:?} is not a number"))
            }
            Self::Flag => text
                .parse()
                .map(toml::Value::Boolean)
                .map_err(|_| format!("{text:?} is neither true nor false")),
            Self::List => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Ok(toml::Value::Array(items.map(|item| toml::Value::String(item.to_owned())).collect()))
            }
        }
    }
}

fn insert(table: &mut toml::Table, setting: &str, value: toml::Value) {
    match setting.split_once('.') {
        None => {
            table.insert(setting.to_owned(), value);
        }
        Some((section, key)) => {
            let section =
                table.entry(section.to_owned()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let toml::Value::Table(section) = section {
                section.insert(key.to_owned(), value);
            }
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_FILE {
        return Err(format!("it has {size} bytes, more than a configuration may have ({MAX_FILE})"));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

fn wrong(text: &str, error: &toml::de::Error) -> ConfigError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    ConfigError::Wrong { line: before.matches('\n').count() + 1, problem: one_line(error) }
}

fn one_line(error: &toml::de::Error) -> String {
    error.message().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NodeConfig, ConfigError> {
        NodeConfig::parse(text, |_| None)
    }

    #[test]
    fn the_printed_default_is_the_default() {
        assert_eq!(parse(DEFAULT).unwrap(), NodeConfig::default());
        assert_eq!(parse("").unwrap(), NodeConfig::default());
    }

    #[test]
    fn the_printed_default_with_every_example_uncommented_is_valid() {
        let is_setting = |line: &str| {
            line.starts_with("#[[")
                || line
                    .strip_prefix('#')
                    .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
        };
        let text: Vec<_> =
            DEFAULT.lines().map(|line| if is_setting(line) { &line[1..] } else { line }).collect();
        let config = parse(&text.join("\n")).unwrap();
        assert_ne!(config, NodeConfig::default());
        assert_eq!(config.account.len(), 1);
        for (setting, _) in VARIABLES {
            let key = setting.rsplit('.').next().unwrap();
            assert!(text.iter().any(|line| line.starts_with(&format!("{key} ="))), "{setting} is explained");
        }
    }

    #[test]
    fn a_setting_that_does_not_exist_is_refused_with_its_line() {
        for (text, line, word) in [
            ("threads = 2\ndata_folder = '/x'", 2, "data_folder"),
            ("[dht]\n\nlissten = []", 3, "lissten"),
            ("[log]\nformat = 'xml'", 2, "xml"),
            ("[dht]\nlisten = ['here']", 2, "socket address"),
            ("[names]\nserver = 'ftp://names'", 2, "http or https"),
            ("threads = ", 1, ""),
        ] {
            match parse(text).unwrap_err() {
                ConfigError::Wrong { line: found, problem } => {
                    assert_eq!(found, line, "{text:?}: {problem}");
                    assert!(problem.contains(word), "{problem:?} names {word:?}");
                    assert!(!problem.contains('\n'));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let variable = |name: &str| match name {
            "SKEP_DATA_DIR" => Some("/srv/skep".to_owned()),
            "SKEP_THREADS" => Some("3".to_owned()),
            "SKEP_DHT_BOOTSTRAP" => Some("one:4222, two".to_owned()),
            "SKEP_LINKS_LOOPBACK" => Some("true".to_owned()),
            "SKEP_METRICS_LISTEN" => Some("127.0.0.1:9".to_owned()),
            _ => None,
        };
        let config = NodeConfig::parse("threads = 1\n[dht]\nlisten = ['127.0.0.1:5']", variable).unwrap();
        assert_eq!(config.data_dir, Path::new("/srv/skep"));
        assert_eq!((config.threads, config.links.loopback), (3, true));
        assert_eq!(config.dht.bootstrap, ["one:4222", "two"]);
        assert_eq!(config.dht.listen, ["127.0.0.1:5".parse().unwrap()]);
        assert_eq!(config.metrics.listen, Some("127.0.0.1:9".parse().unwrap()));
        assert_eq!(config.socket().unwrap(), Path::new("/srv/skep/control.sock"));
    }

    #[test]
    fn a_wrong_variable_is_named() {
        for (name, value) in
            [("SKEP_THREADS", "many"), ("SKEP_LINKS_LOOPBACK", "yes"), ("SKEP_RPC_WEBSOCKET", "nowhere")]
        {
            let error = NodeConfig::parse("", |asked| (asked == name).then(|| value.to_owned())).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        let error = NodeConfig::load(Some(Path::new("/nonexistent/skep.toml"))).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/skep.toml"));
    }
}
