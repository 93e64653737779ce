//! `shopzen keys`: what access tokens are signed with.

use shopzen_chassis::Asking;
use shopzen_contracts::auth::{ListSigningKeys, RotateSigningKeys, SigningKey};

use super::Shop;
use crate::{
    cli::{KeysAction, Options},
    exit::Failure,
    terminal::Terminal,
};

pub async fn keys(
    action: KeysAction,
    options: &Options,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let shop = Shop::connect(options).await?;
    let asking = Asking::default();
    let keys = match action {
        KeysAction::Ls => shop.query(&ListSigningKeys {}, &asking).await?,
        KeysAction::Rotate { withdraw } => {
            shop.command(&RotateSigningKeys { withdraw }, &asking)
                .await?
        }
    };
    terminal.result(&keys, || {
        let lines: Vec<String> = keys.items.iter().map(line).collect();
        lines.join("\n")
    });
    Ok(())
}

fn line(key: &SigningKey) -> String {
    let at = |at: jiff::Timestamp| at.strftime("%F %T").to_string();
    let until = key.believed_until.map_or_else(String::new, |until| {
        format!(", and what it signed is good until {}", at(until))
    });
    format!("{}  signs from {}{until}", key.kid, at(key.signs_from))
}
