//! The block that says where everything is.

use serde_json::json;

use super::state::State;

/// Who can sign in after `--seed demo`.
const SHOPPER: &str = "shopper@demo.test / demo-shopper";
const STAFF: &str = "staff: staff@demo.test / demo-staff";

pub fn text(state: &State) -> String {
    let State { url, ops_url, .. } = state;
    let folder = state.data_dir.display().to_string();
    let log = state
        .data_dir
        .join("logs/shopzen.log")
        .display()
        .to_string();
    let postgres = match state.postgres.url.as_str() {
        "" => "as configured",
        url => url,
    };
    let demo = |text| if state.demo { text } else { "" };
    let mut lines = vec![
        String::new(),
        row("Shop", &format!("{url}/"), demo(SHOPPER)),
        row("API docs", &format!("{url}/docs"), demo(STAFF)),
        row("Metrics", &format!("{ops_url}/metrics"), "health: /readyz"),
        row("NATS", &state.nats.url, ""),
        row("PostgreSQL", postgres, ""),
        row("Data", &folder, "(kept; `shopzen up --reset` empties it)"),
        row("Logs", &log, ""),
        String::new(),
    ];
    if let Some(sku) = &state.sku {
        lines.extend([format!("  Try:  {}", order(url, sku)), String::new()]);
    }
    lines.push("  Ctrl-C or `shopzen down` stops everything.".to_owned());
    lines.join("\n")
}

/// An order that can be pasted into a shell.
fn order(url: &str, sku: &str) -> String {
    let order = json!({
        "lines": [{ "sku": sku, "quantity": 1 }],
        "email": "ada@example.com",
        "shipping_address": {
            "name": "Ada", "line1": "1 Main St", "postal_code": "10115", "city": "Berlin",
            "country": "DE",
        },
        "payment": { "gateway": "sandbox", "token": "tok_ok" },
    });
    format!(
        "curl -s {url}/api/v1/orders -H 'Prefer: wait=10' -H \"Idempotency-Key: $(date +%s%N)\" \\\n\
         \x20         -H 'Content-Type: application/json' -d '{order}'"
    )
}

fn row(name: &str, value: &str, note: &str) -> String {
    format!("  {name:<12} {value:<34} {note}")
        .trim_end()
        .to_owned()
}
