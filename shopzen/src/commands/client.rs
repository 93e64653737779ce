//! `shopzen client`: programs that may get tokens.

use std::{fmt::Write as _, fs, path::PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;
use shopzen_chassis::Asking;
use shopzen_contracts::{
    Scope,
    auth::clients::{
        AddClient, Client, ClientAndSecret, GrantType, ListClients, RevokeClient,
        RotateClientSecret,
    },
};
use uuid::Uuid;

use super::Shop;
use crate::{
    cli::Options,
    exit::{Exit, Failure, OrFail as _},
    terminal::Terminal,
};

/// Clients that are asked for at once.
const PAGE: u32 = 100;

#[derive(Clone, Debug, Subcommand)]
pub enum ClientAction {
    /// Register a program; its secret is shown once
    Add(AddClientArgs),
    /// List them
    Ls {
        /// Those too that were revoked
        #[arg(long)]
        revoked: bool,
    },
    /// Give one another secret, shown once; those before it are good for a while
    Rotate {
        /// Its name or id
        client: String,
        /// How long those before it are good
        #[arg(long, value_name = "SECONDS")]
        overlap: Option<u32>,
    },
    /// End one: its tokens count for nothing within seconds
    Revoke {
        /// Its name or id
        client: String,
    },
}

#[derive(Clone, Debug, Args)]
pub struct AddClientArgs {
    pub name: String,
    /// What it may do, parted by commas
    #[arg(long, value_delimiter = ',', value_name = "SCOPE,…", value_parser = Scope::ALL.map(Scope::name))]
    pub allow: Vec<String>,
    /// How it comes to tokens, parted by commas
    #[arg(long, default_value = "client_credentials", value_delimiter = ',', value_parser = grant)]
    pub grant: Vec<GrantType>,
    /// Where people are sent back to
    #[arg(long, value_name = "URL")]
    pub redirect_uri: Vec<String>,
    /// Whether people are not asked what it may do for them
    #[arg(long)]
    pub trusted: bool,
    /// Whether it runs on people's own machines, and keeps no secret
    #[arg(long)]
    pub public: bool,
    /// A public key (JSON Web Key) by which it signs, instead of a secret
    #[arg(long, value_name = "FILE")]
    pub key: Vec<PathBuf>,
}

fn grant(name: &str) -> Result<GrantType, String> {
    let known = GrantType::ALL.map(GrantType::as_str).join(", ");
    GrantType::parse(name).ok_or_else(|| format!("must be one of: {known}"))
}

pub async fn client(
    action: ClientAction,
    options: &Options,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let shop = Shop::connect(options).await?;
    let asking = shop.as_staff().await?;
    match action {
        ClientAction::Add(args) => {
            let keys = args.key.iter().map(read_key);
            let command = AddClient {
                name: args.name,
                grants: args.grant,
                redirect_uris: args.redirect_uri,
                scopes: args.allow,
                is_trusted: args.trusted,
                is_public: args.public,
                keys: keys.collect::<Result<_, _>>()?,
            };
            let added = shop.command(&command, &asking).await?;
            terminal.result(&added, || shown_once(&added));
        }
        ClientAction::Ls { revoked } => {
            let clients = all(&shop, revoked, &asking).await?;
            let text = listed(&clients, "no clients");
            terminal.result(&serde_json::json!({ "items": clients }), || text);
        }
        ClientAction::Rotate { client, overlap } => {
            let command = RotateClientSecret {
                id: find(&shop, &client, &asking).await?,
                overlap_s: overlap,
            };
            let rotated = shop.command(&command, &asking).await?;
            terminal.result(&rotated, || shown_once(&rotated));
        }
        ClientAction::Revoke { client } => {
            let id = find(&shop, &client, &asking).await?;
            let revoked = shop.command(&RevokeClient { id }, &asking).await?;
            terminal.result(&revoked, || format!("{} is revoked", revoked.name));
        }
    }
    Ok(())
}

fn read_key(path: &PathBuf) -> Result<Value, Failure> {
    let next = "a public key is a JSON object with kty, and x and y, or n and e";
    let fail = format!("{} cannot be read", path.display());
    let text = fs::read_to_string(path).or_fail(Exit::Usage, &fail, next)?;
    serde_json::from_str(&text).or_fail(Exit::Usage, &fail, next)
}

async fn all(shop: &Shop, revoked: bool, asking: &Asking) -> Result<Vec<Client>, Failure> {
    let mut asked = ListClients {
        revoked,
        limit: Some(PAGE),
        cursor: None,
    };
    let mut clients = Vec::new();
    loop {
        let page = shop.query(&asked, asking).await?;
        clients.extend(page.items);
        asked.cursor = page.next_cursor;
        if asked.cursor.is_none() {
            return Ok(clients);
        }
    }
}

/// By its id, or by its name.
async fn find(shop: &Shop, client: &str, asking: &Asking) -> Result<Uuid, Failure> {
    if let Ok(id) = client.parse() {
        return Ok(id);
    }
    let clients = all(shop, false, asking).await?;
    let found = clients.iter().find(|it| it.name == client);
    found.map(|it| it.id).ok_or_else(|| {
        let fail = format!("there is no client '{client}'");
        Failure::new(Exit::Usage, fail, "`shopzen client ls` lists them")
    })
}

pub(super) fn shown_once(given: &ClientAndSecret) -> String {
    let mut text = format!("client_id      {}", given.client.id);
    if let Some(secret) = &given.client_secret {
        let _ = write!(text, "\nclient_secret  {secret}\nIt is not shown again.");
    }
    text
}

pub(super) fn listed(clients: &[Client], none: &str) -> String {
    if clients.is_empty() {
        return none.to_owned();
    }
    let line = |client: &Client| {
        let revoked = client.revoked_at.map_or_else(String::new, |at| {
            format!("  revoked {}", at.strftime("%F %T"))
        });
        let scopes = client.scopes.join(",");
        format!("{}  {:<20} {scopes}{revoked}", client.id, client.name)
    };
    let lines: Vec<String> = clients.iter().map(line).collect();
    lines.join("\n")
}
