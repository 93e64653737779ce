//! Shopify's product CSV.
//!
//! The rows of a product stand together and share a handle. Its first row describes the product;
//! each row may add a variant, a picture or both.
//!
//! - A handle that comes back after another product is refused where it comes back: its first rows
//!   have been handed out by then, and one import of a product replaces the other.
//! - A row whose handle is empty or cannot be read refuses the product above it, for it may be one
//!   of its variants.
//! - Rows whose cells are all empty, as spreadsheets leave them, are passed over.

mod cells;
mod columns;
mod draft;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io::{Chain, Read},
};

use csv::{ByteRecord, ReaderBuilder, StringRecord, Terminator};
use shopzen_contracts::Currency;

use self::{
    columns::Columns,
    draft::{Draft, Row},
};
use super::{Item, PRODUCT_BYTES_MAX, RowError, input::Bounded, names, seen::Seen};

/// Ends the last line where the file does not, so that every record ends with its line.
const LAST_NEWLINE: &[u8] = b"\n";

pub(super) struct Reader<R> {
    csv: csv::Reader<Bounded<Chain<R, &'static [u8]>>>,
    /// The line after the last row that was read.
    line: u64,
    currency: Currency,
    /// `None` when there is nothing more to read.
    columns: Option<Columns>,
    /// The product being read. Its slug is among `slugs` already.
    draft: Option<Draft>,
    slugs: Seen,
    skus: Seen,
    ready: VecDeque<Item>,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(currency: Currency, reader: R) -> Self {
        let csv = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            // The carriage return of CRLF is trimmed off the last cell instead: the CSV reader would
            // count it to the next record, and the lines of errors would be wrong.
            .terminator(Terminator::Any(b'\n'))
            .from_reader(Bounded::new(reader.chain(LAST_NEWLINE), PRODUCT_BYTES_MAX));
        let mut reader = Self {
            csv,
            line: 1,
            currency,
            columns: None,
            draft: None,
            slugs: Seen::default(),
            skus: Seen::default(),
            ready: VecDeque::new(),
        };
        match reader.next_record() {
            Ok(header) => {
                let (line, header) = header.unwrap_or((1, ByteRecord::new()));
                match Columns::find(&header) {
                    Ok(columns) => reader.columns = Some(columns),
                    Err(reason) => reader.refuse(line, reason),
                }
            }
            Err(error) => reader.ready.push_back(Err(RowError::unreadable(1, &error))),
        }
        reader
    }

    /// The next record that is not blank, and the line it begins on. `None` at the end of the file.
    fn next_record(&mut self) -> csv::Result<Option<(u64, ByteRecord)>> {
        let mut record = ByteRecord::new();
        loop {
            self.csv.get_mut().renew(PRODUCT_BYTES_MAX);
            if !self.csv.read_byte_record(&mut record)? {
                return Ok(None);
            }
            self.line = self.csv.position().line();
            if record.iter().any(|cell| !cell.trim_ascii().is_empty()) {
                // The last newline ended the record; those within it were quoted.
                let lines = record.as_slice().split(|byte| *byte == b'\n').count();
                let lines = u64::try_from(lines).expect("a record fits into memory");
                return Ok(Some((self.line.saturating_sub(lines), record)));
            }
        }
    }

    fn read_row(&mut self, columns: &Columns, line: u64, record: ByteRecord) {
        let bytes = record.as_slice().len();
        let handle = record.get(columns.handle).unwrap_or_default();
        let handle = str::from_utf8(handle).unwrap_or_default().trim().to_owned();
        let cells = as_text(record, columns);

        if handle.is_empty() {
            let reason = cells.err().unwrap_or_else(|| "Handle is empty".to_owned());
            return self.refuse(line, reason);
        }
        if self
            .draft
            .as_ref()
            .is_none_or(|draft| draft.handle != handle)
        {
            self.finish_draft();
            self.draft = Some(Draft::new(&handle, line, self.currency));
            if !self.slugs.insert(names::product_slug(&handle).as_str()) {
                let reason =
                    "this handle came further up; the rows of a product must stand together";
                return self.refuse_rest(line, reason.to_owned());
            }
        }
        let draft = self.draft.as_mut().expect("there is one from here on");
        if draft.is_settled {
            return;
        }
        if let Err(reason) = draft.admit(bytes) {
            return self.refuse_rest(line, reason);
        }
        let added = cells.and_then(|cells| {
            draft.add(
                &Row {
                    line,
                    cells: &cells,
                    columns,
                },
                &mut self.skus,
            )
        });
        if let Err(reason) = added {
            self.refuse(line, reason);
        }
    }

    /// Reports a bad row. It takes the product being read with it.
    fn refuse(&mut self, line: u64, reason: String) {
        let handle = self.draft.as_mut().map(|draft| {
            draft.is_refused = true;
            draft.handle.clone()
        });
        self.ready.push_back(Err(RowError {
            line,
            handle,
            reason,
        }));
    }

    /// Reports what is wrong with the whole product, whatever its other rows say.
    fn refuse_rest(&mut self, line: u64, reason: String) {
        self.refuse(line, reason);
        if let Some(draft) = &mut self.draft {
            draft.is_settled = true;
        }
    }

    fn finish_draft(&mut self) {
        self.ready.extend(self.draft.take().and_then(Draft::finish));
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            let columns = self.columns.take()?;
            match self.next_record() {
                Ok(Some((line, record))) => {
                    self.read_row(&columns, line, record);
                    self.columns = Some(columns);
                }
                Ok(None) => self.finish_draft(),
                Err(error) => {
                    self.refuse(self.line, format!("the file cannot be read on: {error}"));
                }
            }
        }
    }
}

/// The cells of a record, as many as there are columns.
fn as_text(record: ByteRecord, columns: &Columns) -> Result<StringRecord, String> {
    if record.len() != columns.count {
        return Err(format!(
            "the row has {} cells, the header {}",
            record.len(),
            columns.count
        ));
    }
    StringRecord::from_byte_record(record)
        .map_err(|error| format!("cell {} is not UTF-8", error.utf8_error().field() + 1))
}
