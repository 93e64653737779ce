//! Where goods go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::FieldError;

/// Where the goods go. Each field has at most 200 characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    pub name: String,
    pub line1: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    pub postal_code: String,
    pub city: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// ISO 3166-1 alpha-2.
    pub country: String,
}

/// An address as it is told: a newer sender may say more of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PostalAddress {
    pub name: String,
    pub line1: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    pub postal_code: String,
    pub city: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// ISO 3166-1 alpha-2.
    pub country: String,
}

impl From<Address> for PostalAddress {
    fn from(address: Address) -> Self {
        Self {
            name: address.name,
            line1: address.line1,
            line2: address.line2,
            postal_code: address.postal_code,
            city: address.city,
            region: address.region,
            country: address.country,
        }
    }
}

impl From<PostalAddress> for Address {
    fn from(address: PostalAddress) -> Self {
        Self {
            name: address.name,
            line1: address.line1,
            line2: address.line2,
            postal_code: address.postal_code,
            city: address.city,
            region: address.region,
            country: address.country,
        }
    }
}

impl Address {
    pub const FIELD_LENGTH_MAX: usize = 200;

    /// Everything that is wrong with it, where it stands at `pointer`.
    pub fn check(&self, pointer: &str) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let required = [
            ("name", &self.name),
            ("line1", &self.line1),
            ("postal_code", &self.postal_code),
            ("city", &self.city),
        ];
        for (field, text) in required {
            if text.trim().is_empty() {
                let pointer = format!("{pointer}/{field}");
                errors.push(FieldError::new(pointer, "missing", "must not be empty"));
            }
        }
        let optional = [("line2", &self.line2), ("region", &self.region)];
        let optional = optional
            .iter()
            .filter_map(|(field, text)| Some((*field, text.as_ref()?)));
        for (field, text) in required.into_iter().chain(optional) {
            let is_long = text.chars().count() > Self::FIELD_LENGTH_MAX;
            if is_long || text.chars().any(char::is_control) {
                let detail = format!(
                    "must be at most {} characters of one line",
                    Self::FIELD_LENGTH_MAX
                );
                errors.push(FieldError::new(
                    format!("{pointer}/{field}"),
                    "invalid",
                    detail,
                ));
            }
        }
        let country = self.country.as_bytes();
        if country.len() != 2 || !country.iter().all(u8::is_ascii_uppercase) {
            let detail = "must be a country code of two capital letters (ISO 3166-1)";
            let pointer = format!("{pointer}/country");
            errors.push(FieldError::new(pointer, "invalid", detail));
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Address {
        Address {
            name: "Ada".to_owned(),
            line1: "1 Row".to_owned(),
            line2: None,
            postal_code: "N1".to_owned(),
            city: "London".to_owned(),
            region: None,
            country: "GB".to_owned(),
        }
    }

    fn pointers(address: &Address) -> Vec<String> {
        let errors = address.check("/at").into_iter();
        errors.map(|error| error.pointer).collect()
    }

    #[test]
    fn all_that_is_wrong_is_said_where_it_stands() {
        assert_eq!(pointers(&address()), Vec::<String>::new());
        let bad = Address {
            name: " ".to_owned(),
            line2: Some("a\nb".to_owned()),
            city: "x".repeat(201),
            country: "gb".to_owned(),
            ..address()
        };
        let expected = ["/at/name", "/at/city", "/at/line2", "/at/country"];
        assert_eq!(pointers(&bad), expected);
        let long = Address {
            city: "ß".repeat(200),
            ..address()
        };
        assert_eq!(pointers(&long), Vec::<String>::new());
    }
}
