//! The journal: an append-only file of JSON lines from which the books are rebuilt at start.
//!
//! An entry is in the operating system's hands before its answer goes out: killing this process
//! loses nothing. It is not synced to the disk, so a power failure may lose the last entries.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use crate::books::{Books, Entry};

pub(crate) struct Journal {
    /// Open for appending, and locked: two writers would each miss what the other wrote.
    file: File,
    /// Up to here, every byte belongs to an entry that happened.
    length_bytes: u64,
    /// An append failed half-way and could not be undone yet.
    torn: bool,
    line: Vec<u8>,
}

impl Journal {
    /// Opens or creates the file and enters all it tells into `books`. A last line without its end
    /// is what a crash left of an entry nobody was told of: it is cut off.
    pub(crate) fn open(path: &Path, books: &mut Books) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another process writes this journal",
            ),
            TryLockError::Error(error) => error,
        })?;

        let mut length_bytes = 0;
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let read_bytes = reader.read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                break;
            }
            let corrupt = |reason: String| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("line {number}: {reason}"),
                )
            };
            let entry: Entry =
                serde_json::from_slice(&line).map_err(|error| corrupt(error.to_string()))?;
            if entry
                .key
                .as_ref()
                .is_some_and(|key| books.operation(key).is_some())
            {
                return Err(corrupt("its key was used before".to_owned()));
            }
            books
                .replay(&entry)
                .map_err(|refusal| corrupt(refusal.to_string()))?;
            length_bytes += u64::try_from(read_bytes).map_err(io::Error::other)?;
        }
        if !line.is_empty() {
            tracing::warn!(
                bytes = line.len(),
                "cut a torn last line off the gateway's journal"
            );
            file.set_len(length_bytes)?;
        }
        Ok(Self {
            file,
            length_bytes,
            torn: false,
            line: Vec::new(),
        })
    }

    /// Appends one entry with one write. On an error, the file is as it was.
    pub(crate) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length_bytes)?;
            self.torn = false;
        }
        self.line.clear();
        serde_json::to_writer(&mut self.line, entry)?;
        self.line.push(b'\n');
        if let Err(error) = self.file.write_all(&self.line) {
            self.torn = self.file.set_len(self.length_bytes).is_err();
            return Err(error);
        }
        self.length_bytes += u64::try_from(self.line.len()).map_err(io::Error::other)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::books::{Effect, Filter};
    use crate::charge::{Authentication, NewCharge, Status, Step};
    use crate::tokens::Token;
    use crate::values::{ChargeId, Currency, Key};

    fn entry(key: Option<&str>, effect: Effect) -> Entry {
        Entry {
            at: "2026-01-02T03:04:05.678901Z".parse().unwrap(),
            key: key.map(|key| Key::try_from(key.to_owned()).unwrap()),
            charge_id: ChargeId(Uuid::from_u128(7)),
            effect,
        }
    }

    fn life() -> Vec<Entry> {
        let amount_minor = 1299.try_into().unwrap();
        let new = NewCharge {
            order_id: Uuid::from_u128(1),
            amount_minor,
            currency: Currency::try_from("EUR".to_owned()).unwrap(),
            token: Token::RequiresAction,
        };
        let passed = Step::Authenticate {
            result: Authentication::Ok,
        };
        vec![
            entry(Some(r#"a "quoted" key"#), Effect::Open(new)),
            entry(None, Effect::Step(passed)),
            entry(
                Some("capture"),
                Effect::Step(Step::Capture { amount_minor }),
            ),
            entry(Some("refund"), Effect::Step(Step::Refund { amount_minor })),
        ]
    }

    fn write(path: &Path, entries: &[Entry]) {
        let mut journal = Journal::open(path, &mut Books::default()).unwrap();
        for entry in entries {
            journal.append(entry).unwrap();
        }
    }

    #[test]
    fn the_books_are_rebuilt_from_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        write(&path, &life());

        let mut books = Books::default();
        let _journal = Journal::open(&path, &mut books).unwrap();
        let mut expected = Books::default();
        for entry in life() {
            let key = entry.key.clone();
            expected.replay(&entry).unwrap();
            if let Some(key) = key {
                assert!(books.operation(&key).is_some());
            }
        }
        for entry in life() {
            if let Some(key) = entry.key {
                assert_eq!(books.operation(&key), expected.operation(&key));
            }
        }
        let charge = books.charge(ChargeId(Uuid::from_u128(7))).unwrap();
        assert_eq!(charge.standing.status, Status::Refunded);
        assert!(charge.created_at > Timestamp::UNIX_EPOCH);
        assert_eq!(books.totals(), expected.totals());
        assert_eq!(
            books.page(&Filter::default(), 5, None).unwrap().items,
            [charge]
        );
    }

    #[test]
    fn a_journal_cut_anywhere_opens_with_its_whole_lines_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        write(&path, &life());
        let whole = fs::read(&path).unwrap();

        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let lines = whole[..cut].split(|byte| *byte == b'\n').count() - 1;
            let mut journal = Journal::open(&path, &mut Books::default()).unwrap();
            for entry in &life()[lines..] {
                journal.append(entry).unwrap();
            }
            assert_eq!(fs::read(&path).unwrap(), whole, "cut after {cut} bytes");
        }
    }

    #[test]
    fn a_whole_line_that_cannot_be_true_stops_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        for wrong in [&b"{}\n"[..], b"\n", b"\xff\xfe\n"] {
            write(&path, &life());
            let mut bytes = fs::read(&path).unwrap();
            bytes.extend_from_slice(wrong);
            fs::write(&path, bytes).unwrap();
            let error = Journal::open(&path, &mut Books::default()).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().starts_with("line 5: "), "{error}");
            fs::remove_file(&path).unwrap();
        }

        write(&path, &[life(), life()].concat());
        let error = Journal::open(&path, &mut Books::default()).err().unwrap();
        assert!(error.to_string().starts_with("line 5: its key"), "{error}");
        fs::remove_file(&path).unwrap();

        // A capture of a charge that was never opened.
        write(&path, &life()[2..]);
        assert!(Journal::open(&path, &mut Books::default()).is_err());
    }

    #[test]
    fn a_journal_has_one_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let first = Journal::open(&path, &mut Books::default()).unwrap();
        let error = Journal::open(&path, &mut Books::default()).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        drop(first);
        Journal::open(&path, &mut Books::default()).unwrap();
    }

    #[test]
    fn an_append_that_failed_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path, &mut Books::default()).unwrap();
        let life = life();
        journal.append(&life[0]).unwrap();

        // A file that can neither be appended to nor cut, and half a line in it.
        let writable = std::mem::replace(&mut journal.file, File::open(&path).unwrap());
        assert!(journal.append(&life[1]).is_err());
        (&writable).write_all(b"{\"at\":").unwrap();
        assert!(journal.append(&life[1]).is_err());

        journal.file = writable;
        for entry in &life[1..] {
            journal.append(entry).unwrap();
        }
        let other = folder.path().join("other");
        write(&other, &life);
        assert_eq!(fs::read(&path).unwrap(), fs::read(&other).unwrap());
    }
}
