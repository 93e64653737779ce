//! `shopzen migrate`: the workers' databases, made and brought up to date.

use serde_json::json;
use shopzen_contracts::Service;
use url::Url;

use super::settings;
use crate::{
    cli::Options,
    config::Config,
    exit::{Exit, Failure, OrFail as _},
    host,
    terminal::Terminal,
    up::databases::{self, Account},
};

const NEXT: &str = "set SHOPZEN_<ROLE>__DATABASE_URL for every worker";

/// With `postgres.admin_url`, makes each worker's role and database first. Safe to repeat.
pub async fn migrate(options: &Options, terminal: &Terminal) -> Result<(), Failure> {
    let config = settings(options)?;
    let admin_url = config.postgres.admin_url.expose();
    if !admin_url.is_empty() {
        let step = terminal.step("databases");
        let accounts = accounts(&config)?;
        databases::ensure(admin_url, &accounts).await?;
        step.done("one role and one database for each worker");
    }
    for service in Service::ALL {
        let step = terminal.step(service.name());
        host::migrate(service, &config).await?;
        step.done("up to date");
    }
    terminal.result(
        &json!({ "migrated": Service::ALL.map(Service::name) }),
        String::new,
    );
    Ok(())
}

/// The roles and databases that the workers' own addresses name.
fn accounts(config: &Config) -> Result<Vec<Account>, Failure> {
    let account = |(service, url): (Service, &shopzen_chassis::Secret)| {
        let name = service.name();
        let fail = format!("{name}.database_url is not usable");
        // Not or_fail's text of the error alone: the address has a password in it.
        let url = Url::parse(url.expose()).or_fail(Exit::Config, &fail, NEXT)?;
        let plain = |text: &str| {
            percent_decoded(text).ok_or_else(|| Failure::new(Exit::Config, fail.clone(), NEXT))
        };
        let account = Account {
            role: plain(url.username())?,
            password: plain(url.password().unwrap_or_default())?,
            database: plain(url.path().trim_start_matches('/'))?,
        };
        if [&account.role, &account.password, &account.database]
            .iter()
            .any(|part| part.is_empty())
        {
            let what = format!("{fail}: it needs a user, a password and a database");
            return Err(Failure::new(Exit::Config, what, NEXT));
        }
        Ok(account)
    };
    config.databases().into_iter().map(account).collect()
}

/// `p%40ss` means `p@ss`.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_an_address_is_decoded() {
        assert_eq!(percent_decoded("p%40ss%2Fw").as_deref(), Some("p@ss/w"));
        assert_eq!(percent_decoded("plain").as_deref(), Some("plain"));
        assert_eq!(percent_decoded("%4"), None);
    }
}
