use std::{fmt::Write as _, path::Path};

use proptest::prelude::*;
use shopzen_contracts::Currency;

use super::*;

const TOTAL: Money = Money::new(5_498, Currency::EUR);

const STATES: [State; 19] = [
    State::New,
    State::Placed(TOTAL),
    State::Reserved,
    State::Ended,
    State::Authorising(TOTAL),
    State::AuthorisationUnknown(TOTAL),
    State::ActionRequired(TOTAL),
    State::Authorised(TOTAL),
    State::Declined(TOTAL),
    State::Capturing(TOTAL),
    State::CaptureUnknown(TOTAL),
    State::CaptureFailed(TOTAL),
    State::Captured(TOTAL),
    State::AuthorisationUnwanted(TOTAL),
    State::CaptureUnwanted(TOTAL),
    State::Voiding(TOTAL),
    State::Voided(TOTAL),
    State::Refunding(TOTAL),
    State::Refunded(TOTAL),
];

fn inputs() -> [(&'static str, Input); 13] {
    [
        ("placed", Input::Placed(TOTAL)),
        ("reserved", Input::Reserved),
        ("confirmed", Input::Confirmed),
        ("ended", Input::Ended),
        ("authorised", Input::Authorised),
        ("declined", Input::Declined(String::new())),
        ("action required", Input::ActionRequired(String::new())),
        ("captured", Input::Captured),
        ("capture failed", Input::CaptureFailed(String::new())),
        ("voided", Input::Voided),
        ("refunded", Input::Refunded),
        ("unknown", Input::Unknown),
        ("never received", Input::NeverReceived),
    ]
}

#[test]
fn states_md_shows_the_whole_grid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("STATES.md");
    let now = grid();
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    if now != before {
        std::fs::write(&path, now).unwrap();
        panic!("STATES.md differed from src/domain.rs and was written anew");
    }
}

fn grid() -> String {
    let mut text = "# The life of a payment\n\nWritten by a test from `src/domain.rs`. A cell says the next state and what must follow; `·` changes \
        nothing, an empty cell is refused and goes to the dead letters.\n\n| |"
        .to_owned();
    for (name, _) in inputs() {
        write!(text, " {name} |").unwrap();
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(inputs().len()));
    for state in STATES {
        write!(text, "\n| **{}** |", state.name()).unwrap();
        for (_, input) in inputs() {
            write!(text, " {} |", cell(state, input)).unwrap();
        }
    }
    text.push('\n');
    text
}

fn cell(state: State, input: Input) -> String {
    let Ok(step) = state.apply(input) else {
        return String::new();
    };
    if step.next == state && step.effects.is_empty() {
        return "·".to_owned();
    }
    let effects = step.effects.iter().map(|effect| match effect {
        Effect::Ask(kind, _) => format!("ask to {}", kind.as_str()),
        Effect::StopAsking => "stop asking".to_owned(),
        Effect::Book(movement, _) => format!("book {}", movement.as_str()),
        Effect::Publish(fact) => {
            let fact = format!("{fact:?}");
            format!("publish {}", fact.split('(').next().unwrap())
        }
    });
    let mut words = vec![step.next.name().to_owned()];
    words.extend(effects);
    words.join("; ")
}

#[test]
fn a_state_survives_its_columns() {
    for state in STATES.into_iter().filter(|state| *state != State::New) {
        assert_eq!(State::parse(state.name(), Some(TOTAL)), Some(state));
    }
    assert_eq!(State::parse("captured", None), None);
    assert_eq!(State::parse("paid", Some(TOTAL)), None);
}

/// What the gateway's books say of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Charge {
    None,
    Declined,
    AwaitsShopper,
    Held,
    Captured,
    Voided,
    Refunded,
}

