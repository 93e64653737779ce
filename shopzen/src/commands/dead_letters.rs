//! `shopzen dead-letters`: messages that were set aside, and what becomes of them.

mod edit;
mod text;

use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use shopzen_chassis::{
    AskError, Asking, DecideLetter, Decided, GroupLetters, LETTERS_MAX, LetterAct, LetterFilter,
    LetterState, ListLetters,
};
use shopzen_contracts::Service;
use tokio::time::{Interval, MissedTickBehavior, interval};
use uuid::Uuid;

use super::{Shop, as_operator, unanswered};
use crate::{
    cli::{
        DeadLettersAction, DecideLettersArgs, EditLetterArgs, LetterFilterArgs, ListLettersArgs,
        Options,
    },
    exit::{Exit, Failure},
    terminal::Terminal,
};

/// Letters that one command decides; who has more calls it again.
const DECIDED_MAX: usize = 10_000;
/// A handler may wait for others.
const DEADLINE: Duration = Duration::from_secs(10);

/// What came of one letter.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Outcome {
    Decided(Decided),
    /// Nothing was done, and why.
    Refused {
        id: Uuid,
        worker: &'static str,
        refused: String,
    },
}

impl Outcome {
    fn is_failure(&self) -> bool {
        match self {
            Self::Decided(decided) => decided.failure.is_some(),
            Self::Refused { .. } => true,
        }
    }
}

pub async fn dead_letters(
    action: DeadLettersAction,
    options: &Options,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let shop = Shop::connect(options).await?;
    match action {
        DeadLettersAction::Ls(args) => list(&shop, &args, terminal).await,
        DeadLettersAction::Show { id } => show(&shop, id, terminal).await,
        DeadLettersAction::Edit(args) => edit(&shop, args, terminal).await,
        DeadLettersAction::Replay(args) => decide(&shop, LetterAct::Replay, &args, terminal).await,
        DeadLettersAction::Drop(args) => decide(&shop, LetterAct::Drop, &args, terminal).await,
    }
}

fn asking() -> Asking {
    Asking {
        deadline: DEADLINE,
        ..as_operator()
    }
}

/// The workers that are asked.
fn services(filter: &LetterFilterArgs) -> Vec<Service> {
    match filter.worker {
        Some(worker) => vec![worker.into()],
        None => Service::ALL.to_vec(),
    }
}

fn filter_of(args: &LetterFilterArgs) -> LetterFilter {
    LetterFilter {
        state: args.state.map(LetterState::from),
        subject: args.subject.clone(),
        reason: args.reason.clone(),
        key: args.order,
        since: args.since,
    }
}

async fn list(shop: &Shop, args: &ListLettersArgs, terminal: &Terminal) -> Result<(), Failure> {
    let (services, filter) = (services(&args.filter), filter_of(&args.filter));
    let one_by_one = args.all || args.after.is_some() || args.filter != LetterFilterArgs::default();
    if !one_by_one {
        let asked = GroupLetters { filter };
        let groups = shop
            .asker()
            .dead_letter_groups(&services, &asked, &asking())
            .await
            .map_err(unanswered)?;
        terminal.result(&json!({ "groups": groups }), || text::groups(&groups));
        return Ok(());
    }
    let list = ListLetters {
        filter,
        after: args.after,
        limit: args.limit,
    };
    let letters = shop.asker().dead_letters(&services, &list, &asking()).await;
    let letters = letters.map_err(unanswered)?;
    let is_full = u32::try_from(letters.len()).is_ok_and(|count| count == args.limit);
    let next = letters.last().filter(|_| is_full).map(|letter| letter.id);
    terminal.result(&json!({ "letters": letters, "next": next }), || {
        text::letters(&letters, next)
    });
    Ok(())
}

async fn show(shop: &Shop, id: Uuid, terminal: &Terminal) -> Result<(), Failure> {
    let found = shop.asker().dead_letter(&Service::ALL, id, &asking()).await;
    let (_, letter) = found.map_err(|error| not_found(error, id))?;
    terminal.result(&letter, || text::letter(&letter));
    Ok(())
}

async fn edit(shop: &Shop, args: EditLetterArgs, terminal: &Terminal) -> Result<(), Failure> {
    let id = args.id;
    let found = shop.asker().dead_letter(&Service::ALL, id, &asking()).await;
    let (service, letter) = found.map_err(|error| not_found(error, id))?;
    let payload = match args.payload {
        Some(file) => edit::read(&file)?,
        None => edit::in_editor(&letter).await?,
    };
    let asked = DecideLetter {
        id,
        why: args.why,
        dry_run: args.dry_run,
        payload: Some(payload),
    };
    let edited = shop
        .asker()
        .decide_dead_letter(service, LetterAct::Edit, &asked, &asking())
        .await
        .map_err(unanswered)?;
    terminal.result(&edited, || {
        if edited.dry_run {
            "it would be accepted".to_owned()
        } else {
            format!("accepted: `shopzen dead-letters replay {id} --why …` handles it")
        }
    });
    Ok(())
}

