//! What others ask of us.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use shopzen_chassis::{Act, Answers, Cx, Failure, Request};
use shopzen_contracts::{
    FieldError, Problem,
    stock::{AdjustStock, ImportLevels, ImportedLevels, MAIN_LOCATION, MovementKind, StockLevel},
};

use crate::{
    Stock,
    domain::{Deltas, feed_delta},
    events::announce,
    store::{self, NewMovement},
};

/// The most that can be on hand, and the most that one adjustment adds or takes.
const COUNT_MAX: i64 = 1_000_000;
const REASON_LENGTH_MAX: usize = 200;

/// Corrects what is on hand.
pub(crate) async fn adjust(
    cx: &mut Cx,
    _: &Stock,
    requests: &[Request<AdjustStock>],
) -> Answers<StockLevel> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(match check(request) {
            Err(problem) => Err(problem),
            Ok(()) => adjust_one(cx, request).await?,
        });
    }
    Ok(answers)
}

fn check(request: &Request<AdjustStock>) -> Result<(), Problem> {
    let AdjustStock {
        location,
        delta,
        reason,
        sku: _,
    } = &request.body;
    let mut errors = Vec::new();
    if location != MAIN_LOCATION {
        let detail = format!("the only location is {MAIN_LOCATION:?}");
        errors.push(FieldError::new("/location", "unknown_location", detail));
    }
    if *delta == 0 || !(-COUNT_MAX..=COUNT_MAX).contains(delta) {
        let detail = format!("must be from -{COUNT_MAX} to {COUNT_MAX} and not 0");
        errors.push(FieldError::new("/delta", "out_of_range", detail));
    }
    let length = reason.chars().count();
    if reason.trim().is_empty() || length > REASON_LENGTH_MAX || reason.contains('\0') {
        let detail = format!("must be 1 to {REASON_LENGTH_MAX} characters");
        errors.push(FieldError::new("/reason", "wrong_length", detail));
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Problem::invalid(errors))
    }
}

async fn adjust_one(
    cx: &mut Cx,
    request: &Request<AdjustStock>,
) -> Result<Result<StockLevel, Problem>, Failure> {
    let AdjustStock {
        sku,
        delta,
        reason,
        location: _,
    } = &request.body;
    let levels = store::lock_levels(cx.db(), &[sku.as_str()]).await?;
    let Some(level) = levels.get(sku.as_str()) else {
        return Ok(Err(Problem::not_found("SKU")));
    };
    let held = level.reserved + level.allocated;
    if !(held..=COUNT_MAX).contains(&(level.on_hand + delta)) {
        let detail = format!(
            "{} are on hand and {held} of them are held for orders; there can be {COUNT_MAX} at most",
            level.on_hand
        );
        return Ok(Err(Problem::new(409, "not_enough_on_hand", detail)
            .with("on_hand", level.on_hand)
            .with("held", held)));
    }
    let deltas = Deltas {
        on_hand: *delta,
        ..Deltas::default()
    };
    let movement = NewMovement {
        id: cx.new_id(),
        sku: sku.as_str(),
        kind: MovementKind::Adjusted,
        deltas,
        order_id: None,
        reason: Some(reason),
        actor: request.caller.account_id(),
    };
    let at = cx.now();
    store::move_levels(cx.db(), &[movement], at).await?;
    let (before, after) = (level.clone(), level.moved(deltas));
    announce(cx, &[after.availability()?], &request.cause);
    let (before, after) = (before.into_level()?, after.into_level()?);
    cx.record(
        request,
        Act::on(format!("SKU {sku}")).from(&before).to(&after),
    );
    Ok(Ok(after))
}

/// Applies what a feed says is on hand.
pub(crate) async fn import_levels(
    cx: &mut Cx,
    _: &Stock,
    requests: &[Request<ImportLevels>],
) -> Answers<ImportedLevels> {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        answers.push(match check_import(request) {
            Err(problem) => Err(problem),
            Ok(said) => Ok(import(cx, request, &said).await?),
        });
    }
    Ok(answers)
}

fn check_import(request: &Request<ImportLevels>) -> Result<BTreeMap<&str, i64>, Problem> {
    let levels = &request.body.levels;
    if levels.len() > ImportLevels::LEVELS_MAX {
        let detail = format!("must be at most {}", ImportLevels::LEVELS_MAX);
        return Err(Problem::invalid(vec![FieldError::new(
            "/levels", "too_many", detail,
        )]));
    }
    let errors: Vec<FieldError> = levels
        .iter()
        .enumerate()
        .filter(|(_, level)| !(0..=COUNT_MAX).contains(&level.on_hand))
        .map(|(index, _)| {
            let pointer = format!("/levels/{index}/on_hand");
            FieldError::new(
                pointer,
                "out_of_range",
                format!("must be from 0 to {COUNT_MAX}"),
            )
        })
        .collect();
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    Ok(levels
        .iter()
        .map(|level| (level.sku.as_str(), level.on_hand))
        .collect())
}

async fn import(
    cx: &mut Cx,
    request: &Request<ImportLevels>,
    said: &BTreeMap<&str, i64>,
) -> Result<ImportedLevels, Failure> {
    let skus: Vec<&str> = said.keys().copied().collect();
    store::insert_empty_levels(cx.db(), &skus).await?;
    let levels = store::lock_levels(cx.db(), &skus).await?;
    let mut deltas: BTreeMap<&str, Deltas> = BTreeMap::new();
    for (sku, said) in said {
        let Some(level) = levels.get(*sku) else {
            continue;
        };
        let held = level.reserved + level.allocated;
        let delta = feed_delta(level.on_hand, held, level.imported_on_hand, *said);
        if delta != 0 {
            deltas.insert(
                sku,
                Deltas {
                    on_hand: delta,
                    ..Deltas::default()
                },
            );
        }
    }
    store::save_imported(cx.db(), said).await?;
    if deltas.is_empty() {
        cx.changed_nothing(request);
    } else {
        let changes: BTreeMap<&str, i64> = deltas
            .iter()
            .map(|(sku, deltas)| (*sku, deltas.on_hand))
            .collect();
        let act = Act::on("levels of a feed").to(&json!({ "on_hand_deltas": changes }));
        cx.record(request, act);
        let movements: Vec<NewMovement<'_>> = deltas
            .iter()
            .map(|(sku, deltas)| NewMovement {
                id: cx.new_id(),
                sku,
                kind: MovementKind::Imported,
                deltas: *deltas,
                order_id: None,
                reason: None,
                actor: request.caller.account_id(),
            })
            .collect();
        let at = cx.now();
        store::move_levels(cx.db(), &movements, at).await?;
        let changed: Vec<_> = deltas
            .iter()
            .filter_map(|(sku, deltas)| Some(levels.get(*sku)?.moved(*deltas).availability()))
            .collect::<Result<_, Failure>>()?;
        announce(cx, &changed, &request.cause);
    }
    let seen: BTreeSet<&str> = skus.into_iter().collect();
    let changed_count = u64::try_from(deltas.len()).unwrap_or(u64::MAX);
    let unchanged_count = u64::try_from(seen.len() - deltas.len()).unwrap_or(u64::MAX);
    Ok(ImportedLevels {
        changed_count,
        unchanged_count,
    })
}
