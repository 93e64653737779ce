//! What the samples say: one order's life, with every optional field set somewhere.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;
use shopzen_contracts::{
    Currency, Money, OrderId, ProductId, Quantity, Role, Scope, Sku, Slug,
    auth::{
        AccountRoles, GetAccountRoles, GetCustomerRoles, GetKeys, GetTrust, IssueOperatorToken,
        IssueToken, IssuedToken, KeySet, ListRoles, ListSigningKeys, RoleMeaning, Roles,
        RotateSigningKeys, ScopeMeaning, SetAccountRoles, SetCustomerRoles, SigningKey,
        SigningKeys, Trust,
    },
    catalog::{
        Categories, Category, Facet, FacetValue, GetProduct, Image, ImportProducts, ImportResult,
        ImportedProducts, ListCategories, ListProducts, Product, ProductChanged, ProductInput,
        ProductPage, ProductSummary, Sort, Suggest, Suggestions, UpsertProduct, Variant,
        VariantInput,
    },
    notify::{ListMails, Mail, MailKind, MailSent, Mails},
    orders::{
        AcceptedOrder, Address, CancelOrder, EndReason, GetOrder, GetProgress, ListOrders,
        OnShortage, Order, OrderCancelled, OrderConfirmed, OrderLine, OrderLineInput, OrderPage,
        OrderPlaced, OrderProgress, OrderRejected, OrderStatus, OrderSummary, OrdersProgressed,
        Payment, PaymentInput, PlaceOrder, ProgressLog, SummaryLine,
    },
    payments::{
        PaymentActionRequired, PaymentAuthorised, PaymentCaptureFailed, PaymentCaptured,
        PaymentDeclined, PaymentRefunded, PaymentStatus, PaymentUnknown, PaymentVoided,
        ReceiveWebhook, StoredWebhook,
    },
    privacy::Sealed,
    rights::scopes_of,
    stock::{
        AdjustStock, Availability, FeedLevel, GetLevels, ImportLevels, ImportedLevels, Level,
        Levels, LevelsChanged, ListMovements, MAIN_LOCATION, Movement, MovementKind, Movements,
        Shortage, StockAllocated, StockLevel, StockRejected, StockReleased, StockReserved,
    },
};
use uuid::Uuid;

use super::{Samples, accounts, audits, clients, factors, identities, people};

pub(super) fn samples() -> Samples {
    let mut samples = Samples::default();
    auth(&mut samples);
    clients::add(&mut samples);
    catalog(&mut samples);
    orders(&mut samples);
    stock(&mut samples);
    payments(&mut samples);
    notify(&mut samples);
    accounts::add(&mut samples);
    factors::add(&mut samples);
    identities::add(&mut samples);
    audits::add(&mut samples);
    people::add(&mut samples);
    samples
}

fn auth(samples: &mut Samples) {
    let issued = IssuedToken {
        access_token: "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFUzI1NiIsImtpZCI6IjEifQ.e30.c2ln".to_owned(),
        token_type: "Bearer".to_owned(),
        expires_in: 900,
        scope: "catalog:write stock:write".to_owned(),
        refresh_token: None,
        id_token: None,
    };
    let asked = IssueToken {
        email: "staff@demo.test".to_owned(),
    };
    samples.command(&asked, &issued);
    samples.command(&IssueOperatorToken {}, &issued);
    let key = json!({
        "kty": "EC",
        "crv": "P-256",
        "alg": "ES256",
        "use": "sig",
        "kid": "1",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    });
    let trust = Trust {
        issuer: "https://shop.example".to_owned(),
        keys: vec![key.clone()],
        revoked: vec![id(1)],
    };
    samples.query(&GetTrust {}, &trust);
    samples.query(&GetKeys {}, &KeySet { keys: vec![key] });
    let key = |kid: &str, signs_from, believed_until| SigningKey {
        kid: kid.to_owned(),
        created_at: noon(),
        signs_from,
        believed_until,
    };
    let keys = SigningKeys {
        items: vec![key("2", noon(), None), key("1", noon(), Some(noon()))],
    };
    samples.query(&ListSigningKeys {}, &keys);
    samples.command(&RotateSigningKeys { withdraw: true }, &keys);
    roles(samples);
}

