//! `shopzen partner`: other firms' systems, which act for themselves over HTTP and on NATS.

use clap::Subcommand;
use shopzen_chassis::{Asking, DoorKeys, PublicDoorKeys};
use shopzen_contracts::auth::{
    clients::Client,
    partners::{AddPartner, ListPartners, RevokePartner, RotatePartnerSecret, SCOPES},
};
use uuid::Uuid;

use super::{
    Shop,
    client::{listed, shown_once},
    settings,
};
use crate::{
    cli::Options,
    exit::{Exit, Failure},
    terminal::Terminal,
};

/// Partners that are asked for at once.
const PAGE: u32 = 100;

#[derive(Clone, Debug, Subcommand)]
pub enum PartnerAction {
    /// Register one; its secret is shown once
    Add {
        name: String,
        /// What it may do, parted by commas
        #[arg(long, required = true, value_delimiter = ',', value_name = "SCOPE,…", value_parser = SCOPES)]
        allow: Vec<String>,
    },
    /// List them
    Ls {
        /// Those too that were revoked
        #[arg(long)]
        revoked: bool,
    },
    /// Give one another secret, shown once; those before it are good for a while, and its connections stay
    Rotate {
        /// Its name or id
        partner: String,
        /// How long those before it are good
        #[arg(long, value_name = "SECONDS")]
        overlap: Option<u32>,
    },
    /// Print what NATS has to be told, so that it lets in whom the auth worker lets in
    Door,
    /// End one: its connections are cut within a second
    Revoke {
        /// Its name or id
        partner: String,
    },
}

pub async fn partner(
    action: PartnerAction,
    options: &Options,
    terminal: &Terminal,
) -> Result<(), Failure> {
    if let PartnerAction::Door = action {
        return door(options, terminal);
    }
    let shop = Shop::connect(options).await?;
    let asking = shop.as_staff().await?;
    match action {
        PartnerAction::Door => {}
        PartnerAction::Add { name, allow } => {
            let added = shop.command(&AddPartner { name, allow }, &asking).await?;
            terminal.result(&added, || shown_once(&added));
        }
        PartnerAction::Ls { revoked } => {
            let partners = all(&shop, revoked, &asking).await?;
            let text = listed(&partners, "no partners");
            terminal.result(&serde_json::json!({ "items": partners }), || text);
        }
        PartnerAction::Rotate { partner, overlap } => {
            let command = RotatePartnerSecret {
                id: find(&shop, &partner, &asking).await?,
                overlap_s: overlap,
            };
            let rotated = shop.command(&command, &asking).await?;
            terminal.result(&rotated, || shown_once(&rotated));
        }
        PartnerAction::Revoke { partner } => {
            let id = find(&shop, &partner, &asking).await?;
            let revoked = shop.command(&RevokePartner { id }, &asking).await?;
            terminal.result(&revoked, || format!("{} is revoked", revoked.name));
        }
    }
    Ok(())
}

/// The public halves of the keys that follow from the secret.
fn door(options: &Options, terminal: &Terminal) -> Result<(), Failure> {
    let secret = settings(options)?.auth.own.door_secret;
    let keys = DoorKeys::new(&secret).ok_or_else(|| {
        Failure::new(
            Exit::Config,
            "auth.door_secret is missing, or has fewer than 32 characters",
            "`openssl rand -hex 32` makes one",
        )
    })?;
    let PublicDoorKeys { issuer, xkey } = keys.public();
    let shown = serde_json::json!({ "NATS_DOOR_ISSUER": issuer, "NATS_DOOR_XKEY": xkey });
    terminal.result(&shown, || {
        format!("NATS_DOOR_ISSUER={issuer}\nNATS_DOOR_XKEY={xkey}")
    });
    Ok(())
}

async fn all(shop: &Shop, revoked: bool, asking: &Asking) -> Result<Vec<Client>, Failure> {
    let mut asked = ListPartners {
        revoked,
        limit: Some(PAGE),
        cursor: None,
    };
    let mut partners = Vec::new();
    loop {
        let page = shop.query(&asked, asking).await?;
        partners.extend(page.items);
        asked.cursor = page.next_cursor;
        if asked.cursor.is_none() {
            return Ok(partners);
        }
    }
}

/// By its id, or by its name.
async fn find(shop: &Shop, partner: &str, asking: &Asking) -> Result<Uuid, Failure> {
    if let Ok(id) = partner.parse() {
        return Ok(id);
    }
    let partners = all(shop, false, asking).await?;
    let found = partners.iter().find(|it| it.name == partner);
    found.map(|it| it.id).ok_or_else(|| {
        let fail = format!("there is no partner '{partner}'");
        Failure::new(Exit::Usage, fail, "`shopzen partner ls` lists them")
    })
}

#[cfg(test)]
mod tests {
    use shopzen_chassis::Secret;

    use super::*;

    const COMPOSE: &str = include_str!("../../../compose.yaml");

    /// What stands behind `${NAME:-`.
    fn default_of(name: &str) -> &'static str {
        let (_, rest) = COMPOSE.split_once(&format!("${{{name}:-")).unwrap();
        rest.split_once('}').unwrap().0
    }

    #[test]
    fn compose_gives_nats_the_public_halves_of_the_secret_that_it_gives_auth() {
        let secret = Secret::new(default_of("DOOR_SECRET"));
        let keys = DoorKeys::new(&secret).unwrap().public();
        assert_eq!(keys.issuer, default_of("NATS_DOOR_ISSUER"));
        assert_eq!(keys.xkey, default_of("NATS_DOOR_XKEY"));
    }
}
