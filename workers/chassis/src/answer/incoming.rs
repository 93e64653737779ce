//! Where requests come from: the shop's own parts, or partners.

use async_nats::{Client, HeaderMap, Message, Subscriber, service};
use bytes::Bytes;
use futures::StreamExt;

/// Requests on one subject.
pub(crate) enum Requests {
    /// From the shop's own parts, over the NATS Services API.
    OfShop(service::endpoint::Endpoint),
    /// From partners, whom the server vouches for.
    OfPartners(Subscriber, Client),
}

/// One of them, which is to be answered.
pub(crate) enum Incoming {
    OfShop(service::Request),
    OfPartner(Message, Client),
}

impl Requests {
    pub(super) async fn next(&mut self) -> Option<Incoming> {
        match self {
            Self::OfShop(requests) => requests.next().await.map(Incoming::OfShop),
            Self::OfPartners(requests, client) => {
                let message = requests.next().await?;
                Some(Incoming::OfPartner(message, client.clone()))
            }
        }
    }
}

impl From<service::endpoint::Endpoint> for Requests {
    fn from(requests: service::endpoint::Endpoint) -> Self {
        Self::OfShop(requests)
    }
}

impl Incoming {
    pub(crate) fn message(&self) -> &Message {
        match self {
            Self::OfShop(request) => &request.message,
            Self::OfPartner(message, _) => message,
        }
    }

    pub(super) fn is_of_partner(&self) -> bool {
        matches!(self, Self::OfPartner(..))
    }

    pub(super) async fn respond(
        &self,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(), async_nats::PublishError> {
        match self {
            Self::OfShop(request) => request.respond_with_headers(Ok(body), headers).await,
            Self::OfPartner(message, client) => match &message.reply {
                Some(reply) => {
                    client
                        .publish_with_headers(reply.clone(), headers, body)
                        .await
                }
                // Nobody waits for an answer.
                None => Ok(()),
            },
        }
    }
}
