//! Changes of what can be bought, for everybody who watches: one subscription for the whole edge.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use shopzen_chassis::Asker;
use shopzen_contracts::{
    Event,
    stock::{Availability, LevelsChanged},
};
use tokio::{sync::broadcast, time::timeout};
use tokio_util::sync::CancellationToken;

/// Changes that a slow watcher may be behind; after that it looks at the present again.
const BEHIND_MAX: usize = 1_024;
/// Before trying again to listen.
const LISTEN_PAUSE: Duration = Duration::from_secs(1);

pub(crate) type Changes = broadcast::Receiver<Arc<[Availability]>>;

#[derive(Debug)]
pub(crate) struct StockFeed {
    changes: broadcast::Sender<Arc<[Availability]>>,
}

impl Default for StockFeed {
    fn default() -> Self {
        Self {
            changes: broadcast::Sender::new(BEHIND_MAX),
        }
    }
}

impl StockFeed {
    pub(crate) fn subscribe(&self) -> Changes {
        self.changes.subscribe()
    }

    /// Listens until shutdown.
    pub(crate) async fn listen(&self, asker: &Asker, shutdown: &CancellationToken) {
        let subject = format!("{}.*", LevelsChanged::SUBJECT);
        while !shutdown.is_cancelled() {
            if let Ok(events) = asker.listen(&subject).await {
                let mut events = std::pin::pin!(events.take_until(shutdown.cancelled()));
                while let Some((subject, body)) = events.next().await {
                    // Every checkout changes something; mostly nobody is watching.
                    if self.changes.receiver_count() > 0 {
                        self.pass_on(&subject, &body);
                    }
                }
            }
            let _ = timeout(LISTEN_PAUSE, shutdown.cancelled()).await;
        }
    }

    fn pass_on(&self, subject: &str, body: &[u8]) {
        match serde_json::from_slice::<LevelsChanged>(body) {
            // Whoever watched may just have gone, and then it reaches nobody.
            Ok(event) => drop(self.changes.send(event.levels.into())),
            Err(error) => tracing::error!(subject, %error, "an event cannot be read"),
        }
    }
}
