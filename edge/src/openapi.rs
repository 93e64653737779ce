//! The OpenAPI 3.1 document: built from the table of routes and from the types of the contracts.

use std::sync::LazyLock;

use axum::http::Method;
use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use shopzen_chassis::{Builtin, By};
use shopzen_contracts::{Access, Command, OrderId, Problem, Query, Sku, Slug};
use uuid::Uuid;

/// The document as it is served.
pub(crate) static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let document = document(&crate::routes().operations);
    let text = serde_json::to_string_pretty(&document).expect("it is plain data");
    // Descriptions are doc comments; outside rustdoc nothing resolves their links.
    (text.replace("[`", "`").replace("`]", "`") + "\n").into()
});

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// A command's schema without a member that stands in the path.
pub(crate) fn without<T: JsonSchema>(name: &str, generator: &mut SchemaGenerator) -> Schema {
    let mut schema = T::json_schema(generator);
    if let Some(properties) = schema
        .get_mut("properties")
        .and_then(|it| it.as_object_mut())
    {
        properties.remove(name);
    }
    if let Some(required) = schema.get_mut("required").and_then(|it| it.as_array_mut()) {
        required.retain(|it| it != name);
    }
    schema
}

/// What the document says about one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    description: &'static str,
    parameters: &'static [Parameter],
    /// Its media type, and what stands in it.
    body: Option<(&'static str, SchemaOf)>,
    status: &'static str,
    answer: Option<SchemaOf>,
    answer_description: &'static str,
    answer_headers: &'static [&'static str],
    is_stream: bool,
    is_conditional: bool,
    creates: bool,
    pub(crate) access: Access,
    /// What is asked of workers on whose word it depends who may.
    pub(crate) asks: Asks,
    /// Beside those that every call can be refused with.
    refusals: &'static [u16],
}

/// Where a route's request goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asks {
    /// A command's or a query's subject.
    Message(&'static str),
    /// Every worker.
    Workers(Builtin),
}

impl Asks {
    pub(crate) fn subject(self) -> String {
        match self {
            Self::Message(subject) => subject.to_owned(),
            Self::Workers(builtin) => builtin.of_any(By::Staff),
        }
    }
}

impl Operation {
    /// A route that asks a query. Who may is said beside its type, and nowhere else.
    pub(crate) const fn query<Q: Query>(
        id: &'static str,
        tag: &'static str,
        summary: &'static str,
    ) -> Self {
        Self::new(Asks::Message(Q::SUBJECT), Q::ACCESS, id, tag, summary)
    }

    /// A route that gives a command.
    pub(crate) const fn command<C: Command>(
        id: &'static str,
        tag: &'static str,
        summary: &'static str,
    ) -> Self {
        Self::new(Asks::Message(C::SUBJECT), C::ACCESS, id, tag, summary)
    }

    /// A route that asks every worker.
    pub(crate) const fn of_workers(
        builtin: Builtin,
        id: &'static str,
        tag: &'static str,
        summary: &'static str,
    ) -> Self {
        Self::new(
            Asks::Workers(builtin),
            builtin.access(By::Staff),
            id,
            tag,
            summary,
        )
    }