async fn decide(
    shop: &Shop,
    act: LetterAct,
    args: &DecideLettersArgs,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let meant = find(shop, args).await?;
    let total = u64::try_from(meant.len()).unwrap_or(u64::MAX);
    let mut progress = terminal.progress(total, "letters");
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(meant.len());
    let mut ended = Ok(());
    let mut pace = pace(args.rate);
    for (position, letter) in (0..).zip(meant) {
        progress.set(position, "");
        pace.tick().await;
        match one(shop, act, letter, args).await {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => {
                // Who is away now is away for the others as well.
                ended = Err(unanswered(error));
                break;
            }
        }
    }
    drop(progress);
    terminal.result(&json!({ "letters": outcomes }), || {
        text::outcomes(&outcomes)
    });
    ended?;
    match outcomes.iter().filter(|it| it.is_failure()).count() {
        0 => Ok(()),
        failed => Err(Failure::new(
            Exit::Broken,
            format!("{failed} of {} letters stay as they were", outcomes.len()),
            "`shopzen dead-letters show ID` has the message; `edit` replaces it",
        )),
    }
}

async fn one(
    shop: &Shop,
    act: LetterAct,
    (service, id): (Service, Uuid),
    args: &DecideLettersArgs,
) -> Result<Outcome, AskError> {
    let asked = DecideLetter {
        id,
        why: args.why.clone(),
        dry_run: args.dry_run,
        payload: None,
    };
    let decided = shop
        .asker()
        .decide_dead_letter(service, act, &asked, &asking())
        .await;
    match decided {
        Ok(decided) => Ok(Outcome::Decided(decided)),
        Err(AskError::Refused(problem)) if matches!(problem.status, 404 | 409) => {
            Ok(Outcome::Refused {
                id,
                worker: service.name(),
                refused: problem.detail,
            })
        }
        Err(error) => Err(error),
    }
}

/// Ticks `rate` times a second, and catches nothing up.
fn pace(rate: u32) -> Interval {
    let mut pace = interval(Duration::from_secs(1) / rate.max(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

/// The letters that are meant, oldest first.
async fn find(shop: &Shop, args: &DecideLettersArgs) -> Result<Vec<(Service, Uuid)>, Failure> {
    let filtered = args.all || args.filter != LetterFilterArgs::default();
    if args.ids.is_empty() != filtered {
        return Err(Failure::new(
            Exit::Usage,
            "which letters are meant is not clear",
            "name their ids, or a filter such as --worker or --reason, or --all; not both",
        ));
    }
    if filtered {
        return find_filtered(shop, &args.filter).await;
    }
    let mut meant = Vec::with_capacity(args.ids.len());
    for id in &args.ids {
        let found = shop
            .asker()
            .dead_letter(&Service::ALL, *id, &asking())
            .await;
        let (service, _) = found.map_err(|error| not_found(error, *id))?;
        meant.push((service, *id));
    }
    Ok(meant)
}

async fn find_filtered(
    shop: &Shop,
    args: &LetterFilterArgs,
) -> Result<Vec<(Service, Uuid)>, Failure> {
    let services = services(args);
    let mut list = ListLetters {
        filter: filter_of(args),
        after: None,
        limit: LETTERS_MAX,
    };
    list.filter.state.get_or_insert(LetterState::Dead);
    let mut meant = Vec::new();
    while meant.len() < DECIDED_MAX {
        let page = shop.asker().dead_letters(&services, &list, &asking()).await;
        let page = page.map_err(unanswered)?;
        let Some(last) = page.last() else { break };
        list.after = Some(last.id);
        for letter in &page {
            let named = services.iter().find(|it| it.name() == letter.worker);
            meant.extend(named.map(|service| (*service, letter.id)));
        }
    }
    meant.truncate(DECIDED_MAX);
    Ok(meant)
}

fn not_found(error: AskError, id: Uuid) -> Failure {
    match error {
        AskError::Refused(problem) if problem.status == 404 => Failure::new(
            Exit::Usage,
            format!("no worker has a dead letter {id}"),
            "`shopzen dead-letters ls --all` lists them",
        ),
        error => unanswered(error),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_more_letters_are_decided_in_a_second_than_the_rate_says() {
        for rate in [1, 20, 1_000] {
            let began = Instant::now();
            let mut pace = pace(rate);
            for _ in 0..=rate * 3 {
                pace.tick().await;
            }
            let took = began.elapsed();
            assert!(took >= Duration::from_secs(3), "{rate}: {took:?}");
            assert!(took < Duration::from_secs(4), "{rate}: {took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_worker_is_not_caught_up_with() {
        let mut pace = pace(10);
        pace.tick().await;
        tokio::time::advance(Duration::from_secs(5)).await;
        pace.tick().await;
        let began = Instant::now();
        pace.tick().await;
        assert!(began.elapsed() >= Duration::from_millis(99));
    }
}
