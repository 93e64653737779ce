//! What an order comes to, and whether it can be accepted at all. Pure.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use shopzen_contracts::{
    Currency, FieldError, Money, Problem, Quantity, Sku, is_email,
    orders::{Address, OnShortage, OrderLine, PlaceOrder},
};

use crate::Config;

/// What a SKU is sold for, as far as this worker has heard.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) name: String,
    pub(crate) unit_price: Money,
    pub(crate) taxable: bool,
}

/// What was agreed. Kept as it is, for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Agreement {
    pub(crate) email: String,
    pub(crate) lines: Vec<OrderLine>,
    pub(crate) subtotal: Money,
    pub(crate) discount: Money,
    pub(crate) shipping: Money,
    pub(crate) tax: Money,
    pub(crate) total: Money,
    pub(crate) gateway: String,
    pub(crate) shipping_method: String,
    pub(crate) shipping_address: Address,
    pub(crate) placed_at: jiff::Timestamp,
}

const TOKEN_LENGTH_MAX: usize = 255;
/// No order comes to more, in minor units.
const TOTAL_MINOR_MAX: i64 = 1_000_000_000_000;

/// Prices an order, or says everything that is wrong with it.
pub(crate) fn agree(
    order: &PlaceOrder,
    prices: &HashMap<String, Offer>,
    config: &Config,
    placed_at: jiff::Timestamp,
) -> Result<Agreement, Problem> {
    let mut errors = Vec::new();
    check_form(order, config, &mut errors);
    let wanted = summed_lines(order, &mut errors);
    let mut lines = Vec::with_capacity(wanted.len());
    for (sku, (index, quantity)) in wanted {
        match prices.get(sku.as_str()) {
            Some(price) => lines.push((index, line_of(sku, quantity, price), price.taxable)),
            None => errors.push(FieldError::new(
                format!("/lines/{index}/sku"),
                "unknown_sku",
                format!("{sku} is not for sale"),
            )),
        }
    }
    if !errors.is_empty() {
        errors.sort_by(|left, right| left.pointer.cmp(&right.pointer));
        return Err(Problem::invalid(errors));
    }
    lines.sort_by_key(|(index, ..)| *index);
    let lines = lines
        .into_iter()
        .map(|(_, line, taxable)| line.map(|line| (line, taxable)))
        .collect::<Result<Vec<_>, Problem>>()?;
    let currency = lines
        .first()
        .map_or(Currency::EUR, |(line, _)| line.unit_price.currency);
    let agreement = total_up(order, lines, currency, config, placed_at)?;
    if let Some(expected) = order.expected_total
        && expected != agreement.total
    {
        let detail = format!(
            "the order comes to {} and not to {expected}",
            agreement.total
        );
        return Err(Problem::new(409, "price_changed", detail).with(
            "current_total",
            serde_json::to_value(agreement.total).expect("money is plain data"),
        ));
    }
    Ok(agreement)
}

fn total_up(
    order: &PlaceOrder,
    lines: Vec<(OrderLine, bool)>,
    currency: Currency,
    config: &Config,
    placed_at: jiff::Timestamp,
) -> Result<Agreement, Problem> {
    let too_large = |_| total_too_large();
    let mut subtotal = Money::zero(currency);
    let mut tax = Money::zero(currency);
    for (line, taxable) in &lines {
        if line.line_total.currency != currency {
            let detail = "everything in one order must be in one currency";
            return Err(Problem::new(422, "currencies_differ", detail));
        }
        subtotal = subtotal.checked_add(line.line_total).map_err(too_large)?;
        if *taxable {
            let contained = line.line_total.tax_contained(config.tax_rate_bp);
            tax = tax.checked_add(contained).map_err(too_large)?;
        }
    }
    let cost = config
        .shipping_minor
        .get(&order.shipping_method)
        .copied()
        .unwrap_or(0);
    let shipping = Money::new(cost, currency);
    tax = tax
        .checked_add(shipping.tax_contained(config.tax_rate_bp))
        .map_err(too_large)?;
    let total = subtotal.checked_add(shipping).map_err(too_large)?;
    if total.amount_minor > TOTAL_MINOR_MAX {
        return Err(total_too_large());
    }
    Ok(Agreement {
        email: order.email.clone(),
        lines: lines.into_iter().map(|(line, _)| line).collect(),
        subtotal,
        discount: Money::zero(currency),
        shipping,
        tax,
        total,
        gateway: order.payment.gateway.clone(),
        shipping_method: order.shipping_method.clone(),
        shipping_address: order.shipping_address.clone(),
        placed_at,
    })
}

