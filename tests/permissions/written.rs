//! `nats/permissions.conf`: each role's rights and nothing more.

use std::{collections::BTreeSet, fmt::Write as _};

use shopzen_chassis::{Builtin, By, Description, inbox_prefix, streams};
use shopzen_contracts::{
    Access, Query, Service,
    audit::GetReport,
    auth::{GetTrust, partners},
    catalogue::{self, Kind},
};
use shopzen_tests::{
    roles::{self, Role},
    tree,
};

const HEAD: &str = "\
# What each user of server.conf may send and hear: its own, and nothing more. A test writes this file
# from what the workers say they listen to, and tries every right on a real server (tests/permissions).
#
# Replies are sent by `allow_responses`: once, to whoever asked within the last minute.
";

/// A line of a list: a subject, with what it is for.
struct Right {
    subject: String,
    why: &'static str,
}

fn right(subject: impl Into<String>, why: &'static str) -> Right {
    Right {
        subject: subject.into(),
        why,
    }
}

/// Who says which partners may connect.
const KEEPS_THE_DOOR: Role = Role::Worker(Service::Auth);

fn may_publish(role: Role) -> Vec<Right> {
    let mut rights = Vec::new();
    if let Role::Worker(service) = role {
        let (name, stream) = (service.name(), service.stream());
        rights.push(right(format!("shop.evt.{name}.>"), "its facts"));
        rights.push(right(format!("shop.pub.{name}.>"), "its hints"));
        for call in [
            "STREAM.INFO",
            "STREAM.CREATE",
            "STREAM.MSG.GET",
            "DIRECT.GET",
        ] {
            let subject = format!("$JS.API.{call}.{stream}");
            rights.push(right(
                subject,
                "its own stream: find or create it, compare its tail, read it for audits",
            ));
        }
        let consumers = || {
            let durable = |source| streams::durable_name(service, source);
            followed(service)
                .into_iter()
                .map(move |source| (source.stream(), durable(source)))
        };
        for (stream, durable) in consumers() {
            // INFO is asked for by the client after each interruption, before it pulls again.
            for call in ["CREATE", "INFO", "MSG.NEXT"] {
                let subject = format!("$JS.API.CONSUMER.{call}.{stream}.{durable}");
                rights.push(right(subject, "its consumers"));
            }
        }
        for (stream, durable) in consumers() {
            // Both forms: which one a server uses is a feature flag of its own.
            for subject in [
                format!("$JS.ACK.{stream}.{durable}.>"),
                format!("$JS.ACK.*.*.{stream}.{durable}.>"),
            ] {
                rights.push(right(subject, "its acknowledgements"));
            }
        }
    }
    for subject in role.asks() {
        rights.push(right(subject, "its requests"));
    }
    if role == KEEPS_THE_DOOR {
        rights.push(right(
            "$SYS.REQ.SERVER.*.KICK",
            "to cut the connections of partners who were revoked",
        ));
    }
    for subject in role.pings() {
        rights.push(right(subject, "whether who does not answer is alive"));
    }
    if role == Role::Operator {
        rights.push(right("$SRV.>", "the NATS Services API"));
        for stream in Service::ALL.map(Service::stream) {
            for call in ["INFO", "CREATE", "UPDATE"] {
                rights.push(right(
                    format!("$JS.API.STREAM.{call}.{stream}"),
                    "`shopzen streams`",
                ));
            }
        }
    }
    rights
}

fn may_subscribe(role: Role) -> Vec<Right> {
    let name = role.name();
    let mut rights = vec![right(
        format!("{}.>", inbox_prefix(name)),
        "answers to its requests",
    )];
    for subject in role.overhears() {
        rights.push(right(subject, "what passes by"));
    }
    if role == KEEPS_THE_DOOR {
        let asked = format!("$SYS.REQ.USER.AUTH {name}");
        rights.push(right(asked, "whether a partner may connect"));
    }
    for subject in partners::subjects() {
        if Service::of_subject(subject).map(Role::Worker) == Some(role) {
            let arrival = partners::arrival_of(subject).unwrap();
            rights.push(right(format!("{arrival} {name}"), "requests of partners"));
        }
    }
    let kinds = role.answers();
    if !kinds.is_empty() {
        // Only together with its replicas: nobody gets a second copy.
        for kind in kinds {
            rights.push(right(
                format!("shop.{kind}.{name}.> {name}"),
                "requests to it",
            ));
        }
        for verb in ["PING", "INFO", "STATS"] {
            for subject in [
                format!("$SRV.{verb}"),
                format!("$SRV.{verb}.{name}"),
                format!("$SRV.{verb}.{name}.*"),
            ] {
                rights.push(right(subject, "the NATS Services API"));
            }
        }
    }
    rights
}

fn followed(service: Service) -> Vec<Service> {
    let descriptions = roles::descriptions();
    let of = |description: &&Description| description.service == service;
    let description = descriptions.iter().find(of).unwrap();
    description.follows.keys().copied().collect()
}

fn list(text: &mut String, name: &str, rights: &[Right]) {
    writeln!(text, "  {name}: [").unwrap();
    let mut why = "";
    for right in rights {
        if right.why != why {
            why = right.why;
            writeln!(text, "    # {why}").unwrap();
        }
        writeln!(text, "    \"{}\"", right.subject).unwrap();
    }
    text.push_str("  ]\n");
}

