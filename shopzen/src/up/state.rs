//! What runs where: `run/state.json`, as `shopzen status --json` prints it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::files;
use crate::data_dir::{DataDir, write_private};

/// A running shop. The first five fields are promised to the outside (API.md, 6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub url: String,
    pub ops_url: String,
    pub nats: Server,
    pub postgres: Server,
    pub roles: BTreeMap<String, Role>,
    /// Of the process that watches over all of it.
    pub pid: u32,
    /// Whether everything had come up. A role that was restarted since does not change it.
    pub ready: bool,
    pub data_dir: PathBuf,
    pub version: String,
    /// Whether the demo's accounts are there.
    pub demo: bool,
    /// Something that can be bought, for trying.
    pub sku: Option<String>,
}

/// A server; its `pid` is none where it is not ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    pub pid: Option<u32>,
    /// Without credentials: they are in `secrets/`.
    pub url: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    pub pid: u32,
}

impl State {
    /// What the shop in `data` says, or the last one there said.
    pub fn read(data: &DataDir) -> Option<Self> {
        serde_json::from_str(&fs::read_to_string(path(data)).ok()?).ok()
    }
}

fn path(data: &DataDir) -> PathBuf {
    data.run().join("state.json")
}

/// The state of the shop that this process watches over, kept on disk.
#[derive(Clone, Debug)]
pub struct SharedState {
    data: DataDir,
    state: Arc<Mutex<State>>,
}

impl SharedState {
    pub fn new(data: DataDir, state: State) -> io::Result<Self> {
        write(&data, &state)?;
        Ok(Self {
            data,
            state: Arc::new(Mutex::new(state)),
        })
    }

    pub fn get(&self) -> State {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes it here and on disk. A full disk must not stop a shop, so it is only told.
    pub fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        if let Err(error) = write(&self.data, &state) {
            tracing::warn!(%error, "state.json could not be written");
        }
    }
}

fn write(data: &DataDir, state: &State) -> io::Result<()> {
    let json = serde_json::to_string_pretty(state).map_err(io::Error::other)?;
    write_private(&path(data), &json)
}

/// Forgets a shop that has stopped.
pub fn forget(data: &DataDir) {
    files::remove_if_there(&path(data));
}
