//! What becomes of orders, told to everybody who waits for one.
//!
//! The orders worker tells of progress in a notice, which may be lost and may come before the answer
//! to the request that placed the order. So the hub remembers for a moment what nobody has asked for
//! yet, and who waits looks for themselves every now and then.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::StreamExt;
use shopzen_chassis::Asker;
use shopzen_contracts::{
    Notice, OrderId,
    orders::{OrderProgress, OrdersProgressed},
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// What nobody follows is remembered for at least this long, unless there is too much of it.
const REMEMBERED_FOR: Duration = Duration::from_secs(2);
/// Orders in each of the two halves of the memory.
const REMEMBERED_MAX: usize = 16_384;
/// Before trying again to listen.
const LISTEN_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Hub {
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    followed: HashMap<OrderId, watch::Sender<Option<OrderProgress>>>,
    /// The latest news of orders that nobody follows.
    recent: HashMap<OrderId, OrderProgress>,
    /// What was recent before `turned_at`. Forgetting by halves needs no clean-up of single entries.
    older: HashMap<OrderId, OrderProgress>,
    turned_at: Instant,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            followed: HashMap::new(),
            recent: HashMap::new(),
            older: HashMap::new(),
            turned_at: Instant::now(),
        }
    }
}

impl Hub {
    /// Listens until shutdown: one subscription for everybody.
    pub(crate) async fn listen(&self, asker: &Asker, shutdown: &CancellationToken) {
        while !shutdown.is_cancelled() {
            if let Ok(notices) = asker.listen(OrdersProgressed::SUBJECT).await {
                let mut notices = std::pin::pin!(notices.take_until(shutdown.cancelled()));
                while let Some((subject, body)) = notices.next().await {
                    match serde_json::from_slice::<OrdersProgressed>(&body) {
                        Ok(OrdersProgressed(news)) => self.tell(news),
                        Err(error) => tracing::error!(subject, %error, "a notice cannot be read"),
                    }
                }
            }
            let _ = timeout(LISTEN_PAUSE, shutdown.cancelled()).await;
        }
    }

    /// Passes news on to whoever follows, and remembers the rest for a moment.
    pub(crate) fn tell(&self, news: Vec<OrderProgress>) {
        let mut known = self.known();
        known.forget_old();
        for progress in news {
            if let Some(followers) = known.followed.get(&progress.id) {
                followers.send_if_modified(|latest| replace_if_newer(latest, progress));
            } else if known
                .recent
                .get(&progress.id)
                .is_none_or(|seen| seen.version < progress.version)
            {
                known.recent.insert(progress.id, progress);
            }
        }
    }

