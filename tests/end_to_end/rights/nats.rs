//! Every subject that is asked, as the users of the broker that may ask it, and as some that may not.

use std::{
    collections::BTreeMap,
    fmt, fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use async_nats::{Client, ConnectOptions, Event, HeaderMap};
use bytes::Bytes;
use serde_json::{Value, json};
use shopzen_chassis::{Builtin, By};
use shopzen_contracts::{
    Access, Command, Service,
    audit::GetReport,
    auth::{IssueOperatorToken, IssuedToken, RotateSigningKeys},
    catalogue, header,
};
use shopzen_tests::{
    roles::Role as NatsRole,
    shop::{Shop, wait_for},
    tree,
};

use super::{Verdict, identities::Identity};

/// Longer than any answer takes on a busy machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// No id of anything.
pub(crate) const UNKNOWN: &str = "019aab00-0000-7000-8000-0000000000ff";

/// A subject with a body that its worker can read.
pub(crate) struct Question {
    pub(crate) subject: String,
    pub(crate) access: Access,
    body: Bytes,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.subject)
    }
}

/// All of them: a new message is here by itself.
pub(crate) fn questions() -> Result<Vec<Question>> {
    let mut questions = Vec::new();
    for message in catalogue::messages() {
        if let Some(access) = message.access {
            questions.push(Question {
                subject: message.subject.to_owned(),
                access,
                body: sample(message.subject)?.to_string().into(),
            });
        }
    }
    for (service, builtin) in Service::ALL
        .into_iter()
        .flat_map(|service| Builtin::ALL.map(|builtin| (service, builtin)))
    {
        let body: Bytes = body_of(builtin).to_string().into();
        let by: &[By] = if builtin.is_about_letters() {
            &[By::Operator, By::Staff]
        } else {
            &[By::Operator]
        };
        questions.extend(by.iter().map(|by| Question {
            subject: builtin.asked_by(service, *by),
            access: builtin.access(*by),
            body: body.clone(),
        }));
    }
    Ok(questions)
}

/// What the contract says that is sent there.
pub(crate) fn sample(subject: &str) -> Result<Value> {
    let mut sample: Value =
        serde_json::from_str(&tree::read(&format!("contracts/samples/{subject}.json")))?;
    if subject == RotateSigningKeys::SUBJECT {
        // Everybody here would have to sign in again.
        sample["withdraw"] = false.into();
    }
    Ok(sample)
}

/// What the chassis answers is no part of the contract, so it has no samples.
fn body_of(builtin: Builtin) -> Value {
    match builtin {
        Builtin::History => json!({ "key": UNKNOWN }),
        Builtin::DeadLetters => json!({ "filter": {}, "after": null, "limit": 1 }),
        Builtin::DeadLetter => json!({ "id": UNKNOWN }),
        Builtin::EditDeadLetter => json!({ "id": UNKNOWN, "why": "for a test", "payload": "{}" }),
        Builtin::ReplayDeadLetter | Builtin::DropDeadLetter => {
            json!({ "id": UNKNOWN, "why": "for a test" })
        }
        Builtin::Activity => json!({ "limit": 1 }),
        Builtin::DeadLetterGroups
        | Builtin::Published
        | Builtin::Handled
        | Builtin::Strays
        | Builtin::Missed
        | Builtin::Republish => json!({}),
    }
}

