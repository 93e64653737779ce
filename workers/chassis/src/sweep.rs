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

/// A handler with what it needs besides the transaction. Its work is one round; it says whether more is waiting.
pub(crate) struct Sweep<S, H> {
    pub(crate) state: Arc<S>,
    pub(crate) handler: H,
}

impl<S, H> Work for Sweep<S, H>
where
    S: Send + Sync,
    H: for<'a> SweepHandler<'a, S>,
{
    type Done = bool;

    fn run<'a>(&'a self, cx: &'a mut Cx) -> BoxFuture<'a, Result<bool, Failure>> {
        Box::pin(self.handler.handle(cx, &self.state))
    }
}

/// Sweeps until shutdown.
pub(crate) async fn run(
    engine: Arc<Engine>,
    name: &'static str,
    period: Duration,
    sweep: Box<dyn Work<Done = bool>>,
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
            match engine.transact(&*sweep, StopAt::Never).await {
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