/// An order, a gateway, the shopper, and the line between them, all of which do what they like in any
/// order, as long as it is possible.
#[expect(
    clippy::struct_excessive_bools,
    reason = "four things that can be so or not"
)]
#[derive(Debug)]
struct World {
    payment: State,
    charge: Charge,
    /// Asked and not answered: what, and what the gateway will answer once it has heard of it.
    open: Option<(Kind, Option<Input>)>,
    /// Said by others and not delivered.
    events: Vec<Input>,
    is_authorised_known: bool,
    must_end: bool,
    is_confirmed: bool,
    is_ended: bool,
    unknowns: u32,
    captures: u32,
    booked: i64,
    published: Vec<Fact>,
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Deliver(usize),
    Confirm,
    End,
    GatewayHears,
    WorkerHears,
    WorkerHearsNothing,
    NeverReceived,
    ShopperActs,
    Poll,
}

impl World {
    fn new() -> Self {
        Self {
            payment: State::New,
            charge: Charge::None,
            open: None,
            events: vec![Input::Placed(TOTAL), Input::Reserved],
            is_authorised_known: false,
            must_end: false,
            is_confirmed: false,
            is_ended: false,
            unknowns: 0,
            captures: 0,
            booked: 0,
            published: Vec::new(),
        }
    }

    fn possible(&self) -> Vec<Move> {
        let mut moves: Vec<Move> = (0..self.events.len()).map(Move::Deliver).collect();
        if self.is_authorised_known && !self.is_ended && !self.is_confirmed {
            moves.push(Move::Confirm);
        }
        if !self.is_ended {
            moves.push(Move::End);
        }
        match &self.open {
            Some((_, Some(_))) => moves.extend([Move::WorkerHears, Move::WorkerHearsNothing]),
            Some((_, None)) => {
                moves.extend([Move::GatewayHears, Move::WorkerHearsNothing]);
                if !self.payment.is_wanted() {
                    moves.push(Move::NeverReceived);
                }
            }
            None => {}
        }
        if self.charge == Charge::AwaitsShopper {
            moves.push(Move::ShopperActs);
        }
        if matches!(self.payment, State::ActionRequired(_)) {
            moves.push(Move::Poll);
        }
        moves
    }

    /// `luck` decides what banks and shoppers decide.
    fn make(&mut self, a_move: Move, luck: u8) {
        match a_move {
            Move::Deliver(index) => {
                let event = self.events.remove(index);
                self.tell(event);
            }
            Move::Confirm => {
                self.is_confirmed = true;
                self.events.push(Input::Confirmed);
            }
            Move::End => {
                self.is_ended = true;
                self.events.push(Input::Ended);
            }
            Move::GatewayHears => {
                let (kind, answer) = self.open.take().unwrap();
                assert_eq!(answer, None);
                self.open = Some((kind, Some(self.gateway_does(kind, luck))));
            }
            Move::WorkerHears => {
                let (_, answer) = self.open.take().unwrap();
                self.tell(answer.unwrap());
            }
            Move::WorkerHearsNothing => self.tell(Input::Unknown),
            Move::NeverReceived => {
                self.open = None;
                self.tell(Input::NeverReceived);
            }
            Move::ShopperActs => {
                self.charge = if luck.is_multiple_of(2) {
                    Charge::Held
                } else {
                    Charge::Declined
                };
            }
            Move::Poll => match self.charge {
                Charge::Held => self.tell(Input::Authorised),
                Charge::Declined => self.tell(Input::Declined("3ds".to_owned())),
                _ => self.tell(Input::ActionRequired("url".to_owned())),
            },
        }
    }

    fn gateway_does(&mut self, kind: Kind, luck: u8) -> Input {
        match (kind, self.charge) {
            (Kind::Authorise, Charge::None) => match luck % 3 {
                0 => {
                    self.charge = Charge::Held;
                    Input::Authorised
                }
                1 => {
                    self.charge = Charge::Declined;
                    Input::Declined("card_declined".to_owned())
                }
                _ => {
                    self.charge = Charge::AwaitsShopper;
                    Input::ActionRequired("url".to_owned())
                }
            },
            (Kind::Capture, Charge::Held) if luck.is_multiple_of(4) => {
                Input::CaptureFailed("capture_failed".to_owned())
            }
            (Kind::Capture, Charge::Held) => {
                self.charge = Charge::Captured;
                self.captures += 1;
                Input::Captured
            }
            (Kind::Void, Charge::Held | Charge::AwaitsShopper) => {
                self.charge = Charge::Voided;
                Input::Voided
            }
            (Kind::Void, Charge::Declined) => Input::Declined("3ds".to_owned()),
            (Kind::Refund, Charge::Captured) => {
                self.charge = Charge::Refunded;
                Input::Refunded
            }
            (kind, charge) => panic!("asked to {kind:?} what is {charge:?}"),
        }
    }