    const fn new(
        asks: Asks,
        access: Access,
        id: &'static str,
        tag: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            id,
            tag,
            summary,
            description: "",
            parameters: &[],
            body: None,
            status: "200",
            answer: None,
            answer_description: "",
            answer_headers: &[],
            is_stream: false,
            is_conditional: false,
            creates: false,
            access,
            asks,
            refusals: &[],
        }
    }

    pub(crate) const fn explains(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    pub(crate) const fn takes(mut self, parameters: &'static [Parameter]) -> Self {
        self.parameters = parameters;
        self
    }

    pub(crate) const fn reads<T: JsonSchema>(self) -> Self {
        self.reads_as(schema_of::<T>)
    }

    pub(crate) const fn reads_as(mut self, schema: SchemaOf) -> Self {
        self.body = Some(("application/json", schema));
        self
    }

    /// A form (`application/x-www-form-urlencoded`).
    pub(crate) const fn reads_form<T: JsonSchema>(mut self) -> Self {
        self.body = Some(("application/x-www-form-urlencoded", schema_of::<T>));
        self
    }

    pub(crate) const fn answers<T: JsonSchema>(
        mut self,
        status: u16,
        description: &'static str,
    ) -> Self {
        self.status = match status {
            201 => "201",
            202 => "202",
            _ => "200",
        };
        self.answer = Some(schema_of::<T>);
        self.answer_description = description;
        if status == 201 {
            self.answer_headers = &["Location"];
        }
        if status == 202 {
            self.answer_headers = &["Location", "Preference-Applied", "Idempotent-Replayed"];
        }
        self
    }

    /// The answer is 202: something will come of it, elsewhere.
    pub(crate) const fn accepts<T: JsonSchema>(mut self, description: &'static str) -> Self {
        self.status = "202";
        self.answer = Some(schema_of::<T>);
        self.answer_description = description;
        self
    }

    /// The answer is 200 and says nothing.
    pub(crate) const fn answers_empty(mut self, description: &'static str) -> Self {
        self.status = "200";
        self.answer_description = description;
        self
    }

    /// The answer has no body.
    pub(crate) const fn answers_nothing(mut self, description: &'static str) -> Self {
        self.status = "204";
        self.answer_description = description;
        self
    }

    pub(crate) const fn streams<T: JsonSchema>(mut self, description: &'static str) -> Self {
        self.is_stream = true;
        self.answer = Some(schema_of::<T>);
        self.answer_description = description;
        self
    }

    /// The answer has a `Link` to the next page.
    pub(crate) const fn is_list(mut self) -> Self {
        self.answer_headers = &["Link"];
        self.refusals = &[422];
        self
    }

    /// The answer has an `ETag`, and may be 304.
    pub(crate) const fn is_resource(mut self) -> Self {
        self.answer_headers = &["ETag"];
        self.is_conditional = true;
        self
    }

    /// The answer may be 201 with a `Location`.
    pub(crate) const fn creates(mut self) -> Self {
        self.answer_headers = &["ETag", "Idempotent-Replayed"];
        self.creates = true;
        self
    }

    pub(crate) const fn refuses(mut self, refusals: &'static [u16]) -> Self {
        self.refusals = refusals;
        self
    }
}

/// A parameter of the query or a header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameter {
    name: &'static str,
    /// `query` or `header`.
    place: &'static str,
    description: &'static str,
    schema: SchemaOf,
    required: bool,
}

impl Parameter {
    pub(crate) const LIMIT: Self = Self::of("limit", "query", "Items on a page.", limit);
    pub(crate) const CURSOR: Self =
        Self::query::<String>("cursor", "`next_cursor` of the page before.");
    pub(crate) const IDEMPOTENCY_KEY: Self = Self::of(
        "Idempotency-Key",
        "header",
        "The same key and body get the same answer, and act once.",
        idempotency_key,
    );
    pub(crate) const REASON: Self = Self::header(
        "Reason",
        "Why, in up to 500 characters; kept with what was done.",
    );
    pub(crate) const ORDER_TOKEN: Self = Self::header(
        "Order-Token",
        "The token from the answer that accepted the order.",
    );
    pub(crate) const ORDER_TOKEN_IN_LINK: Self = Self::query::<String>(
        "order_token",
        "The same as `Order-Token`, for links and for `EventSource`.",
    );

    pub(crate) const fn query<T: JsonSchema>(
        name: &'static str,
        description: &'static str,
    ) -> Self {
        Self::of(name, "query", description, schema_of::<T>)
    }

    /// Parameters of which only the beginning of the name is known: in the query an object stands
    /// for its members (style `form`, exploded).
    pub(crate) const fn family(
        name: &'static str,
        description: &'static str,
        schema: SchemaOf,
    ) -> Self {
        Self::of(name, "query", description, schema)
    }

    pub(crate) const fn header(name: &'static str, description: &'static str) -> Self {
        Self::of(name, "header", description, schema_of::<String>)
    }

    const fn of(
        name: &'static str,
        place: &'static str,
        description: &'static str,
        schema: SchemaOf,
    ) -> Self {
        Self {
            name,
            place,
            description,
            schema,
            required: false,
        }
    }

    pub(crate) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    fn to_json(self, generator: &mut SchemaGenerator) -> Value {
        json!({
            "name": self.name,
            "in": self.place,
            "description": self.description,
            "required": self.required,
            "schema": (self.schema)(generator),
        })
    }
}

fn limit(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({ "type": "integer", "minimum": 1, "maximum": 100, "default": 24 })
}

fn idempotency_key(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({ "type": "string", "minLength": 1, "maxLength": 255 })
}

/// A refusal as OAuth clients read it.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct OAuthProblem {
    /// RFC 6749, 5.2: `invalid_request`, `invalid_client` and so on.
    error: String,
    error_description: String,
    #[schemars(flatten)]
    problem: Problem,
}

