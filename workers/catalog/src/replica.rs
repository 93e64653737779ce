//! Keeps a replica's index in step with the database, and so with every other replica.

use shopzen_chassis::{Cx, Failure};

use crate::{
    Catalog,
    domain::CategoryTree,
    index::Seen,
    store::{self, After},
};

/// Products that are read at a time.
const PRODUCTS_MAX: usize = 500;

/// Fills the index before the first question is answered.
pub(crate) async fn load(cx: &mut Cx, catalog: &Catalog) -> Result<bool, Failure> {
    catch_up(cx, catalog).await
}

/// Puts into the index what it has not seen. A replica that is alone has seen everything.
pub(crate) async fn catch_up(cx: &mut Cx, catalog: &Catalog) -> Result<bool, Failure> {
    // What is committed after this is left for the next time.
    let committed = store::find_revisions(cx.db()).await?;
    let seen = catalog.index.read().seen();
    if committed.products > seen.products {
        catch_up_with_products(cx, catalog, seen, committed).await?;
    }
    if committed.levels > seen.levels {
        let levels = store::find_levels_after(cx.db(), seen.levels).await?;
        let mut index = catalog.index.write();
        index.add_levels(levels);
        index.set_seen_levels(committed.levels);
    }
    Ok(false)
}

async fn catch_up_with_products(
    cx: &mut Cx,
    catalog: &Catalog,
    seen: Seen,
    committed: Seen,
) -> Result<(), Failure> {
    let categories = store::find_categories(cx.db()).await?;
    let mut tree = CategoryTree::default();
    for category in categories.clone() {
        tree.insert(category);
    }
    catalog.index.write().add_categories(categories);
    let mut after = After::revision(seen.products);
    loop {
        let page = store::find_products_after(cx.db(), after, PRODUCTS_MAX, &tree).await?;
        catalog.index.write().add_products(page.products);
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    catalog.index.write().set_seen_products(committed.products);
    Ok(())
}
