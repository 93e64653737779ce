//! Changes of products, by staff and by feeds.

use std::collections::HashSet;

use serde_json::json;
use shopzen_chassis::{Act, Answers, Cause, Cx, Failure, Request};
use shopzen_contracts::{
    FieldError, Problem, ProductId, Sku, Slug,
    catalog::{ImportProducts, ImportResult, ImportedProducts, Product, UpsertProduct},
};

use crate::{
    Catalog,
    domain::{CategoryTree, Refusal, Shelf, Stored, Taken, Wish},
    store,
};

pub(crate) async fn upsert_product(
    cx: &mut Cx,
    catalog: &Catalog,
    requests: &[Request<UpsertProduct>],
) -> Answers<Product> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(upsert(cx, catalog, request).await?);
    }
    Ok(answers)
}

pub(crate) async fn import_products(
    cx: &mut Cx,
    catalog: &Catalog,
    requests: &[Request<ImportProducts>],
) -> Answers<ImportedProducts> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(import(cx, catalog, request).await?);
    }
    Ok(answers)
}

async fn upsert(
    cx: &mut Cx,
    catalog: &Catalog,
    request: &Request<UpsertProduct>,
) -> Result<Result<Product, Problem>, Failure> {
    let UpsertProduct(input) = &request.body;
    let wish = Wish {
        input,
        if_match: request.if_match.as_deref(),
    };
    let Changed {
        outcomes,
        before,
        after,
    } = change(cx, catalog, &[wish], &request.cause).await?;
    Ok(match (outcomes.into_iter().next(), after) {
        (Some(Ok(taken)), Some(after)) => {
            let (before, after) = {
                let index = catalog.index.read();
                let shown = |product: &Stored| product.product(|sku| index.available(sku));
                (before.as_ref().map(shown), shown(&after))
            };
            if taken == Taken::Unchanged {
                cx.changed_nothing(request);
            } else {
                let act = Act::on(format!("product {}", after.slug));
                cx.record(request, act.from(&before).to(&after));
            }
            Ok(after)
        }
        (Some(Err(refusal)), _) => Err(refusal.into()),
        (Some(Ok(_)) | None, _) => {
            return Err(Failure::Inconsistent(
                "a product was taken and is not there".to_owned(),
            ));
        }
    })
}

async fn import(
    cx: &mut Cx,
    catalog: &Catalog,
    request: &Request<ImportProducts>,
) -> Result<Result<ImportedProducts, Problem>, Failure> {
    let products = &request.body.products;
    if products.len() > ImportProducts::PRODUCTS_MAX {
        let detail = format!("must be at most {}", ImportProducts::PRODUCTS_MAX);
        return Ok(Err(Problem::invalid(vec![FieldError::new(
            "/products",
            "too_many",
            detail,
        )])));
    }
    let wishes: Vec<Wish<'_>> = products
        .iter()
        .map(|input| Wish {
            input,
            if_match: None,
        })
        .collect();
    let outcomes = change(cx, catalog, &wishes, &request.cause).await?.outcomes;
    match imported(&wishes, &outcomes) {
        Some(act) => cx.record(request, act),
        None => cx.changed_nothing(request),
    }
    let results = outcomes
        .into_iter()
        .map(|outcome| match outcome {
            Ok(Taken::Created) => ImportResult::Created,
            Ok(Taken::Updated) => ImportResult::Updated,
            Ok(Taken::Unchanged) => ImportResult::Unchanged,
            Err(refusal) => {
                let (pointer, detail) = refusal.first();
                ImportResult::Refused { pointer, detail }
            }
        })
        .collect();
    Ok(Ok(ImportedProducts { results }))
}

/// What is kept of a feed: which products it changed. None where it changed none.
fn imported(wishes: &[Wish<'_>], outcomes: &[Result<Taken, Refusal>]) -> Option<Act> {
    let slugs = |wanted: Taken| -> Vec<&str> {
        let both = wishes.iter().zip(outcomes);
        let those = both.filter(|(_, outcome)| **outcome == Ok(wanted));
        those.map(|(wish, _)| wish.input.slug.as_str()).collect()
    };
    let (created, updated) = (slugs(Taken::Created), slugs(Taken::Updated));
    let is_any = !created.is_empty() || !updated.is_empty();
    let act = Act::on("products of a feed");
    is_any.then(|| act.to(&json!({ "created": created, "updated": updated })))
}

/// What became of wishes.
struct Changed {
    outcomes: Vec<Result<Taken, Refusal>>,
    /// The last one's product as it was.
    before: Option<Stored>,
    /// The same as it is now.
    after: Option<Stored>,
}

/// Makes wishes come true, each by itself, and tells what changed.
async fn change(
    cx: &mut Cx,
    catalog: &Catalog,
    wishes: &[Wish<'_>],
    cause: &Cause,
) -> Result<Changed, Failure> {
    // Whoever changes products does so alone, so everything read from here on stays as it is.
    let revision = store::lock_products(cx.db()).await?;
    let mut shelf = take_down(cx, wishes).await?;
    let last = |shelf: &Shelf| shelf.find(&wishes.last()?.input.slug).cloned();
    let before = last(&shelf);
    let mut outcomes = Vec::with_capacity(wishes.len());
    for wish in wishes {
        outcomes.push(shelf.take(*wish, ProductId(cx.new_id())));
    }
    let done = Changed {
        outcomes,
        before,
        after: last(&shelf),
    };
    let (changed, missing) = shelf.into_changes();
    if changed.is_empty() {
        return Ok(done);
    }
    let revision = revision + 1;
    let now = cx.now();
    store::insert_categories(cx.db(), &missing).await?;
    store::save_products(cx.db(), &changed, revision, now).await?;
    store::save_revision_of_products(cx.db(), revision).await?;
    {
        let index = catalog.index.read();
        for product in &changed {
            cx.publish(&product.changed(|sku| index.available(sku)), cause);
        }
    }
    let index = catalog.index.clone();
    cx.after_commit(move || {
        let mut index = index.write();
        index.add_categories(missing);
        index.add_products(changed);
        index.saw_product_change(revision);
    });
    Ok(done)
}

/// Takes everything that wishes are about out of the database.
async fn take_down(cx: &mut Cx, wishes: &[Wish<'_>]) -> Result<Shelf, Failure> {
    let inputs = || wishes.iter().map(|wish| wish.input);
    let slugs: Vec<&Slug> = inputs().map(|input| &input.slug).collect();
    let skus: HashSet<&Sku> = inputs()
        .flat_map(|input| &input.variants)
        .map(|variant| &variant.sku)
        .collect();
    let mut tree = CategoryTree::default();
    for category in store::find_categories(cx.db()).await? {
        tree.insert(category);
    }
    let products = store::find_products_by_slug(cx.db(), &slugs, &tree).await?;
    let owners = store::find_owners(cx.db(), &skus.into_iter().collect::<Vec<_>>()).await?;
    Ok(Shelf::new(products, owners, tree))
}
