//! Ports: the usual one, the next free one, or the one that was asked for.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
};

use crate::{
    exit::{Exit, Failure, OrFail as _},
    terminal::Terminal,
};

/// How far from the usual port we look for a free one.
const ATTEMPTS_MAX: u16 = 200;

/// A port that is held, so that nobody else gets it before whoever it is for.
#[derive(Debug)]
pub struct Port {
    listener: TcpListener,
    address: SocketAddr,
}

impl Port {
    fn take(at: IpAddr, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((at, port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn number(&self) -> u16 {
        self.address.port()
    }

    /// To listen here, in this process. It does not block.
    pub fn into_listener(self) -> TcpListener {
        self.listener
    }
}

/// Whether somebody holds a port of ours or listens there.
pub fn is_taken(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_err()
}

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub enum Wish {
    /// The usual port, or the next that is free, which is then told.
    About(u16),
    /// One that the kernel gives to nobody else.
    Any,
    /// This port and no other; 0 is any.
    Exactly { port: u16, flag: &'static str },
}

impl Wish {
    /// What was asked for on the command line, or in the settings; else about the usual port.
    pub fn of(flag: &'static str, given: Option<u16>, configured: u16, usual: u16) -> Self {
        match given {
            Some(port) => Self::Exactly { port, flag },
            None if configured == usual => Self::About(usual),
            None => Self::Exactly {
                port: configured,
                flag,
            },
        }
    }
}

/// Finds a port at this address, and holds it.
pub fn choose(what: &str, at: IpAddr, wish: Wish, terminal: &Terminal) -> Result<Port, Failure> {
    let by = |port| listener(port).map_or_else(String::new, |owner| format!(" by {owner}"));
    let any = || {
        Port::take(at, 0).or_fail(
            Exit::TryAgain,
            format!("no port is free for {what}"),
            "close programs that listen on this machine",
        )
    };
    match wish {
        Wish::Any | Wish::Exactly { port: 0, .. } => any(),
        Wish::Exactly { port, flag } => Port::take(at, port).map_err(|error| {
            let owner = by(port);
            let why = if owner.is_empty() {
                format!(" ({error})")
            } else {
                owner
            };
            Failure::new(
                Exit::TryAgain,
                format!("port {port} for {what} is taken{why}"),
                format!("give another one, or any free one with `{flag} 0`"),
            )
        }),
        Wish::About(usual) => {
            let mut candidates = usual..usual.saturating_add(ATTEMPTS_MAX);
            let port = match candidates.find_map(|port| Port::take(at, port).ok()) {
                Some(port) => port,
                None => any()?,
            };
            if port.number() != usual {
                let number = port.number();
                terminal.warn(format!(
                    "port {usual} is taken{}; {what} gets {number}",
                    by(usual)
                ));
            }
            Ok(port)
        }
    }
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
        let wish = Wish::of("--http-port", Some(port), 8080, 8080);
        let failure = choose("HTTP", LOOPBACK, wish, &QUIET()).unwrap_err();
        assert_eq!(failure.exit, Exit::TryAgain);
        assert!(failure.to_string().contains(&port.to_string()), "{failure}");
        assert!(failure.to_string().contains("--http-port 0"), "{failure}");
    }

    #[test]
    fn a_usual_port_that_is_taken_gives_the_next() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let usual = holder.local_addr().unwrap().port();
        let first = choose("HTTP", LOOPBACK, Wish::About(usual), &QUIET()).unwrap();
        let second = choose("ops", LOOPBACK, Wish::About(usual), &QUIET()).unwrap();
        assert_ne!(first.number(), usual);
        assert_ne!(second.number(), usual);
        assert_ne!(first.number(), second.number());
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
