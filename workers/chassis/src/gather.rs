//! How messages become batches.
//!
//! What has arrived while the last batch was handled is the next one, so an idle worker waits for
//! nothing. Under load a short pause makes batches larger, and each message cheaper: a transaction costs
//! about the same for ten messages and for forty.

use std::time::Duration;

use tokio::{
    sync::mpsc::Receiver,
    time::{Instant, sleep_until},
};

/// From this many messages in a batch on, the worker is under load.
const BUSY_FROM: usize = 32;
/// How long a worker under load gathers.
const PAUSE: Duration = Duration::from_millis(2);

/// Fills `batch` with what is there, at least one item. Returns how many; 0 where nothing comes any more.
pub(crate) async fn gather<T>(
    items: &mut Receiver<T>,
    batch: &mut Vec<T>,
    batch_max: usize,
    last_batch: usize,
) -> usize {
    let taken = items.recv_many(batch, batch_max).await;
    if taken == 0 || last_batch < BUSY_FROM || taken >= batch_max || items.is_closed() {
        return taken;
    }
    sleep_until(Instant::now() + PAUSE).await;
    while batch.len() < batch_max {
        let Ok(item) = items.try_recv() else { break };
        batch.push(item);
    }
    batch.len()
}
