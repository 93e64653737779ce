//! The schemas of all messages in one place, where they refer to each other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use shopzen_contracts::{catalogue::Message, header};

/// Schemas by the names of their types. A type may have two forms: a field that may be left out of a
/// request is always there in a reply.
#[derive(Default)]
pub(crate) struct Schemas {
    sent: BTreeMap<String, Value>,
    accepted: BTreeMap<String, Value>,
}

impl Schemas {
    pub(crate) fn add(&mut self, message: &Message) {
        let body = (message.body.schema)().to_value();
        match &message.reply {
            Some(reply) => {
                add(&mut self.accepted, body);
                self.add_sent((reply.schema)().to_value());
            }
            None => self.add_sent(body),
        }
    }

    pub(crate) fn add_sent(&mut self, schema: Value) {
        add(&mut self.sent, schema);
    }

    /// Types whose accepted form is not the one that is sent, nor can refer to the same types.
    pub(crate) fn renamed(&self) -> BTreeSet<String> {
        let in_both = |name: &&String| self.sent.contains_key(*name);
        let both: Vec<&String> = self.accepted.keys().filter(in_both).collect();
        let mut renamed = BTreeSet::new();
        loop {
            let differs = |name: &&&String| {
                let accepted = &self.accepted[**name];
                *accepted != self.sent[**name] || refers_to(accepted, &renamed)
            };
            let found: BTreeSet<String> = both
                .iter()
                .filter(differs)
                .map(|name| (*name).clone())
                .collect();
            if found == renamed {
                return renamed;
            }
            renamed = found;
        }
    }

    /// All of them, those of headers included, by their final names.
    pub(crate) fn all(&self, renamed: &BTreeSet<String>) -> Map<String, Value> {
        let sent = self
            .sent
            .iter()
            .map(|(name, schema)| (name.clone(), with_new_references(schema, &BTreeSet::new())));
        let accepted = self.accepted.iter().map(|(name, schema)| {
            (
                new_name(name, renamed),
                with_new_references(schema, renamed),
            )
        });
        let all: BTreeMap<String, Value> = accepted.chain(sent).chain(of_headers()).collect();
        all.into_iter().collect()
    }
}

/// Adds a schema and all it refers to.
fn add(schemas: &mut BTreeMap<String, Value>, mut schema: Value) {
    let name = title(&schema).to_owned();
    let fields = schema.as_object_mut().unwrap();
    fields.remove("$schema");
    fields.remove("title");
    let definitions = fields.remove("$defs").unwrap_or_default();
    let definitions = definitions.as_object().cloned().unwrap_or_default();
    for (name, schema) in definitions.into_iter().chain([(name, schema)]) {
        let known = schemas.insert(name.clone(), schema);
        let same = known.is_none_or(|known| known == schemas[&name]);
        assert!(same, "two types are called {name}: rename one of them");
    }
}

pub(crate) fn title(schema: &Value) -> &str {
    schema["title"]
        .as_str()
        .expect("a schema is named for its type")
}

pub(crate) fn new_name(name: &str, renamed: &BTreeSet<String>) -> String {
    if renamed.contains(name) {
        format!("{name}Accepted")
    } else {
        name.to_owned()
    }
}

/// What a `$ref` inside one schema refers to.
fn target<'v>(key: &str, value: &'v Value) -> Option<&'v str> {
    let path = value.as_str().filter(|_| key == "$ref")?;
    path.strip_prefix("#/$defs/")
}

fn refers_to(schema: &Value, names: &BTreeSet<String>) -> bool {
    match schema {
        Value::Object(fields) => fields.iter().any(|(key, value)| {
            target(key, value).is_some_and(|name| names.contains(name)) || refers_to(value, names)
        }),
        Value::Array(items) => items.iter().any(|item| refers_to(item, names)),
        _ => false,
    }
}

/// `#/$defs/Money` becomes `#/components/schemas/Money`.
fn with_new_references(schema: &Value, renamed: &BTreeSet<String>) -> Value {
    let rewritten = |(key, value): (&String, &Value)| {
        let value = match target(key, value) {
            Some(name) => json!(format!("#/components/schemas/{}", new_name(name, renamed))),
            None => with_new_references(value, renamed),
        };
        (key.clone(), value)
    };
    match schema {
        Value::Object(fields) => Value::Object(fields.iter().map(rewritten).collect()),
        Value::Array(items) => items
            .iter()
            .map(|item| with_new_references(item, renamed))
            .collect(),
        other => other.clone(),
    }
}

pub(crate) fn reference(component: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{component}/{name}") })
}

/// What stands in the headers of each kind of message.
fn of_headers() -> [(String, Value); 5] {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let id = |description: &str| json!({ "type": "string", "format": "uuid", "description": description });
    let time = json!({ "type": "string", "format": "date-time" });
    let event = headers(
        "CloudEvents in binary mode.",
        &[
            (header::MESSAGE_ID, id("The event's id, for JetStream.")),
            (header::EVENT_ID, id("The event's id. Drop repeats by it.")),
            (header::SPEC_VERSION, json!({ "const": "1.0" })),
            (header::TYPE, text("The subject without the key.")),
            (header::SOURCE, text("The service that sends it.")),
            (header::TIME, time.clone()),
            (header::TRACE_PARENT, text("W3C Trace Context.")),
        ],
        &[(header::CAUSATION_ID, id("The event that led to this one."))],
    );
    let request = headers(
        "Of a request.",
        &[],
        &[
            (
                header::IDENTITY,
                text("The caller's access token. Without it nobody is asking."),
            ),
            (
                header::IDEMPOTENCY_KEY,
                text("The same key and body get the same answer, once done."),
            ),
            (
                header::ORDER_TOKEN,
                text("The secret that lets a guest see an order."),
            ),
            (header::IF_MATCH, text("The version the caller read.")),
            (
                header::REASON,
                text("Why, in the words of staff; kept with what they did."),
            ),
            (header::DEADLINE, time),
            (header::TRACE_PARENT, text("W3C Trace Context.")),
        ],
    );
    let reply = headers(
        "Of an answer.",
        &[],
        &[(
            header::IDEMPOTENT_REPLAYED,
            text("`true` where it was given before."),
        )],
    );
    let refusal = headers(
        "Of a refusal (ADR-32).",
        &[
            (header::SERVICE_ERROR, text("The problem's code.")),
            (
                header::SERVICE_ERROR_CODE,
                text("The problem's HTTP status."),
            ),
        ],
        &[],
    );
    let notice = headers("Of a notice: none.", &[], &[]);
    [
        ("EventHeaders", event),
        ("RequestHeaders", request),
        ("ReplyHeaders", reply),
        ("RefusalHeaders", refusal),
        ("NoticeHeaders", notice),
    ]
    .map(|(name, schema)| (name.to_owned(), schema))
}

fn headers(description: &str, required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let properties: Map<String, Value> = required
        .iter()
        .chain(optional)
        .map(|(name, schema)| ((*name).to_owned(), schema.clone()))
        .collect();
    let mut headers =
        json!({ "type": "object", "description": description, "properties": properties });
    if !required.is_empty() {
        headers["required"] = required.iter().map(|(name, _)| *name).collect();
    }
    headers
}
