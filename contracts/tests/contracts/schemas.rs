//! A schema for each message: a change of contract is a change of a file.

use std::collections::BTreeSet;

use shopzen_contracts::catalogue;

use crate::files;

fn schemas() -> Vec<(String, String)> {
    let mut schemas = Vec::new();
    for message in catalogue::messages() {
        let body = files::pretty(&(message.body.schema)());
        schemas.push((format!("{}.json", message.subject), body));
        if let Some(reply) = message.reply {
            let body = files::pretty(&(reply.schema)());
            schemas.push((format!("{}.reply.json", message.subject), body));
        }
    }
    schemas
}

#[test]
fn schemas_are_those_of_the_types() {
    let schemas = schemas();
    let changed = files::write_changed("schemas", &schemas);
    assert!(
        changed.is_empty(),
        "the contract changed: {changed:#?}\nThe files are written. Commit them if only optional fields \
         came in; anything else is a new version beside the old one (ARCHITECTURE.md, Contracts)."
    );
    let wanted: BTreeSet<&str> = schemas.iter().map(|(name, _)| name.as_str()).collect();
    for name in files::names_in("schemas") {
        assert!(
            wanted.contains(name.as_str()),
            "schemas/{name} belongs to no message: delete it, if nobody was ever sent one"
        );
    }
}

/// Types inside events and replies that refuse fields they do not know: whoever adds a field to one of
/// them makes a new version.
const CLOSED: [&str; 4] = ["Image", "Money", "OrderLineInput", "PaymentInput"];

#[test]
fn what_is_sent_can_grow() {
    for message in catalogue::messages() {
        let sent = message.reply.unwrap_or(message.body);
        let schema = (sent.schema)().to_value();
        let definitions = schema["$defs"].as_object().cloned().unwrap_or_default();
        for (name, definition) in definitions {
            assert!(
                definition["additionalProperties"] != false || CLOSED.contains(&name.as_str()),
                "{}: {name} refuses unknown fields, so old readers would refuse what a newer sender adds",
                sent.path
            );
        }
    }
}