/// What the names in braces stand for.
const PATH_PARAMETERS: [(&str, SchemaOf, &str); 13] = [
    ("account_id", schema_of::<Uuid>, "The account's id."),
    ("address_id", schema_of::<Uuid>, "The address's id."),
    (
        "gateway",
        schema_of::<String>,
        "The gateway's name, as orders have it: `sandbox`.",
    ),
    ("client_id", schema_of::<Uuid>, "The client's id."),
    ("id", schema_of::<OrderId>, "The order's id."),
    ("identity_id", schema_of::<Uuid>, "The identity's id."),
    ("letter_id", schema_of::<Uuid>, "The dead letter's id."),
    ("id_or_slug", schema_of::<Slug>, "The product's id or slug."),
    ("partner_id", schema_of::<Uuid>, "The partner's id."),
    ("passkey_id", schema_of::<Uuid>, "The passkey's id."),
    ("session_id", schema_of::<Uuid>, "The session's id."),
    ("slug", schema_of::<Slug>, "The product's slug."),
    ("sku", schema_of::<Sku>, "The SKU."),
];

/// Every call can be refused with these.
const COMMON_REFUSALS: [u16; 4] = [400, 429, 503, 504];
/// Every call with a body can be refused with these as well.
const BODY_REFUSALS: [u16; 2] = [413, 415];

fn document(operations: &[(Method, &'static str, Operation)]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for (method, path, operation) in operations {
        let item = paths.entry(*path).or_insert_with(|| json!({}));
        item[method.as_str().to_ascii_lowercase()] = operation.to_json(path, &mut generator);
    }
    let problem = schema_of::<Problem>(&mut generator);
    let oauth_problem = schema_of::<OAuthProblem>(&mut generator);
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "ShopZen",
            "version": "1",
            "description": "The HTTP API of a ShopZen shop. Every refusal is `application/problem+json` \
                            (RFC 9457); its `code` is explained under `/docs/problems`. Every answer \
                            has a `Request-Id`.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": [
            { "name": "catalogue", "description": "What is for sale." },
            { "name": "stock", "description": "How many of what can be bought." },
            { "name": "orders", "description": "Buying." },
            { "name": "identity", "description": "Who is who." },
            { "name": "accounts", "description": "Having an account." },
            { "name": "staff", "description": "For who has the scopes." },
            { "name": "webhooks", "description": "For payment gateways." },
        ],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {
                "Problem": {
                    "description": "Refused; the body says why.",
                    "content": { "application/problem+json": { "schema": problem } },
                },
                "OAuthProblem": {
                    "description": "Refused, in the words of RFC 6749, 5.2. `application/json` as it asks: \
                                    clients that others wrote read nothing else here. The other members are \
                                    those of every problem.",
                    "content": { "application/json": { "schema": oauth_problem } },
                },
            },
            "headers": headers(),
            "securitySchemes": {
                "accessToken": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
                "client": { "type": "http", "scheme": "basic" },
                "orderToken": { "type": "apiKey", "in": "header", "name": "Order-Token" },
            },
        },
    })
}

/// What who may not is refused with.
const fn of_access(access: Access) -> &'static [u16] {
    match access {
        Access::Anyone | Access::Users(_) => &[],
        Access::SignedIn | Access::Client | Access::Owner { .. } => &[401],
        Access::GuestOr(_) | Access::Account(_) | Access::Scope(_) => &[401, 403],
    }
}

/// The scopes that a token needs.
fn needed(access: Access) -> Option<String> {
    match access {
        Access::Scope(scope) | Access::Account(scope) => {
            Some(format!("Needs the scope `{scope}`."))
        }
        Access::GuestOr(scope) => Some(format!("A token that is sent needs the scope `{scope}`.")),
        Access::Owner { account, staff } => Some(format!(
            "A token of its account needs the scope `{account}`, one of staff `{staff}`."
        )),
        Access::Anyone | Access::SignedIn | Access::Client | Access::Users(_) => None,
    }
}

fn headers() -> Value {
    let header =
        |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    json!({
        "Request-Id": header("The trace id of the request."),
        "Location": header("Where the resource is."),
        "Preference-Applied": header("`wait=N`, as it was applied."),
        "Idempotent-Replayed": header("`true` where the answer had been given before."),
        "ETag": header("A strong entity tag."),
        "Link": header("`<address>; rel=\"next\"` where there is a next page."),
    })
}