fn roles(samples: &mut Samples) {
    let place = ScopeMeaning {
        scope: Scope::OrdersPlace,
        meaning: Scope::OrdersPlace.meaning().to_owned(),
    };
    let shopper = RoleMeaning {
        role: Role::Shopper,
        scopes: vec![place],
    };
    let roles = Roles {
        items: vec![shopper],
        next_cursor: None,
    };
    samples.query(&ListRoles {}, &roles);
    let of_ada = AccountRoles {
        account_id: Uuid::from_u128(42),
        email: "ada@example.com".to_owned(),
        roles: vec![Role::Shopper, Role::Support],
        scopes: scopes_of(&[Role::Support]),
        version: 2,
    };
    let (account_id, email) = (of_ada.account_id, of_ada.email.clone());
    samples.query(&GetCustomerRoles { account_id }, &of_ada);
    let set = SetCustomerRoles {
        account_id,
        roles: of_ada.roles.clone(),
    };
    samples.command(&set, &of_ada);
    let get = GetAccountRoles {
        email: email.clone(),
    };
    samples.query(&get, &of_ada);
    let set = SetAccountRoles {
        email,
        roles: of_ada.roles.clone(),
    };
    samples.command(&set, &of_ada);
}

fn catalog(samples: &mut Samples) {
    samples.query(
        &ListProducts {
            q: Some("brass lamp".to_owned()),
            category: Some("lighting".to_owned()),
            brand: Some("Havn".to_owned()),
            min_price: Some(1_000),
            max_price: Some(10_000),
            in_stock: Some(true),
            options: BTreeMap::from([("color".to_owned(), "brass".to_owned())]),
            sort: Sort::PriceDescending,
            facets: true,
            limit: Some(24),
            cursor: Some("eyJpZCI6MX0".to_owned()),
        },
        &ProductPage {
            items: vec![ProductSummary {
                id: product().id,
                slug: product().slug,
                name: product().name,
                image: Some(image()),
                price_from: euro(2_499),
                available: 17,
            }],
            next_cursor: Some("eyJpZCI6Mn0".to_owned()),
            facets: Some(vec![Facet {
                name: "option.color".to_owned(),
                values: vec![FacetValue {
                    value: "brass".to_owned(),
                    count: 1,
                }],
            }]),
        },
    );
    samples.query(
        &GetProduct {
            id_or_slug: "table-lamp".to_owned(),
        },
        &product(),
    );
    samples.query(
        &ListCategories {},
        &Categories {
            items: vec![Category {
                slug: slug("lighting"),
                name: "Lighting".to_owned(),
                product_count: 2,
                children: vec![Category {
                    slug: slug("table-lamps"),
                    name: "Table lamps".to_owned(),
                    product_count: 1,
                    children: Vec::new(),
                }],
            }],
            next_cursor: None,
        },
    );
    samples.query(
        &Suggest {
            q: "lam".to_owned(),
        },
        &Suggestions {
            items: vec!["lamp".to_owned(), "lampshade".to_owned()],
        },
    );
    samples.command(&UpsertProduct(product_input()), &product());
    samples.command(
        &ImportProducts {
            products: vec![product_input(), product_input()],
        },
        &ImportedProducts {
            results: vec![
                ImportResult::Created,
                ImportResult::Refused {
                    pointer: "/variants/0/price".to_owned(),
                    detail: "must not be negative".to_owned(),
                },
            ],
        },
    );
    samples.event(&ProductChanged {
        product: product(),
        published: true,
    });
}

fn orders(samples: &mut Samples) {
    samples.command(
        &PlaceOrder {
            lines: vec![line_input()],
            cart_id: Some("k7Zb0cW1Rj2mT9uXaQ4v8A".to_owned()),
            email: "ada@example.com".to_owned(),
            shipping_address: Address {
                name: "Ada Lovelace".to_owned(),
                line1: "12 St James's Square".to_owned(),
                line2: Some("Second floor".to_owned()),
                postal_code: "SW1Y 4JH".to_owned(),
                city: "London".to_owned(),
                region: Some("Greater London".to_owned()),
                country: "GB".to_owned(),
            },
            shipping_method: "standard".to_owned(),
            payment: payment_input(),
            expected_total: Some(euro(5_498)),
            coupons: vec!["SPRING10".to_owned()],
            on_shortage: OnShortage::ShipAvailable,
        },
        &AcceptedOrder {
            order: order(OrderStatus::Placed),
            order_token: Some("dGhlIHNlY3JldCBvZiBhIGd1ZXN0".to_owned()),
        },
    );
    samples.command(&CancelOrder { id: order_id() }, &ended_order());
    samples.query(&GetOrder { id: order_id() }, &order(OrderStatus::Confirmed));
    samples.query(
        &ListOrders {
            limit: Some(24),
            cursor: Some("eyJpZCI6MX0".to_owned()),
        },
        &OrderPage {
            items: vec![order(OrderStatus::Confirmed), ended_order()],
            next_cursor: None,
        },
    );
    samples.query(
        &GetProgress {
            id: order_id(),
            after: 1,
        },
        &ProgressLog {
            items: vec![progress()],
        },
    );
    samples.event(&OrderPlaced {
        order_id: order_id(),
        lines: vec![line_input()],
        total: euro(5_498),
        payment: payment_input(),
    });
    samples.event(&OrderConfirmed {
        order_id: order_id(),
        summary: summary(),
    });
    samples.event(&OrderRejected {
        order_id: order_id(),
        reason: EndReason::OutOfStock,
        shortages: vec![shortage()],
        summary: summary(),
    });
    samples.event(&OrderCancelled {
        order_id: order_id(),
        reason: EndReason::CancelledByShopper,
        summary: summary(),
    });
    samples.notice(&OrdersProgressed(vec![progress()]));
}

