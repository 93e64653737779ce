//! The way from the roles to NATS leads through here, and here it can be cut, slowed down, or lead in one
//! direction only.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

/// What is passed on at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// How the way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Free,
    /// Each chunk arrives so much later.
    Delayed(Duration),
    /// So many bytes a second and direction.
    Slow(u32),
    /// What the roles send does not arrive.
    DeafServer,
    /// What the server sends does not arrive.
    DeafRoles,
}

#[derive(Debug)]
pub struct Detour {
    pub url: String,
    way: watch::Sender<Way>,
    /// Counts how often all connections were cut.
    cuts: watch::Sender<u64>,
    accepting: JoinHandle<()>,
}

impl Detour {
    /// Listens; leads to where `server` says at that moment.
    pub async fn open(
        server: impl Fn() -> Option<SocketAddr> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("nats://{}", listener.local_addr()?);
        let (way, ways) = watch::channel(Way::Free);
        let (cuts, cut) = watch::channel(0);
        let server = Arc::new(server);
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((role, _)) = listener.accept().await else {
                    continue;
                };
                let (ways, mut cut, server) = (ways.clone(), cut.clone(), Arc::clone(&server));
                cut.mark_unchanged();
                tokio::spawn(async move {
                    let Some(address) = server() else { return };
                    let Ok(server) = TcpStream::connect(address).await else {
                        return;
                    };
                    tokio::select! {
                        () = lead(role, server, ways) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Ok(Self {
            url,
            way,
            cuts,
            accepting,
        })
    }

    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// Ends every connection there is.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Passes bytes on in both directions until one side has no more.
async fn lead(role: TcpStream, server: TcpStream, ways: watch::Receiver<Way>) {
    let _ = role.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (from_role, to_role) = role.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        _ = pass(from_role, to_server, ways.clone(), Way::DeafServer) => {}
        _ = pass(from_server, to_role, ways, Way::DeafRoles) => {}
    }
}

async fn pass(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mut ways: watch::Receiver<Way>,
    closed: Way,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = from.read(&mut chunk).await?;
        if length == 0 {
            return Ok(());
        }
        // What is held back arrives later, as it does with TCP.
        if ways.wait_for(|way| *way != closed).await.is_err() {
            return Ok(());
        }
        let way = *ways.borrow();
        match way {
            Way::Delayed(pause) => sleep(pause).await,
            Way::Slow(bytes_per_second) => {
                let bytes = u32::try_from(length).unwrap_or(u32::MAX);
                sleep(Duration::from_secs(1) * bytes / bytes_per_second.max(1)).await;
            }
            Way::Free | Way::DeafServer | Way::DeafRoles => {}
        }
        to.write_all(&chunk[..length]).await?;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    /// Sends back what it is sent.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    async fn detour() -> (Detour, TcpStream) {
        let server = echo().await;
        let detour = Detour::open(move || Some(server)).await.unwrap();
        let address = detour.url.trim_start_matches("nats://").to_owned();
        let role = TcpStream::connect(address).await.unwrap();
        (detour, role)
    }

    async fn said(role: &mut TcpStream) -> io::Result<u8> {
        role.write_u8(7).await?;
        role.read_u8().await
    }

    #[tokio::test]
    async fn a_free_way_leads_to_the_server_until_it_is_cut() {
        let (detour, mut role) = detour().await;
        assert_eq!(said(&mut role).await.unwrap(), 7);
        detour.cut();
        let cut = timeout(Duration::from_secs(5), said(&mut role))
            .await
            .unwrap();
        assert!(cut.is_err(), "{cut:?}");
    }

    #[tokio::test]
    async fn what_is_delayed_arrives_late_and_what_is_held_back_once_the_way_is_free() {
        let (detour, mut role) = detour().await;
        let delay = Duration::from_millis(30);
        detour.set(Way::Delayed(delay));
        let began = Instant::now();
        assert_eq!(said(&mut role).await.unwrap(), 7);
        assert!(began.elapsed() >= 2 * delay, "once each way");
        for deaf in [Way::DeafServer, Way::DeafRoles] {
            detour.set(deaf);
            let waited = timeout(Duration::from_millis(100), said(&mut role)).await;
            assert!(waited.is_err(), "{deaf:?}");
            detour.set(Way::Free);
            assert_eq!(role.read_u8().await.unwrap(), 7);
        }
    }
}
