//! What arrives where, as a worker says it.

use std::{fmt, sync::Arc, time::Duration};

use shopzen_contracts::{Command, Event, Query, Service};
use tokio::sync::mpsc;

use crate::{
    Door, DoorKeys, Worker,
    answer::{CommandEndpoint, QueryEndpoint},
    door::Keeper,
    handle::{CommandHandler, EventHandler, ItemHandler, QueryHandler, SweepHandler},
    queue::Draining,
    routes::{Kind, Kinds},
    sweep::Sweep,
};

/// A worker to be. `S` is what its handlers need besides the transaction: its configuration, its
/// gateways, its memory.
pub struct WorkerBuilder<S> {
    worker: Worker,
    state: Arc<S>,
}

impl<S: Send + Sync + 'static> WorkerBuilder<S> {
    pub(crate) fn new(worker: Worker, state: S) -> Self {
        Self {
            worker,
            state: Arc::new(state),
        }
    }

    pub fn build(self) -> Worker {
        self.worker
    }

    /// Follows an event: `async fn(&mut Cx, &S, &[Received<E>]) -> Result<(), Failure>`.
    #[must_use]
    pub fn on_event<E, H>(self, handler: H) -> Self
    where
        E: Event,
        H: for<'a> EventHandler<'a, S, E> + 'static,
    {
        self.on_events(Kinds::default().urgent::<E>(), handler)
    }

    /// Follows several kinds of events with one handler, which gets them in the order in which they
    /// came: `async fn(&mut Cx, &S, &[Received<T>]) -> Result<(), Failure>`. For those that move the
    /// same rows, as these are then read and written once.
    #[must_use]
    pub fn on_events<T, H>(mut self, kinds: Kinds<T>, handler: H) -> Self
    where
        T: Send + Sync + 'static,
        H: for<'a> EventHandler<'a, S, T> + 'static,
    {
        for Kind { subject, .. } in &kinds.0 {
            let source = Service::of_subject(subject).expect("an event has an owner");
            self.worker
                .sources
                .entry(source)
                .or_default()
                .push(format!("{subject}.*"));
        }
        self.worker
            .routes
            .add(Arc::clone(&self.state), kinds, handler);
        self
    }

    /// Obeys a command, many in one transaction:
    /// `async fn(&mut Cx, &S, &[Request<C>]) -> Answers<C::Reply>`.
    #[must_use]
    pub fn on_commands<C, H>(mut self, handler: H) -> Self
    where
        C: Command,
        H: for<'a> CommandHandler<'a, S, C, C::Reply> + 'static,
    {
        let endpoint = CommandEndpoint::<S, C, H>::batched(Arc::clone(&self.state), handler);
        self.worker.endpoints.push(Arc::new(endpoint));
        self
    }

    /// Obeys a command, each in a transaction of its own: the slice holds one request.
    #[must_use]
    pub fn on_command<C, H>(mut self, handler: H) -> Self
    where
        C: Command,
        H: for<'a> CommandHandler<'a, S, C, C::Reply> + 'static,
    {
        let endpoint = CommandEndpoint::<S, C, H>::one_by_one(Arc::clone(&self.state), handler);
        self.worker.endpoints.push(Arc::new(endpoint));
        self
    }

    /// Answers a query: `async fn(&PgPool, &S, &Request<Q>) -> Result<Q::Reply, Refused>`.
    #[must_use]
    pub fn answer<Q, H>(mut self, handler: H) -> Self
    where
        Q: Query,
        H: for<'a> QueryHandler<'a, S, Q, Q::Reply> + 'static,
    {
        let endpoint = QueryEndpoint::<S, Q, H>::new(Arc::clone(&self.state), handler);
        self.worker.endpoints.push(Arc::new(endpoint));
        self
    }

    /// Says who may connect to NATS without being one of the shop's own. Nobody may where there are no keys.
    #[must_use]
    pub fn keeps_door(mut self, keys: Option<DoorKeys>, door: impl Door) -> Self {
        self.worker.door = keys.map(|keys| {
            let door = Box::new(door);
            Arc::new(Keeper { keys, door })
        });
        self
    }

    /// Does something every so often, and again at once while it says that more is waiting:
    /// `async fn(&mut Cx, &S) -> Result<bool, Failure>`.
    #[must_use]
    pub fn every<H>(mut self, name: &'static str, period: Duration, handler: H) -> Self
    where
        H: for<'a> SweepHandler<'a, S> + 'static,
    {
        let sweep = self.sweep(handler);
        self.worker.sweeps.push((name, period, Box::new(sweep)));
        self
    }

    /// Does something once, before the first message is taken.
    #[must_use]
    pub fn at_start<H>(mut self, handler: H) -> Self
    where
        H: for<'a> SweepHandler<'a, S> + 'static,
    {
        let start = self.sweep(handler);
        self.worker.starts.push(Box::new(start));
        self
    }

    /// Handles what the worker's own tasks put into a [`crate::Queue`], many in one transaction:
    /// `async fn(&mut Cx, &S, &[T]) -> Result<(), Failure>`. Items that are not urgent may wait a
    /// moment for others.
    #[must_use]
    pub fn drain<T, H>(
        mut self,
        items: mpsc::Receiver<T>,
        is_urgent: fn(&T) -> bool,
        handler: H,
    ) -> Self
    where
        T: Send + Sync + 'static,
        H: for<'a> ItemHandler<'a, S, T> + 'static,
    {
        self.worker.drains.push(Box::new(Draining {
            state: Arc::clone(&self.state),
            items,
            is_urgent,
            handler,
        }));
        self
    }

    fn sweep<H>(&self, handler: H) -> Sweep<S, H> {
        Sweep {
            state: Arc::clone(&self.state),
            handler,
        }
    }
}

impl<S> fmt::Debug for WorkerBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.worker.fmt(f)
    }
}
