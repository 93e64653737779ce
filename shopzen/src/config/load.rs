//! Lays the sources of settings over each other, and refuses keys that are none.

use std::{collections::BTreeMap, env, ffi::OsString, fs, net::SocketAddr, path::PathBuf};

use figment::{
    Error, Figment, Metadata, Profile, Provider,
    providers::{Format as _, Serialized, Toml},
    value::{Map, Tag, Value},
};
use serde_json::json;
use shopzen_contracts::Service;

use super::Config;
use crate::{
    data_dir::DataDir,
    exit::{Exit, Failure, OrFail as _},
    roles::{self, NATS_USERS},
    up::{postgres::Postgres, state::State},
};

/// Settings by section and key.
pub type Dict = figment::value::Dict;

const PREFIX: &str = "SHOPZEN_";
const NEXT: &str = "shopzen.example.toml has every key with its default";

/// Everything that is set. `below` gives way to the file and the environment, `above` to nothing.
pub fn load(below: Dict, above: Dict) -> Result<Config, Failure> {
    let variables: BTreeMap<String, String> = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, text_of(value)?)))
        .collect();
    let file = env::var_os("SHOPZEN_CONFIG").filter(|path| !path.is_empty());
    let must_be_there = file.is_some();
    let file = file.map_or_else(|| PathBuf::from("shopzen.toml"), PathBuf::from);
    if must_be_there && !file.is_file() {
        return Err(Failure::new(
            Exit::Config,
            format!("SHOPZEN_CONFIG names {}, which is no file", file.display()),
            "correct the path, or unset it",
        ));
    }
    let file = if file.is_file() {
        Figment::from(Toml::file_exact(file))
    } else {
        Figment::new()
    };
    merge(below, file, &variables, above)
}

fn text_of(value: OsString) -> Option<String> {
    value.into_string().ok()
}

fn merge(
    below: Dict,
    file: Figment,
    variables: &BTreeMap<String, String>,
    above: Dict,
) -> Result<Config, Failure> {
    let fail = "the configuration cannot be read";
    let defaults = Figment::from(Serialized::defaults(Config::default()));
    let known = tree(&defaults)?;
    let in_file = tree(&file)?;
    if let Some(key) = unknown_key(&in_file, &known) {
        return Err(Failure::new(
            Exit::Config,
            format!("shopzen.toml has an unknown key: {key}"),
            NEXT,
        ));
    }
    let in_environment = from_environment(variables, &known)?;
    let mut config: Config = defaults
        .merge(Layer("this shop's data folder", below))
        .merge(file)
        .merge(Layer("the environment", in_environment))
        .merge(Layer("the command line", above))
        .extract()
        .or_fail(Exit::Config, fail, NEXT)?;
    // Anybody knows their passwords, so they are for a shop that only this machine can reach.
    config.auth.own.demo_accounts &= config.http.listen.ip().is_loopback();
    if config.auth.own.issuer.is_empty() {
        let url = config.http.public_url.trim_end_matches('/');
        config.auth.own.issuer = url.to_owned();
    }
    Ok(config)
}

/// Settings that were put together here.
struct Layer(&'static str, Dict);

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.0)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.1.clone()))
    }
}

fn tree(figment: &Figment) -> Result<Dict, Failure> {
    figment
        .extract()
        .or_fail(Exit::Config, "shopzen.toml cannot be read", NEXT)
}

/// The first key that the defaults do not have, as `orders.databse_url`. What stands below a key is
/// the key's own business: it may be a table of whatever the shop likes.
fn unknown_key(given: &Dict, known: &Dict) -> Option<String> {
    given
        .iter()
        .find_map(|(name, section)| match (known.get(name), section) {
            (Some(Value::Dict(_, known)), Value::Dict(_, given)) => given
                .keys()
                .find(|key| !known.contains_key(*key))
                .map(|key| format!("{name}.{key}")),
            _ => Some(name.clone()),
        })
}

