//! Which handler an event goes to, and as what it is read there.

use std::{
    any::type_name,
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use futures::future::BoxFuture;
use shopzen_contracts::Event;
use uuid::Uuid;

use crate::{
    Cx, Failure, Received,
    handle::EventHandler,
    message::{Message, decode_event},
};

/// Which handler an event goes to.
#[derive(Default)]
pub(crate) struct Routes {
    routes: Vec<Box<dyn EventRoute>>,
    by_subject: HashMap<&'static str, (usize, bool)>,
}

impl Routes {
    pub(crate) fn add<S, T, H>(&mut self, state: Arc<S>, kinds: Kinds<T>, handler: H)
    where
        S: Send + Sync + 'static,
        T: Send + Sync + 'static,
        H: for<'a> EventHandler<'a, S, T> + 'static,
    {
        let route = self.routes.len();
        self.by_subject
            .extend(kinds.0.iter().map(|it| (it.subject, (route, it.is_urgent))));
        self.routes.push(Box::new(Route {
            state,
            kinds,
            handler,
        }));
    }

    /// The number of a route.
    pub(crate) fn find(&self, subject: &str) -> Option<usize> {
        self.by_subject.get(subject).map(|(route, _)| *route)
    }

    pub(crate) fn get(&self, route: usize) -> &dyn EventRoute {
        &*self.routes[route]
    }

    pub(crate) fn is_urgent(&self, subject: &str) -> bool {
        self.by_subject
            .get(subject)
            .is_some_and(|(_, is_urgent)| *is_urgent)
    }
}

/// A handler, with its type of event erased.
pub(crate) trait EventRoute: Send + Sync {
    /// Where the handler stands in the code.
    fn name(&self) -> &'static str;

    /// Handles those messages that are in `fresh`, and takes them out of it, so that a repeat within
    /// one batch is handled once. Returns those that could not be read.
    fn handle<'a>(
        &'a self,
        cx: &'a mut Cx,
        messages: &'a [(Uuid, usize, &'a Message)],
        fresh: &'a mut HashSet<Uuid>,
    ) -> BoxFuture<'a, Result<Vec<(usize, Failure)>, Failure>>;

    /// Whether a message can be read.
    fn check(&self, message: &Message) -> Result<(), Failure>;
}

/// Kinds of events that one handler takes together, each as a `T`.
pub struct Kinds<T>(pub(crate) Vec<Kind<T>>);

pub(crate) struct Kind<T> {
    pub(crate) subject: &'static str,
    is_urgent: bool,
    decode: fn(&[u8]) -> Result<T, Failure>,
}

impl<T> Default for Kinds<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Kinds<T> {
    /// Handled as soon as can be.
    #[must_use]
    pub fn urgent<E: Event>(self) -> Self
    where
        T: From<E>,
    {
        self.and::<E>(true)
    }

    /// Handled along with others: nobody waits for it, and it may take some milliseconds more.
    #[must_use]
    pub fn in_passing<E: Event>(self) -> Self
    where
        T: From<E>,
    {
        self.and::<E>(false)
    }

    fn and<E: Event>(mut self, is_urgent: bool) -> Self
    where
        T: From<E>,
    {
        self.0.push(Kind {
            subject: E::SUBJECT,
            is_urgent,
            decode: |payload| decode_event::<E>(payload).map(T::from),
        });
        self
    }

    fn decode(&self, message: &Message) -> Result<T, Failure> {
        let subject = message.event_subject();
        let kind = self
            .0
            .iter()
            .find(|kind| kind.subject == subject)
            .expect("a route gets what it is registered for");
        (kind.decode)(&message.payload)
    }
}

impl<T> fmt::Debug for Kinds<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|kind| kind.subject))
            .finish()
    }
}

struct Route<S, T, H> {
    state: Arc<S>,
    kinds: Kinds<T>,
    handler: H,
}

impl<S, T, H> EventRoute for Route<S, T, H>
where
    S: Send + Sync + 'static,
    T: Send + Sync + 'static,
    H: for<'a> EventHandler<'a, S, T>,
{
    fn name(&self) -> &'static str {
        type_name::<H>()
    }

    fn check(&self, message: &Message) -> Result<(), Failure> {
        self.kinds.decode(message).map(drop)
    }

    fn handle<'a>(
        &'a self,
        cx: &'a mut Cx,
        messages: &'a [(Uuid, usize, &'a Message)],
        fresh: &'a mut HashSet<Uuid>,
    ) -> BoxFuture<'a, Result<Vec<(usize, Failure)>, Failure>> {
        Box::pin(async move {
            let mut unreadable = Vec::new();
            let mut events = Vec::with_capacity(messages.len());
            for (event_id, index, message) in messages {
                if !fresh.remove(event_id) {
                    continue;
                }
                match self.kinds.decode(message) {
                    Ok(event) => events.push(Received {
                        event,
                        cause: message.cause(*event_id),
                    }),
                    Err(failure) => unreadable.push((*index, failure)),
                }
            }
            if !events.is_empty() {
                self.handler.handle(cx, &self.state, &events).await?;
            }
            Ok(unreadable)
        })
    }
}
