//! Letters as a person reads them.

use std::fmt::Write as _;

use shopzen_chassis::{DeadLetter, Decided, LetterGroup, LetterState, WholeLetter};
use uuid::Uuid;

use super::{Outcome, edit::pretty};

/// How much of a reason is shown in a list.
const REASON_LENGTH: usize = 90;

pub(super) fn groups(groups: &[LetterGroup]) -> String {
    if groups.is_empty() {
        return "no dead letters".to_owned();
    }
    let mut text = String::new();
    for group in groups {
        let _ = writeln!(
            text,
            "{:>5} {:<7} {:<9} {}  {}\n      {}",
            group.count,
            group.state.as_str(),
            group.worker,
            group.hour.strftime("%F %H:00"),
            group.subject,
            short(&group.reason),
        );
    }
    text.push_str("`shopzen dead-letters ls --all`, or with a filter, shows them one by one");
    text
}

pub(super) fn letters(letters: &[DeadLetter], next: Option<Uuid>) -> String {
    if letters.is_empty() {
        return "no such dead letters".to_owned();
    }
    let mut text = String::new();
    for letter in letters {
        let _ = writeln!(
            text,
            "{}  {:<7} {:<9} {}  {}\n      {}",
            letter.id,
            letter.state.as_str(),
            letter.worker,
            letter.died_at.strftime("%F %T"),
            letter.subject,
            short(&letter.reason),
        );
    }
    match next {
        Some(next) => {
            let _ = write!(text, "more: --after {next}");
        }
        None => text.push_str("`shopzen dead-letters show ID` shows the message"),
    }
    text
}

pub(super) fn letter(whole: &WholeLetter) -> String {
    let letter = &whole.letter;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<12}{value}");
    };
    line("letter", &letter.id.to_string());
    line("worker", &letter.worker);
    line("state", letter.state.as_str());
    line("subject", &letter.subject);
    let event = letter.event_id.map(|id| id.to_string());
    line("event", event.as_deref().unwrap_or("none"));
    line("reason", &letter.reason);
    line("died at", &letter.died_at.to_string());
    if let Some(decided_at) = letter.decided_at {
        line("decided at", &decided_at.to_string());
    }
    line("deliveries", &letter.deliveries.to_string());
    line("trace", &whole.trace_id);
    if let Some(behind) = whole.behind {
        line("behind", &behind.to_string());
    }
    if letter.state == LetterState::Dead {
        line("waiting", &format!("{} behind it", whole.waiting));
    }
    for (name, value) in whole.headers.as_object().into_iter().flatten() {
        line(
            "header",
            &format!("{name}: {}", value.as_str().unwrap_or_default()),
        );
    }
    for action in whole.actions.iter().rev() {
        let at = action.acted_at.strftime("%F %T");
        let (act, who) = (&action.action, &action.who);
        line(
            "action",
            &format!("{at} {act} by {who}: {}", action.outcome),
        );
        line("", &format!("why: {}", action.why));
    }
    let _ = write!(text, "\n{}", pretty(&whole.payload));
    if let Some(edited) = &whole.edited_payload {
        let _ = write!(text, "\n\nedited, and handled so:\n\n{}", pretty(edited));
    }
    text
}

pub(super) fn outcomes(outcomes: &[Outcome]) -> String {
    if outcomes.is_empty() {
        return "no such dead letters".to_owned();
    }
    let mut text = String::new();
    let mut is_practice = false;
    for outcome in outcomes {
        let (id, worker, what) = match outcome {
            Outcome::Refused {
                id,
                worker,
                refused,
            } => (id, *worker, refused.clone()),
            Outcome::Decided(decided) => {
                is_practice |= decided.dry_run;
                (&decided.id, decided.worker.as_str(), came_of(decided))
            }
        };
        let _ = writeln!(text, "{id}  {worker:<9} {what}");
    }
    if is_practice {
        text.push_str("nothing was changed");
    }
    text.trim_end().to_owned()
}

fn came_of(decided: &Decided) -> String {
    if let Some(failure) = &decided.failure {
        return format!("still fails: {}", short(failure));
    }
    let would = if decided.dry_run { "would be " } else { "" };
    let (events, waiting) = (decided.published.len(), decided.waiting);
    let state = decided.state.as_str();
    format!("{would}{state}; events: {events}, waiting behind it: {waiting}")
}

fn short(reason: &str) -> String {
    if reason.chars().count() <= REASON_LENGTH {
        return reason.to_owned();
    }
    let mut short: String = reason.chars().take(REASON_LENGTH - 1).collect();
    short.push('…');
    short
}
