//! Who is asked, and what they say of orders.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use shopzen_chassis::{AskError, Asker, Asking, Handled, Missed, Published, Strays};
use shopzen_contracts::{
    OrderId, Query, Service,
    audit::OrderSpan,
    notify::{AuditMails, MailKind},
    orders::{
        AuditAnswers, AuditDeadlines, AuditOrders, AuditedAnswers, OrderFacts, OverdueOrder,
        TimelineEntry,
    },
    payments::{AuditLedger, AuditPayments, AuditedLedger, PaymentFacts},
    stock::{AuditLevels, AuditReservations, LevelFacts, ReservationFacts},
};
use uuid::Uuid;

use super::{
    books::{Books, BooksTotal, Charge, Page},
    rules::OrderView,
};
use crate::{config::Config, roles};

/// How long a worker may take; whole tables are read in it.
const DEADLINE: Duration = Duration::from_secs(10);
/// Pages of what others know of a range of orders, of which orders itself fills one. More than a few
/// means that somebody knows of many orders which do not exist.
const PAGES_MAX: usize = 8;

/// Why an audit could not be completed. It says nothing about what is true.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the gateway's books cannot be read: {0}")]
    Books(String),
}

/// The workers, and the gateway's books where there are any.
#[derive(Clone, Debug)]
pub struct Sources {
    asker: Asker,
    books: Option<Books>,
    /// Who handles which event, by its service and the last word of its subject.
    followers: BTreeMap<(Service, String), Vec<Service>>,
}

/// What is known of some orders.
#[derive(Debug, Default)]
pub struct Facts {
    orders: BTreeMap<OrderId, OrderFacts>,
    reservations: BTreeMap<OrderId, ReservationFacts>,
    payments: BTreeMap<OrderId, PaymentFacts>,
    mails: BTreeMap<OrderId, Vec<MailKind>>,
}

impl Facts {
    pub fn ids(&self) -> BTreeSet<OrderId> {
        let orders = self.orders.keys().chain(self.reservations.keys());
        let others = self.payments.keys().chain(self.mails.keys());
        orders.chain(others).copied().collect()
    }

    pub fn view<'a>(&'a self, id: OrderId, charges: Option<&'a [Charge]>) -> OrderView<'a> {
        OrderView {
            id,
            order: self.orders.get(&id),
            reservation: self.reservations.get(&id),
            payment: self.payments.get(&id),
            mails: self.mails.get(&id).map_or(&[], Vec::as_slice),
            charges,
        }
    }
}

fn asking() -> Asking {
    Asking {
        deadline: DEADLINE,
        ..Asking::default()
    }
}

impl Sources {
    pub fn new(asker: Asker, config: &Config) -> Result<Self, AuditError> {
        let books = config.payments.own.sandbox_url.get();
        let mut followers: BTreeMap<_, Vec<Service>> = BTreeMap::new();
        for worker in roles::descriptions() {
            for (source, subjects) in worker.follows {
                for subject in subjects {
                    let event = event_of(subject.trim_end_matches(".*")).to_owned();
                    followers
                        .entry((source, event))
                        .or_default()
                        .push(worker.service);
                }
            }
        }
        Ok(Self {
            asker,
            books: books.map(Books::at).transpose()?,
            followers,
        })
    }

    /// Whether there are books to compare with: the sandbox gateway has some.
    pub fn has_books(&self) -> bool {
        self.books.is_some()
    }

    pub fn followers(&self, service: Service, event: &str) -> &[Service] {
        let followers = self.followers.get(&(service, event.to_owned()));
        followers.map_or(&[], Vec::as_slice)
    }

    async fn ask<Q: Query>(&self, query: Q) -> Result<Q::Reply, AuditError> {
        Ok(self.asker.query(&query, &asking()).await?)
    }

    // ---- orders

    /// The first orders with ids after `after` and up to `until`, with all that is known of ids up to
    /// the last of them; and where the next page begins.
    pub async fn facts_in(
        &self,
        after: Option<OrderId>,
        until: OrderId,
        limit: u32,
    ) -> Result<(Facts, Option<OrderId>), AuditError> {
        let span = OrderSpan {
            after,
            until: Some(until),
            limit: Some(limit),
            ..OrderSpan::default()
        };
        let orders = self.ask(AuditOrders(span.clone())).await?;
        let rest = OrderSpan {
            until: Some(orders.next.unwrap_or(until)),
            limit: None,
            ..span
        };
        let mut facts = self.facts_of_others(rest).await?;
        facts.orders = orders.items.into_iter().map(|o| (o.id, o)).collect();
        Ok((facts, orders.next))
    }

    /// All that is known of these orders.
    pub async fn facts_of(&self, ids: &[OrderId]) -> Result<Facts, AuditError> {
        let span = OrderSpan {
            ids: ids.to_vec(),
            ..OrderSpan::default()
        };
        if span.ids.is_empty() {
            return Ok(Facts::default());
        }
        let orders = self.ask(AuditOrders(span.clone())).await?;
        let mut facts = self.facts_of_others(span).await?;
        facts.orders = orders.items.into_iter().map(|o| (o.id, o)).collect();
        Ok(facts)
    }

