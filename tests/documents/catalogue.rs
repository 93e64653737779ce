//! `contracts/README.md`: who says what to whom.

use std::fmt::Write as _;

use shopzen_chassis::Description;
use shopzen_contracts::{
    Service,
    catalogue::{self, Kind, Message},
};
use shopzen_tests::{
    roles::{self, Role},
    tree,
};

const HEAD: &str = "\
# What the parts say to each other

This page is written by a test (`tests/documents`) from the types in `src/` and from what the workers say
they listen to.

- **Events** are facts, kept in the stream of the service that sends them. The last token of their
  subject is what they are about: in a checkout the order's id, whoever sends them.
- **Commands** ask the owner to change something, **queries** for something it knows: request and
  reply. A refusal is a problem document (RFC 9457) with the headers `Nats-Service-Error` and
  `Nats-Service-Error-Code`.
- **Notices** are hints to whoever listens right now. Nobody decides anything by them.

Each message has a JSON Schema in [`schemas/`](schemas) and a sample in [`samples/`](samples).
[`nats/asyncapi.yaml`](../nats/asyncapi.yaml) is the same for programs.

## Changing it

A subject follows from the module and the name of its type: `StockReserved` in `stock` is
`shop.evt.stock.v1.reserved`. A test compares the two.

A new message: the type and its subject in the owner's module, a line in `catalogue.rs`, a sample in
`tests/contracts/samples/values.rs`. `cargo test -p shopzen-contracts` writes the files.

A new field: optional, with a default. Readers of events and replies let pass what they do not know, so the
old and the new run side by side. What cannot be said with an optional field is a new version (`v2`)
beside the old one, sent together with it until nobody follows the old one. The sample of a form that was
ever released stays, as `<subject>@<what was different>.json`, and must be readable for ever.
";

fn catalogue() -> String {
    let descriptions = roles::descriptions();
    let mut text = HEAD.to_owned();
    for owner in catalogue::OWNERS {
        write!(text, "\n## {owner}\n\n").unwrap();
        text.push_str("| | Subject | Type | Meaning | From | To |\n|---|---|---|---|---|---|\n");
        let messages = catalogue::messages();
        for message in messages.iter().filter(|message| message.owner() == owner) {
            text.push_str(&line(message, &descriptions));
        }
    }
    let common: Vec<String> = roles::of_every_worker(Service::Orders)
        .into_iter()
        .map(|subject| format!("`{}`", subject.replace("orders", "<service>")))
        .collect();
    write!(
        text,
        "\n## Every worker\n\nThe chassis answers {} for each worker: what it published about one thing (asked by \
         the edge, the audit and the operator), what became of its events (the audit and the operator), the messages it \
         could not handle (`.operator` for the operator only, `.staff` for the edge, with an access token), and what \
         staff did (the edge and the operator, with an access token).\n",
        common.join(", ")
    )
    .unwrap();
    text
}

fn line(message: &Message, descriptions: &[Description]) -> String {
    let owner = message.owner().to_owned();
    let (kind, from, to) = match message.kind {
        Kind::Event => ("event", vec![owner], heard_by(message, descriptions)),
        Kind::Notice => ("notice", vec![owner], overheard_by(message)),
        Kind::Command => ("command", asked_by(message), vec![owner]),
        Kind::Query => ("query", asked_by(message), vec![owner]),
    };
    let key = if message.kind == Kind::Event {
        ".{key}"
    } else {
        ""
    };
    let mut types = format!("`{}`", message.body.name());
    if let Some(reply) = &message.reply {
        write!(types, " → `{}`", reply.name()).unwrap();
    }
    format!(
        "| {kind} | `{}{key}` | {types} | {} | {} | {} |\n",
        message.subject,
        message.body.meaning(),
        from.join(", "),
        to.join(", ")
    )
}

fn heard_by(event: &Message, descriptions: &[Description]) -> Vec<String> {
    let filter = format!("{}.*", event.subject);
    let follows = |description: &&Description| {
        let mut followed = description.follows.values().flatten();
        followed.any(|subject| *subject == filter)
    };
    let workers = descriptions.iter().filter(follows);
    let mut names: Vec<String> = workers
        .map(|description| description.service.name().to_owned())
        .collect();
    names.extend(roles_that(|role| role.overhears().contains(&filter)));
    names
}

fn overheard_by(notice: &Message) -> Vec<String> {
    roles_that(|role| {
        role.overhears()
            .iter()
            .any(|subject| subject == notice.subject)
    })
}

fn asked_by(request: &Message) -> Vec<String> {
    if request.subject == "shop.qry.auth.v1.keys" {
        return vec!["every worker".to_owned(), "audit".to_owned()];
    }
    roles_that(|role| role.asks().iter().any(|subject| subject == request.subject))
}

fn roles_that(is_one: impl Fn(Role) -> bool) -> Vec<String> {
    let roles = Role::all().into_iter().filter(|role| is_one(*role));
    roles.map(|role| role.name().to_owned()).collect()
}

#[test]
fn the_catalogue_of_messages_is_up_to_date() {
    tree::assert_generated("contracts/README.md", &catalogue());
}