    fn tell(&mut self, input: Input) {
        let step = self.payment.apply(input).expect("what can happen is legal");
        self.payment = step.next;
        for effect in step.effects {
            match effect {
                Effect::Ask(kind, amount) => {
                    assert_eq!(self.open, None, "one thing at a time");
                    assert_eq!(amount, TOTAL);
                    self.open = Some((kind, None));
                }
                Effect::StopAsking => assert_eq!(self.open, None),
                Effect::Book(Movement::Capture, amount) => self.booked += amount.amount_minor,
                Effect::Book(Movement::Refund, amount) => self.booked -= amount.amount_minor,
                Effect::Publish(fact) => {
                    self.is_authorised_known |= matches!(fact, Fact::Authorised(_));
                    self.unknowns += u32::from(fact == Fact::Unknown);
                    self.must_end |= matches!(fact, Fact::Declined(_) | Fact::CaptureFailed(_));
                    self.published.push(fact);
                }
            }
        }
        assert!(self.captures <= 1);
        assert!(self.charge != Charge::Captured || self.is_confirmed);
    }

    /// Lets everything that has begun come to its end.
    fn settle(&mut self) {
        if self.must_end && !self.is_ended {
            self.make(Move::End, 0);
        }
        while !self.events.is_empty() {
            self.make(Move::Deliver(0), 0);
        }
        while let Some((_, answer)) = &self.open {
            let next = if answer.is_some() {
                Move::WorkerHears
            } else {
                Move::GatewayHears
            };
            self.make(next, 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn no_money_is_kept_without_an_order_and_none_taken_without_its_word(
        choices in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40),
    ) {
        let mut world = World::new();
        for (choice, luck) in choices {
            let moves = world.possible();
            if moves.is_empty() {
                break;
            }
            world.make(moves[choice.index(moves.len())], luck);
        }
        world.settle();
        // A refused capture or a late no may have ended the order only now.
        world.settle();
        let kept = if world.charge == Charge::Captured { TOTAL.amount_minor } else { 0 };
        prop_assert_eq!(world.booked, kept, "the ledger is the gateway's books");
        prop_assert!(world.unknowns <= 2, "once for each operation in doubt");
        if world.is_ended {
            prop_assert!(
                matches!(
                    world.charge,
                    Charge::None | Charge::Declined | Charge::Voided | Charge::Refunded
                ),
                "{:?}", world
            );
        } else if world.is_confirmed {
            prop_assert_eq!(world.charge, Charge::Captured);
        } else {
            prop_assert_ne!(world.charge, Charge::Captured);
        }
    }

    #[test]
    fn nothing_is_captured_that_was_not_confirmed(
        script in prop::collection::vec(0..13_usize, 0..30),
    ) {
        let mut state = State::New;
        let mut is_confirmed = false;
        for index in script {
            let (_, input) = inputs()[index].clone();
            is_confirmed |= input == Input::Confirmed;
            if let Ok(step) = state.apply(input) {
                let captures = step.effects.iter().any(|e| matches!(e, Effect::Ask(Kind::Capture, _)));
                prop_assert!(is_confirmed || !captures);
                state = step.next;
            }
        }
    }
}

#[test]
fn nothing_is_authorised_for_an_order_that_has_ended() {
    for late in [Input::Placed(TOTAL), Input::Reserved, Input::Ended] {
        let step = State::Ended.apply(late).unwrap();
        assert_eq!(
            step,
            Step {
                next: State::Ended,
                effects: Vec::new()
            }
        );
    }
}
