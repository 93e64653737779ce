//! A key for each person. What events say of somebody is sealed under it, and whoever destroys it has destroyed that,
//! wherever it lies: in the broker's store, in other databases, in backups of either.

use data_encoding::BASE64URL_NOPAD;
use shopzen_chassis::{Cx, Failure, SEAL_KEY_BYTES, Seal, Secret};
use shopzen_contracts::{OrderId, orders::OrderSummary, privacy::Sealed};
use uuid::Uuid;

use crate::{Orders, store::people};

/// What the key that seals keys is derived for.
const PURPOSE: &[u8] = b"shopzen orders: keys of people, v1";

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Person {
    Account(Uuid),
    /// Whoever placed this order.
    Guest(OrderId),
}

impl Person {
    pub(crate) fn who_placed(order_id: OrderId, account_id: Option<Uuid>) -> Self {
        account_id.map_or(Self::Guest(order_id), Self::Account)
    }

    /// What a key is sealed for: it cannot be opened as another's.
    fn name(self) -> String {
        match self {
            Self::Account(id) => format!("key of account {id}"),
            Self::Guest(id) => format!("key of order {id}"),
        }
    }
}

/// Seals and opens the keys of people, with the key in the configuration.
#[derive(Debug)]
pub(crate) struct Keys(Option<Seal>);

impl Keys {
    pub(crate) fn new(secret: &Secret) -> Self {
        Self(Seal::derived(secret, PURPOSE))
    }

    fn seal(&self) -> Result<&Seal, Failure> {
        self.0.as_ref().ok_or_else(|| {
            Failure::Inconsistent(
                "orders.key_encryption_key is needed to seal people's keys, and must have at least 32 characters; \
                 `openssl rand -hex 32` makes one"
                    .to_owned(),
            )
        })
    }

    /// A new key for a person, sealed.
    pub(crate) fn make(&self, person: Person) -> Result<Vec<u8>, Failure> {
        let key = rand::random::<[u8; SEAL_KEY_BYTES]>();
        self.seal()?.close(&person.name(), &key)
    }

    pub(crate) fn open(&self, person: Person, sealed_key: &[u8]) -> Result<Vec<u8>, Failure> {
        let key = self.seal()?.open(&person.name(), sealed_key);
        key.ok_or_else(|| {
            Failure::Inconsistent(format!(
                "orders.key_encryption_key is not what the {} was sealed with. Set that one; or, where it is lost, set \
                 order_details.sealed_key to NULL and delete the rows of person_keys that are not erased, after which \
                 mails that are not written yet never will be",
                person.name()
            ))
        })
    }

    /// A person's e-mail address, as it stands in the events of an order.
    pub(crate) fn seal_email(
        &self,
        order_id: OrderId,
        person: Person,
        sealed_key: &[u8],
        email: &str,
    ) -> Result<Sealed, Failure> {
        let key = Seal::of_key(&self.open(person, sealed_key)?)
            .ok_or_else(|| Failure::Inconsistent(format!("the {} is none", person.name())))?;
        let sealed = key.close(&OrderSummary::email_of(order_id), email.as_bytes())?;
        Ok(Sealed(BASE64URL_NOPAD.encode(&sealed)))
    }
}

/// Sees whether keys can be used: those of the newest order.
pub(crate) async fn at_start(cx: &mut Cx, orders: &Orders) -> Result<bool, Failure> {
    orders.keys.seal()?;
    if let Some((order_id, owner)) = people::find_newest_owner(cx.db()).await? {
        let person = Person::who_placed(order_id, owner.account_id);
        if let Some(sealed_key) = &owner.sealed_key {
            orders.keys.open(person, sealed_key)?;
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_what_was_sealed_for_its_person_and_order() {
        let keys = Keys::new(&Secret::new("k".repeat(32)));
        let (id, other) = (OrderId(Uuid::from_u128(1)), OrderId(Uuid::from_u128(2)));
        for person in [Person::Guest(id), Person::Account(Uuid::from_u128(3))] {
            let sealed_key = keys.make(person).unwrap();
            let sealed = keys
                .seal_email(id, person, &sealed_key, "ada@example.com")
                .unwrap();
            assert!(!sealed.0.contains("ada"));
            let key = Seal::of_key(&keys.open(person, &sealed_key).unwrap()).unwrap();
            let sealed = BASE64URL_NOPAD.decode(sealed.0.as_bytes()).unwrap();
            let open = |order_id| key.open(&OrderSummary::email_of(order_id), &sealed);
            assert_eq!(open(id).unwrap(), b"ada@example.com");
            assert_eq!(open(other), None);
            keys.open(Person::Guest(other), &sealed_key).unwrap_err();
        }
    }

    #[test]
    fn without_a_secret_there_are_no_keys() {
        let none = Keys::new(&Secret::default());
        let why = none.make(Person::Account(Uuid::nil())).unwrap_err();
        assert!(
            why.to_string().contains("orders.key_encryption_key"),
            "{why}"
        );
    }
}
