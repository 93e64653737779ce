//! Who may know whom (ARCHITECTURE.md, Invariants). `deny.toml` says the same to cargo-deny, which
//! also sees what comes in by way of other crates; this needs no program but cargo.

use std::collections::{BTreeMap, BTreeSet};

use shopzen_tests::tree;
use toml::{Table, Value};

use crate::assert_none;

/// A crate of the workspace.
struct Member {
    manifest: String,
    name: String,
    /// What it depends on, and how: normal, dev or build.
    dependencies: Vec<(Kind, String, Value)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal,
    Dev,
    Build,
}

fn table(path: &str) -> Table {
    tree::read(path)
        .parse()
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn members() -> Vec<Member> {
    let workspace = table("Cargo.toml");
    let members = workspace["workspace"]["members"].as_array().unwrap();
    members
        .iter()
        .map(|folder| member(folder.as_str().unwrap()))
        .collect()
}

fn member(folder: &str) -> Member {
    let manifest = format!("{folder}/Cargo.toml");
    let table = table(&manifest);
    let mut dependencies = Vec::new();
    for (section, kind) in [
        ("dependencies", Kind::Normal),
        ("dev-dependencies", Kind::Dev),
        ("build-dependencies", Kind::Build),
    ] {
        let section = table.get(section).and_then(Value::as_table);
        for (name, value) in section.into_iter().flatten() {
            dependencies.push((kind, name.clone(), value.clone()));
        }
    }
    Member {
        manifest,
        name: table["package"]["name"].as_str().unwrap().to_owned(),
        dependencies,
    }
}

const WORKERS: [&str; 6] = [
    "shopzen-auth",
    "shopzen-catalog",
    "shopzen-notify",
    "shopzen-orders",
    "shopzen-payments",
    "shopzen-stock",
];
/// The program, and the tests of the whole.
const TOP: [&str; 2] = ["shopzen", "shopzen-tests"];
/// It knows the domains of these, and nothing of how they run.
const SIMULATED: [&str; 3] = ["shopzen-orders", "shopzen-payments", "shopzen-stock"];

/// Who may depend on what, tests apart.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut allowed = BTreeMap::new();
    let chassis_up = ["shopzen-chassis", "shopzen-edge", "shopzen-simulation"];
    let everybody = [&WORKERS[..], &TOP, &chassis_up].concat();
    allowed.insert("shopzen-contracts", everybody);
    allowed.insert(
        "shopzen-chassis",
        [&WORKERS[..], &TOP, &["shopzen-edge"]].concat(),
    );
    for above in [&WORKERS[..], &["shopzen-edge", "shopzen-sandbox-gateway"]].concat() {
        allowed.insert(above, TOP.to_vec());
    }
    for simulated in SIMULATED {
        allowed.insert(simulated, [&TOP[..], &["shopzen-simulation"]].concat());
    }
    // Only for tests.
    allowed.insert("shopzen-test-servers", vec!["shopzen-tests"]);
    allowed.insert("async-nats", vec!["shopzen-chassis", "shopzen-tests"]);
    allowed.insert("sqlx", [&WORKERS[..], &TOP, &["shopzen-chassis"]].concat());
    let http = ["shopzen-edge", "shopzen-sandbox-gateway", "shopzen-chassis"];
    allowed.insert("axum", [&http[..], &TOP].concat());
    allowed
}

#[test]
fn every_crate_knows_only_what_its_layer_may() {
    let allowed = allowed();
    let mut found = Vec::new();
    for member in members() {
        for (kind, dependency, _) in &member.dependencies {
            let Some(allowed) = allowed.get(dependency.as_str()) else {
                continue;
            };
            // In tests a worker may use servers, clients and stand-ins, but never another worker.
            let for_a_test = *kind == Kind::Dev && !WORKERS.contains(&dependency.as_str());
            if !for_a_test && !allowed.contains(&member.name.as_str()) {
                found.push(format!("{}: {dependency}", member.manifest));
            }
        }
    }
    assert_none(
        &found,
        "Workers meet in messages only, and each library has its place: see ARCHITECTURE.md, Invariants.",
    );
}

#[test]
fn contracts_know_no_io() {
    const ALLOWED: [&str; 6] = [
        "jiff",
        "schemars",
        "serde",
        "serde_json",
        "thiserror",
        "uuid",
    ];
    let contracts = member("contracts");
    let found: Vec<String> = contracts
        .dependencies
        .iter()
        .filter(|(kind, name, _)| *kind != Kind::Dev && !ALLOWED.contains(&name.as_str()))
        .map(|(_, name, _)| name.clone())
        .collect();
    assert_none(
        &found,
        "contracts is plain data: it knows no broker, no database and no clock.",
    );
}

#[test]
fn versions_and_features_stand_in_one_place() {
    let mut found = Vec::new();
    for member in members() {
        for (kind, name, value) in &member.dependencies {
            let inherits = value.get("workspace").and_then(Value::as_bool) == Some(true);
            // Only tests build the chassis with its failpoints.
            let is_armed = *kind == Kind::Dev && name == "shopzen-chassis";
            if !inherits || (value.get("features").is_some() && !is_armed) {
                found.push(format!("{}: {name} ({kind:?})", member.manifest));
            }
        }
    }
    assert_none(
        &found,
        "Name version and features in the root Cargo.toml, so that every crate builds the same once.",
    );
}

#[test]
fn every_crate_keeps_the_same_lints() {
    let found: Vec<String> = members()
        .into_iter()
        .map(|member| member.manifest)
        .filter(|manifest| {
            let table = table(manifest);
            let lints = table.get("lints").and_then(|lints| lints.get("workspace"));
            lints.and_then(Value::as_bool) != Some(true)
        })
        .collect();
    assert_none(&found, "Add `[lints]` with `workspace = true`.");
}

#[test]
fn every_workspace_dependency_is_used() {
    let used: BTreeSet<String> = members()
        .into_iter()
        .flat_map(|member| member.dependencies)
        .map(|(_, name, _)| name)
        .collect();
    let workspace = table("Cargo.toml");
    let declared = workspace["workspace"]["dependencies"].as_table().unwrap();
    let found: Vec<String> = declared
        .keys()
        .filter(|name| !used.contains(*name))
        .cloned()
        .collect();
    assert_none(
        &found,
        "Nobody uses these: take them out of the root Cargo.toml.",
    );
}
