//! `/docs/events` and `/schemas/`: what the parts say to each other, for people and for programs.

use std::sync::LazyLock;

use askama::Template;
use axum::{
    http::{HeaderMap, HeaderValue},
    response::Response,
};
use bytes::Bytes;
use rust_embed::Embed;
use serde_json::json;
use shopzen_contracts::catalogue::{self, Kind, Message};

use crate::{
    answer::{self, Cache, Tag},
    pages::assets::STYLE_SHEET,
    problem::Refusal,
    request::Named,
};

const YAML: HeaderValue = HeaderValue::from_static("application/yaml");
/// JSON Schema draft 2020-12, core, 14.
const SCHEMA: HeaderValue = HeaderValue::from_static("application/schema+json");

static ASYNCAPI: &str = include_str!("../../../nats/asyncapi.yaml");

#[derive(Embed)]
#[folder = "../contracts/schemas/"]
struct Schemas;

#[derive(Embed)]
#[folder = "../contracts/samples/"]
struct Samples;

pub(crate) async fn asyncapi(headers: HeaderMap) -> Response {
    answer::file(&headers, Cache::Public, YAML, ASYNCAPI.as_bytes().into())
}

/// Where each schema is.
pub(crate) async fn schemas(headers: HeaderMap) -> Response {
    static LIST: LazyLock<Bytes> = LazyLock::new(|| {
        let paths = Schemas::iter().map(|name| format!("/schemas/{name}"));
        json!({ "schemas": paths.collect::<Vec<_>>() })
            .to_string()
            .into()
    });
    answer::resource(&headers, &Tag::of(&LIST), Cache::Public, LIST.clone())
}

pub(crate) async fn schema(
    Named(file): Named<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let file = Schemas::get(&file).ok_or(Refusal::NotFound)?;
    Ok(answer::file(&headers, Cache::Public, SCHEMA, file.data))
}

#[derive(Template)]
#[template(path = "events.html")]
struct Events {
    style_sheet: &'static str,
    services: &'static [Section],
}

/// What one service says and hears.
struct Section {
    service: &'static str,
    messages: Vec<Entry>,
}

struct Entry {
    kind: &'static str,
    /// With a wildcard where the key stands.
    subject: String,
    meaning: String,
    bodies: Vec<Part>,
}

/// A message's body, or its reply's.
struct Part {
    name: &'static str,
    schema: String,
    sample: String,
}

pub(crate) async fn show() -> Result<Response, Refusal> {
    static SECTIONS: LazyLock<Vec<Section>> = LazyLock::new(|| {
        let messages = catalogue::messages();
        let of = |owner| {
            let own = messages.iter().filter(|it| it.owner() == owner);
            own.map(entry).collect()
        };
        let sections = catalogue::OWNERS.into_iter().map(|owner| Section {
            service: owner,
            messages: of(owner),
        });
        sections.collect()
    });
    super::page(&Events {
        style_sheet: &STYLE_SHEET,
        services: &SECTIONS,
    })
}

fn entry(message: &Message) -> Entry {
    let (kind, key) = match message.kind {
        Kind::Event => ("event", ".*"),
        Kind::Command => ("command", ""),
        Kind::Query => ("query", ""),
        Kind::Notice => ("notice", ""),
    };
    let mut bodies = vec![part(message.body.name(), message.subject)];
    if let Some(reply) = &message.reply {
        bodies.push(part(reply.name(), &format!("{}.reply", message.subject)));
    }
    Entry {
        kind,
        subject: format!("{}{key}", message.subject),
        meaning: message.body.meaning(),
        bodies,
    }
}

fn part(name: &'static str, file: &str) -> Part {
    let file = format!("{file}.json");
    let sample = Samples::get(&file).map(|sample| sample.data.into_owned());
    Part {
        name,
        schema: format!("/schemas/{file}"),
        sample: String::from_utf8(sample.unwrap_or_default()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_has_its_schema_and_its_sample() {
        for message in catalogue::messages() {
            for part in entry(&message).bodies {
                let file = part.schema.strip_prefix("/schemas/").unwrap();
                assert!(Schemas::get(file).is_some(), "{file}");
                assert!(part.sample.starts_with(['{', '[', '"']), "{file}");
            }
        }
    }
}
