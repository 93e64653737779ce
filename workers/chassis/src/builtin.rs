//! What every worker answers besides its own: its history, its dead letters, the way of its events, what somebody
//! never got of them, and what staff did.
//!
//! Asked by the edge (history, dead letters), by the operator's commands and by the audit; NATS permissions
//! keep everybody else away. Who asks about dead letters stands at the end of the subject: nobody but an
//! operator may send on `….operator`, and on `….staff` an access token is asked for.

use std::sync::Arc;

use serde::Serialize;
use shopzen_contracts::{Access, Scope, Service, header, rights::User};
use tokio_util::sync::CancellationToken;

use crate::{
    ListActivity, Refused, StopAt,
    activity::{self, Actor},
    answer::{self, Asked, Reply, Requests},
    dead_letters::{self, DecideLetter, GetLetter, GroupLetters, LetterAct, ListLetters},
    engine::Engine,
    handle::Caller,
    history::{self, GetHistory},
    idempotency::Key,
    identity::Verifier,
    message::decode_request,
    passage::{self, ListPublished, ListStrays, WhichHandled},
    reconcile::{self, Republish, WhichMissed},
};

/// One of the endpoints that every worker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    History,
    Published,
    Handled,
    Strays,
    Missed,
    Republish,
    DeadLetters,
    DeadLetterGroups,
    DeadLetter,
    EditDeadLetter,
    ReplayDeadLetter,
    DropDeadLetter,
    Activity,
}

/// Who asks about dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Who holds the operator's password; their name is what their machine says.
    Operator,
    /// Who holds an access token that allows it.
    Staff,
}

impl From<LetterAct> for Builtin {
    fn from(act: LetterAct) -> Self {
        match act {
            LetterAct::Edit => Self::EditDeadLetter,
            LetterAct::Replay => Self::ReplayDeadLetter,
            LetterAct::Drop => Self::DropDeadLetter,
        }
    }
}

impl By {
    const fn token(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Staff => "staff",
        }
    }

    /// Whoever is not known to be an operator has to prove who they are.
    fn of_subject(subject: &str) -> Self {
        match subject.rsplit('.').next() {
            Some("operator") => Self::Operator,
            _ => Self::Staff,
        }
    }
}

impl Builtin {
    pub const ALL: [Self; 13] = [
        Self::History,
        Self::Published,
        Self::Handled,
        Self::Strays,
        Self::Missed,
        Self::Republish,
        Self::DeadLetters,
        Self::DeadLetterGroups,
        Self::DeadLetter,
        Self::EditDeadLetter,
        Self::ReplayDeadLetter,
        Self::DropDeadLetter,
        Self::Activity,
    ];

    pub(crate) const fn verb(self) -> &'static str {
        match self {
            Self::History => "history",
            Self::DeadLetters => "dead_letters",
            Self::DeadLetterGroups => "dead_letter_groups",
            Self::DeadLetter => "dead_letter",
            Self::EditDeadLetter => "edit_dead_letter",
            Self::ReplayDeadLetter => "replay_dead_letter",
            Self::DropDeadLetter => "drop_dead_letter",
            Self::Activity => "activity",
            Self::Published => "published",
            Self::Handled => "handled",
            Self::Strays => "strays",
            Self::Missed => "missed",
            Self::Republish => "republish",
        }
    }

    /// Who may ask. Who asks about dead letters says as whom.
    pub const fn access(self, by: By) -> Access {
        if self.is_about_letters() {
            match by {
                By::Operator => Access::OPERATOR,
                By::Staff => Access::Scope(Scope::OpsWrite),
            }
        } else if matches!(self, Self::Activity) {
            Access::Scope(Scope::OpsWrite)
        } else if matches!(self, Self::History) {
            Access::Users(&[User::Edge, User::Audit, User::Operator])
        } else {
            Access::AUDITS
        }
    }

    /// Whether who asks has to say as whom, at the end of the subject.
    pub const fn is_about_letters(self) -> bool {
        matches!(
            self,
            Self::DeadLetters
                | Self::DeadLetterGroups
                | Self::DeadLetter
                | Self::EditDeadLetter
                | Self::ReplayDeadLetter
                | Self::DropDeadLetter
        )
    }

    /// Where it is listened to.
    pub fn subject(self, service: Service) -> String {
        self.pattern(service.name())
    }

    fn pattern(self, service: &str) -> String {
        let kind = match self {
            Self::History
            | Self::DeadLetters
            | Self::DeadLetterGroups
            | Self::DeadLetter
            | Self::Published
            | Self::Handled
            | Self::Strays
            | Self::Missed
            | Self::Activity => "qry",
            Self::EditDeadLetter
            | Self::ReplayDeadLetter
            | Self::DropDeadLetter
            | Self::Republish => "cmd",
        };
        let by = if self.is_about_letters() { ".*" } else { "" };
        format!("shop.{kind}.{service}.v1.{}{by}", self.verb())
    }

    /// Where somebody asks it of any worker, `<service>` for the worker's name.
    pub fn of_any(self, by: By) -> String {
        self.pattern("<service>").replace('*', by.token())
    }

    /// Where somebody asks about dead letters.
    pub fn asked_by(self, service: Service, by: By) -> String {
        self.subject(service).replace('*', by.token())
    }
}

