//! A subject follows from the module and the name of its type, so that either leads to the other.

use std::{collections::BTreeSet, fs, path::PathBuf};

use shopzen_contracts::catalogue::{self, Kind, Message};

use crate::files;

/// Subjects that the rule would make worse, each with the word it would have made.
const EXCEPTIONS: &[(&str, &str)] = &[
    // A catalogue has categories too: `changed` alone would not say what.
    ("shop.evt.catalog.v1.product_changed", "changed"),
];

/// What an owner is about. Inside its own subjects the word says nothing, so it is left out.
fn own_noun(owner: &str) -> Option<&'static str> {
    match owner {
        "catalog" => Some("product"),
        "orders" => Some("order"),
        "stock" => Some("stock"),
        "payments" => Some("payment"),
        _ => None,
    }
}

/// `shop.evt.stock.v1.reserved` from `shopzen_contracts::stock::StockReserved`.
fn expected_subject(message: &Message) -> String {
    let (kind, owner) = (message.kind, module(message));
    let noun = own_noun(owner);
    let is_noun = |word: &str| noun.is_some_and(|noun| word == noun || word == format!("{noun}s"));
    let mut words: Vec<String> = words(message.body.name())
        .into_iter()
        .filter(|word| !is_noun(word))
        .collect();
    // `GetLevels` asks for `levels`, but `GetOrder` of orders is just `get`.
    if kind == Kind::Query && words.len() > 1 && (words[0] == "get" || words[0] == "list") {
        words.remove(0);
    }
    let token = match kind {
        Kind::Event => "evt",
        Kind::Command => "cmd",
        Kind::Query => "qry",
        Kind::Notice => "pub",
    };
    format!("shop.{token}.{owner}.v1.{}", words.join("_"))
}

fn module(message: &Message) -> &'static str {
    let module = message.body.path.split("::").nth(1).unwrap();
    catalogue::OWNERS
        .into_iter()
        .find(|owner| *owner == module)
        .unwrap_or_else(|| panic!("{} is not in an owner's module", message.body.path))
}

/// `StockReserved`: `stock`, `reserved`.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for letter in name.chars() {
        if letter.is_uppercase() || words.is_empty() {
            words.push(String::new());
        }
        words.last_mut().unwrap().push(letter.to_ascii_lowercase());
    }
    words
}

#[test]
fn subjects_follow_from_the_types() {
    for message in catalogue::messages() {
        let mut expected = expected_subject(&message);
        if let Some((subject, word)) = EXCEPTIONS
            .iter()
            .find(|(subject, _)| *subject == message.subject)
        {
            assert!(
                expected.ends_with(&format!(".{word}")),
                "{subject} is no exception any more: strike it from EXCEPTIONS"
            );
            expected = (*subject).to_owned();
        }
        assert_eq!(
            message.subject, expected,
            "the subject of {} does not follow from its name: rename one of them, or say in EXCEPTIONS why not",
            message.body.path
        );
    }
}

#[test]
fn no_two_messages_share_a_subject() {
    let messages = catalogue::messages();
    let subjects: BTreeSet<&str> = messages.iter().map(|message| message.subject).collect();
    assert_eq!(subjects.len(), messages.len());
}

#[test]
fn every_subject_in_the_source_is_in_the_catalogue() {
    let catalogued: BTreeSet<String> = catalogue::messages()
        .iter()
        .map(|message| message.subject.to_owned())
        .collect();
    let mut written = BTreeSet::new();
    for owner in catalogue::OWNERS {
        for file in sources_of(owner) {
            let source = fs::read_to_string(&file).unwrap();
            let literals = source.split('"').skip(1).step_by(2);
            written.extend(
                literals
                    .filter(|text| text.starts_with("shop."))
                    .map(str::to_owned),
            );
        }
    }
    assert_eq!(
        written, catalogued,
        "add the message to catalogue::messages()"
    );
}

/// An owner's module, and those below it.
fn sources_of(owner: &str) -> Vec<PathBuf> {
    let source = files::folder("src");
    let below = fs::read_dir(source.join(owner)).into_iter().flatten();
    let below = below.map(|entry| entry.unwrap().path());
    below.chain([source.join(format!("{owner}.rs"))]).collect()
}
