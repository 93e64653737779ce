//! Ports for servers that are killed and come back to where they were.

use std::{
    io,
    net::TcpListener,
    ops::Range,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// Below those that the kernel gives to who asks for any (`net.ipv4.ip_local_port_range`): a port that
/// nobody listens on for a moment would be given to somebody else.
const PORTS: Range<u32> = 16_000..32_000;
/// Processes that run at the same time begin so far from each other.
const PORTS_OF_PROCESS: u32 = 97;

/// A port that nobody listens on, and that stays free while its server is away: nobody gets it without
/// asking for it by its number.
///
/// # Errors
///
/// Where none is free.
pub fn free_port() -> io::Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = process::id().wrapping_mul(PORTS_OF_PROCESS);
    let count = PORTS.end - PORTS.start;
    for _ in PORTS {
        let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(PORTS.start + number % count).map_err(io::Error::other)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}
