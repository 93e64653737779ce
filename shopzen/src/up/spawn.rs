//! Starts the processes that belong to this one: in a process group of their own, so that a Ctrl-C
//! at the terminal reaches only us, and told by the kernel when we are gone.

use std::{io, sync::mpsc, thread};

use nix::sys::signal::Signal;
use tokio::{
    process::{Child, Command},
    sync::oneshot,
};

/// One thread that starts processes, and lives as long as we do.
///
/// Linux sends the signal of `PR_SET_PDEATHSIG` when the *thread* that started a process ends, so
/// a server must not be started from a thread of a pool.
#[derive(Clone, Debug)]
pub struct Spawner {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
struct Request {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

impl Spawner {
    /// Must be called inside the Tokio runtime that will wait for the children.
    pub fn start() -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel::<Request>();
        let runtime = tokio::runtime::Handle::current();
        thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                let _entered = runtime.enter();
                for Request { mut command, reply } in inbox {
                    // Who asked may be gone; the child is then ended by its handle's owner: nobody.
                    let _ = reply.send(command.spawn());
                }
            })?;
        Ok(Self { requests })
    }

    /// Starts a process that gets `at_our_end` when this process dies, however that happens.
    pub async fn spawn(&self, mut command: Command, at_our_end: Signal) -> io::Result<Child> {
        belong_to_us(&mut command, at_our_end);
        let (reply, answer) = oneshot::channel();
        let gone = |_| io::Error::other("the thread that starts processes has ended");
        self.requests
            .send(Request { command, reply })
            .map_err(|_closed| io::Error::other("the thread that starts processes has ended"))?;
        answer.await.map_err(gone)?
    }
}

#[expect(
    unsafe_code,
    reason = "there is no safe way to act between fork and exec"
)]
fn belong_to_us(command: &mut Command, at_our_end: Signal) {
    #[cfg(target_os = "linux")]
    let us = nix::unistd::getpid();
    command.process_group(0);
    let prepare = move || {
        // What the servers write need not be private to be safe, but what pip installs must be
        // readable by the user PostgreSQL runs as.
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        #[cfg(target_os = "linux")]
        {
            nix::sys::prctl::set_pdeathsig(at_our_end)?;
            // We may have died before that line.
            if nix::unistd::getppid() != us {
                return Err(io::Error::other("the supervisor is gone"));
            }
        }
        Ok(())
    };
    #[cfg(not(target_os = "linux"))]
    let _ = at_our_end;
    // SAFETY: between fork and exec only async-signal-safe calls may be made. umask, prctl and
    // getppid are; the error's text is allocated only on the way to giving up.
    unsafe { command.pre_exec(prepare) };
}
