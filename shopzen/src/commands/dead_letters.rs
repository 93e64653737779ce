//! `shopzen dead-letters`: messages that were set aside, and what becomes of them.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;
use shopzen_chassis::{Asking, DeadLetter};
use shopzen_contracts::Service;
use uuid::Uuid;

use super::{Shop, unanswered};
use crate::{
    cli::{DeadLettersAction, Options},
    exit::{Exit, Failure},
    terminal::Terminal,
};

/// How much of a message is shown in a list.
const REASON_LENGTH: usize = 80;

#[derive(Debug, Serialize)]
struct Listed {
    service: &'static str,
    #[serde(flatten)]
    letter: DeadLetter,
}

pub async fn dead_letters(
    action: DeadLettersAction,
    options: &Options,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let shop = Shop::connect(options).await?;
    match action {
        DeadLettersAction::Ls { service } => {
            list(&shop, service.map(Service::from), terminal).await
        }
        DeadLettersAction::Show { service, id } => show(&shop, service.into(), id, terminal).await,
        DeadLettersAction::Replay { service, id } => {
            shop.asker()
                .replay_dead_letter(service.into(), id, &Asking::default())
                .await
                .map_err(unanswered)?;
            terminal.result(&json!({ "replayed": id }), || {
                "handled, and off the list".to_owned()
            });
            Ok(())
        }
        DeadLettersAction::Drop { service, id } => {
            shop.asker()
                .drop_dead_letter(service.into(), id, &Asking::default())
                .await
                .map_err(unanswered)?;
            terminal.result(&json!({ "dropped": id }), || "dropped".to_owned());
            Ok(())
        }
    }
}

async fn list(shop: &Shop, only: Option<Service>, terminal: &Terminal) -> Result<(), Failure> {
    let mut listed = Vec::new();
    for service in Service::ALL
        .into_iter()
        .filter(|service| only.is_none_or(|only| only == *service))
    {
        let letters = shop
            .asker()
            .dead_letters(service, None, &Asking::default())
            .await;
        listed.extend(
            letters
                .map_err(unanswered)?
                .into_iter()
                .map(|letter| Listed {
                    service: service.name(),
                    letter,
                }),
        );
    }
    terminal.result(&listed, || {
        let mut text = String::new();
        for Listed { service, letter } in &listed {
            let reason: String = letter.reason.chars().take(REASON_LENGTH).collect();
            let _ = writeln!(
                text,
                "{service:<9} {}  {}  {}\n          {reason}",
                letter.id,
                letter.died_at.strftime("%F %T"),
                letter.subject,
            );
        }
        if text.is_empty() {
            text.push_str("no dead letters");
        } else {
            text.push_str("`shopzen dead-letters show SERVICE ID` shows the message");
        }
        text
    });
    Ok(())
}

async fn show(shop: &Shop, service: Service, id: Uuid, terminal: &Terminal) -> Result<(), Failure> {
    let letters = shop
        .asker()
        .dead_letters(service, Some(id), &Asking::default())
        .await;
    let Some(letter) = letters.map_err(unanswered)?.pop() else {
        return Err(Failure::new(
            Exit::Usage,
            format!("{} has no dead letter {id}", service.name()),
            "`shopzen dead-letters ls` lists them",
        ));
    };
    terminal.result(&letter, || {
        format!(
            "subject     {}\nevent       {}\ndied at     {}\ndeliveries  {}\nreason      {}\nheaders     {}\n\n{}",
            letter.subject,
            letter.event_id.map_or_else(|| "none".to_owned(), |id| id.to_string()),
            letter.died_at,
            letter.deliveries,
            letter.reason,
            letter.headers,
            letter.payload,
        )
    });
    Ok(())
}
