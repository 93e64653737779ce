//! What a worker's own tasks found out, on its way into a transaction.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Cx, Failure,
    engine::{Engine, StopAt, Work},
    failure,
    gather::Pace,
    handle::ItemHandler,
    worker::RETRY_EVERY,
};

/// Where a worker's own tasks put what they found out. Bounded: who is faster has to wait.
pub struct Queue<T>(mpsc::Sender<T>);

/// A queue of at most `length_max` items, for [`crate::WorkerBuilder::drain`].
pub fn queue<T>(length_max: usize) -> (Queue<T>, mpsc::Receiver<T>) {
    let (sender, receiver) = mpsc::channel(length_max);
    (Queue(sender), receiver)
}

impl<T> Queue<T> {
    /// Puts an item in. False where the worker is stopping: a sweep of the next start will find
    /// what it was about.
    pub async fn put(&self, item: T) -> bool {
        self.0.send(item).await.is_ok()
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Queue")
    }
}

/// Items of a queue handled in one transaction.
const ITEMS_MAX: usize = 256;

pub(crate) trait Drain: Send {
    fn run(
        self: Box<Self>,
        engine: Arc<Engine>,
        shutdown: CancellationToken,
    ) -> BoxFuture<'static, ()>;
}

pub(crate) struct Draining<S, T, H> {
    pub(crate) state: Arc<S>,
    pub(crate) items: mpsc::Receiver<T>,
    pub(crate) is_urgent: fn(&T) -> bool,
    pub(crate) handler: H,
}

impl<S, T, H> Drain for Draining<S, T, H>
where
    S: Send + Sync + 'static,
    T: Send + Sync + 'static,
    H: for<'a> ItemHandler<'a, S, T> + 'static,
{
    fn run(
        mut self: Box<Self>,
        engine: Arc<Engine>,
        shutdown: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut batch = Vec::new();
            let mut pace = Pace::new();
            loop {
                let taken = tokio::select! {
                    taken = pace.gather(&mut self.items, &mut batch, ITEMS_MAX, self.is_urgent) => taken,
                    () = shutdown.cancelled() => {
                        // What is there already is worth a last transaction.
                        self.items.close();
                        self.items.recv_many(&mut batch, ITEMS_MAX).await
                    }
                };
                if taken == 0 && batch.is_empty() {
                    return;
                }
                handle_items(&engine, &*self.state, &self.handler, &batch, &shutdown).await;
                pace.rest(batch.len());
                batch.clear();
            }
        })
    }
}

/// One transaction's worth of items.
struct Handling<'i, S, T, H> {
    handler: &'i H,
    state: &'i S,
    items: &'i [T],
}

impl<S, T, H> Work for Handling<'_, S, T, H>
where
    S: Send + Sync,
    T: Send + Sync,
    H: for<'a> ItemHandler<'a, S, T>,
{
    type Done = ();

    fn run<'a>(&'a self, cx: &'a mut Cx) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.handler.handle(cx, self.state, self.items))
    }
}

async fn handle_items<S, T, H>(
    engine: &Engine,
    state: &S,
    handler: &H,
    items: &[T],
    shutdown: &CancellationToken,
) where
    S: Send + Sync + 'static,
    T: Send + Sync + 'static,
    H: for<'a> ItemHandler<'a, S, T> + 'static,
{
    loop {
        let work = Handling {
            handler,
            state,
            items,
        };
        let Err(error) = engine.transact(&work, StopAt::Never).await else {
            return;
        };
        let text = failure::chain(&error);
        if error.remedy() == failure::Remedy::Wait && !shutdown.is_cancelled() {
            tracing::warn!(error = text, "will try again");
            sleep_until(Instant::now() + RETRY_EVERY).await;
            continue;
        }
        if items.len() == 1 {
            tracing::error!(
                error = text,
                "a result was not recorded; a sweep will look again"
            );
            return;
        }
        break;
    }
    for item in items {
        let work = Handling {
            handler,
            state,
            items: std::slice::from_ref(item),
        };
        if let Err(error) = engine.transact(&work, StopAt::Never).await {
            let text = failure::chain(&error);
            tracing::error!(
                error = text,
                "a result was not recorded; a sweep will look again"
            );
        }
    }
}
