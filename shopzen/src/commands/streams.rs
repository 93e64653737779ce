//! `shopzen streams`: whether the streams are as `nats/streams/` defines them, and making them so.

use serde_json::json;
use shopzen_chassis::{Bus, streams};
use shopzen_contracts::Service;

use super::settings;
use crate::{
    cli::{Options, StreamsAction},
    exit::{Exit, Failure, OrFail as _},
    terminal::Terminal,
};

pub async fn streams(
    action: StreamsAction,
    options: &Options,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let next = "`shopzen doctor` looks at what runs";
    let bus = Bus::connect(&settings(options)?.operator_login())
        .await
        .or_fail(Exit::Unavailable, "no NATS answers", next)?;
    let jetstream = bus.admin();
    let mut report = serde_json::Map::new();
    let mut lines = Vec::new();
    let mut differ = false;
    for service in Service::ALL {
        let stream = service.stream();
        let fail = format!("{stream} cannot be read");
        let said = match action {
            StreamsAction::Apply => {
                let changed = streams::apply(&jetstream, service).await;
                let changed = changed.or_fail(Exit::Config, &fail, next)?;
                report.insert(stream.to_owned(), json!({ "changed": changed }));
                if changed {
                    "changed".to_owned()
                } else {
                    "as defined".to_owned()
                }
            }
            StreamsAction::Check => {
                let differences = streams::check(&jetstream, service).await;
                let differences = differences.or_fail(Exit::Config, &fail, next)?;
                differ |= !differences.is_empty();
                report.insert(stream.to_owned(), json!({ "differences": differences }));
                if differences.is_empty() {
                    "as defined".to_owned()
                } else {
                    differences.join("; ")
                }
            }
        };
        lines.push(format!("{stream:<14} {said}"));
    }
    terminal.result(&report, || lines.join("\n"));
    if differ {
        return Err(Failure::new(
            Exit::Config,
            "some streams are not as defined",
            "`shopzen streams apply` makes them so",
        ));
    }
    Ok(())
}
