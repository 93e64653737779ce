//! Amounts of money: whole minor units and a currency, never a fraction.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An ISO 4217 currency code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

impl Currency {
    pub const EUR: Self = Self(*b"EUR");

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a currency is three ASCII letters")
    }

    /// How many digits of an amount are minor units: 2 for most, 0 for the yen (ISO 4217).
    pub fn exponent(self) -> u32 {
        match &self.0 {
            b"BIF" | b"CLP" | b"DJF" | b"GNF" | b"ISK" | b"JPY" | b"KMF" | b"KRW" | b"PYG"
            | b"RWF" | b"UGX" | b"UYI" | b"VND" | b"VUV" | b"XAF" | b"XOF" | b"XPF" => 0,
            b"BHD" | b"IQD" | b"JOD" | b"KWD" | b"LYD" | b"OMR" | b"TND" => 3,
            _ => 2,
        }
    }
}

/// Why an amount or a currency was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("a currency is three capital letters (ISO 4217)")]
    NotACurrency,
    #[error("the amount is too large")]
    Overflow,
    #[error("{left} and {right} cannot be added: the currencies differ")]
    CurrenciesDiffer { left: Currency, right: Currency },
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        match text.as_bytes() {
            [a, b, c] if text.bytes().all(|letter| letter.is_ascii_uppercase()) => {
                Ok(Self([*a, *b, *c]))
            }
            _ => Err(MoneyError::NotACurrency),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Currency {
    fn schema_name() -> Cow<'static, str> {
        "Currency".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Z]{3}$", "description": "ISO 4217" })
    }
}

/// An amount in minor units of its currency: `1299` `EUR` is twelve euros and ninety-nine cents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Money {
    pub amount_minor: i64,
    pub currency: Currency,
}

impl Money {
    pub const fn new(amount_minor: i64, currency: Currency) -> Self {
        Self {
            amount_minor,
            currency,
        }
    }

    pub const fn zero(currency: Currency) -> Self {
        Self::new(0, currency)
    }

    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrenciesDiffer {
                left: self.currency,
                right: other.currency,
            });
        }
        self.amount_minor
            .checked_add(other.amount_minor)
            .map(|amount_minor| Self {
                amount_minor,
                ..self
            })
            .ok_or(MoneyError::Overflow)
    }

    pub fn checked_mul(self, factor: i64) -> Result<Self, MoneyError> {
        self.amount_minor
            .checked_mul(factor)
            .map(|amount_minor| Self {
                amount_minor,
                ..self
            })
            .ok_or(MoneyError::Overflow)
    }

    /// The tax contained in a gross amount, `rate_bp` being hundredths of a per cent (1900 = 19 %).
    /// Half a minor unit is rounded away from zero.
    #[must_use]
    pub fn tax_contained(self, rate_bp: u32) -> Self {
        let gross = i128::from(self.amount_minor);
        let rate = i128::from(rate_bp);
        let whole = 10_000 + rate;
        let half = if gross < 0 { -whole / 2 } else { whole / 2 };
        let tax = (gross * rate + half) / whole;
        let amount_minor = i64::try_from(tax).expect("a part of an amount fits where it fitted");
        Self {
            amount_minor,
            ..self
        }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exponent = self.currency.exponent();
        let sign = if self.amount_minor < 0 { "-" } else { "" };
        let amount = self.amount_minor.unsigned_abs();
        let unit = 10_u64.pow(exponent);
        match exponent {
            0 => write!(f, "{sign}{amount} {}", self.currency),
            digits => {
                let digits = usize::try_from(digits).expect("an exponent is at most 3");
                write!(
                    f,
                    "{sign}{}.{:0digits$} {}",
                    amount / unit,
                    amount % unit,
                    self.currency
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_amount_reads_as_people_write_it() {
        let shown = |minor, code: &str| Money::new(minor, code.parse().unwrap()).to_string();
        assert_eq!(shown(1299, "EUR"), "12.99 EUR");
        assert_eq!(shown(-5, "EUR"), "-0.05 EUR");
        assert_eq!(shown(500, "JPY"), "500 JPY");
        assert_eq!(shown(1, "KWD"), "0.001 KWD");
    }

    #[test]
    fn a_currency_is_three_capital_letters() {
        for bad in ["", "EU", "eur", "EURO", "E1R", "€UR"] {
            assert_eq!(
                bad.parse::<Currency>(),
                Err(MoneyError::NotACurrency),
                "{bad}"
            );
        }
    }

    #[test]
    fn tax_is_contained_in_the_gross_amount() {
        assert_eq!(
            Money::new(11_900, Currency::EUR)
                .tax_contained(1900)
                .amount_minor,
            1_900
        );
        assert_eq!(
            Money::new(100, Currency::EUR)
                .tax_contained(1900)
                .amount_minor,
            16
        );
        assert_eq!(
            Money::new(100, Currency::EUR).tax_contained(0).amount_minor,
            0
        );
    }

    proptest! {
        #[test]
        fn adding_never_wraps(a: i64, b: i64) {
            let sum = Money::new(a, Currency::EUR).checked_add(Money::new(b, Currency::EUR));
            let expected = a.checked_add(b).ok_or(MoneyError::Overflow);
            prop_assert_eq!(sum.map(|sum| sum.amount_minor), expected);
        }

        #[test]
        fn contained_tax_is_less_than_the_amount(gross in 0..i64::MAX, rate in 0_u32..10_000) {
            let tax = Money::new(gross, Currency::EUR).tax_contained(rate).amount_minor;
            prop_assert!((0..=gross).contains(&tax));
        }
    }
}
