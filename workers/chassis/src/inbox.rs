//! Which events this worker has handled. The key is the event's id and never its sequence: after the
//! broker has lost its tail, sequences are used again for other events.

use std::{
    collections::{BTreeSet, HashSet},
    fmt::Write as _,
};

use sqlx::{Row, postgres::PgRow};
use uuid::Uuid;

/// Opens a transaction and enters events, in the order of their ids. A second replica with the same
/// event waits here until the first has committed or given up.
///
/// Both in one round trip, which only PostgreSQL's simple protocol does; it has no parameters, so the
/// ids stand in the text.
pub(crate) fn begin_and_enter(event_ids: &[Uuid]) -> String {
    let event_ids: BTreeSet<&Uuid> = event_ids.iter().collect();
    let mut text = "BEGIN; INSERT INTO inbox (event_id) VALUES ".to_owned();
    for (index, id) in event_ids.into_iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(text, "{comma}('{id}')").expect("a string takes everything");
    }
    text.push_str(" ON CONFLICT (event_id) DO NOTHING RETURNING event_id, ");
    text.push_str(LETTERS_ARE_OPEN);
    text
}

/// Asked along with what is entered, once a statement, so that it costs no round trip.
const LETTERS_ARE_OPEN: &str = "
    EXISTS (SELECT FROM dead_letters WHERE decided_at IS NULL AND key IS NOT NULL) AS letters_are_open";

/// What came of entering events.
#[derive(Debug)]
pub(crate) struct Entered {
    /// Those that were not there before.
    pub(crate) fresh: HashSet<Uuid>,
    /// Whether there are dead letters that others may have to wait behind.
    pub(crate) letters_are_open: bool,
}

pub(crate) fn entered(rows: &[PgRow]) -> sqlx::Result<Entered> {
    let fresh: sqlx::Result<_> = rows.iter().map(|row| row.try_get("event_id")).collect();
    let letters_are_open = rows.first().map(|row| row.try_get("letters_are_open"));
    Ok(Entered {
        fresh: fresh?,
        letters_are_open: letters_are_open.transpose()?.unwrap_or(false),
    })
}