fn permissions() -> String {
    let mut text = HEAD.to_owned();
    for role in Role::all() {
        let name = role.name().to_ascii_uppercase();
        writeln!(text, "\n{name}_PERMISSIONS: {{").unwrap();
        list(&mut text, "publish", &may_publish(role));
        list(&mut text, "subscribe", &may_subscribe(role));
        if !role.answers().is_empty() {
            text.push_str("  allow_responses: { max: 1, expires: \"1m\" }\n");
        }
        text.push_str("}\n");
    }
    text.push_str(&imports());
    text
}

/// What partners see of the shop, under its own names.
fn imports() -> String {
    let mut text =
        "\n# What partners may ask at all, where their scopes allow it.\nPARTNER_IMPORTS: [\n"
            .to_owned();
    for subject in partners::subjects() {
        let arrival = partners::arrival_of(subject).unwrap();
        writeln!(
            text,
            "  {{ service: {{ account: SHOP, subject: \"{arrival}\" }}, to: \"{subject}\", share: true }}"
        )
        .unwrap();
    }
    text.push_str("]\n");
    text
}

#[test]
fn permissions_are_those_the_roles_need() {
    tree::assert_generated("nats/permissions.conf", &permissions());
}

#[test]
fn every_worker_answers_the_same_besides_its_own() {
    let own: BTreeSet<&str> = catalogue::messages()
        .iter()
        .map(|message| message.subject)
        .collect();
    for description in roles::descriptions() {
        let others = description
            .answers
            .iter()
            .filter(|subject| !own.contains(subject.as_str()));
        let others: Vec<&String> = others.collect();
        let wanted = roles::of_every_worker(description.service);
        assert_eq!(others, wanted.iter().collect::<Vec<_>>());
    }
}

#[test]
fn every_request_is_answered_by_its_owner_and_made_by_somebody() {
    let descriptions = roles::descriptions();
    let asked: BTreeSet<String> = Role::all().into_iter().flat_map(Role::asks).collect();
    for message in catalogue::messages() {
        if !matches!(message.kind, Kind::Command | Kind::Query) {
            continue;
        }
        let mut answering: Vec<&str> = descriptions
            .iter()
            .filter(|description| description.answers.iter().any(|s| s == message.subject))
            .map(|description| description.service.name())
            .collect();
        if message.subject == GetReport::SUBJECT {
            answering.push(Role::Audit.name());
        }
        assert_eq!(answering, [message.owner()], "{}", message.subject);
        assert!(
            asked.contains(message.subject),
            "nobody may ask {}: add it to Role::asks in tests/src/roles.rs",
            message.subject
        );
    }
}

/// The lists of `Role::asks` are kept by hand; the sources are what is true.
#[test]
fn edge_and_operator_may_ask_what_they_ask() {
    for (role, folders) in [
        (Role::Edge, &["edge/src"][..]),
        (Role::Audit, &["shopzen/src/audit"]),
        (
            Role::Operator,
            &["shopzen/src/commands", "shopzen/src/audit"],
        ),
    ] {
        let sources: Vec<String> = folders
            .iter()
            .flat_map(|folder| tree::files_below(folder))
            .filter(|file| tree::is_a("rs", file))
            .map(|file| tree::read(&file))
            .collect();
        let asks = role.asks();
        for message in catalogue::messages() {
            // The audit's own sources name what it answers.
            if message.reply.is_none() || (message.owner() == "audit" && role != Role::Edge) {
                continue;
            }
            // Who answers verifies access tokens, for which the chassis asks what to trust.
            let is_chassis = message.subject == GetTrust::SUBJECT && !role.answers().is_empty();
            let is_named = is_chassis
                || sources
                    .iter()
                    .any(|source| names(source, message.body.name()));
            let may_ask = asks.iter().any(|subject| subject == message.subject);
            assert_eq!(
                may_ask,
                is_named,
                "{role} may ask {}, {folders:?} name {}: make Role::asks agree",
                message.subject,
                message.body.name()
            );
        }
    }
}

/// Whether a source names a type, comments apart.
fn names(source: &str, name: &str) -> bool {
    source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'))
        .any(|word| word == name)
}

/// A worker cannot see who of the broker's users asks it: that is what `Access::Users` leaves to the broker.
#[test]
fn what_is_for_named_users_is_asked_by_them_and_nobody_else() {
    let messages = catalogue::messages().into_iter();
    let mut rights: Vec<(String, Access)> = messages
        .filter_map(|message| Some((message.subject.to_owned(), message.access?)))
        .collect();
    for (service, builtin) in Service::ALL
        .into_iter()
        .flat_map(|service| Builtin::ALL.map(|builtin| (service, builtin)))
    {
        if builtin.is_about_letters() {
            for by in [By::Operator, By::Staff] {
                rights.push((builtin.asked_by(service, by), builtin.access(by)));
            }
        } else {
            rights.push((builtin.subject(service), builtin.access(By::Operator)));
        }
    }
    for (subject, access) in rights {
        let Access::Users(users) = access else {
            continue;
        };
        let named: BTreeSet<&str> = users.iter().map(|user| user.name()).collect();
        let asking: BTreeSet<&str> = Role::all()
            .into_iter()
            .filter(|role| role.asks().contains(&subject))
            .map(Role::name)
            .collect();
        assert_eq!(asking, named, "{subject}: Role::asks, and ACCESS beside it");
    }
}
