//! `nats/asyncapi.yaml`: the contract for programs (AsyncAPI 3.0).

use serde_json::{Map, Value, json};
use shopzen_contracts::{
    Problem,
    catalogue::{self, Body, Kind, Message},
    header,
};
use shopzen_tests::tree;

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
    schemas: Map<String, Value>,
}

fn document() -> Value {
    let mut document = Document::default();
    for message in catalogue::messages() {
        document.add(&message);
    }
    document.add_headers();
    let problem = schemars::schema_for!(Problem).to_value();
    document.add_schema(problem);
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
            "schemas": document.schemas,
        },
    })
}

impl Document {
    fn add(&mut self, message: &Message) {
        let name = message.body.name();
        match message.kind {
            Kind::Event => {
                let channel = json!({
                    "address": format!("{}.{{key}}", message.subject),
                    "messages": one_message(name),
                    "parameters": {
                        "key": {
                            "description": "What the event is about, a UUIDv7: in a checkout the order's id.",
                        },
                    },
                    "x-shopzen-stream": message.owner().stream(),
                });
                self.add_channel(name, channel, "send");
                self.add_message(&message.body, "EventHeaders");
            }
            Kind::Notice => {
                let channel =
                    json!({ "address": message.subject, "messages": one_message(name) });
                self.add_channel(name, channel, "send");
                self.add_message(&message.body, "NoticeHeaders");
            }
            Kind::Command | Kind::Query => {
                let channel =
                    json!({ "address": message.subject, "messages": one_message(name) });
                self.add_channel(name, channel, "receive");
                self.add_message(&message.body, "RequestHeaders");
                let reply = message.reply.as_ref().unwrap();
                self.add_reply(name, reply, message.owner().name());
            }
        }
    }

    fn add_channel(&mut self, name: &str, channel: Value, action: &str) {
        self.channels.insert(name.to_owned(), channel);
        let operation = json!({ "action": action, "channel": { "$ref": format!("#/channels/{name}") } });
        self.operations.insert(name.to_owned(), operation);
    }

    /// Replies go where the request says: to an address that no document can know.
    fn add_reply(&mut self, request: &str, reply: &Body, queue: &str) {
        let channel = format!("{request}Reply");
        let mut messages = one_message(reply.name());
        messages["Problem"] = reference("messages", "Problem");
        self.channels
            .insert(channel.clone(), json!({ "address": null, "messages": messages }));
        let operation = &mut self.operations[request];
        operation["bindings"] = json!({ "nats": { "queue": queue, "bindingVersion": "0.1.0" } });
        operation["reply"] = json!({ "channel": { "$ref": format!("#/channels/{channel}") } });
        self.add_message(reply, "ReplyHeaders");
    }

    fn add_message(&mut self, body: &Body, headers: &str) {
        let mut schema = (body.schema)().to_value();
        let summary = schema["description"].clone();
        let name = self.add_schema(schema.take());
        let mut message = json!({
            "headers": reference("schemas", headers),
            "payload": reference("schemas", &name),
        });
        if let Value::String(_) = summary {
            message["summary"] = summary;
        }
        self.messages.insert(body.name().to_owned(), message);
    }

