//! Every role tries everything there is, and gets what is its own.

use std::collections::BTreeSet;

use shopzen_chassis::{ping_of, streams};
use shopzen_contracts::{
    Service,
    catalogue::{self, Kind},
};
use shopzen_tests::roles::{self, Role};

use crate::broker::Broker;

const KEY: &str = "019aab00-0000-7000-8000-000000000001";

/// Everything that somebody may publish on, and much that nobody may.
fn publishable() -> BTreeSet<String> {
    let mut subjects = BTreeSet::new();
    for message in catalogue::messages() {
        subjects.insert(match message.kind {
            Kind::Event => format!("{}.{KEY}", message.subject),
            _ => message.subject.to_owned(),
        });
    }
    for role in Role::all() {
        subjects.insert(ping_of(role.name()));
        subjects.insert(format!("_INBOX_{role}.guessed.1"));
    }
    for service in Service::ALL {
        let stream = service.stream();
        let asked = roles::of_every_worker(service);
        subjects.extend(asked.into_iter().filter(|subject| !subject.ends_with('*')));
        for by in ["staff", "operator", "anybody"] {
            subjects.extend(roles::of_letters(service, by));
        }
        subjects.insert(format!("shop.evt.{}.v2.anything.{KEY}", service.name()));
        subjects.insert(format!("shop.pub.{}.v1.anything", service.name()));
        for call in [
            "INFO",
            "CREATE",
            "UPDATE",
            "DELETE",
            "PURGE",
            "MSG.GET",
            "MSG.DELETE",
            "SNAPSHOT",
        ] {
            subjects.insert(format!("$JS.API.STREAM.{call}.{stream}"));
        }
        subjects.insert(format!("$JS.API.DIRECT.GET.{stream}"));
        subjects.insert(format!("$JS.API.CONSUMER.NAMES.{stream}"));
        // A consumer without a name, and one with a name nobody has.
        subjects.insert(format!("$JS.API.CONSUMER.CREATE.{stream}"));
        subjects.insert(format!("$JS.API.CONSUMER.CREATE.{stream}.spy"));
        for source in Service::ALL {
            let (stream, durable) = (source.stream(), streams::durable_name(service, source));
            for call in ["CREATE", "INFO", "MSG.NEXT", "DELETE"] {
                subjects.insert(format!("$JS.API.CONSUMER.{call}.{stream}.{durable}"));
            }
            subjects.insert(format!("$JS.ACK.{stream}.{durable}.1.1.1.1.1"));
            subjects.insert(format!("$JS.ACK._.account.{stream}.{durable}.1.1.1.1.1"));
        }
    }
    let elsewhere = [
        "$JS.API.INFO",
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.CREATE.ANYTHING",
        "$JS.EVENT.ADVISORY.API",
        "$SYS.REQ.SERVER.PING",
        "$SRV.PING",
        "$SRV.INFO.orders",
        "$KV.anything.key",
        "_INBOX.anybody",
        "anything",
    ];
    subjects.extend(elsewhere.map(str::to_owned));
    subjects
}

fn may_publish(role: Role, subject: &str) -> bool {
    let mut said = role.asks().into_iter().chain(role.pings());
    if said.any(|said| said == subject) {
        return true;
    }
    let tokens: Vec<&str> = subject.split('.').collect();
    match role {
        Role::Worker(service) => worker_may_publish(service, &tokens),
        Role::Edge | Role::Audit => false,
        Role::Operator => match tokens.as_slice() {
            ["$SRV", ..] => true,
            ["$JS", "API", "STREAM", "INFO" | "CREATE" | "UPDATE", stream] => Service::ALL
                .iter()
                .any(|service| service.stream() == *stream),
            _ => false,
        },
    }
}

fn worker_may_publish(service: Service, tokens: &[&str]) -> bool {
    match tokens {
        ["shop", "evt" | "pub", owner, ..] => service.name() == *owner,
        ["$JS", "API", "STREAM", "INFO" | "CREATE", stream]
        | ["$JS", "API", "STREAM", "MSG", "GET", stream]
        | ["$JS", "API", "DIRECT", "GET", stream] => service.stream() == *stream,
        ["$JS", "API", "CONSUMER", "CREATE" | "INFO", stream, durable]
        | ["$JS", "API", "CONSUMER", "MSG", "NEXT", stream, durable]
        | ["$JS", "ACK", stream, durable, _, _, _, _, _]
        | ["$JS", "ACK", _, _, stream, durable, ..] => follows(service, stream, durable),
        _ => false,
    }
}

fn follows(service: Service, stream: &str, durable: &str) -> bool {
    let descriptions = roles::descriptions();
    let own = descriptions
        .iter()
        .find(|description| description.service == service)
        .unwrap();
    own.follows.keys().any(|source| {
        source.stream() == stream && streams::durable_name(service, *source) == durable
    })
}