/// Answers until shutdown.
pub(crate) async fn serve(
    builtin: Builtin,
    engine: Arc<Engine>,
    verifier: Arc<Verifier>,
    mut requests: Requests,
    shutdown: CancellationToken,
) {
    while let Some((request, asked)) = answer::next_asked(&mut requests, &shutdown).await {
        let by = By::of_subject(&request.message().subject);
        let reply = Box::pin(answer_one(builtin, &engine, &verifier, by, &asked)).await;
        answer::respond(&request, reply).await;
    }
}

/// One request by itself.
pub(crate) async fn answer_one(
    builtin: Builtin,
    engine: &Engine,
    verifier: &Verifier,
    by: By,
    asked: &Asked,
) -> Reply {
    let trace = asked.trace();
    let caller = match asked.admit(builtin.access(by), verifier).await {
        Ok(caller) => caller,
        Err(problem) => return Reply::refusal(problem, &trace),
    };
    let answered = if builtin.is_about_letters() {
        about_letters(builtin, engine, &caller, by, asked).await
    } else {
        about_all(builtin, engine, asked).await
    };
    match answered {
        Ok(reply) => reply,
        Err(Refused::Problem(problem)) => Reply::refusal(*problem, &trace),
        Err(Refused::Failure(failure)) => {
            answer::unavailable(&failure, &builtin.subject(engine.service), &trace)
        }
    }
}

async fn about_all(builtin: Builtin, engine: &Engine, asked: &Asked) -> Result<Reply, Refused> {
    let (pool, payload) = (&engine.pool, &asked.payload);
    match builtin {
        Builtin::History => {
            let asked: GetHistory = decode_request(payload)?;
            json(&history::find(pool, engine.service, asked.key).await?)
        }
        Builtin::Published => {
            let asked: ListPublished = decode_request(payload)?;
            json(&passage::published(pool, asked).await?)
        }
        Builtin::Handled => {
            let asked: WhichHandled = decode_request(payload)?;
            json(&passage::handled(pool, &asked).await?)
        }
        Builtin::Strays => {
            let asked: ListStrays = decode_request(payload)?;
            json(&passage::strays(pool, &engine.bus.client, engine.service, asked).await?)
        }
        Builtin::Missed => {
            let asked: WhichMissed = decode_request(payload)?;
            json(&reconcile::missed(pool, &engine.bus.client, engine.service, &asked).await?)
        }
        Builtin::Republish => {
            let asked: Republish = decode_request(payload)?;
            json(&reconcile::republish(pool, &asked).await?)
        }
        Builtin::Activity => {
            let asked: ListActivity = decode_request(payload)?;
            json(&activity::find(pool, engine.service.name(), &asked).await?)
        }
        Builtin::DeadLetters
        | Builtin::DeadLetterGroups
        | Builtin::DeadLetter
        | Builtin::EditDeadLetter
        | Builtin::ReplayDeadLetter
        | Builtin::DropDeadLetter => unreachable!("{builtin:?} is about letters"),
    }
}

async fn about_letters(
    builtin: Builtin,
    engine: &Engine,
    caller: &Caller,
    by: By,
    asked: &Asked,
) -> Result<Reply, Refused> {
    let (pool, payload, worker) = (&engine.pool, &asked.payload, engine.service.name());
    let act = match builtin {
        Builtin::DeadLetters => {
            let asked: ListLetters = decode_request(payload)?;
            return json(&dead_letters::find(pool, worker, &asked).await?);
        }
        Builtin::DeadLetterGroups => {
            let asked: GroupLetters = decode_request(payload)?;
            return json(&dead_letters::find_groups(pool, worker, &asked).await?);
        }
        Builtin::DeadLetter => {
            let asked: GetLetter = decode_request(payload)?;
            return json(&dead_letters::find_one(pool, worker, asked).await?);
        }
        Builtin::EditDeadLetter => LetterAct::Edit,
        Builtin::ReplayDeadLetter => LetterAct::Replay,
        Builtin::DropDeadLetter => LetterAct::Drop,
        Builtin::History
        | Builtin::Published
        | Builtin::Handled
        | Builtin::Strays
        | Builtin::Missed
        | Builtin::Republish
        | Builtin::Activity => unreachable!("{builtin:?} is not about letters"),
    };
    let decision: DecideLetter = decode_request(payload)?;
    let subject = builtin.asked_by(engine.service, by);
    let repeat = asked
        .header(header::IDEMPOTENCY_KEY)
        .map(|key| Key::new(&subject, caller, key, payload))
        .transpose()?;
    let repeat = repeat.as_ref();
    let actor = Actor::of(asked, caller, &subject);
    let done = dead_letters::decide(engine, act, &decision, &actor, repeat, StopAt::Never).await?;
    let mut reply = json(&done.decided)?;
    if done.is_repeat {
        reply.headers.insert(header::IDEMPOTENT_REPLAYED, "true");
    }
    Ok(reply)
}

fn json<T: Serialize>(answer: &T) -> Result<Reply, Refused> {
    Ok(Reply::of(
        serde_json::to_vec(answer).expect("an answer is plain data"),
    ))
}
