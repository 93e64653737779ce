//! Ports: the usual one, the next free one, or the one that was asked for.

use std::net::{IpAddr, SocketAddr, TcpListener};

use crate::{
    exit::{Exit, Failure},
    terminal::Terminal,
};

/// How far from the usual port we look for a free one.
const ATTEMPTS_MAX: u16 = 200;

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub enum Wish {
    /// The usual port, or the next that is free, which is then told.
    About(u16),
    /// The first from here that is free. Nobody needs to know it.
    Near(u16),
    /// This port and no other; 0 is any.
    Exactly { port: u16, flag: &'static str },
}

/// Where something that the outside knows is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub what: &'static str,
    pub configured: SocketAddr,
    /// The flag's name, and what was given with it.
    pub flag: (&'static str, Option<u16>),
    /// Where it is unless somebody says otherwise.
    pub usual: u16,
}

impl Asked {
    /// The address that was asked for on the command line, or in the settings; else the usual
    /// one, or the next that is free.
    pub fn choose(self, taken: &mut Vec<u16>, terminal: &Terminal) -> Result<SocketAddr, Failure> {
        let Self {
            what,
            configured,
            flag: (flag, given),
            usual,
        } = self;
        let wish = match given {
            Some(port) => Wish::Exactly { port, flag },
            None if configured.port() == usual => Wish::About(usual),
            None => Wish::Exactly {
                port: configured.port(),
                flag,
            },
        };
        let port = choose(what, configured.ip(), wish, taken, terminal)?;
        Ok(SocketAddr::new(configured.ip(), port))
    }
}

/// Finds a port that is free at this address. `taken` are ports that we have given away but that nobody
/// listens at yet.
pub fn choose(
    what: &str,
    at: IpAddr,
    wish: Wish,
    taken: &mut Vec<u16>,
    terminal: &Terminal,
) -> Result<u16, Failure> {
    let port = match wish {
        Wish::Exactly { port: 0, .. } => any_free(what, at)?,
        Wish::Exactly { port, .. } if is_free(at, port) && !taken.contains(&port) => port,
        Wish::Exactly { port, flag } => {
            let owner = listener(port).map_or_else(String::new, |owner| format!(" by {owner}"));
            return Err(Failure::new(
                Exit::TryAgain,
                format!("port {port} for {what} is taken{owner}"),
                format!("give another one, or any free one with `{flag} 0`"),
            ));
        }
        Wish::About(usual) | Wish::Near(usual) => {
            let found = (usual..usual.saturating_add(ATTEMPTS_MAX))
                .find(|port| !taken.contains(port) && is_free(at, *port));
            let port = match found {
                Some(port) => port,
                None => any_free(what, at)?,
            };
            if port != usual && matches!(wish, Wish::About(_)) && !taken.contains(&usual) {
                let owner =
                    listener(usual).map_or_else(String::new, |owner| format!(" by {owner}"));
                terminal.warn(format!("port {usual} is taken{owner}; {what} gets {port}"));
            }
            port
        }
    };
    taken.push(port);
    Ok(port)
}

fn is_free(at: IpAddr, port: u16) -> bool {
    TcpListener::bind((at, port)).is_ok()
}

fn any_free(what: &str, at: IpAddr) -> Result<u16, Failure> {
    TcpListener::bind((at, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address: SocketAddr| address.port())
        .map_err(|error| {
            Failure::new(
                Exit::TryAgain,
                format!("no port is free for {what}: {error}"),
                "close programs that listen on this machine",
            )
        })
}

/// Which process listens at a port: `nginx (pid 4242)`. Only Linux tells, and only of our own
/// processes unless we are root.
fn listener(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|table| {
            let table = std::fs::read_to_string(table).ok()?;
            table.lines().find_map(|line| listening_inode(line, port))
        })?;
    let socket = format!("socket:[{inode}]");
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let holds = files
            .flatten()
            .any(|file| std::fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == &*socket));
        if holds {
            let name = std::fs::read_to_string(process.path().join("comm")).ok()?;
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

/// The inode of a line of `/proc/net/tcp`, where it is a socket that listens at `port`.
fn listening_inode(line: &str, port: u16) -> Option<String> {
    const LISTENS: &str = "0A";
    let mut columns = line.split_whitespace();
    let local = columns.nth(1)?;
    let state = columns.nth(1)?;
    let (_, at) = local.rsplit_once(':')?;
    if state != LISTENS || u16::from_str_radix(at, 16).ok()? != port {
        return None;
    }
    columns.nth(5).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const QUIET: fn() -> Terminal = || Terminal::new(true);

    #[test]
    fn a_port_that_was_asked_for_and_is_taken_is_refused_by_name() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = holder.local_addr().unwrap().port();
        let wish = Wish::Exactly {
            port,
            flag: "--http-port",
        };
        let failure = choose("HTTP", LOOPBACK, wish, &mut Vec::new(), &QUIET()).unwrap_err();
        assert_eq!(failure.exit, Exit::TryAgain);
        assert!(failure.to_string().contains(&port.to_string()), "{failure}");
        assert!(failure.to_string().contains("--http-port 0"), "{failure}");
    }

    #[test]
    fn a_usual_port_that_is_taken_gives_the_next() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let usual = holder.local_addr().unwrap().port();
        let mut taken = Vec::new();
        let first = choose("HTTP", LOOPBACK, Wish::About(usual), &mut taken, &QUIET()).unwrap();
        let second = choose("ops", LOOPBACK, Wish::About(usual), &mut taken, &QUIET()).unwrap();
        assert_ne!(first, usual);
        assert_ne!(second, usual);
        assert_ne!(first, second);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_that_holds_a_port_is_named() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let owner = listener(holder.local_addr().unwrap().port()).unwrap();
        assert!(
            owner.ends_with(&format!("(pid {})", std::process::id())),
            "{owner}"
        );
    }
}
