//! Letters about accounts, which the auth worker asks for. NATS permissions leave that to it.

use shopzen_chassis::{Answers, Cx, Request};
use shopzen_contracts::notify::{LetterTaken, SendLetter};

use crate::{Notify, account_letter, events};

pub(crate) async fn send_letter(
    cx: &mut Cx,
    notify: &Notify,
    requests: &[Request<SendLetter>],
) -> Answers<LetterTaken> {
    let mut answers = Vec::with_capacity(requests.len());
    let mut letters = Vec::new();
    for request in requests {
        let letter = account_letter::write(&notify.shop, &request.body);
        answers.push(
            letter
                .as_ref()
                .map(|_| LetterTaken {})
                .map_err(Clone::clone),
        );
        letters.extend(letter.ok().map(|letter| (letter, &request.cause)));
    }
    // Asked again for a letter that is written, it is taken all the same.
    events::send(cx, notify, letters.into_iter()).await?;
    Ok(answers)
}