    async fn facts_of_others(&self, span: OrderSpan) -> Result<Facts, AuditError> {
        let mut facts = Facts::default();
        let (stock, payments, notify) = tokio::try_join!(
            self.pages(span.clone(), AuditReservations, |page| page.next),
            self.pages(span.clone(), AuditPayments, |page| page.next),
            self.pages(span, AuditMails, |page| page.next),
        )?;
        for page in stock {
            let items = page.items.into_iter();
            facts.reservations.extend(items.map(|r| (r.order_id, r)));
        }
        for page in payments {
            let items = page.items.into_iter();
            facts.payments.extend(items.map(|p| (p.order_id, p)));
        }
        for page in notify {
            let items = page.items.into_iter();
            facts.mails.extend(items.map(|m| (m.order_id, m.kinds)));
        }
        Ok(facts)
    }

    async fn pages<Q: Query>(
        &self,
        mut span: OrderSpan,
        query: fn(OrderSpan) -> Q,
        next: fn(&Q::Reply) -> Option<OrderId>,
    ) -> Result<Vec<Q::Reply>, AuditError> {
        let mut pages = Vec::new();
        for _ in 0..PAGES_MAX {
            let page = self.ask(query(span.clone())).await?;
            let after = next(&page);
            pages.push(page);
            if after.is_none() {
                break;
            }
            span.after = after;
        }
        Ok(pages)
    }

    /// Payments of these orders, for those who look at charges.
    pub async fn payments_of(
        &self,
        ids: Vec<OrderId>,
    ) -> Result<BTreeMap<OrderId, PaymentFacts>, AuditError> {
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let span = OrderSpan {
            ids,
            ..OrderSpan::default()
        };
        let page = self.ask(AuditPayments(span)).await?;
        Ok(page.items.into_iter().map(|p| (p.order_id, p)).collect())
    }

    pub async fn overdue(&self) -> Result<Vec<OverdueOrder>, AuditError> {
        Ok(self.ask(AuditDeadlines {}).await?.items)
    }

    pub async fn answers(&self, asked: AuditAnswers) -> Result<AuditedAnswers, AuditError> {
        self.ask(asked).await
    }

    // ---- whole tables

    pub async fn odd_levels(&self) -> Result<Vec<LevelFacts>, AuditError> {
        Ok(self.ask(AuditLevels {}).await?.items)
    }

    pub async fn ledger(&self) -> Result<AuditedLedger, AuditError> {
        self.ask(AuditLedger {}).await
    }

    // ---- the gateway

    pub async fn books_totals(&self) -> Result<Option<Vec<BooksTotal>>, AuditError> {
        match &self.books {
            None => Ok(None),
            Some(books) => books.totals().await.map(Some),
        }
    }

    pub async fn charges(&self, cursor: Option<&str>) -> Result<Option<Page<Charge>>, AuditError> {
        match &self.books {
            None => Ok(None),
            Some(books) => books.charges(cursor).await.map(Some),
        }
    }

    pub async fn charges_of(&self, order_id: OrderId) -> Result<Option<Vec<Charge>>, AuditError> {
        match &self.books {
            None => Ok(None),
            Some(books) => books.charges_of(order_id).await.map(Some),
        }
    }

    // ---- events

    pub async fn history(
        &self,
        service: Service,
        key: OrderId,
    ) -> Result<Vec<TimelineEntry>, AuditError> {
        Ok(self.asker.history(service, key.0, &asking()).await?)
    }

    pub async fn published(
        &self,
        service: Service,
        range: (Option<Uuid>, Option<Uuid>),
        limit: usize,
    ) -> Result<Published, AuditError> {
        let asking = asking();
        let page = self.asker.published(service, range, limit, &asking).await;
        Ok(page?)
    }

    pub async fn handled(&self, service: Service, ids: Vec<Uuid>) -> Result<Handled, AuditError> {
        Ok(self.asker.handled(service, ids, &asking()).await?)
    }

    pub async fn missed(
        &self,
        follower: Service,
        owner: Service,
        ids: Vec<Uuid>,
    ) -> Result<Missed, AuditError> {
        let asking = asking();
        Ok(self.asker.missed(follower, owner, ids, &asking).await?)
    }

    /// The events that are published again, or with `dry_run` would be.
    pub async fn republish(
        &self,
        owner: Service,
        missed: &Missed,
        dry_run: bool,
    ) -> Result<Vec<Uuid>, AuditError> {
        if missed.event_ids.is_empty() {
            return Ok(Vec::new());
        }
        let asking = asking();
        let done = self.asker.republish(owner, missed, dry_run, &asking).await;
        Ok(done?.event_ids)
    }

    pub async fn strays(
        &self,
        service: Service,
        after: u64,
        limit: usize,
    ) -> Result<Strays, AuditError> {
        let asking = asking();
        let page = self.asker.strays(service, after, limit, &asking).await;
        Ok(page?)
    }
}

/// The greatest `UUIDv7` that can have been made so long before `now` (RFC 9562, 5.7).
pub fn last_id_before(now: Timestamp, before: Duration) -> Uuid {
    let before = i64::try_from(before.as_millis()).unwrap_or(0);
    let millis = u128::try_from(now.as_millisecond() - before).unwrap_or(0);
    Uuid::from_u128((millis << 80) - 1)
}

/// The last word of a subject: `placed`.
pub fn event_of(subject: &str) -> &str {
    subject.rsplit('.').next().unwrap_or(subject)
}