fn stock(samples: &mut Samples) {
    samples.query(
        &GetLevels { skus: vec![sku()] },
        &Levels {
            items: vec![Level {
                sku: sku(),
                available: 17,
                backorderable: false,
            }],
        },
    );
    samples.query(
        &ListMovements {
            sku: sku(),
            limit: Some(24),
            cursor: Some("eyJpZCI6MX0".to_owned()),
        },
        &Movements {
            items: vec![Movement {
                id: id(7),
                sku: sku(),
                location: MAIN_LOCATION.to_owned(),
                kind: MovementKind::Adjusted,
                on_hand_delta: -3,
                reserved_delta: 0,
                allocated_delta: 0,
                order_id: Some(order_id()),
                reason: Some("three were broken".to_owned()),
                actor: Some(id(8)),
                at: noon(),
            }],
            next_cursor: Some("eyJpZCI6Mn0".to_owned()),
        },
    );
    samples.command(
        &AdjustStock {
            sku: sku(),
            location: MAIN_LOCATION.to_owned(),
            delta: -3,
            reason: "three were broken".to_owned(),
        },
        &StockLevel {
            sku: sku(),
            location: MAIN_LOCATION.to_owned(),
            on_hand: 22,
            reserved: 2,
            allocated: 3,
            available: 17,
            version: 9,
        },
    );
    samples.command(
        &ImportLevels {
            levels: vec![FeedLevel {
                sku: sku(),
                on_hand: 25,
            }],
        },
        &ImportedLevels {
            changed_count: 1,
            unchanged_count: 0,
        },
    );
    let order_id = order_id();
    samples.event(&StockReserved { order_id });
    samples.event(&StockRejected {
        order_id,
        shortages: vec![shortage()],
    });
    samples.event(&StockAllocated { order_id });
    samples.event(&StockReleased { order_id });
    samples.event(&LevelsChanged {
        change_id: id(6),
        levels: vec![Availability {
            sku: sku(),
            available: 17,
            version: 9,
        }],
    });
}

fn payments(samples: &mut Samples) {
    let (order_id, amount) = (order_id(), euro(5_498));
    samples.command(
        &ReceiveWebhook {
            gateway: "sandbox".to_owned(),
            id: "evt_019aab0000007000800000000000000c".to_owned(),
            timestamp: "1795348800".to_owned(),
            signature: "v1,7Y3gJc0tY5K5CB3wyNIxk5Yz0HWGvjuhXgqgYDf2v4o=".to_owned(),
            body: format!(r#"{{"type":"charge.authorised","data":{{"order_id":"{order_id}"}}}}"#),
        },
        &StoredWebhook { repeated: false },
    );
    samples.event(&PaymentAuthorised { order_id, amount });
    samples.event(&PaymentDeclined {
        order_id,
        code: "insufficient_funds".to_owned(),
    });
    samples.event(&PaymentActionRequired {
        order_id,
        url: "https://gateway.example/3ds/1".to_owned(),
    });
    samples.event(&PaymentUnknown { order_id });
    samples.event(&PaymentCaptured { order_id, amount });
    samples.event(&PaymentCaptureFailed {
        order_id,
        code: "capture_failed".to_owned(),
    });
    samples.event(&PaymentVoided { order_id, amount });
    samples.event(&PaymentRefunded { order_id, amount });
}

fn notify(samples: &mut Samples) {
    samples.query(
        &ListMails {
            order_id: Some(order_id()),
            limit: Some(24),
        },
        &Mails {
            items: vec![Mail {
                order_id: Some(order_id()),
                kind: MailKind::OrderConfirmed,
                recipient: "ada@example.com".to_owned(),
                subject: "Your order is confirmed".to_owned(),
                body: "Thank you, Ada.".to_owned(),
                state: "kept".to_owned(),
                created_at: noon(),
            }],
        },
    );
    samples.event(&MailSent {
        order_id: order_id(),
        kind: MailKind::OrderConfirmed,
    });
}

/// A `UUIDv7` of the morning the samples were written, told apart by its end.
pub(super) fn id(number: u64) -> Uuid {
    Uuid::from_u64_pair(0x019a_ab00_0000_7000, 0x8000_0000_0000_0000 | number)
}

pub(super) fn noon() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

pub(super) fn order_id() -> OrderId {
    OrderId(id(1))
}

pub(super) fn sku() -> Sku {
    Sku::parse("LAMP-BRASS").unwrap()
}

fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap()
}

