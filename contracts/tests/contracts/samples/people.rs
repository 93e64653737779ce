//! What the samples of personal data say: address books, exports, erasing.

use shopzen_contracts::{
    Address, Confidential,
    auth::{
        accounts::{Account, Done, PasswordOutcome, Session},
        addresses::{
            AddAddress, Addresses, ChangeAddress, GetAddress, ListAddresses, RemoveAddress,
            SavedAddress,
        },
        erasure::{AccountErased, Consent, EraseMe, ExportMe, ExportedAccount},
        factors::Factors,
        identities::{Identity, Provider},
    },
    notify::{ListOwnMails, Mail, MailKind, OwnMails},
    orders::{
        ExportOrders, ExportedOrder, ExportedOrders, GetRecipients, OrderStatus, Recipient,
        Recipients,
    },
    privacy::StaffAct,
};

use super::{
    Samples,
    values::{id, noon, order, order_id, progress},
};

pub(super) fn add(samples: &mut Samples) {
    let saved = SavedAddress {
        id: id(50),
        address: address().into(),
        is_default: true,
    };
    let addresses = Addresses {
        items: vec![saved.clone()],
    };
    samples.query(&ListAddresses {}, &addresses);
    samples.query(&GetAddress { id: id(50) }, &saved);
    let add = AddAddress {
        address: address(),
        is_default: true,
    };
    samples.command(&add, &saved);
    let change = ChangeAddress {
        id: id(50),
        address: address(),
        is_default: true,
    };
    samples.command(&change, &saved);
    samples.command(&RemoveAddress { id: id(50) }, &Done {});
    account(samples, saved);
    orders_and_mails(samples);
}

fn address() -> Address {
    Address {
        name: "Ada Lovelace".to_owned(),
        line1: "12 St James's Square".to_owned(),
        line2: None,
        postal_code: "SW1Y 4JH".to_owned(),
        city: "London".to_owned(),
        region: None,
        country: "GB".to_owned(),
    }
}

fn act(thing: &str, command: &str) -> StaffAct {
    StaffAct {
        thing: thing.to_owned(),
        command: command.to_owned(),
        before: "before".into(),
        after: "after".into(),
        reason: Some("as agreed by phone".to_owned()),
        at: noon(),
    }
}

fn account(samples: &mut Samples, address: SavedAddress) {
    let exported = ExportedAccount {
        account: Account {
            id: id(40),
            email: "ada@example.com".to_owned(),
            name: "Ada".to_owned(),
            created_at: noon(),
        },
        addresses: vec![address],
        sessions: vec![Session {
            id: id(41),
            device: "Firefox".to_owned(),
            created_at: noon(),
            seen_at: noon(),
            is_current: true,
        }],
        second_factors: Factors {
            totp_since: Some(noon()),
            passkeys: Vec::new(),
            recovery_codes: 10,
            passkeys_offered: false,
        },
        identities: vec![Identity {
            id: id(42),
            provider: Provider {
                name: "google".to_owned(),
                title: "Google".to_owned(),
            },
            label: "ada@elsewhere.example".to_owned(),
            created_at: noon(),
        }],
        consents: vec![Consent {
            client_id: id(32),
            client_name: "App".to_owned(),
            scopes: vec!["openid".to_owned()],
            agreed_at: noon(),
        }],
        staff_acts: vec![act(
            "account 019aab00-0000-7000-8000-000000000028",
            "shop.cmd.auth.v1.set_customer_roles",
        )],
    };
    samples.query(&ExportMe {}, &exported);
    let erase = EraseMe {
        current_password: Confidential::new("copper-lantern-drizzle"),
    };
    samples.command(&erase, &PasswordOutcome::Accepted);
    samples.event(&AccountErased {
        account_id: id(40),
        letter_ids: vec![id(9)],
    });
}

fn orders_and_mails(samples: &mut Samples) {
    let recipient = Recipient {
        order_id: order_id(),
        account_id: Some(id(40)),
        is_erased: false,
        key: Some(Confidential::new(
            "a2V5IG9mIGEgcGVyc29uLCAyNTYgcmFuZG9tIGJpdHM",
        )),
    };
    let asked = GetRecipients {
        order_ids: vec![order_id()],
    };
    let recipients = Recipients {
        items: vec![recipient],
    };
    samples.query(&asked, &recipients);
    let exported = ExportedOrder {
        order: order(OrderStatus::Confirmed),
        email: "ada@example.com".to_owned(),
        shipping_address: address().into(),
        shipping_method: "standard".to_owned(),
        progress: vec![progress()],
        staff_acts: vec![act(
            "order 019aab00-0000-7000-8000-000000000001",
            "shop.cmd.orders.v1.cancel",
        )],
    };
    let exported = ExportedOrders {
        items: vec![exported],
        next_cursor: None,
    };
    samples.query(&ExportOrders { cursor: None }, &exported);
    let mail = Mail {
        order_id: Some(order_id()),
        kind: MailKind::OrderConfirmed,
        recipient: "ada@example.com".to_owned(),
        subject: "Your order is confirmed".to_owned(),
        body: "Thank you, Ada.".to_owned(),
        state: "kept".to_owned(),
        created_at: noon(),
    };
    let mails = OwnMails {
        items: vec![mail],
        next_cursor: None,
    };
    samples.query(&ListOwnMails { cursor: None }, &mails);
}