/// `SHOPZEN_<SECTION>__<KEY>`, and the same with `_FILE`. Variables without `__` are no settings:
/// they are for the launcher.
fn from_environment(variables: &BTreeMap<String, String>, known: &Dict) -> Result<Dict, Failure> {
    let mut settings = Dict::new();
    for (name, value) in variables {
        let Some(path) = name.strip_prefix(PREFIX).filter(|path| path.contains("__")) else {
            continue;
        };
        let path = path.to_ascii_lowercase();
        let (key, text) = match path.strip_suffix("_file") {
            Some(key) if kind_of(known, &path).is_none() || is_in_named_table(&path) => {
                let read = fs::read_to_string(value).or_fail(
                    Exit::Config,
                    format!("{name} names {value}, which cannot be read"),
                    "correct the path",
                )?;
                (key, read.trim_end_matches(['\r', '\n']).to_owned())
            }
            _ => (path.as_str(), value.clone()),
        };
        let Some(kind) = kind_of(known, key) else {
            return Err(Failure::new(
                Exit::Config,
                format!("the environment has an unknown setting: {name}"),
                NEXT,
            ));
        };
        // A password of digits is a text all the same.
        let value = match kind {
            Kind::Text => Value::String(Tag::Default, text),
            Kind::Other => text.parse().unwrap_or_else(|never| match never {}),
        };
        insert(&mut settings, key, value);
    }
    Ok(settings)
}

/// What a setting is before anybody sets it.
enum Kind {
    Text,
    Other,
}

/// Whether it belongs to a thing that the shop names itself: `auth__providers__google__client_id`.
fn is_in_named_table(path: &str) -> bool {
    path.split("__").count() > 3
}

/// `None` where there is no such setting.
fn kind_of(known: &Dict, path: &str) -> Option<Kind> {
    let mut parts = path.splitn(3, "__");
    let Value::Dict(_, section) = known.get(parts.next()?)? else {
        return None;
    };
    match (section.get(parts.next()?)?, parts.next()) {
        (Value::String(..), None) => Some(Kind::Text),
        // What such things have is text.
        (Value::Dict(..), Some(_)) if is_in_named_table(path) => Some(Kind::Text),
        (Value::Dict(..), Some(_)) | (_, None) => Some(Kind::Other),
        _ => None,
    }
}

fn insert(dict: &mut Dict, path: &str, value: Value) {
    match path.split_once("__") {
        None => {
            dict.insert(path.to_owned(), value);
        }
        Some((section, rest)) => {
            let section = dict
                .entry(section.to_owned())
                .or_insert_with(|| Value::Dict(Tag::Default, Dict::new()));
            if let Value::Dict(_, section) = section {
                insert(section, rest, value);
            }
        }
    }
}

/// Where the shop that runs in `data` is, and the passwords to it.
pub fn of_running_shop(data: &DataDir, state: &State) -> Dict {
    let mut settings = json!({
        "nats": { "url": state.nats.url },
        "sandbox": { "journal": data.sandbox_journal() },
    });
    let address = |url: &str| url.trim_start_matches("http://").to_owned();
    if !state.url.is_empty() {
        settings["http"] = json!({ "listen": address(&state.url), "public_url": state.url });
        settings["ops"] = json!({ "listen": address(&state.ops_url) });
        settings["payments"]["sandbox_url"] = format!("{}/sandbox-gateway", state.ops_url).into();
        settings["sandbox"]["webhook_url"] =
            format!("{}/webhooks/payments/sandbox", state.url).into();
    }
    for user in NATS_USERS {
        if let Some(password) = data.find_secret(&roles::nats_secret(user)) {
            settings[user]["nats_password"] = password.into();
        }
    }
    if let Some(secret) = data.find_secret(roles::WEBHOOK_SECRET) {
        settings["payments"]["webhook_secret"] = roles::webhook_secret(&secret).into();
    }
    if let Some(secret) = data.find_secret(roles::KEY_ENCRYPTION_SECRET) {
        settings["auth"]["key_encryption_key"] = secret.into();
    }
    if let Some(secret) = data.find_secret(roles::PERSON_KEYS_SECRET) {
        settings["orders"]["key_encryption_key"] = secret.into();
    }
    if let Some(secret) = data.find_secret(roles::DOOR_SECRET) {
        settings["auth"]["door_secret"] = secret.into();
    }
    let port = url::Url::parse(&state.postgres.url)
        .ok()
        .and_then(|url| url.port());
    for service in Service::ALL {
        if let (Some(port), Some(password)) =
            (port, data.find_secret(&roles::database_secret(service)))
        {
            let name = roles::database_name(service);
            settings[service.name()]["database_url"] =
                Postgres::url(data, port, &name, &password, &name).into();
        }
    }
    dict(settings)
}