fn two() -> Quantity {
    Quantity::parse(2).unwrap()
}

pub(super) fn euro(cents: i64) -> Money {
    Money::new(cents, Currency::EUR)
}

fn image() -> Image {
    Image {
        url: "/assets/demo/table-lamp.svg".to_owned(),
        alt: "A brass lamp on a table".to_owned(),
    }
}

fn product() -> Product {
    Product {
        id: ProductId(id(2)),
        slug: slug("table-lamp"),
        name: "Table lamp".to_owned(),
        description: "Turned brass, and a shade of linen.".to_owned(),
        brand: Some("Havn".to_owned()),
        categories: vec![slug("lighting"), slug("table-lamps")],
        images: vec![image()],
        options: BTreeMap::from([("color".to_owned(), vec!["brass".to_owned()])]),
        variants: vec![Variant {
            sku: sku(),
            price: euro(2_499),
            compare_at_price: Some(euro(2_999)),
            options: BTreeMap::from([("color".to_owned(), "brass".to_owned())]),
            available: 17,
            weight_grams: Some(1_400),
            taxable: true,
        }],
        version: 3,
    }
}

fn product_input() -> ProductInput {
    let product = product();
    ProductInput {
        slug: product.slug,
        name: product.name,
        description: product.description,
        brand: product.brand,
        categories: vec!["Lighting".to_owned(), "Table lamps".to_owned()],
        images: product.images,
        variants: product
            .variants
            .into_iter()
            .map(|variant| VariantInput {
                sku: variant.sku,
                price: variant.price,
                compare_at_price: variant.compare_at_price,
                options: variant.options,
                weight_grams: variant.weight_grams,
                taxable: variant.taxable,
            })
            .collect(),
        published: true,
    }
}

fn line_input() -> OrderLineInput {
    OrderLineInput {
        sku: sku(),
        quantity: two(),
    }
}

fn payment_input() -> PaymentInput {
    PaymentInput {
        gateway: "sandbox".to_owned(),
        token: "tok_ok".to_owned(),
    }
}

fn shortage() -> Shortage {
    Shortage {
        sku: sku(),
        requested: two(),
        available: 1,
    }
}

pub(super) fn order(status: OrderStatus) -> Order {
    Order {
        id: order_id(),
        status,
        reason: None,
        lines: vec![OrderLine {
            sku: sku(),
            name: "Table lamp, brass".to_owned(),
            quantity: two(),
            unit_price: euro(2_499),
            line_total: euro(4_998),
            shortage: None,
        }],
        subtotal: euro(4_998),
        discount: euro(0),
        shipping: euro(500),
        tax: euro(878),
        total: euro(5_498),
        payment: Payment {
            status: PaymentStatus::Pending,
            gateway: "sandbox".to_owned(),
        },
        placed_at: noon(),
        decide_by: None,
        version: 1,
    }
}

fn ended_order() -> Order {
    let mut order = order(OrderStatus::Rejected);
    order.reason = Some(EndReason::OutOfStock);
    order.lines[0].shortage = Some(shortage());
    order.decide_by = Some(noon());
    order
}

pub(super) fn progress() -> OrderProgress {
    OrderProgress {
        id: order_id(),
        version: 2,
        status: OrderStatus::Rejected,
        reason: Some(EndReason::OutOfStock),
        payment_status: PaymentStatus::None,
        shortages: vec![shortage()],
        at: noon(),
    }
}

fn summary() -> OrderSummary {
    OrderSummary {
        email: String::new(),
        sealed_email: Some(Sealed(
            "bm9uY2UtMTItYnl0ZXNzZWFsZWQgZS1tYWlsIGFkZHJlc3M".to_owned(),
        )),
        lines: vec![SummaryLine {
            name: "Table lamp, brass".to_owned(),
            quantity: two(),
            line_total: euro(4_998),
        }],
        total: euro(5_498),
    }
}
