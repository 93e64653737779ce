//! What the shop sells, read the way a client reads it.

use shopzen_contracts::{
    Sku,
    catalog::{Product, ProductPage},
};
use url::form_urlencoded::byte_serialize;

use super::{connection::Connection, target::Target};
use crate::exit::{Exit, Failure};

/// Products that are looked at. The real load is spread over fewer than a shop may have.
const PRODUCTS_MAX: usize = 1_000;

#[derive(Debug)]
pub struct Catalogue {
    pub products: Vec<Product>,
    /// The addresses of the pages they stood on.
    pub pages: Vec<String>,
}

impl Catalogue {
    /// The products of the list that `query` asks for, the first [`PRODUCTS_MAX`] of them.
    pub async fn read(
        target: &Target,
        connection: &mut Connection,
        query: &str,
    ) -> Result<Self, Failure> {
        let mut catalogue = Self {
            products: Vec::new(),
            pages: Vec::new(),
        };
        let mut cursor = None;
        loop {
            let mut path = format!("/api/v1/products?{query}");
            if let Some(cursor) = &cursor {
                path.push_str("&cursor=");
                path.extend(byte_serialize(String::as_bytes(cursor)));
            }
            let page: ProductPage = target.read(connection, &path).await?;
            catalogue.pages.push(path);
            for summary in page.items {
                if catalogue.products.len() == PRODUCTS_MAX {
                    return Ok(catalogue);
                }
                let path = product_path(&summary.id.to_string());
                catalogue
                    .products
                    .push(target.read(connection, &path).await?);
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(catalogue);
            }
        }
    }

    /// The SKUs to buy from, as many as possible, so that `units` bought at random among them are
    /// there: each has its share of them.
    pub fn skus_for(&self, units: u64) -> Result<Vec<Sku>, Failure> {
        let variants = self.products.iter().flat_map(|product| &product.variants);
        let mut stock: Vec<(u64, &Sku)> = variants
            .filter_map(|variant| Some((u64::try_from(variant.available).ok()?, &variant.sku)))
            .collect();
        stock.sort_unstable_by(|a, b| b.cmp(a));
        let enough = (1_u64..)
            .zip(&stock)
            .filter(|(skus, (least, _))| least.saturating_mul(*skus) >= units)
            .last();
        let Some((skus, _)) = enough else {
            let there: u64 = stock.iter().map(|(available, _)| available).sum();
            return Err(Failure::new(
                Exit::Config,
                format!(
                    "the shop has too little to sell: {there} units of {} SKUs, and up to {units} \
                     may be bought",
                    stock.len()
                ),
                "`shopzen seed --products 1000` adds products with 1,000 to 100,000 units each; \
                 or measure for fewer --seconds, or with fewer --shoppers",
            ));
        };
        stock.truncate(usize::try_from(skus).unwrap_or(usize::MAX));
        Ok(stock.into_iter().map(|(_, sku)| sku.clone()).collect())
    }
}

pub fn product_path(id: &str) -> String {
    format!("/api/v1/products/{id}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn catalogue(available: &[i64]) -> Catalogue {
        let variants: Vec<_> = (0..)
            .zip(available)
            .map(|(number, available)| {
                json!({
                    "sku": format!("SKU-{number}"), "options": {}, "available": available,
                    "price": {"amount_minor": 100, "currency": "EUR"}, "taxable": true,
                })
            })
            .collect();
        let product = json!({
            "id": "01890000-0000-7000-8000-000000000001", "slug": "s", "name": "n",
            "description": "", "brand": null, "categories": [], "images": [], "options": {},
            "variants": variants, "version": 1,
        });
        Catalogue {
            products: vec![serde_json::from_value(product).unwrap()],
            pages: Vec::new(),
        }
    }

    fn names(available: &[i64], units: u64) -> Vec<String> {
        let skus = catalogue(available).skus_for(units).unwrap();
        skus.into_iter().map(String::from).collect()
    }

    #[test]
    fn the_load_is_spread_over_as_many_skus_as_can_carry_it() {
        assert_eq!(names(&[100, 100, 100], 300), ["SKU-2", "SKU-1", "SKU-0"]);
        assert_eq!(names(&[100, 5, 100, 0, -3], 200), ["SKU-2", "SKU-0"]);
        assert_eq!(names(&[1, 1_000], 500), ["SKU-1"]);
    }

    #[test]
    fn too_little_stock_says_what_to_do() {
        for available in [&[][..], &[0], &[100, 100]] {
            let failure = catalogue(available).skus_for(201).unwrap_err();
            assert_eq!(failure.exit, Exit::Config);
            assert!(
                failure.to_string().contains("shopzen seed --products 1000"),
                "{failure}"
            );
        }
    }
}
