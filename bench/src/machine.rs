//! The machine the numbers belong to.

use std::fmt;

/// The machine the numbers belong to; unknown parts are empty or zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    memory_mebibytes: u64,
    kernel: String,
}

impl Machine {
    /// This machine, as `/proc` tells it.
    pub(crate) fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mebibytes: kibibytes(&memory) / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, memory_mebibytes, kernel } = self;
        write!(formatter, "{processor}, {cores} cores, {memory_mebibytes} MiB, Linux {kernel}")
    }
}

/// How many processes want to run at the same time now, on average over the last minute; nothing if the
/// system does not tell.
pub(crate) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// The value of the first line `name : value`; empty if there is none.
fn field(text: &str, name: &str) -> String {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == name).map_or_else(String::new, |(_, value)| value.trim().to_owned())
}

/// The number of `1234 kB`; zero if it is none.
fn kibibytes(text: &str) -> u64 {
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_files_are_found() {
        let text = "Name:\tskep\nVmRSS:\t   20480 kB\nVmRSSExtra: 1 kB\n";
        assert_eq!(kibibytes(&field(text, "VmRSS")), 20480);
        assert_eq!((field(text, "VmSwap"), kibibytes("")), (String::new(), 0));
    }
}
