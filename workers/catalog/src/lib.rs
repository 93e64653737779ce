//! What is for sale: products, their variants, categories and prices.
//!
//! The database is the truth; what shoppers ask is answered from an index in memory, which holds every
//! published product. A replica puts its own changes into its index once they are committed, and looks
//! for those of others twice a second. What can be bought of a SKU comes from stock's events.

pub mod feed;

mod commands;
mod config;
mod domain;
mod events;
mod index;
mod queries;
mod replica;
mod store;

use std::{
    sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use shopzen_chassis::{Kinds, Worker};
use shopzen_contracts::{
    Service,
    catalog::{GetProduct, ImportProducts, ListCategories, ListProducts, Suggest, UpsertProduct},
    stock::LevelsChanged,
};

pub use config::Config;

use index::Index;

/// How often a replica looks for what others changed.
const CATCH_UP_EVERY: Duration = Duration::from_millis(500);

/// What the handlers need besides the transaction.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    index: SharedIndex,
}

/// The index, for as many readers as there are, or one writer. Nobody waits for anything else while
/// they hold it.
#[derive(Clone, Debug, Default)]
struct SharedIndex(Arc<RwLock<Index>>);

impl SharedIndex {
    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.0.read().expect("nobody panics while writing it")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.0.write().expect("nobody panics while writing it")
    }
}

pub fn worker(config: Config) -> Worker {
    let (database, catalog) = (config.into_database(), Catalog::default());
    Worker::builder(Service::Catalog, &store::MIGRATOR, database, catalog)
        .at_start(replica::load)
        .on_events(
            Kinds::default().in_passing::<LevelsChanged>(),
            events::on_levels_changed,
        )
        .on_command::<UpsertProduct, _>(commands::upsert_product)
        .on_command::<ImportProducts, _>(commands::import_products)
        .answer::<ListProducts, _>(queries::list_products)
        .answer::<GetProduct, _>(queries::get_product)
        .answer::<ListCategories, _>(queries::list_categories)
        .answer::<Suggest, _>(queries::suggest)
        .every("catch up", CATCH_UP_EVERY, replica::catch_up)
        .build()
}
