//! Just enough of HTTP/1.1 to read what was asked for: a whole response from the front of a buffer.

use std::ops::Range;

use httparse::{EMPTY_HEADER, Header, Status};

/// Header lines in one response.
const HEADERS_MAX: usize = 64;

/// Where in a buffer a whole response stands, and what it says.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub body: Range<usize>,
    /// Bytes of all of it, with the interim responses before it.
    pub length: usize,
    /// Whether the server closes the connection behind it.
    pub is_last: bool,
}

/// What came is no HTTP/1.1 response that a connection can be kept open behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Response {
    /// The response to a GET or POST at the front of `bytes`; `None` until all of it has come.
    /// Then, where the body came in chunks, they are moved together.
    pub fn parse(bytes: &mut [u8]) -> Result<Option<Self>, Malformed> {
        let mut start = 0;
        let (framing, mut response) = loop {
            let mut headers = [EMPTY_HEADER; HEADERS_MAX];
            let mut head = httparse::Response::new(&mut headers);
            let head_length = match head.parse(&bytes[start..]) {
                Ok(Status::Complete(length)) => length,
                Ok(Status::Partial) => return Ok(None),
                Err(_) => return Err(Malformed),
            };
            start += head_length;
            let status = head.code.ok_or(Malformed)?;
            match status {
                // Nobody asked for another protocol.
                101 => return Err(Malformed),
                // Interim: the real one follows.
                100..=199 => {}
                _ => {
                    let is_last =
                        head.version == Some(0) || has_token(head.headers, "connection", "close");
                    let framing = Framing::of(status, head.headers)?;
                    break (
                        framing,
                        Self {
                            status,
                            body: start..start,
                            length: start,
                            is_last,
                        },
                    );
                }
            }
        };
        let Some((body, length)) = (match framing {
            Framing::Length(length) => plain(bytes, start, length)?,
            Framing::Chunked => join_chunks(bytes, start)?,
        }) else {
            return Ok(None);
        };
        response.body = body;
        response.length = length;
        Ok(Some(response))
    }
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug)]
enum Framing {
    Length(usize),
    Chunked,
}

impl Framing {
    fn of(status: u16, headers: &[Header<'_>]) -> Result<Self, Malformed> {
        if matches!(status, 204 | 304) {
            return Ok(Self::Length(0));
        }
        if has_token(headers, "transfer-encoding", "chunked") {
            return Ok(Self::Chunked);
        }
        // Without a length the body would end with the connection: that is not keep-alive.
        let length = value(headers, "content-length").ok_or(Malformed)?;
        length
            .trim()
            .parse()
            .map(Self::Length)
            .map_err(|_| Malformed)
    }
}

/// Where the body stands, and where the response ends; `None` until all of it has come.
type Found = Option<(Range<usize>, usize)>;

fn plain(bytes: &[u8], start: usize, length: usize) -> Result<Found, Malformed> {
    let end = start.checked_add(length).ok_or(Malformed)?;
    Ok((end <= bytes.len()).then_some((start..end, end)))
}

fn join_chunks(bytes: &mut [u8], start: usize) -> Result<Found, Malformed> {
    let mut chunks: Vec<Range<usize>> = Vec::new();
    let mut at = start;
    let end = loop {
        let size = httparse::parse_chunk_size(&bytes[at..]).map_err(|_| Malformed)?;
        let Status::Complete((line_length, size)) = size else {
            return Ok(None);
        };
        at += line_length;
        if size == 0 {
            let Some(length) = trailers_length(&bytes[at..])? else {
                return Ok(None);
            };
            break at + length;
        }
        let Some((chunk, end)) = plain(bytes, at, usize::try_from(size).map_err(|_| Malformed)?)?
        else {
            return Ok(None);
        };
        chunks.push(chunk);
        match bytes.get(end..end + 2) {
            None => return Ok(None),
            Some(b"\r\n") => at = end + 2,
            Some(_) => return Err(Malformed),
        }
    };
    let mut body = start..start;
    for chunk in chunks {
        let length = chunk.len();
        bytes.copy_within(chunk, body.end);
        body.end += length;
    }
    Ok(Some((body, end)))
}

/// The length of what stands behind the last chunk; nobody here reads it.
fn trailers_length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    match httparse::parse_headers(bytes, &mut headers) {
        Ok(Status::Complete((length, _))) => Ok(Some(length)),
        Ok(Status::Partial) => Ok(None),
        Err(_) => Err(Malformed),
    }
}

fn value<'a>(headers: &'a [Header<'_>], name: &str) -> Option<&'a str> {
    let header = headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(header.value).ok()
}

/// Whether the list that header `name` holds has `token` in it.
fn has_token(headers: &[Header<'_>], name: &str, token: &str) -> bool {
    value(headers, name).is_some_and(|list| {
        list.split(',')
            .any(|item| item.trim().eq_ignore_ascii_case(token))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZED: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\nhello";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
        4\r\nwiki\r\nC;x=y\r\npedia\r\nbooks\r\n0\r\nExpires: never\r\n\r\n";
    const INTERIM: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
        HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    const EMPTY: &[u8] = b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n";

    fn whole(bytes: &[u8]) -> (Response, String) {
        let mut bytes = bytes.to_vec();
        let response = Response::parse(&mut bytes).unwrap().unwrap();
        let body = String::from_utf8(bytes[response.body.clone()].to_vec()).unwrap();
        (response, body)
    }

    fn said(bytes: &[u8]) -> (u16, String) {
        let (response, body) = whole(bytes);
        (response.status, body)
    }

    #[test]
    fn a_body_is_read_by_its_length_or_by_its_chunks() {
        assert_eq!(said(SIZED), (202, "hello".to_owned()));
        assert_eq!(said(CHUNKED), (200, "wikipedia\r\nbooks".to_owned()));
        assert_eq!(said(EMPTY), (304, String::new()));
        let nothing = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n0\r\n\r\n";
        assert_eq!(said(nothing), (200, String::new()));
    }

    #[test]
    fn interim_responses_are_passed_over() {
        assert_eq!(said(INTERIM), (200, "ok".to_owned()));
    }

    #[test]
    fn a_response_is_whole_at_its_last_byte_and_not_before() {
        for response in [SIZED, CHUNKED, INTERIM, EMPTY] {
            let mut bytes = Vec::new();
            for byte in response {
                assert_eq!(
                    Response::parse(&mut bytes),
                    Ok(None),
                    "at byte {}",
                    bytes.len()
                );
                bytes.push(*byte);
            }
            bytes.extend_from_slice(b"HTTP/1.1 2");
            let last = said(response);
            assert_eq!(whole(&bytes).0.length, response.len());
            assert_eq!(said(&bytes), last);
        }
    }

    #[test]
    fn the_server_says_when_it_closes() {
        assert!(!whole(SIZED).0.is_last);
        for head in ["HTTP/1.1 200 OK\r\nConnection: Close", "HTTP/1.0 200 OK"] {
            let response = format!("{head}\r\nContent-Length: 0\r\n\r\n");
            assert!(whole(response.as_bytes()).0.is_last, "{head}");
        }
    }

    #[test]
    fn what_is_no_response_is_refused() {
        for bytes in [
            "SSH-2.0-OpenSSH_9.9\r\n",
            "HTTP/1.1 200 OK\r\n\r\nuntil the end",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        ] {
            assert_eq!(
                Response::parse(&mut bytes.to_owned().into_bytes()),
                Err(Malformed),
                "{bytes}"
            );
        }
    }
}
