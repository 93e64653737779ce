//! What a worker does every so often, without being asked.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    Cx, Failure,
    engine::{Engine, StopAt, Work},
    failure,
    handle::SweepHandler,
};

pub(crate) trait Sweep<S>: Send + Sync {
    fn run<'a>(&'a self, cx: &'a mut Cx, state: &'a S) -> BoxFuture<'a, Result<bool, Failure>>;
}

impl<S, H> Sweep<S> for H
where
    H: for<'a> SweepHandler<'a, S>,
    S: Sync,
{
    fn run<'a>(&'a self, cx: &'a mut Cx, state: &'a S) -> BoxFuture<'a, Result<bool, Failure>> {
        Box::pin(self.handle(cx, state))
    }
}

/// One round of a sweep.
pub(crate) struct Sweeping<'s, S> {
    pub(crate) sweep: &'s dyn Sweep<S>,
    pub(crate) state: &'s S,
}

impl<S: Send + Sync> Work for Sweeping<'_, S> {
    type Done = bool;

    fn run<'a>(&'a self, cx: &'a mut Cx) -> BoxFuture<'a, Result<bool, Failure>> {
        self.sweep.run(cx, self.state)
    }
}

/// Sweeps until shutdown.
pub(crate) async fn run<S: Send + Sync + 'static>(
    engine: Arc<Engine<S>>,
    name: &'static str,
    period: Duration,
    sweep: Box<dyn Sweep<S>>,
    shutdown: CancellationToken,
) {
    let mut tick = interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
        }
        while !shutdown.is_cancelled() {
            let work = Sweeping {
                sweep: &*sweep,
                state: &*engine.state,
            };
            match engine.transact(work, StopAt::Never).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(
                        sweep = name,
                        error = failure::chain(&error),
                        "a sweep failed; will try again"
                    );
                    break;
                }
            }
        }
    }
}
