//! Processes that are not our children: is it alive, is it the one we mean, make it stop.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path, time::Duration};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

const POLL_PERIOD: Duration = Duration::from_millis(10);

/// Asks again and again until the answer is yes, or `limit` has passed. Returns the answer.
pub async fn wait_until(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let mut patience = Patience::of(limit);
    loop {
        if is_so() {
            return true;
        }
        if !patience.lasts().await {
            return false;
        }
    }
}

/// For loops that wait for something.
#[derive(Debug)]
pub struct Patience {
    end: Instant,
    ticks: Interval,
}

impl Patience {
    pub fn of(limit: Duration) -> Self {
        let now = Instant::now();
        let mut ticks = interval_at(now + POLL_PERIOD, POLL_PERIOD);
        // Where looking takes longer than a period, ticks that were missed are not made up for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            end: now + limit,
            ticks,
        }
    }

    /// Waits a moment. False when the time is over.
    pub async fn lasts(&mut self) -> bool {
        self.ticks.tick().await;
        Instant::now() < self.end
    }
}

/// Whether there is such a process; a zombie counts as gone.
pub fn is_alive(pid: u32) -> bool {
    let Some(target) = as_pid(pid) else {
        return false;
    };
    // EPERM: it is there, and belongs to somebody else.
    let exists = matches!(kill(target, None), Ok(()) | Err(Errno::EPERM));
    exists && !is_zombie(pid)
}

fn is_zombie(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| {
            stat.rsplit_once(") ")
                .map(|(_, rest)| rest.starts_with('Z'))
        })
        .unwrap_or(false)
}

/// Sends a signal; a process that has gone meanwhile is no error.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(target) = as_pid(pid) {
        let _ = kill(target, signal);
    }
}

/// Never 0 or below: to kill(2) those mean groups, or everybody.
fn as_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid)
        .ok()
        .filter(|pid| *pid > 0)
        .map(Pid::from_raw)
}

/// Whether the process was started with `path`, or something in it, among its arguments. A number
/// in an old file may have become anybody's; a path of ours in the command line has not.
pub fn has_argument_in(pid: u32, path: &Path) -> bool {
    let wanted = path.as_os_str().as_bytes();
    match std::fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(command) => command
            .split(|byte| *byte == 0)
            .any(|argument| Path::new(OsStr::from_bytes(argument)).starts_with(path)),
        Err(_) if cfg!(target_os = "linux") => false,
        // No /proc: ask the system's own tool.
        Err(_) => std::process::Command::new("ps")
            .args(["-o", "command=", "-p", &pid.to_string()])
            .output()
            .is_ok_and(|ps| ps.stdout.windows(wanted.len()).any(|part| part == wanted)),
    }
}

/// All processes that work in `folder`, as each of PostgreSQL's does in its data. Linux only.
pub fn working_in(folder: &Path) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok()?;
            let at = std::fs::read_link(process.path().join("cwd")).ok()?;
            (at == folder && is_alive(pid)).then_some(pid)
        })
        .collect()
}

/// Stops a process that is not our child: each signal in turn, until one has worked in its time.
pub async fn stop(pid: u32, steps: &[(Signal, Duration)]) -> bool {
    for (request, patience) in steps {
        signal(pid, *request);
        if wait_until(*patience, || !is_alive(pid)).await {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_known_by_its_arguments_and_can_be_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a b");
        std::fs::write(&file, "").unwrap();
        let mut child = std::process::Command::new("tail")
            .arg("-f")
            .arg(&file)
            .spawn()
            .unwrap();
        let pid = child.id();
        assert!(wait_until(Duration::from_secs(5), || has_argument_in(pid, &file)).await);
        assert!(has_argument_in(pid, folder.path()));
        assert!(!has_argument_in(pid, Path::new("/elsewhere")));
        assert!(is_alive(pid));
        assert!(stop(pid, &[(Signal::SIGTERM, Duration::from_secs(5))]).await);
        assert!(!is_alive(pid));
        child.wait().unwrap();
    }
}