/// The users of the broker, connected.
pub(crate) struct Nats {
    clients: BTreeMap<&'static str, Client>,
    /// What the broker refused, by user.
    violations: Arc<Mutex<Vec<(&'static str, String)>>>,
}

impl Nats {
    pub(crate) async fn connect(shop: &Shop) -> Result<Self> {
        let url = shop.state["nats"]["url"]
            .as_str()
            .context("NATS has an address")?;
        let violations: Arc<Mutex<Vec<(&'static str, String)>>> = Arc::default();
        let mut clients = BTreeMap::new();
        for user in NatsRole::all().into_iter().map(NatsRole::name) {
            let secret = shop.data_dir().join(format!("secrets/nats-{user}"));
            let password =
                fs::read_to_string(&secret).with_context(|| secret.display().to_string())?;
            let heard = Arc::clone(&violations);
            let client = ConnectOptions::new()
                .user_and_password(user.to_owned(), password.trim().to_owned())
                .custom_inbox_prefix(format!("_INBOX_{user}"))
                .request_timeout(Some(ANSWER_TIMEOUT))
                .event_callback(move |event| {
                    if let Event::ServerError(error) = event {
                        heard
                            .lock()
                            .expect("nothing panics while it holds this")
                            .push((user, error.to_string()));
                    }
                    std::future::ready(())
                })
                .connect(url)
                .await?;
            clients.insert(user, client);
        }
        Ok(Self {
            clients,
            violations,
        })
    }

    /// Asks as a user who may, with somebody's token.
    pub(crate) async fn ask(&self, question: &Question, identity: &Identity) -> Result<Verdict> {
        let user = users_of(question)
            .next()
            .with_context(|| format!("nobody may ask {question}"))?;
        self.ask_as(user, question, identity.token.as_deref()).await
    }

    async fn ask_as(
        &self,
        user: &str,
        question: &Question,
        token: Option<&str>,
    ) -> Result<Verdict> {
        let answer = self
            .answer(user, &question.subject, question.body.clone(), token)
            .await?;
        let header = |name: &str| {
            answer
                .headers
                .as_ref()?
                .get(name)
                .map(|value| value.as_str().to_owned())
        };
        let code = header(header::SERVICE_ERROR).unwrap_or_default();
        let status = header(header::SERVICE_ERROR_CODE).map_or(Ok(200), |status| status.parse())?;
        Ok(Verdict::of(status, &code))
    }

    pub(crate) async fn answer(
        &self,
        user: &str,
        subject: &str,
        body: Bytes,
        token: Option<&str>,
    ) -> Result<async_nats::Message> {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert(header::IDENTITY, token);
        }
        let asked = self.clients[user].request_with_headers(subject.to_owned(), headers, body);
        asked.await.with_context(|| format!("{subject} as {user}"))
    }

    /// What is for named users only is refused to all others by the broker, whatever token they have. Returns how often
    /// it was.
    pub(crate) async fn try_as_others(
        &self,
        question: &Question,
        identity: &Identity,
    ) -> Result<usize> {
        let Access::Users(_) = question.access else {
            return Ok(0);
        };
        let may: Vec<&str> = users_of(question).collect();
        let others: Vec<&'static str> = self
            .clients
            .keys()
            .copied()
            .filter(|user| !may.contains(user))
            .collect();
        self.violations
            .lock()
            .expect("nothing panics while it holds this")
            .clear();
        for user in &others {
            let mut headers = HeaderMap::new();
            if let Some(token) = &identity.token {
                headers.insert(header::IDENTITY, token.as_str());
            }
            let (client, reply) = (&self.clients[user], format!("_INBOX_{user}.matrix"));
            let body = question.body.clone();
            client
                .publish_with_reply_and_headers(question.subject.clone(), reply, headers, body)
                .await?;
            client.flush().await?;
        }
        let named = format!("\"{}\"", question.subject);
        wait_for("the broker refused it", async || {
            let heard = self
                .violations
                .lock()
                .expect("nothing panics while it holds this");
            let is_refused = |user: &str| {
                heard
                    .iter()
                    .any(|(by, why)| *by == user && why.contains(&named))
            };
            Ok(others.iter().all(|user| is_refused(user)))
        })
        .await?;
        Ok(others.len())
    }

    pub(crate) async fn operators_token(&self) -> Result<String> {
        let answer = self
            .answer("operator", IssueOperatorToken::SUBJECT, "{}".into(), None)
            .await?;
        let issued: IssuedToken = serde_json::from_slice(&answer.payload)?;
        Ok(issued.access_token)
    }

    /// Whether each who verifies tokens believes this one.
    pub(crate) async fn all_believe(&self, token: &str) -> Result<bool> {
        let mut verifying = vec![<GetReport as shopzen_contracts::Query>::SUBJECT.to_owned()];
        verifying.extend(
            Service::ALL.map(|service| Builtin::DeadLetterGroups.asked_by(service, By::Staff)),
        );
        for subject in verifying {
            let question = Question {
                subject,
                access: Access::Anyone,
                body: "{}".into(),
            };
            if self.ask_as("edge", &question, Some(token)).await? != Verdict::Answered {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The users of the broker that may ask.
fn users_of(question: &Question) -> impl Iterator<Item = &'static str> {
    let subject = question.subject.clone();
    NatsRole::all()
        .into_iter()
        .filter(move |role| role.asks().contains(&subject))
        .map(NatsRole::name)
}

/// The status of an answer must be said, so that whoever asks knows.
pub(crate) fn status_of(answer: &async_nats::Message) -> Result<u16> {
    let status = answer
        .headers
        .as_ref()
        .and_then(|headers| headers.get(header::SERVICE_ERROR_CODE));
    let status = status.context("it is no refusal")?.as_str().parse()?;
    ensure!(status >= 400, "{status}");
    Ok(status)
}