/// The addresses that were chosen.
pub fn listening_at(http: SocketAddr, ops: SocketAddr, nats: Option<&str>) -> Dict {
    let mut settings = json!({ "http": { "listen": http }, "ops": { "listen": ops } });
    if let Some(url) = nats {
        settings["nats"] = json!({ "url": url });
    }
    dict(settings)
}

fn dict(settings: serde_json::Value) -> Dict {
    match Value::serialize(settings) {
        Ok(Value::Dict(_, dict)) => dict,
        _ => Dict::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)], toml: &str) -> Result<Config, Failure> {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        merge(
            Dict::new(),
            Figment::from(Toml::string(toml)),
            &variables,
            Dict::new(),
        )
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let config = with(
            &[
                ("SHOPZEN_NATS__URL", "nats://a:1"),
                ("SHOPZEN_LIMITS__ENABLED", "false"),
            ],
            "[nats]\nurl = \"nats://b:2\"\n[http]\nlisten = \"127.0.0.1:81\"",
        )
        .unwrap();
        assert_eq!(config.nats.url, "nats://a:1");
        assert_eq!(config.http.listen.port(), 81);
        assert!(!config.limits.enabled);
    }

    #[test]
    fn an_unknown_key_stops_the_start_and_is_named() {
        let failure = with(&[], "[orders]\ndatabse_url = \"x\"").unwrap_err();
        assert!(
            failure.to_string().contains("orders.databse_url"),
            "{failure}"
        );
        let failure = with(&[("SHOPZEN_ORDERS__DATABSE_URL", "x")], "").unwrap_err();
        assert!(
            failure.to_string().contains("SHOPZEN_ORDERS__DATABSE_URL"),
            "{failure}"
        );
        assert_eq!(failure.exit, Exit::Config);
    }

    #[test]
    fn a_table_may_get_new_keys() {
        let config = with(&[("SHOPZEN_ORDERS__SHIPPING_MINOR__PIGEON", "250")], "").unwrap();
        assert_eq!(config.orders.own.shipping_minor.get("pigeon"), Some(&250));
        let config = with(&[], "[orders.shipping_minor]\npigeon = 250").unwrap();
        assert_eq!(config.orders.own.shipping_minor.get("pigeon"), Some(&250));
    }

    #[test]
    fn a_provider_is_named_by_the_shop_and_has_texts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "0123\n").unwrap();
        let config = with(
            &[
                (
                    "SHOPZEN_AUTH__PROVIDERS__GOOGLE__ISSUER",
                    "https://accounts.example",
                ),
                ("SHOPZEN_AUTH__PROVIDERS__GOOGLE__CLIENT_ID", "007"),
                (
                    "SHOPZEN_AUTH__PROVIDERS__GOOGLE__CLIENT_SECRET_FILE",
                    file.path().to_str().unwrap(),
                ),
            ],
            "[auth.providers.google]\ntitle = \"Google\"",
        )
        .unwrap();
        let google = &config.auth.own.providers["google"];
        assert_eq!(
            (google.title.as_str(), google.client_id.as_str()),
            ("Google", "007")
        );
        assert_eq!(google.client_secret.expose(), "0123");
        let wrong = with(&[("SHOPZEN_AUTH__PROVIDERS__GOOGLE__CLIENT", "x")], "");
        assert!(wrong.is_err(), "an unknown key stops the start here too");
    }

    #[test]
    fn a_shop_that_others_can_reach_has_no_demo_accounts() {
        assert!(with(&[], "").unwrap().auth.own.demo_accounts);
        let open = with(&[("SHOPZEN_HTTP__LISTEN", "0.0.0.0:8080")], "").unwrap();
        assert!(!open.auth.own.demo_accounts);
    }

    #[test]
    fn a_password_of_digits_is_a_text() {
        let config = with(&[("SHOPZEN_ORDERS__NATS_PASSWORD", "0123")], "").unwrap();
        assert_eq!(config.orders.nats_password.expose(), "0123");
    }

    #[test]
    fn a_secret_can_come_from_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "postgres://x\n").unwrap();
        let path = file.path().to_str().unwrap();
        let config = with(&[("SHOPZEN_ORDERS__DATABASE_URL_FILE", path)], "").unwrap();
        assert_eq!(config.orders.own.database_url.expose(), "postgres://x");
    }

    #[test]
    fn variables_of_the_launcher_are_no_settings() {
        with(
            &[("SHOPZEN_TOOLS_DIR", "/tmp"), ("SHOPZEN_RUN_AS", "nobody")],
            "",
        )
        .unwrap();
    }
}
