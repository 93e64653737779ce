//! `shopzen healthcheck`: for containers, whose images have no curl.

use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};

use super::settings;
use crate::{
    cli::Options,
    exit::{Exit, Failure, OrFail as _},
    terminal::Terminal,
};

/// Every check has a limit of its own below this.
const LIMIT: Duration = Duration::from_secs(4);

/// Asks the operator's port of this machine whether the process is ready.
pub async fn healthcheck(options: &Options, terminal: &Terminal) -> Result<(), Failure> {
    let mut listen = settings(options)?.ops.listen;
    if listen.ip().is_unspecified() {
        listen.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let url = format!("http://{listen}/readyz");
    let next = "its log says why";
    let ask = async {
        let client = Client::builder().no_proxy().timeout(LIMIT).build()?;
        let answer = client.get(&url).send().await?;
        let ready = answer.status().is_success();
        answer.json::<Value>().await.map(|body| (ready, body))
    };
    let (ready, body) =
        ask.await
            .or_fail(Exit::Unavailable, "the process does not answer", next)?;
    if ready {
        terminal.result(&json!({ "ready": true }), || "ready".to_owned());
        return Ok(());
    }
    let unwell: Vec<String> = body["checks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|check| check["ok"] != true)
        .map(|check| format!("{} {}", check["name"], check["detail"]))
        .collect();
    Err(Failure::new(
        Exit::Unavailable,
        format!("not ready: {}", unwell.join("; ")),
        next,
    ))
}
