//! What a running process uses, as `/proc` tells it.

use std::fs;
use std::time::Duration;

use super::{Failure, Result};

/// Length of the clock tick in which Linux tells processor time, the same on every machine.
const TICK: Duration = Duration::from_millis(10);

/// The memory of a process that is in use now, in bytes.
pub(crate) fn resident(process: u32) -> Result<usize> {
    size(&format!("/proc/{process}/smaps_rollup"), "Rss:")
}

/// The most memory that a process has used so far, in bytes.
pub(crate) fn peak(process: u32) -> Result<usize> {
    size(&format!("/proc/{process}/status"), "VmHWM:")
}

fn size(path: &str, name: &str) -> Result<usize> {
    let text = fs::read_to_string(path).map_err(Failure::file(path.as_ref()))?;
    let kilobytes = text.lines().find_map(|line| line.strip_prefix(name)?.strip_suffix("kB"));
    let kilobytes = kilobytes.and_then(|number| number.trim().parse::<usize>().ok());
    kilobytes.map(|number| number * 1024).ok_or_else(|| Failure::Expected(format!("a size in {path}")))
}

/// The processor time that a process has used so far, for itself and in the system, in steps of [`TICK`].
pub(crate) fn processor_time(process: u32) -> Result<Duration> {
    time(&format!("/proc/{process}/stat"))
}

/// As [`processor_time`], without the part of its first thread.
pub(crate) fn processor_time_without_main(process: u32) -> Result<Duration> {
    let main = time(&format!("/proc/{process}/task/{process}/stat"))?;
    Ok(processor_time(process)?.saturating_sub(main))
}

fn time(path: &str) -> Result<Duration> {
    let text = fs::read_to_string(path).map_err(Failure::file(path.as_ref()))?;
    ticks(&text).map(|ticks| TICK * ticks).ok_or_else(|| Failure::Expected(format!("two times in {path}")))
}

/// The sum of fields 14 and 15 of `proc(5)`; the name in brackets, field 2, may hold spaces.
fn ticks(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(14 - 3);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_behind_a_name_with_spaces_and_brackets() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 25 17 0 0 20 0 1 0 99 0 0";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_uses_memory_and_time_and_one_that_is_not_there_is_told() {
        let this = std::process::id();
        assert!(resident(this).unwrap() > 0 && peak(this).unwrap() > 0);
        assert!(processor_time_without_main(this).unwrap() <= processor_time(this).unwrap());
        assert!(matches!(processor_time(u32::MAX), Err(Failure::File { .. })));
    }
}
