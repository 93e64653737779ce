//! `shopzen partner`: other firms' systems, which act for themselves over HTTP and on NATS.

use clap::Subcommand;
use shopzen_chassis::Asking;
use shopzen_contracts::auth::{
    clients::Client,
    partners::{AddPartner, ListPartners, RevokePartner, RotatePartnerSecret, SCOPES},
};
use uuid::Uuid;

use super::{
    Shop,
    client::{listed, shown_once},
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
    let shop = Shop::connect(options).await?;
    let asking = shop.as_staff().await?;
    match action {
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
