//! `shopzen.example.toml`: every key with its default, written from the code.

use std::{fmt::Write as _, fs, path::Path};

use figment::{
    Figment,
    providers::{Format as _, Serialized, Toml},
    value::{Dict, Value},
};

use super::Config;

const HEAD: &str = "\
# Every setting of ShopZen with its default. A test writes this file (shopzen/src/config/example.rs).
#
# To change one, put it into shopzen.toml in the folder where shopzen is started (or name the file with
# SHOPZEN_CONFIG), or into the environment: SHOPZEN_<SECTION>__<KEY>, for example
# SHOPZEN_ORDERS__DATABASE_URL. With _FILE behind the name, its value is read from that file.
#
# `shopzen up` starts what the shop needs by itself, and sets addresses and passwords accordingly.
";

/// What a section is about.
fn about(section: &str) -> &'static str {
    match section {
        "nats" => "The broker.",
        "http" => "The shop for shoppers and partners.",
        "ops" => "Health and metrics for operators. Never public: nobody has to sign in there.",
        "telemetry" => "Logs and traces.",
        "failpoints" => {
            "How often a process dies at named points, from 0 to 1: only in a build with that feature, for tests."
        }
        "limits" => "How much one address may ask of the shop.",
        "sandbox" => "The sandbox payment gateway, beside the payments worker.",
        "postgres" => "For `shopzen migrate`, to make the workers' databases.",
        "audit" => {
            "How the audit signs in to NATS, and when (UTC) it has published again what somebody never got."
        }
        "edge" => "How the edge signs in to NATS.",
        "operator" => "How the operator's commands sign in to NATS.",
        _ => "A worker: how it signs in to NATS, where its database is, and what it does.",
    }
}

fn text(config: &Dict, mark: &str) -> String {
    let mut text = HEAD.to_owned();
    for (name, section) in config {
        let Value::Dict(_, section) = section else {
            continue;
        };
        let _ = write!(text, "\n# {}\n[{name}]\n", about(name));
        for (key, value) in section {
            let _ = writeln!(text, "{mark}{key} = {}", literal(value));
        }
    }
    text
}

/// Strings, numbers, truth and lists are written in TOML as they are in JSON.
fn literal(value: &Value) -> String {
    match value {
        Value::Dict(_, dict) => {
            let pairs: Vec<String> = dict
                .iter()
                .map(|(key, value)| format!("{key} = {}", literal(value)))
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        value => serde_json::to_string(value).unwrap(),
    }
}

fn defaults() -> Dict {
    Figment::from(Serialized::defaults(Config::default()))
        .extract()
        .unwrap()
}

#[test]
fn the_example_has_every_setting_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shopzen.example.toml");
    let wanted = text(&defaults(), "# ");
    if fs::read_to_string(&path).is_ok_and(|found| found == wanted) {
        return;
    }
    fs::write(&path, wanted).unwrap();
    panic!("shopzen.example.toml was not up to date and has been written: commit it");
}

#[test]
fn the_example_can_be_read() {
    let uncommented = text(&defaults(), "");
    let read: Dict = Figment::from(Toml::string(&uncommented)).extract().unwrap();
    assert_eq!(text(&read, ""), uncommented);
}
