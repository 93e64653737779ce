//! `nats/asyncapi.yaml`: the contract for programs (AsyncAPI 3.0).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use shopzen_contracts::{
    Problem, Service,
    catalogue::{self, Body, Kind, Message},
};
use shopzen_tests::tree;

use crate::schemas::{self, Schemas, reference};

const HEAD: &str = "\
# The contract of the shop on NATS, for programs. A test writes it from contracts/ (tests/documents).
";

const DESCRIPTION: &str = "\
What ShopZen says and hears on NATS.

Events are CloudEvents in binary mode, kept in JetStream: follow them with a durable pull consumer, and \
drop repeats by `ce-id`. Every event of a checkout has the order's id as the last token of its subject.

Commands and queries are request and reply, over the NATS Services API. A refusal is a problem document \
(RFC 9457) with the headers `Nats-Service-Error` and `Nats-Service-Error-Code`.

Header names are compared by exact case.";

/// What the document is put together from.
#[derive(Default)]
struct Document {
    channels: Map<String, Value>,
    operations: Map<String, Value>,
    messages: Map<String, Value>,
}

fn document() -> Value {
    let messages = catalogue::messages();
    let mut schemas = Schemas::default();
    schemas.add_sent(schemars::schema_for!(Problem).to_value());
    for message in &messages {
        schemas.add(message);
    }
    let renamed = schemas.renamed();
    let mut document = Document::default();
    for message in &messages {
        document.add(message, &renamed);
    }
    document.messages.insert(
        "Problem".to_owned(),
        json!({
            "summary": "A refusal (RFC 9457).",
            "contentType": "application/problem+json",
            "headers": reference("schemas", "RefusalHeaders"),
            "payload": reference("schemas", "Problem"),
        }),
    );
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "ShopZen",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": "Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": "127.0.0.1:4222",
                "protocol": "nats",
                "description": "Where `shopzen status` says; 4222 in compose.",
                "security": [reference("securitySchemes", "user")],
            },
        },
        "channels": document.channels,
        "operations": document.operations,
        "components": {
            "securitySchemes": {
                "user": {
                    "type": "userPassword",
                    "description": "A user for each role, with its own rights and no others.",
                },
            },
            "messages": document.messages,
            "schemas": schemas.all(&renamed),
        },
    })
}

impl Document {
    fn add(&mut self, message: &Message, renamed: &BTreeSet<String>) {
        const KEY: &str = "What the event is about, a UUIDv7: in a checkout the order's id.";
        let name = message.body.name();
        let channel = match message.kind {
            Kind::Event => json!({
                "address": format!("{}.{{key}}", message.subject),
                "messages": one_message(name),
                "parameters": { "key": { "description": KEY } },
                "x-shopzen-stream": Service::of_subject(message.subject).map(Service::stream),
            }),
            _ => json!({ "address": message.subject, "messages": one_message(name) }),
        };
        self.channels.insert(name.to_owned(), channel);
        let mut operation = json!({
            "action": if message.reply.is_some() { "receive" } else { "send" },
            "channel": { "$ref": format!("#/channels/{name}") },
        });
        let headers = match message.kind {
            Kind::Event => "EventHeaders",
            Kind::Notice => "NoticeHeaders",
            Kind::Command | Kind::Query => "RequestHeaders",
        };
        let (sent, queue) = (BTreeSet::new(), message.owner());
        if let Some(reply) = &message.reply {
            operation["bindings"] =
                json!({ "nats": { "queue": queue, "bindingVersion": "0.1.0" } });
            operation["reply"] = self.add_reply(name, reply);
            self.add_message(reply, "ReplyHeaders", &sent);
            self.add_message(&message.body, headers, renamed);
        } else {
            self.add_message(&message.body, headers, &sent);
        }
        self.operations.insert(name.to_owned(), operation);
    }

    /// Replies go where the request says: to an address that no document can know.
    fn add_reply(&mut self, request: &str, reply: &Body) -> Value {
        let name = format!("{request}Reply");
        let mut messages = one_message(reply.name());
        messages["Problem"] = reference("messages", "Problem");
        let channel = json!({ "address": null, "messages": messages });
        self.channels.insert(name.clone(), channel);
        json!({ "channel": { "$ref": format!("#/channels/{name}") } })
    }

    fn add_message(&mut self, body: &Body, headers: &str, renamed: &BTreeSet<String>) {
        let schema = (body.schema)().to_value();
        let name = schemas::new_name(schemas::title(&schema), renamed);
        let mut message = json!({
            "headers": reference("schemas", headers),
            "payload": reference("schemas", &name),
        });
        if let Some(summary) = schema.get("description") {
            message["summary"] = summary.clone();
        }
        self.messages.insert(body.name().to_owned(), message);
    }
}

fn one_message(name: &str) -> Value {
    json!({ name: reference("messages", name) })
}

#[test]
fn the_asyncapi_document_is_up_to_date() {
    let yaml = serde_saphyr::to_string(&document()).unwrap();
    tree::assert_generated("nats/asyncapi.yaml", &format!("{HEAD}{yaml}"));
}
