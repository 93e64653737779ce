//! Letters about accounts, which the auth worker asks for. NATS permissions leave that to it.

use shopzen_chassis::{Answers, Cx, Request};
use shopzen_contracts::notify::{LetterTaken, SendLetter};

use uuid::Uuid;

use crate::{
    Notify, account_letter,
    events::{self, Outgoing},
    store::people,
};

pub(crate) async fn send_letter(
    cx: &mut Cx,
    notify: &Notify,
    requests: &[Request<SendLetter>],
) -> Answers<LetterTaken> {
    let mut answers = Vec::with_capacity(requests.len());
    let mut letters = Vec::new();
    let ids: Vec<Uuid> = requests.iter().map(|it| it.body.letter_id).collect();
    for request in requests {
        let letter = account_letter::write(&notify.shop, &request.body);
        answers.push(
            letter
                .as_ref()
                .map(|_| LetterTaken {})
                .map_err(Clone::clone),
        );
        letters.extend(letter.ok().map(|letter| Outgoing {
            letter,
            cause: &request.cause,
            account_id: request.body.account_id,
            is_erased: false,
        }));
    }
    // Asked again for a letter that is written, it is taken all the same; and so is one that nobody is to get any more.
    let erased = people::find_erased(cx.db(), &ids).await?;
    letters.retain(|letter| !erased.contains(&letter.letter.about.id()));
    events::send(cx, notify, letters).await?;
    Ok(answers)
}
