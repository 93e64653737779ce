//! Text from outside: made plain, checked, and made safe to show.

use html2text::{config, render::TrivialDecorator};
use url::Url;

use super::{HTML_BYTES_MAX, IMAGE_URL_BYTES_MAX};

/// Wider than any paragraph, so that none is wrapped: whoever shows the text does that.
const COLUMNS_MAX: usize = HTML_BYTES_MAX;

/// How much of a refused text an error repeats, in characters.
const EXCERPT_LENGTH_MAX: usize = 40;

/// What a reader of the HTML would see, without pictures and links; its paragraphs stay apart.
pub(super) fn plain_text(html: &str) -> Result<String, String> {
    if html.len() > HTML_BYTES_MAX {
        return Err(format!(
            "the description is longer than {HTML_BYTES_MAX} bytes"
        ));
    }
    // Raw mode puts the cells of a table below each other instead of drawing it.
    config::with_decorator(TrivialDecorator::new())
        .raw_mode(true)
        .string_from_read(html.as_bytes(), COLUMNS_MAX)
        .map(|text| text.trim().to_owned())
        .map_err(|error| format!("the description cannot be read as HTML: {error}"))
}

/// Refuses what a browser of the shop should not be sent to for a picture.
pub(super) fn check_image_url(url: &str) -> Result<(), String> {
    let is_clean = url.len() <= IMAGE_URL_BYTES_MAX
        && !url.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\');
    // `//host/…` would be another server.
    let is_path = url.starts_with('/') && !url.starts_with("//");
    let is_web = || {
        Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
    };
    if is_clean && (is_path || is_web()) {
        Ok(())
    } else {
        Err(format!(
            "the picture {} must be an http(s) address or a path that starts with `/`, \
             at most {IMAGE_URL_BYTES_MAX} bytes",
            excerpt(url)
        ))
    }
}

/// The beginning of `text`, quoted, with control characters escaped.
pub(super) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_LENGTH_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn html_becomes_what_its_reader_would_see() {
        let plain = |html| plain_text(html).unwrap();
        assert_eq!(
            plain("<p>Warm &amp; <b>round</b></p><p>1 &lt; 2</p>"),
            "Warm & round\n\n1 < 2"
        );
        assert_eq!(plain("<ul><li>oak</li><li>ash</li></ul>"), "oak\nash");
        assert_eq!(
            plain("one<br>two <a href='https://example.org'>link</a>"),
            "one\ntwo link"
        );
        assert_eq!(plain("a<script>alert(1)</script><style>p{}</style>b"), "ab");
        assert_eq!(
            plain("<table><tr><td>Height</td><td>30 cm</td></tr></table>"),
            "Height\n30 cm"
        );
        assert_eq!(
            plain("no markup, 5 < 6 & more\n"),
            "no markup, 5 < 6 & more"
        );
        assert_eq!(plain("<p>never <i>closed"), "never closed");
        assert_eq!(plain(""), "");
    }

    #[test]
    fn a_description_has_an_end() {
        plain_text(&"a".repeat(HTML_BYTES_MAX)).unwrap();
        plain_text(&"a".repeat(HTML_BYTES_MAX + 1)).unwrap_err();
    }

    #[test]
    fn a_picture_is_on_the_web_or_in_the_shop() {
        for good in [
            "/a.svg",
            "https://example.org/a@2x.jpg?v=1#x",
            "HTTP://EXAMPLE.ORG/a",
        ] {
            check_image_url(good).unwrap();
        }
        for bad in [
            "",
            "a.svg",
            "//example.org/a.svg",
            "/\\example.org/a.svg",
            "javascript:alert(1)",
            "data:image/svg+xml,<svg/>",
            "ftp://example.org/a",
            "https://",
            "https:///",
            "https://example.org/a b",
            "https://exam\nple.org/a",
        ] {
            check_image_url(bad).unwrap_err();
        }
        check_image_url(&format!("/{}", "a".repeat(IMAGE_URL_BYTES_MAX))).unwrap_err();
    }

    #[test]
    fn an_excerpt_is_short_and_harmless() {
        assert_eq!(excerpt("\u{1b}[2J"), r#""\u{1b}[2J""#);
        assert_eq!(excerpt(&"é".repeat(50)), format!("\"{}\"…", "é".repeat(40)));
    }

    proptest! {
        #[test]
        fn no_markup_is_too_broken(
            parts in prop::collection::vec(
                prop_oneof![
                    Just("<p>"), Just("</p>"), Just("<table>"), Just("<tr>"), Just("<td colspan=9>"),
                    Just("</td>"), Just("<ul><li>"), Just("<ol start=-3><li>"), Just("<pre>"),
                    Just("<h1>"), Just("<blockquote>"), Just("<img title='t' alt=x>"), Just("&#0;"),
                    Just("<sup>"), Just("<!--"), Just("<svg><script>"), Just("\u{301}"), Just("中 "),
                    Just("<dl><dt>"), Just("<a href=x>"), Just("x y\n"), Just("<"), Just("</ul>"),
                ],
                0..60,
            ),
        ) {
            plain_text(&parts.concat()).unwrap();
        }
    }
}
