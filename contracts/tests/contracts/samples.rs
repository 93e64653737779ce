//! A sample of each message. Those of earlier versions stay, beside today's, and must still be read.

mod accounts;
mod audits;
mod clients;
mod factors;
mod identities;
mod people;
mod values;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde::Serialize;
use serde_json::Value;
use shopzen_contracts::{
    Command, Event, Notice, Query,
    catalogue::{self, Body},
};

use crate::files;

/// Today's samples by the names of their files.
#[derive(Default)]
struct Samples(BTreeMap<String, Value>);

impl Samples {
    fn event<E: Event>(&mut self, event: &E) {
        self.add(E::SUBJECT, "", event);
    }

    fn notice<N: Notice>(&mut self, notice: &N) {
        self.add(N::SUBJECT, "", notice);
    }

    fn command<C: Command>(&mut self, command: &C, reply: &C::Reply) {
        self.add(C::SUBJECT, "", command);
        self.add(C::SUBJECT, ".reply", reply);
    }

    fn query<Q: Query>(&mut self, query: &Q, reply: &Q::Reply) {
        self.add(Q::SUBJECT, "", query);
        self.add(Q::SUBJECT, ".reply", reply);
    }

    fn add(&mut self, subject: &str, part: &str, body: &impl Serialize) {
        let body = serde_json::to_value(body).unwrap();
        self.0.insert(format!("{subject}{part}.json"), body);
    }
}

/// Every body by the name of its sample's file.
fn bodies() -> BTreeMap<String, Body> {
    let mut bodies = BTreeMap::new();
    for message in catalogue::messages() {
        bodies.insert(format!("{}.json", message.subject), message.body);
        if let Some(reply) = message.reply {
            bodies.insert(format!("{}.reply.json", message.subject), reply);
        }
    }
    bodies
}

#[test]
fn every_message_has_a_sample() {
    let samples = values::samples();
    let written: BTreeSet<&String> = samples.0.keys().collect();
    let bodies = bodies();
    assert_eq!(
        written,
        bodies.keys().collect(),
        "add the message to tests/contracts/samples/values.rs"
    );
}

#[test]
fn samples_are_what_is_said_today() {
    let wanted: Vec<(String, String)> = values::samples()
        .0
        .into_iter()
        .map(|(name, body)| (name, files::pretty(&body)))
        .collect();
    let changed = files::write_changed("samples", &wanted);
    assert!(
        changed.is_empty(),
        "these samples differ from what is said today: {changed:#?}\nThe files are written. If the old \
         form was ever released, keep it beside the new one as <subject>@<what was different>.json."
    );
}

/// `shop.evt.orders.v1.placed@without-coupons.json` is an earlier form of
/// `shop.evt.orders.v1.placed.json`.
#[test]
fn every_sample_ever_kept_can_be_read() {
    let bodies = bodies();
    for file in files::names_in("samples") {
        let name = match file.split_once('@') {
            Some((name, _)) => format!("{name}.json"),
            None => file.clone(),
        };
        let body = bodies.get(&name).unwrap_or_else(|| {
            panic!("samples/{file} belongs to no message: what was once sent must still be read")
        });
        let text = fs::read(files::folder("samples").join(&file)).unwrap();
        if let Err(error) = (body.read)(&text) {
            panic!(
                "samples/{file} cannot be read as {} any more: {error}",
                body.path
            );
        }
    }
}

#[test]
fn samples_come_back_as_they_were() {
    let bodies = bodies();
    for (name, sample) in values::samples().0 {
        let text = serde_json::to_vec(&sample).unwrap();
        assert_eq!((bodies[&name].read)(&text).unwrap(), sample, "{name}");
    }
}

#[test]
fn samples_are_valid_by_their_schemas() {
    let bodies = bodies();
    for (name, sample) in values::samples().0 {
        let schema = (bodies[&name].schema)().to_value();
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&sample)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
    }
}

/// Whoever reads events and replies must let pass what a newer sender adds.
#[test]
fn fields_of_a_newer_sender_are_let_pass() {
    let requests: BTreeSet<String> = catalogue::messages()
        .iter()
        .filter(|message| message.reply.is_some())
        .map(|message| format!("{}.json", message.subject))
        .collect();
    let bodies = bodies();
    for (name, mut sample) in values::samples().0 {
        let Value::Object(fields) = &mut sample else {
            continue;
        };
        fields.insert("added_later".to_owned(), Value::from(1));
        let text = serde_json::to_vec(&sample).unwrap();
        assert_eq!(
            (bodies[&name].read)(&text).is_ok(),
            !requests.contains(&name),
            "{name}: a request refuses a field it does not know; an event or a reply lets it pass"
        );
    }
}