    /// From now on no news of this order is missed, except such as never came.
    pub(crate) fn follow(self: &Arc<Self>, id: OrderId) -> Following {
        let mut guard = self.known();
        let known = &mut *guard;
        let news = known.followed.entry(id).or_insert_with(|| {
            let remembered = known
                .recent
                .remove(&id)
                .into_iter()
                .chain(known.older.remove(&id));
            watch::Sender::new(remembered.max_by_key(|progress| progress.version))
        });
        Following {
            hub: Arc::clone(self),
            id,
            news: news.subscribe(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known
            .lock()
            .expect("nothing panics while it holds this")
    }
}

impl Known {
    fn forget_old(&mut self) {
        let now = Instant::now();
        if self.turned_at + REMEMBERED_FOR <= now || self.recent.len() >= REMEMBERED_MAX {
            std::mem::swap(&mut self.recent, &mut self.older);
            self.recent.clear();
            self.turned_at = now;
        }
    }
}

fn replace_if_newer(latest: &mut Option<OrderProgress>, progress: OrderProgress) -> bool {
    let newer = latest
        .as_ref()
        .is_none_or(|latest| latest.version < progress.version);
    if newer {
        *latest = Some(progress);
    }
    newer
}

/// One who waits for news of an order.
#[derive(Debug)]
pub(crate) struct Following {
    hub: Arc<Hub>,
    id: OrderId,
    news: watch::Receiver<Option<OrderProgress>>,
}

impl Following {
    /// The latest that is known, if anything came since the order was followed or just before.
    pub(crate) fn latest(&mut self) -> Option<OrderProgress> {
        self.news.borrow_and_update().clone()
    }

    /// Until there is something that [`Following::latest`] has not returned yet.
    pub(crate) async fn changed(&mut self) {
        self.news
            .changed()
            .await
            .expect("the sender is there as long as somebody follows");
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut known = self.hub.known();
        let last = known
            .followed
            .get(&self.id)
            .is_some_and(|news| news.receiver_count() <= 1);
        if last {
            known.followed.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use jiff::Timestamp;
    use shopzen_chassis::{Bus, NatsLogin, Secret};
    use shopzen_contracts::{orders::OrderStatus, payments::PaymentStatus};
    use shopzen_test_servers::servers;
    use tokio::time::advance;
    use uuid::Uuid;

    use super::*;

    fn id(number: u128) -> OrderId {
        OrderId(Uuid::from_u128(number))
    }

    fn progress(number: u128, version: i64) -> OrderProgress {
        OrderProgress {
            id: id(number),
            version,
            status: OrderStatus::Reserved,
            reason: None,
            payment_status: PaymentStatus::Pending,
            shortages: Vec::new(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    fn version(following: &mut Following) -> Option<i64> {
        following.latest().map(|progress| progress.version)
    }

    #[tokio::test]
    async fn news_reaches_everybody_who_follows_the_order_and_nobody_else() {
        let hub = Arc::new(Hub::default());
        let (mut a, mut b, mut other) = (hub.follow(id(1)), hub.follow(id(1)), hub.follow(id(2)));
        assert_eq!(version(&mut a), None);
        hub.tell(vec![progress(1, 2)]);
        a.changed().await;
        b.changed().await;
        assert_eq!(
            (version(&mut a), version(&mut b), version(&mut other)),
            (Some(2), Some(2), None)
        );
    }

    #[tokio::test]
    async fn a_notice_that_overtakes_the_reply_is_not_missed() {
        let hub = Arc::new(Hub::default());
        hub.tell(vec![progress(1, 3), progress(1, 2)]);
        assert_eq!(version(&mut hub.follow(id(1))), Some(3));
    }

    #[tokio::test]
    async fn older_news_changes_nothing() {
        let hub = Arc::new(Hub::default());
        let mut following = hub.follow(id(1));
        hub.tell(vec![progress(1, 4)]);
        hub.tell(vec![progress(1, 3), progress(1, 4)]);
        following.changed().await;
        assert_eq!(version(&mut following), Some(4));
        assert!(following.changed().now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_asks_for_is_forgotten_after_a_moment() {
        let hub = Arc::new(Hub::default());
        hub.tell(vec![progress(1, 2), progress(2, 2)]);
        advance(REMEMBERED_FOR).await;
        hub.tell(vec![progress(3, 2)]);
        assert_eq!(
            version(&mut hub.follow(id(1))),
            Some(2),
            "it is two seconds old"
        );
        advance(REMEMBERED_FOR).await;
        hub.tell(vec![progress(4, 2)]);
        assert_eq!(
            version(&mut hub.follow(id(2))),
            None,
            "it is four seconds old"
        );
        let known = hub.known();
        assert_eq!(known.recent.len() + known.older.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_has_an_end() {
        let hub = Arc::new(Hub::default());
        for number in 0..100_000 {
            hub.tell(vec![progress(number, 1)]);
        }
        let known = hub.known();
        assert!(known.recent.len() + known.older.len() <= 2 * REMEMBERED_MAX);
    }

    #[tokio::test]
    async fn a_notice_on_nats_wakes_who_follows_and_nonsense_does_no_harm() {
        let url = tokio::task::spawn_blocking(|| servers().nats_url())
            .await
            .unwrap();
        let user = "test".to_owned();
        let login = NatsLogin {
            url: url.clone(),
            user,
            password: Secret::new(""),
        };
        let asker = Asker::new(Bus::connect(&login).await.unwrap());
        let nats = async_nats::connect(url).await.unwrap();
        let (hub, shutdown) = (Arc::new(Hub::default()), CancellationToken::new());
        let talk = async {
            let mut following = hub.follow(id(1));
            let body = serde_json::to_vec(&OrdersProgressed(vec![progress(1, 2)])).unwrap();
            // Nobody says when the subscription stands, so it is told until it is heard.
            loop {
                nats.publish(OrdersProgressed::SUBJECT, "nonsense".into())
                    .await
                    .unwrap();
                nats.publish(OrdersProgressed::SUBJECT, body.clone().into())
                    .await
                    .unwrap();
                if timeout(Duration::from_millis(50), following.changed())
                    .await
                    .is_ok()
                {
                    break;
                }
            }
            assert_eq!(version(&mut following), Some(2));
            shutdown.cancel();
        };
        let both = async { tokio::join!(hub.listen(&asker, &shutdown), talk) };
        timeout(Duration::from_secs(30), both).await.unwrap();
    }

    #[tokio::test]
    async fn nothing_is_left_of_those_who_have_gone() {
        let hub = Arc::new(Hub::default());
        let (a, b) = (hub.follow(id(1)), hub.follow(id(1)));
        drop(a);
        assert_eq!(hub.known().followed.len(), 1);
        drop(b);
        assert_eq!(hub.known().followed.len(), 0);
    }
}
