//! Whoever knows one worker knows all.

use shopzen_contracts::{
    Service,
    catalogue::{self, Kind},
};
use shopzen_tests::{roles, tree};

use crate::assert_none;

#[test]
fn every_worker_has_the_same_rooms() {
    let mut missing = Vec::new();
    for description in roles::descriptions() {
        let folder = format!("workers/{}", description.service.name());
        let answers = |kind: Kind| {
            catalogue::messages().iter().any(|message| {
                message.kind == kind && message.owner() == description.service.name()
            })
        };
        let mut rooms = vec!["lib", "config", "store"];
        if answers(Kind::Command) {
            rooms.push("commands");
        }
        if answers(Kind::Query) {
            rooms.push("queries");
        }
        if !description.follows.is_empty() {
            rooms.push("events");
        }
        if tree::exists(&format!("{folder}/STATES.md")) {
            rooms.push("domain");
        }
        for room in rooms {
            // A room becomes a folder when it outgrows its file.
            let file = format!("{folder}/src/{room}.rs");
            if !tree::exists(&file) && !tree::exists(&format!("{folder}/src/{room}/mod.rs")) {
                missing.push(file);
            }
        }
        for place in ["migrations", "tests"] {
            let place = format!("{folder}/{place}");
            if !tree::exists(&place) {
                missing.push(place);
            }
        }
    }
    assert_none(
        &missing,
        "Every worker has the same rooms (ARCHITECTURE.md, Code map).",
    );
}

#[test]
fn every_worker_is_described() {
    let described: Vec<Service> = roles::descriptions()
        .into_iter()
        .map(|description| description.service)
        .collect();
    assert_eq!(
        described,
        Service::ALL,
        "describe every worker in tests/src/roles.rs"
    );
}

#[test]
fn migrations_are_numbered_without_gaps() {
    let mut found = Vec::new();
    let services = Service::ALL.map(Service::name);
    for worker in services.iter().chain(&["chassis"]) {
        let folder = format!("workers/{worker}/migrations");
        if !tree::exists(&folder) {
            continue;
        }
        for (file, number) in tree::files_below(&folder).iter().zip(1..) {
            let name = file.rsplit('/').next().unwrap_or_default();
            if !name.starts_with(&format!("{number:04}_")) || !tree::is_a("sql", name) {
                found.push(format!("{file} should begin with {number:04}_"));
            }
        }
    }
    assert_none(
        &found,
        "Migrations are only ever added, as 0001_what.sql, 0002_what.sql and so on.",
    );
}