fn total_too_large() -> Problem {
    Problem::new(
        422,
        "total_too_large",
        "the order comes to more than can be paid at once",
    )
}

fn line_of(sku: &Sku, quantity: Quantity, price: &Offer) -> Result<OrderLine, Problem> {
    let line_total = price
        .unit_price
        .checked_mul(i64::from(quantity.get()))
        .map_err(|_| total_too_large())?;
    Ok(OrderLine {
        sku: sku.clone(),
        name: price.name.clone(),
        quantity,
        unit_price: price.unit_price,
        line_total,
        shortage: None,
    })
}

/// Lines of one SKU are one line, in the place of the first.
fn summed_lines<'a>(
    order: &'a PlaceOrder,
    errors: &mut Vec<FieldError>,
) -> BTreeMap<&'a Sku, (usize, Quantity)> {
    let count = order.lines.len();
    if count == 0 || count > PlaceOrder::LINES_MAX {
        let detail = format!("must be 1 to {} lines", PlaceOrder::LINES_MAX);
        errors.push(FieldError::new("/lines", "wrong_length", detail));
        return BTreeMap::new();
    }
    let mut wanted: BTreeMap<&Sku, (usize, Quantity)> = BTreeMap::new();
    for (index, line) in order.lines.iter().enumerate() {
        let sum = match wanted.get(&line.sku) {
            None => Ok((index, line.quantity)),
            Some((first, sum)) => sum.checked_add(line.quantity).map(|sum| (*first, sum)),
        };
        match sum {
            Ok(sum) => {
                wanted.insert(&line.sku, sum);
            }
            Err(error) => errors.push(FieldError::new(
                format!("/lines/{index}/quantity"),
                "out_of_range",
                format!("together with the lines before it {error}"),
            )),
        }
    }
    wanted
}