/// Everything that somebody may listen to, and much that nobody may: subject and queue group.
fn listenable() -> BTreeSet<(String, String)> {
    let mut subjects = BTreeSet::new();
    let mut add = |subject: String, queue: &str| subjects.insert((subject, queue.to_owned()));
    for message in catalogue::messages() {
        let subject = match message.kind {
            Kind::Event => format!("{}.*", message.subject),
            _ => message.subject.to_owned(),
        };
        add(subject.clone(), "");
        for role in Role::all() {
            add(subject.clone(), role.name());
        }
    }
    for role in Role::all() {
        add(format!("_INBOX_{role}.>"), "");
        add(format!("_INBOX_{role}.>"), "anybody");
    }
    for service in Service::ALL {
        add(format!("shop.evt.{}.>", service.name()), "");
        for kind in ["cmd", "qry"] {
            add(format!("shop.{kind}.{}.>", service.name()), "");
            add(format!("shop.{kind}.{}.>", service.name()), service.name());
        }
        add(format!("$SRV.PING.{}", service.name()), "");
        add(format!("$SRV.STATS.{}.replica", service.name()), "");
    }
    add("shop.qry.audit.>".to_owned(), "audit");
    add("$SRV.PING.audit".to_owned(), "");
    for subject in [
        "$SRV.PING",
        "$SRV.>",
        "$JS.>",
        "$JS.API.>",
        "$JS.ACK.>",
        "$SYS.>",
    ] {
        add(subject.to_owned(), "");
    }
    for subject in [
        ">",
        "*.>",
        "shop.>",
        "shop.evt.>",
        "shop.*.>",
        "_INBOX.>",
        "anything",
    ] {
        add(subject.to_owned(), "");
        add(subject.to_owned(), "anybody");
    }
    subjects
}

fn may_listen(role: Role, subject: &str, queue: &str) -> bool {
    if role
        .overhears()
        .iter()
        .any(|overheard| overheard == subject)
    {
        return true;
    }
    let tokens: Vec<&str> = subject.split('.').collect();
    let (name, answers) = (role.name(), role.answers());
    match tokens.as_slice() {
        ["shop", kind, owner, ..] => answers.contains(kind) && [name, name] == [*owner, queue],
        ["$SRV", "PING" | "INFO" | "STATS"] => !answers.is_empty(),
        ["$SRV", "PING" | "INFO" | "STATS", owner] => !answers.is_empty() && name == *owner,
        ["$SRV", "PING" | "INFO" | "STATS", owner, _] => !answers.is_empty() && name == *owner,
        [inbox, ..] => *inbox == format!("_INBOX_{role}"),
        [] => false,
    }
}

#[tokio::test]
async fn every_role_may_publish_its_own_and_nothing_else() {
    let broker = Broker::start().await;
    let mut wrong = Vec::new();
    for role in Role::all() {
        let mut wire = broker.wire(role).await;
        for subject in publishable() {
            let refused = !wire.publish(&subject, "").await.refusals.is_empty();
            if refused == may_publish(role, &subject) {
                wrong.push(format!("{role}, {subject}: refused {refused}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn every_role_may_hear_its_own_and_nothing_else() {
    let broker = Broker::start().await;
    let mut wrong = Vec::new();
    for role in Role::all() {
        let mut wire = broker.wire(role).await;
        for (subject, queue) in listenable() {
            let refused = !wire.subscribe(&subject, &queue).await.refusals.is_empty();
            if refused == may_listen(role, &subject, &queue) {
                wrong.push(format!("{role}, {subject} {queue}: refused {refused}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_worker_answers_whoever_asked_it_and_only_once() {
    let broker = Broker::start().await;
    let mut edge = broker.wire(Role::Edge).await;
    let mut stock = broker.wire(Role::Worker(Service::Stock)).await;
    let subscribed = stock.say("SUB shop.qry.stock.v1.levels stock 1\r\n").await;
    assert!(subscribed.refusals.is_empty());

    let asked = edge
        .publish("shop.qry.stock.v1.levels", "_INBOX_edge.asked.1")
        .await;
    assert!(asked.refusals.is_empty(), "{asked:?}");
    // The edge's PONG says that the server has routed the request.
    let heard = stock.say("").await;
    let reply = heard.messages[0].1.clone().unwrap();
    assert!(stock.publish(&reply, "").await.refusals.is_empty());
    assert_eq!(
        stock.publish(&reply, "").await.refusals.len(),
        1,
        "a second answer"
    );
    assert_eq!(
        stock
            .publish("_INBOX_edge.asked.2", "")
            .await
            .refusals
            .len(),
        1,
        "not asked"
    );
}

#[tokio::test]
async fn nobody_gets_in_without_a_password() {
    let broker = Broker::start().await;
    for credentials in [
        "",
        "\"user\":\"edge\",\"pass\":\"guess\",",
        "\"user\":\"nobody\",\"pass\":\"\",",
    ] {
        let said = broker.stranger(credentials).await;
        assert!(
            said.contains("Authorization Violation"),
            "{credentials}: {said}"
        );
    }
}
