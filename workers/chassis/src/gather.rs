//! How messages become batches.
//!
//! What has arrived while the last batch was handled is the next one, so an idle worker waits for
//! nothing. A worker that is busy rests after each transaction for half as long as that took: a
//! transaction costs about the same for ten messages and for forty, so what gathers meanwhile makes
//! each message cheaper, and where the machine is full, everything sooner.
//!
//! What nobody waits for (goods that become an order's own after the shopper was told, a mail) causes
//! no transaction at once: it goes along with what is urgent, or with its like a moment later.

use std::time::Duration;

use tokio::{
    sync::mpsc::Receiver,
    time::{Instant, sleep_until, timeout_at},
};

/// From this many messages in a transaction on, the worker is busy.
const BUSY_FROM: usize = 24;
/// The longest rest: a transaction that had to wait for a lock or a disk is no measure.
const REST_MAX: Duration = Duration::from_millis(20);
/// A shorter rest is none: timers are no finer.
const REST_MIN: Duration = Duration::from_millis(1);

/// How long what is not urgent waits for others to be handled with.
const LINGER: Duration = Duration::from_millis(20);

/// One lane's alternation of work and rest.
#[derive(Debug)]
pub(crate) struct Pace {
    began_at: Instant,
    rests_until: Instant,
}

impl Pace {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            began_at: now,
            rests_until: now,
        }
    }

    /// Fills `batch` with what is there once the rest is over, at least one item; the work begins.
    /// Returns how many; 0 where nothing comes any more.
    pub(crate) async fn gather<T>(
        &mut self,
        items: &mut Receiver<T>,
        batch: &mut Vec<T>,
        batch_max: usize,
        is_urgent: impl Fn(&T) -> bool,
    ) -> usize {
        if items.recv_many(batch, batch_max).await == 0 {
            return 0;
        }
        let lingers_until = Instant::now() + LINGER;
        let mut looked_at = 0;
        while batch.len() < batch_max && !batch[looked_at..].iter().any(&is_urgent) {
            looked_at = batch.len();
            let more = items.recv_many(batch, batch_max - looked_at);
            if !timeout_at(lingers_until, more)
                .await
                .is_ok_and(|taken| taken > 0)
            {
                break;
            }
        }
        let is_over = Instant::now() + REST_MIN > self.rests_until;
        if batch.len() < batch_max && !items.is_closed() && !is_over {
            sleep_until(self.rests_until).await;
            while batch.len() < batch_max {
                let Ok(item) = items.try_recv() else { break };
                batch.push(item);
            }
        }
        self.began_at = Instant::now();
        batch.len()
    }

    /// The work on this many messages is done; the rest begins.
    pub(crate) fn rest(&mut self, taken: usize) {
        if taken < BUSY_FROM {
            return;
        }
        let rest = self.began_at.elapsed() / 2;
        self.rests_until = Instant::now() + rest.min(REST_MAX);
    }
}

#[cfg(test)]
mod tests {
    use tokio::{sync::mpsc, time::advance};

    use super::*;

    /// Urgent where it is even.
    async fn gathered(items: &mut Receiver<u32>, pace: &mut Pace) -> (Vec<u32>, Duration) {
        let started = Instant::now();
        let mut batch = Vec::new();
        let taken = pace
            .gather(items, &mut batch, 100, |item| item % 2 == 0)
            .await;
        assert_eq!(taken, batch.len());
        (batch, started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_lane_takes_what_is_urgent_at_once_and_the_rest_along() {
        let (sender, mut items) = mpsc::channel(100);
        for item in [1, 3, 2] {
            sender.send(item).await.unwrap();
        }
        let gathered = gathered(&mut items, &mut Pace::new()).await;
        assert_eq!(gathered, (vec![1, 3, 2], Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_urgent_waits_for_what_is_but_not_for_ever() {
        let (sender, mut items) = mpsc::channel(100);
        sender.send(1).await.unwrap();
        let gathered_alone = gathered(&mut items, &mut Pace::new()).await;
        assert_eq!(gathered_alone, (vec![1], LINGER));

        sender.send(1).await.unwrap();
        let mut pace = Pace::new();
        let later = async {
            advance(LINGER / 4).await;
            sender.send(2).await.unwrap();
        };
        let (together, ()) = tokio::join!(gathered(&mut items, &mut pace), later);
        assert_eq!(together, (vec![1, 2], LINGER / 4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_lane_rests_and_an_idle_one_does_not() {
        let (sender, mut items) = mpsc::channel(100);
        let work = Duration::from_millis(8);
        for (taken, rest) in [(BUSY_FROM, work / 2), (BUSY_FROM - 1, Duration::ZERO)] {
            let mut pace = Pace::new();
            advance(work).await;
            pace.rest(taken);
            sender.send(2).await.unwrap();
            let gathered = gathered(&mut items, &mut pace).await;
            assert_eq!(gathered, (vec![2], rest));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_comes_any_more_what_is_there_is_the_last() {
        let (sender, mut items) = mpsc::channel(100);
        sender.send(1).await.unwrap();
        drop(sender);
        let mut pace = Pace::new();
        assert_eq!(gathered(&mut items, &mut pace).await.0, [1]);
        assert!(gathered(&mut items, &mut pace).await.0.is_empty());
    }
}
