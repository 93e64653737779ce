//! The block that says where everything is.

use super::state::State;

/// Who can sign in after `--seed demo`.
const SHOPPER: &str = "shopper@demo.test / demo-shopper";
const STAFF: &str = "staff@demo.test / demo-staff";

pub fn text(state: &State) -> String {
    let State { url, ops_url, .. } = state;
    let mut lines = vec![
        String::new(),
        row("Shop", url, if state.demo { SHOPPER } else { "" }),
        row("API docs", &format!("{url}/docs"), if state.demo { STAFF } else { "" }),
        row("Metrics", &format!("{ops_url}/metrics"), "health: /readyz"),
        row("NATS", &state.nats.url, ""),
        row("PostgreSQL", &state.postgres.url, ""),
        row("Data", &state.data_dir.display().to_string(), "(kept; `shopzen up --reset` empties it)"),
        row("Logs", &state.data_dir.join("logs/shopzen.log").display().to_string(), ""),
        String::new(),
    ];
    if state.demo {
        lines.push("  Try:".to_owned());
        lines.push(format!(
            "  curl -s {url}/api/v1/orders -H 'Prefer: wait=10' -H 'Content-Type: application/json' \\"
        ));
        lines.push("    -H \"Idempotency-Key: $(date +%s%N)\" -d '{\"lines\":[{\"sku\":\"{sku}\",\"quantity\":1}],".to_owned());
        lines.push(String::new());
    }
    lines.push("  Ctrl-C or `shopzen down` stops everything.".to_owned());
    lines.join("\n")
}

fn row(name: &str, value: &str, note: &str) -> String {
    format!("  {name:<13} {value:<42} {note}").trim_end().to_owned()
}
