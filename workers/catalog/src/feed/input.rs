//! Bytes as they come: without a byte order mark, and never more of them at once than allowed.

use std::io::{self, Chain, Cursor, Read};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// `reader` without the mark that spreadsheets put in front of UTF-8.
pub(super) fn without_byte_order_mark<R: Read>(
    mut reader: R,
) -> io::Result<Chain<Cursor<Vec<u8>>, R>> {
    let mut start = Vec::with_capacity(BYTE_ORDER_MARK.len());
    reader.by_ref().take(3).read_to_end(&mut start)?;
    if start == BYTE_ORDER_MARK {
        start.clear();
    }
    Ok(Cursor::new(start).chain(reader))
}

/// Fails when more than an allowance is read before it is renewed.
///
/// A quotation mark that is never closed makes one record of the rest of a file, and the CSV reader
/// would gather all of it in memory.
pub(super) struct Bounded<R> {
    inner: R,
    left: usize,
}

impl<R> Bounded<R> {
    pub(super) fn new(inner: R, allowance: usize) -> Self {
        Self {
            inner,
            left: allowance,
        }
    }

    pub(super) fn renew(&mut self, allowance: usize) {
        self.left = allowance;
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other(
                "the row is too long; is a quotation mark never closed?",
            ));
        }
        let room = buffer.len().min(self.left);
        let count = self.inner.read(&mut buffer[..room])?;
        self.left -= count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &'static [u8]) -> String {
        let mut text = String::new();
        without_byte_order_mark(bytes)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    #[test]
    fn a_byte_order_mark_is_left_out_and_nothing_else_is() {
        assert_eq!(text(b"\xef\xbb\xbfab"), "ab");
        assert_eq!(text(b"\xef\xbb\xbf"), "");
        assert_eq!(text(b"ab"), "ab");
        assert_eq!(text(b"abcdef"), "abcdef");
        assert_eq!(text(b""), "");
    }

    #[test]
    fn an_allowance_ends_and_can_be_renewed() {
        let mut reader = Bounded::new(io::repeat(b'a'), 3);
        let mut buffer = [0; 8];
        assert_eq!(reader.read(&mut buffer).unwrap(), 3);
        reader.read(&mut buffer).unwrap_err();
        reader.renew(2);
        assert_eq!(reader.read(&mut buffer).unwrap(), 2);
    }
}
