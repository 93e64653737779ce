//! Which column of the file holds what.

use csv::{ByteRecord, StringRecord};

/// Where each column stands. Shopify renamed its columns in 2025; both names are known. Columns
/// that are not listed here are ignored.
#[derive(Debug)]
pub(super) struct Columns {
    /// How many columns there are, with those that are ignored.
    pub(super) count: usize,
    pub(super) handle: usize,
    pub(super) title: usize,
    pub(super) price: usize,
    pub(super) body: Option<usize>,
    pub(super) vendor: Option<usize>,
    pub(super) product_category: Option<usize>,
    pub(super) google_category: Option<usize>,
    pub(super) product_type: Option<usize>,
    pub(super) tags: Option<usize>,
    pub(super) published: Option<usize>,
    pub(super) status: Option<usize>,
    pub(super) options: [OptionColumns; 3],
    pub(super) sku: Option<usize>,
    pub(super) grams: Option<usize>,
    pub(super) inventory_quantity: Option<usize>,
    pub(super) compare_at_price: Option<usize>,
    pub(super) taxable: Option<usize>,
    pub(super) image: Option<usize>,
    pub(super) image_position: Option<usize>,
    pub(super) image_alt: Option<usize>,
    pub(super) variant_image: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct OptionColumns {
    pub(super) name: Option<usize>,
    pub(super) value: Option<usize>,
}

const HANDLE: [&str; 2] = ["Handle", "URL handle"];
const TITLE: [&str; 1] = ["Title"];
const PRICE: [&str; 2] = ["Variant Price", "Price"];

impl Columns {
    /// Finds the columns by the header, whatever their order.
    pub(super) fn find(header: &ByteRecord) -> Result<Self, String> {
        let header = StringRecord::from_byte_record_lossy(header.clone());
        let find = |names: &[&str]| {
            header.iter().position(|column| {
                names
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case(column.trim()))
            })
        };
        let require = |names: &[&str]| {
            find(names).ok_or_else(|| {
                format!(
                    "the column `{}` is missing; the first line must name the columns as Shopify \
                     exports them, separated by commas, among them `{}`, `{}` and `{}`",
                    names[0], HANDLE[0], TITLE[0], PRICE[0]
                )
            })
        };
        let option = |number: usize| OptionColumns {
            name: find(&[&format!("Option{number} Name")]),
            value: find(&[&format!("Option{number} Value")]),
        };
        Ok(Self {
            count: header.len(),
            handle: require(&HANDLE)?,
            title: require(&TITLE)?,
            price: require(&PRICE)?,
            body: find(&["Body (HTML)", "Description"]),
            vendor: find(&["Vendor"]),
            product_category: find(&["Product Category"]),
            google_category: find(&["Google Shopping / Google Product Category"]),
            product_type: find(&["Type"]),
            tags: find(&["Tags"]),
            published: find(&["Published", "Published on online store"]),
            status: find(&["Status"]),
            options: [option(1), option(2), option(3)],
            sku: find(&["Variant SKU", "SKU"]),
            grams: find(&["Variant Grams", "Weight value (grams)"]),
            inventory_quantity: find(&["Variant Inventory Qty", "Inventory quantity"]),
            compare_at_price: find(&["Variant Compare At Price", "Compare-at price"]),
            taxable: find(&["Variant Taxable", "Charge tax"]),
            image: find(&["Image Src", "Product image URL"]),
            image_position: find(&["Image Position"]),
            image_alt: find(&["Image Alt Text"]),
            variant_image: find(&["Variant Image", "Variant image URL"]),
        })
    }
}
