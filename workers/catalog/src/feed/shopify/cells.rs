//! What single cells mean. An error names what was found and what should be there; the caller adds
//! the column.

use shopzen_contracts::{Currency, Money};

use crate::feed::{ON_HAND_MAX, text::excerpt};

/// A decimal such as `12.99`, with at most as many decimals as the currency has.
///
/// Neither signs nor separators of thousands: `1,299` is more than a thousand in one country and
/// less than two in another.
pub(super) fn price(text: &str, currency: Currency) -> Result<Money, String> {
    let (whole, decimals) = match text.split_once('.') {
        Some((whole, decimals)) => (whole, Some(decimals)),
        None => (text, None),
    };
    let decimals_max = usize::try_from(currency.exponent()).expect("an exponent is at most 3");
    let is_price = is_digits(whole)
        && decimals.is_none_or(|decimals| is_digits(decimals) && decimals.len() <= decimals_max);
    if !is_price {
        return Err(format!(
            "{} is not a price; it must be digits with a point before at most {decimals_max} \
             decimals ({currency}), without sign, sign of currency and separator of thousands",
            excerpt(text)
        ));
    }
    format!("{whole}{:0<decimals_max$}", decimals.unwrap_or_default())
        .parse()
        .ok()
        .map(|amount_minor| Money::new(amount_minor, currency))
        .ok_or_else(|| format!("{} is too large for a price", excerpt(text)))
}

/// `true` or `false` in any case; empty is `default`.
pub(super) fn flag(text: &str, default: bool) -> Result<bool, String> {
    if text.is_empty() {
        Ok(default)
    } else if text.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if text.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(format!("{} must be true or false", excerpt(text)))
    }
}

/// Whether a product with this status is shown; an empty status is that of an older export.
pub(super) fn is_active(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "" | "active" => Ok(true),
        "draft" | "archived" | "unlisted" => Ok(false),
        _ => Err(format!(
            "{} must be active, draft, archived or unlisted",
            excerpt(text)
        )),
    }
}

/// How many there are; `None` where nobody counted.
pub(super) fn on_hand(text: &str) -> Result<Option<i64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse() {
        // Shopify goes on counting below zero while it sells what it does not have.
        Ok(i64::MIN..0) => Ok(Some(0)),
        Ok(count @ 0..=ON_HAND_MAX) => Ok(Some(count)),
        _ => Err(format!(
            "{} must be a whole number up to {ON_HAND_MAX}",
            excerpt(text)
        )),
    }
}

/// Whole grams, half a gram rounded up; `None` where it was not weighed, which Shopify writes `0`.
pub(super) fn grams(text: &str) -> Result<Option<i64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let grams: Option<u32> = (is_digits(whole) && is_digits(decimals))
        .then(|| whole.parse().ok())
        .flatten();
    let Some(grams) = grams else {
        return Err(format!("{} is not a weight in grams", excerpt(text)));
    };
    let grams = i64::from(grams) + i64::from(decimals.as_bytes()[0] >= b'5');
    Ok((grams > 0).then_some(grams))
}

/// Where a picture stands among the others; those without a place come last.
pub(super) fn position(text: &str) -> Result<u32, String> {
    if text.is_empty() {
        return Ok(u32::MAX);
    }
    text.parse()
        .ok()
        .ok_or_else(|| format!("{} must be a whole number", excerpt(text)))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn minor(text: &str, currency: &str) -> Option<i64> {
        price(text, currency.parse().unwrap())
            .ok()
            .map(|price| price.amount_minor)
    }

    #[test]
    fn a_price_has_at_most_the_decimals_of_its_currency() {
        assert_eq!(minor("12.99", "EUR"), Some(1299));
        assert_eq!(minor("12.9", "EUR"), Some(1290));
        assert_eq!(minor("12", "EUR"), Some(1200));
        assert_eq!(minor("0", "EUR"), Some(0));
        assert_eq!(minor("007.50", "EUR"), Some(750));
        assert_eq!(minor("12.995", "EUR"), None);
        assert_eq!(minor("12.995", "KWD"), Some(12_995));
        assert_eq!(minor("500", "JPY"), Some(500));
        assert_eq!(minor("500.0", "JPY"), None);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_price() {
        let texts = [
            "", ".", "1.", ".5", "-1", "+1", "1,299.00", "1.299,00", "12,99", "1 299", "1'299",
            "1.2.3", "1e3", "€5", "5 EUR", "0x10", "١٢", "NaN", "1_000",
        ];
        for text in texts {
            assert_eq!(minor(text, "EUR"), None, "{text}");
        }
    }

    #[test]
    fn a_price_does_not_overflow() {
        assert_eq!(minor("92233720368547758.07", "EUR"), Some(i64::MAX));
        assert_eq!(minor("92233720368547758.08", "EUR"), None);
        assert_eq!(minor(&"9".repeat(1_000), "EUR"), None);
    }

    proptest! {
        #[test]
        fn a_price_reads_as_money_writes_it(minor in 0..i64::MAX, currency in "EUR|JPY|KWD") {
            let money = Money::new(minor, currency.parse().unwrap());
            let text = money.to_string();
            let text = text.split_once(' ').unwrap().0;
            prop_assert_eq!(price(text, money.currency), Ok(money));
        }
    }

    #[test]
    fn a_flag_is_true_or_false() {
        assert_eq!(flag("TRUE", false), Ok(true));
        assert_eq!(flag("false", true), Ok(false));
        assert_eq!(flag("", true), Ok(true));
        flag("yes", true).unwrap_err();
    }

    #[test]
    fn only_an_active_product_is_shown() {
        assert_eq!(is_active(""), Ok(true));
        assert_eq!(is_active("Active"), Ok(true));
        assert_eq!(is_active("draft"), Ok(false));
        assert_eq!(is_active("archived"), Ok(false));
        is_active("gone").unwrap_err();
    }

    #[test]
    fn less_than_nothing_on_hand_is_nothing() {
        assert_eq!(on_hand(""), Ok(None));
        assert_eq!(on_hand("0"), Ok(Some(0)));
        assert_eq!(on_hand("-3"), Ok(Some(0)));
        assert_eq!(on_hand("1000000"), Ok(Some(ON_HAND_MAX)));
        for bad in ["1000001", "5.0", "many", "99999999999999999999"] {
            on_hand(bad).unwrap_err();
        }
    }

    #[test]
    fn a_weight_is_in_whole_grams() {
        assert_eq!(grams(""), Ok(None));
        assert_eq!(grams("0"), Ok(None));
        assert_eq!(grams("0.0"), Ok(None));
        assert_eq!(grams("250"), Ok(Some(250)));
        assert_eq!(grams("453.59237"), Ok(Some(454)));
        assert_eq!(grams("0.4"), Ok(None));
        assert_eq!(grams("4294967295.9"), Ok(Some(4_294_967_296)));
        for bad in ["-1", "1.", ".5", "1 kg", "4294967296"] {
            grams(bad).unwrap_err();
        }
    }
}