fn check_form(order: &PlaceOrder, config: &Config, errors: &mut Vec<FieldError>) {
    if order.cart_id.is_some() {
        errors.push(FieldError::new(
            "/cart_id",
            "unknown_cart",
            "there is no such cart",
        ));
    }
    if !is_email(&order.email) {
        errors.push(FieldError::new(
            "/email",
            "invalid",
            "must be an e-mail address",
        ));
    }
    errors.extend(order.shipping_address.check("/shipping_address"));
    if !config.shipping_minor.contains_key(&order.shipping_method) {
        let known: Vec<&str> = config.shipping_minor.keys().map(String::as_str).collect();
        let detail = format!("must be one of {}", known.join(", "));
        errors.push(FieldError::new(
            "/shipping_method",
            "unknown_shipping_method",
            detail,
        ));
    }
    if !config.gateways.contains(&order.payment.gateway) {
        let detail = format!("must be one of {}", config.gateways.join(", "));
        errors.push(FieldError::new(
            "/payment/gateway",
            "unknown_gateway",
            detail,
        ));
    }
    let token = &order.payment.token;
    let printable = token.bytes().all(|b| b.is_ascii_graphic());
    if token.is_empty() || token.len() > TOKEN_LENGTH_MAX || !printable {
        let detail = format!("must be 1 to {TOKEN_LENGTH_MAX} visible ASCII characters");
        errors.push(FieldError::new("/payment/token", "invalid", detail));
    }
    if !order.coupons.is_empty() {
        errors.push(FieldError::new(
            "/coupons/0",
            "unknown_coupon",
            "there is no such coupon",
        ));
    }
    if order.on_shortage != OnShortage::Reject {
        let detail = "this shop takes \"reject\" only";
        errors.push(FieldError::new("/on_shortage", "not_offered", detail));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shopzen_contracts::orders::OrderLineInput;

    use super::*;

    fn order(lines: &[(&str, i64)]) -> PlaceOrder {
        let lines = lines
            .iter()
            .map(|(sku, quantity)| OrderLineInput {
                sku: Sku::parse(*sku).unwrap(),
                quantity: Quantity::parse(*quantity).unwrap(),
            })
            .collect();
        let json = serde_json::json!({
            "email": "ada@example.com",
            "shipping_address": {
                "name": "Ada", "line1": "1 Row", "postal_code": "N1", "city": "London", "country": "GB",
            },
            "payment": { "gateway": "sandbox", "token": "tok_ok" },
        });
        PlaceOrder {
            lines,
            ..serde_json::from_value(json).unwrap()
        }
    }

    fn prices(prices: &[(&str, i64)]) -> HashMap<String, Offer> {
        prices
            .iter()
            .map(|(sku, minor)| {
                let unit_price = Money::new(*minor, Currency::EUR);
                (
                    String::from(*sku),
                    Offer {
                        name: String::from(*sku),
                        unit_price,
                        taxable: true,
                    },
                )
            })
            .collect()
    }

    fn agreed(order: &PlaceOrder, known: &[(&str, i64)]) -> Result<Agreement, Problem> {
        agree(
            order,
            &prices(known),
            &Config::default(),
            jiff::Timestamp::UNIX_EPOCH,
        )
    }

    #[test]
    fn lines_of_one_sku_are_one_line() {
        let agreement = agreed(
            &order(&[("A", 2), ("B", 1), ("A", 3)]),
            &[("A", 100), ("B", 7)],
        )
        .unwrap();
        let lines: Vec<_> = agreement
            .lines
            .iter()
            .map(|line| (line.sku.as_str(), line.quantity.get()))
            .collect();
        assert_eq!(lines, [("A", 5), ("B", 1)]);
        assert_eq!(agreement.total.amount_minor, 507);
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let mut order = order(&[("A", 1), ("NOPE", 1)]);
        order.email = "ada".into();
        order.shipping_address.country = "Germany".into();
        order.payment.gateway = "barter".into();
        let problem = agreed(&order, &[("A", 1)]).unwrap_err();
        let pointers: Vec<_> = problem
            .errors
            .iter()
            .map(|error| error.pointer.as_str())
            .collect();
        assert_eq!(
            pointers,
            [
                "/email",
                "/lines/1/sku",
                "/payment/gateway",
                "/shipping_address/country"
            ]
        );
    }

    #[test]
    fn a_price_that_changed_is_not_charged() {
        let mut order = order(&[("A", 2)]);
        order.expected_total = Some(Money::new(199, Currency::EUR));
        let problem = agreed(&order, &[("A", 100)]).unwrap_err();
        assert_eq!(
            (problem.status, problem.code.as_str()),
            (409, "price_changed")
        );
        assert_eq!(problem.members["current_total"]["amount_minor"], 200);
    }

    #[test]
    fn a_total_cannot_overflow() {
        for price in [i64::MAX, i64::MAX / 2, TOTAL_MINOR_MAX] {
            let problem = agreed(&order(&[("A", 9_999)]), &[("A", price)]).unwrap_err();
            assert_eq!(problem.code, "total_too_large");
        }
    }

    proptest! {
        #[test]
        fn the_total_is_the_sum_of_the_lines(
            quantities in proptest::collection::vec(1_i64..100, 1..20), price in 0_i64..1_000_000,
        ) {
            let lines: Vec<(&str, i64)> = quantities.iter().map(|quantity| ("A", *quantity)).collect();
            let agreement = agreed(&order(&lines), &[("A", price)]).unwrap();
            prop_assert_eq!(agreement.total.amount_minor, quantities.iter().sum::<i64>() * price);
            prop_assert!(agreement.tax.amount_minor <= agreement.total.amount_minor);
        }
    }
}