impl Operation {
    fn to_json(self, path: &str, generator: &mut SchemaGenerator) -> Value {
        let mut parameters: Vec<Value> = Vec::new();
        for segment in path
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{'))
        {
            let name = segment.trim_end_matches('}');
            let (_, schema, description) = PATH_PARAMETERS
                .into_iter()
                .find(|(known, ..)| *known == name)
                .expect("each name in a path is explained");
            parameters.push(json!({
                "name": name, "in": "path", "required": true,
                "description": description, "schema": schema(generator),
            }));
        }
        parameters.extend(
            self.parameters
                .iter()
                .map(|parameter| parameter.to_json(generator)),
        );
        if self.is_conditional {
            let tag = Parameter::header("If-None-Match", "The `ETag` of what the client has.");
            parameters.push(tag.to_json(generator));
        }
        let mut operation = json!({
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "description": self.description,
            "parameters": parameters,
            "responses": self.responses(path, generator),
            "security": self.security(),
        });
        if let Some(needed) = needed(self.access) {
            operation["description"] = format!("{} {needed}", self.description).into();
        }
        if let Some((media, body)) = self.body {
            operation["requestBody"] = json!({
                "required": true,
                "content": { media: { "schema": body(generator) } },
            });
        }
        operation
    }

    fn security(self) -> Value {
        match self.access {
            // The empty one: a token may be sent, and need not.
            Access::Anyone | Access::Users(_) => json!([]),
            Access::GuestOr(_) => json!([{}, { "accessToken": [] }]),
            Access::Owner { .. } => json!([{ "accessToken": [] }, { "orderToken": [] }]),
            // Only OAuth schemes may name scopes here (OpenAPI 3.1, Security Requirement Object).
            Access::SignedIn | Access::Account(_) | Access::Scope(_) => {
                json!([{ "accessToken": [] }])
            }
            // Or in the form, which has no name here.
            Access::Client => json!([{ "client": [] }, {}]),
        }
    }

    fn responses(self, path: &str, generator: &mut SchemaGenerator) -> Value {
        let mut responses = Map::new();
        let schema = self.answer.map(|schema| schema(generator));
        let media = if self.is_stream {
            "text/event-stream"
        } else {
            "application/json"
        };
        let headers: Map<String, Value> = ["Request-Id"]
            .iter()
            .chain(self.answer_headers)
            .map(|name| {
                (
                    (*name).to_owned(),
                    json!({ "$ref": format!("#/components/headers/{name}") }),
                )
            })
            .collect();
        let mut answer = json!({
            "description": self.answer_description,
            "headers": headers,
        });
        if let Some(schema) = schema {
            answer["content"] = json!({ media: { "schema": schema } });
        }
        if self.creates {
            let mut created = answer.clone();
            created["headers"]["Location"] = json!({ "$ref": "#/components/headers/Location" });
            responses.insert("201".to_owned(), created);
        }
        responses.insert(self.status.to_owned(), answer);
        if self.is_conditional {
            responses.insert(
                "304".to_owned(),
                json!({ "description": "The client has it already." }),
            );
        }
        let body: &[u16] = if self.body.is_some() {
            &BODY_REFUSALS
        } else {
            &[]
        };
        let problem = match self.access {
            Access::Client => "OAuthProblem",
            _ => "Problem",
        };
        let problem = format!("#/components/responses/{problem}");
        let mut statuses = [
            &COMMON_REFUSALS,
            body,
            of_access(self.access),
            self.refusals,
        ]
        .concat();
        if path.contains('{') {
            // What cannot be the name of anything is not there.
            statuses.push(404);
        }
        statuses.sort_unstable();
        for status in statuses {
            responses.insert(status.to_string(), json!({ "$ref": problem }));
        }
        responses.into()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn the_committed_document_is_the_served_one() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
        if fs::read(&golden).unwrap_or_default() != **DOCUMENT {
            fs::write(&golden, &**DOCUMENT).unwrap();
            panic!(
                "openapi.json was out of date and has been written anew; look at the difference"
            );
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_id_is_unique() {
        let document: Value = serde_json::from_slice(&DOCUMENT).unwrap();
        let mut stack = vec![&document];
        while let Some(value) = stack.pop() {
            match value {
                Value::Object(members) => {
                    if let Some(Value::String(reference)) = members.get("$ref") {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    stack.extend(members.values());
                }
                Value::Array(items) => stack.extend(items),
                _ => {}
            }
        }
        let operations = crate::routes().operations;
        let ids: BTreeSet<&str> = operations
            .iter()
            .map(|(.., operation)| operation.id)
            .collect();
        assert_eq!(ids.len(), operations.len());
    }
}
