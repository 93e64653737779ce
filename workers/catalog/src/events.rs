//! What can be bought, as stock tells it.

use std::collections::BTreeMap;

use shopzen_chassis::{Cx, Failure, Received};
use shopzen_contracts::{
    Sku,
    stock::{Availability, LevelsChanged},
};

use crate::{Catalog, index::Level, store};

/// Keeps the newest of what is known of each SKU, in whatever order it comes.
pub(crate) async fn on_levels_changed(
    cx: &mut Cx,
    catalog: &Catalog,
    events: &[Received<LevelsChanged>],
) -> Result<(), Failure> {
    let levels = newest(events);
    if levels.is_empty() {
        return Ok(());
    }
    let revision = store::save_levels(cx.db(), &levels).await?;
    let index = catalog.index.clone();
    cx.after_commit(move || {
        let mut index = index.write();
        index.add_levels(levels);
        index.saw_level_change(revision);
    });
    Ok(())
}

/// One level a SKU, in the order of SKUs.
fn newest(events: &[Received<LevelsChanged>]) -> Vec<Level> {
    let mut newest: BTreeMap<&Sku, Level> = BTreeMap::new();
    for told in events.iter().flat_map(|received| &received.event.levels) {
        let known = newest.get(&told.sku);
        if known.is_none_or(|known| known.version < told.version) {
            let Availability {
                sku,
                available,
                version,
            } = told.clone();
            newest.insert(
                &told.sku,
                Level {
                    sku,
                    available,
                    version,
                },
            );
        }
    }
    newest.into_values().collect()
}