    /// Adds a schema with all it refers to, and says under which name. A type that is accepted and sent
    /// in two forms (a field may be left out, but is always sent) has two names.
    fn add_schema(&mut self, mut schema: Value) -> String {
        let fields = schema.as_object_mut().unwrap();
        fields.remove("$schema");
        let definitions = fields.remove("$defs");
        let name = fields.remove("title").unwrap();
        let name = name.as_str().unwrap().to_owned();
        let mut schemas = vec![(name, schema)];
        if let Some(Value::Object(definitions)) = definitions {
            schemas.extend(definitions);
        }
        let renamed: Vec<(String, String)> = schemas
            .iter()
            .filter(|(name, schema)| {
                let known = self.schemas.get(name);
                known.is_some_and(|known| *known != with_new_references(schema, &[]))
            })
            .map(|(name, _)| (name.clone(), format!("{name}Accepted")))
            .collect();
        let mut first = None;
        for (name, schema) in schemas {
            let name = renamed.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new.clone());
            first.get_or_insert_with(|| name.clone());
            self.schemas.insert(name, with_new_references(&schema, &renamed));
        }
        first.unwrap()
    }

    fn add_headers(&mut self) {
        let text = json!({ "type": "string" });
        let uuid = json!({ "type": "string", "format": "uuid" });
        let event = [
            (header::MESSAGE_ID, uuid.clone()),
            (header::EVENT_ID, uuid.clone()),
            (header::SPEC_VERSION, json!({ "const": "1.0" })),
            (header::TYPE, text.clone()),
            (header::SOURCE, text.clone()),
            (header::TIME, json!({ "type": "string", "format": "date-time" })),
            (header::TRACE_PARENT, text.clone()),
        ];
        let mut schema = headers("CloudEvents in binary mode.", &event, &[(header::CAUSATION_ID, uuid)]);
        schema["required"] = event.iter().map(|(name, _)| *name).collect();
        self.schemas.insert("EventHeaders".to_owned(), schema);
        let request = [
            (header::IDENTITY, described("The caller's access token. Without it nobody is asking.")),
            (header::IDEMPOTENCY_KEY, described("The same key and body get the same answer, once done.")),
            (header::ORDER_TOKEN, described("The secret that lets a guest see an order.")),
            (header::IF_MATCH, described("The version the caller read.")),
            (header::DEADLINE, described("RFC 3339. A request that comes later is dropped.")),
            (header::TRACE_PARENT, described("W3C Trace Context.")),
        ];
        self.schemas.insert("RequestHeaders".to_owned(), headers("Of a request.", &[], &request));
        let replayed = [(header::IDEMPOTENT_REPLAYED, described("`true` where it was given before."))];
        self.schemas.insert("ReplyHeaders".to_owned(), headers("Of an answer.", &[], &replayed));
        let refusal = [
            (header::SERVICE_ERROR, described("The problem's code.")),
            (header::SERVICE_ERROR_CODE, described("The problem's HTTP status.")),
        ];
        let mut schema = headers("Of a refusal (ADR-32).", &refusal, &[]);
        schema["required"] = refusal.iter().map(|(name, _)| *name).collect();
        self.schemas.insert("RefusalHeaders".to_owned(), schema);
        self.schemas.insert("NoticeHeaders".to_owned(), headers("Of a notice: none.", &[], &[]));
    }
}

fn headers(description: &str, required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let properties: Map<String, Value> = required
        .iter()
        .chain(optional)
        .map(|(name, schema)| ((*name).to_owned(), schema.clone()))
        .collect();
    json!({ "type": "object", "description": description, "properties": properties })
}

fn described(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn one_message(name: &str) -> Value {
    json!({ name: reference("messages", name) })
}

fn reference(component: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{component}/{name}") })
}

/// `#/$defs/Money` becomes `#/components/schemas/Money`.
fn with_new_references(schema: &Value, renamed: &[(String, String)]) -> Value {
    match schema {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| {
                let old = value.as_str().and_then(|text| text.strip_prefix("#/$defs/"));
                let value = match old.filter(|_| key == "$ref") {
                    Some(old) => {
                        let new = renamed.iter().find(|(name, _)| name == old);
                        let name = new.map_or(old, |(_, new)| new.as_str());
                        Value::String(format!("#/components/schemas/{name}"))
                    }
                    None => with_new_references(value, renamed),
                };
                (key.clone(), value)
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => {
            items.iter().map(|item| with_new_references(item, renamed)).collect()
        }
        other => other.clone(),
    }
}

#[test]
fn the_asyncapi_document_is_up_to_date() {
    let yaml = serde_saphyr::to_string(&document()).unwrap();
    tree::assert_generated("nats/asyncapi.yaml", &format!("{HEAD}{yaml}"));
}
