//! `/`: what is for sale.

use askama::Template;
use axum::response::Response;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use shopzen_contracts::catalog::{Category, ListCategories, ListProducts, ProductSummary};

use crate::{
    answer::next_page, pages::assets::STYLE_SHEET, params::Params, problem::Refusal,
    request::Caller,
};

/// Of this many or fewer the page says how many are left.
const FEW: i64 = 5;
/// Categories of the first level in the bar.
const CATEGORIES_MAX: usize = 16;

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    style_sheet: &'static str,
    q: String,
    category: String,
    categories: Vec<Tab>,
    products: Vec<Card>,
    next: Option<String>,
}

struct Tab {
    name: String,
    slug: String,
    count: u64,
}

struct Card {
    slug: String,
    name: String,
    picture: Option<Picture>,
    price: String,
    availability: Availability,
}

struct Picture {
    url: String,
    alt: String,
}

enum Availability {
    Plenty,
    Few(i64),
    SoldOut,
}

pub(crate) async fn show(caller: Caller, mut params: Params) -> Result<Response, Refusal> {
    let filter = ListProducts {
        q: params.text("q"),
        category: params.text("category"),
        cursor: params.text("cursor"),
        ..ListProducts::default()
    };
    // Links from elsewhere bring parameters of their own; a page is no reason to refuse them.
    let (products, categories) = tokio::join!(
        caller.query_for(&filter),
        caller.query_for(&ListCategories {}),
    );
    let products = products?;
    let (q, category) = (
        filter.q.unwrap_or_default(),
        filter.category.unwrap_or_default(),
    );
    let next = products.next_cursor.map(|cursor| {
        let kept = [("q", &q), ("category", &category)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
            .collect::<Vec<_>>()
            .join("&");
        next_page("/", Some(&kept), &cursor)
    });
    super::page(&Home {
        style_sheet: &STYLE_SHEET,
        // Without them the page is poorer, and still a page.
        categories: categories.map(|tree| tabs(tree.items)).unwrap_or_default(),
        products: products.items.into_iter().map(Card::from).collect(),
        q,
        category,
        next,
    })
}

fn tabs(categories: Vec<Category>) -> Vec<Tab> {
    let tab = |category: Category| Tab {
        name: category.name,
        slug: category.slug.into(),
        count: category.product_count,
    };
    categories
        .into_iter()
        .take(CATEGORIES_MAX)
        .map(tab)
        .collect()
}

impl From<ProductSummary> for Card {
    fn from(product: ProductSummary) -> Self {
        // Only what the page's policy lets a browser load; anything else is a broken picture.
        let may_be_shown = |url: &str| url.starts_with("https://") || url.starts_with('/');
        let picture = product.image.filter(|image| may_be_shown(&image.url));
        Self {
            slug: product.slug.into(),
            picture: picture.map(|image| Picture {
                url: image.url,
                alt: image.alt,
            }),
            name: product.name,
            price: product.price_from.to_string(),
            availability: match product.available {
                ..=0 => Availability::SoldOut,
                count @ ..=FEW => Availability::Few(count),
                _ => Availability::Plenty,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use shopzen_contracts::{Currency, Money, ProductId, Slug, catalog::Image};
    use uuid::Uuid;

    use super::*;

    fn summary(image: Option<&str>, available: i64) -> ProductSummary {
        ProductSummary {
            id: ProductId(Uuid::from_u128(1)),
            slug: Slug::parse("lamp").unwrap(),
            name: "<b>Lamp</b> & \"more\"".to_owned(),
            image: image.map(|url| Image {
                url: url.to_owned(),
                alt: "A lamp".to_owned(),
            }),
            price_from: Money::new(1299, Currency::EUR),
            available,
        }
    }

    fn rendered(products: Vec<ProductSummary>) -> String {
        Home {
            style_sheet: "/assets/shop.css",
            q: "\"><script>".to_owned(),
            category: String::new(),
            categories: Vec::new(),
            products: products.into_iter().map(Card::from).collect(),
            next: Some("/?cursor=x".to_owned()),
        }
        .render()
        .unwrap()
    }

    #[test]
    fn what_people_wrote_is_text_and_never_markup() {
        let html = rendered(vec![summary(Some("/assets/demo/x.svg\" onerror=\"1"), 9)]);
        assert!(
            !html.contains("<script") && !html.contains("<b>Lamp"),
            "{html}"
        );
        assert!(!html.contains("\" onerror"), "{html}");
        assert!(html.contains("12.99 EUR"), "{html}");
    }

    #[test]
    fn the_page_says_how_many_are_left() {
        assert!(rendered(vec![summary(None, 0)]).contains("Sold out"));
        assert!(rendered(vec![summary(None, 3)]).contains("3 left"));
        assert!(rendered(vec![summary(None, 300)]).contains("In stock"));
    }

    #[test]
    fn a_picture_that_browsers_would_not_load_is_left_out() {
        for url in [
            "http://example.com/a.png",
            "javascript:alert(1)",
            "data:image/png,",
        ] {
            assert!(Card::from(summary(Some(url), 1)).picture.is_none(), "{url}");
        }
        assert!(
            Card::from(summary(Some("https://example.com/a.png"), 1))
                .picture
                .is_some()
        );
    }
}
