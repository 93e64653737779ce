//! Query parameters: each known, well-formed and said once, or 422 with all that is wrong.

use std::{borrow::Cow, collections::BTreeMap, str::FromStr};

use axum::{
    extract::{FromRequestParts, RawQuery},
    http::request::Parts,
};
use percent_encoding::percent_decode_str;
use serde::{
    Deserialize,
    de::{IntoDeserializer, value::Error},
};
use shopzen_contracts::FieldError;

use crate::problem::Refusal;

/// What is left of a query: a handler takes what it knows and calls [`Params::finish`].
#[derive(Debug)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl Params {
    /// # Errors
    ///
    /// [`Refusal::MalformedTarget`] where it is not percent-encoded UTF-8.
    pub(crate) fn parse(query: &str) -> Result<Self, Refusal> {
        let pairs = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decode(name)?, decode(value)?))
            })
            .collect::<Result<_, Refusal>>()?;
        Ok(Self {
            pairs,
            errors: Vec::new(),
        })
    }

    /// A parameter as it is. Forms send fields that nobody filled in, so empty is absent.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let mut values = self.all(name);
        if values.len() > 1 {
            self.refuse(name, "repeated", "must stand here once");
        }
        values.pop()
    }

    /// Each value of a parameter that may be said several times.
    pub(crate) fn all(&mut self, name: &str) -> Vec<String> {
        let taken = self.pairs.extract_if(.., |(have, _)| have == name);
        taken
            .map(|(_, value)| value)
            .filter(|value| !value.is_empty())
            .collect()
    }

    /// A number, `true` or `false`, or a name.
    pub(crate) fn parsed<T: FromStr>(&mut self, name: &str, expected: &str) -> Option<T> {
        let text = self.text(name)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.refuse(name, "invalid", expected);
        }
        parsed
    }

    /// One of the values that a contract names.
    pub(crate) fn one_of<T: for<'de> Deserialize<'de>>(&mut self, name: &str) -> Option<T> {
        let text = self.text(name)?;
        let parsed = T::deserialize(IntoDeserializer::<Error>::into_deserializer(text.as_str()));
        parsed
            .map_err(|error| self.refuse(name, "invalid", &error.to_string()))
            .ok()
    }

    /// How long a page of a list may be. The worker knows the limits.
    pub(crate) fn limit(&mut self) -> Option<u32> {
        self.parsed("limit", "must be a whole number from 1 to 100")
    }

    /// Parameters such as `option.color`, by what follows the prefix.
    pub(crate) fn prefixed(&mut self, prefix: &str) -> BTreeMap<String, String> {
        let mut names: Vec<String> = Vec::new();
        for (name, _) in &self.pairs {
            if name.starts_with(prefix) && !names.contains(name) {
                names.push(name.clone());
            }
        }
        let mut found = BTreeMap::new();
        for name in names {
            if let Some(value) = self.text(&name) {
                found.insert(name[prefix.len()..].to_owned(), value);
            }
        }
        found
    }

    pub(crate) fn refuse(&mut self, name: &str, code: &str, detail: &str) {
        self.errors
            .push(FieldError::new(pointer(name), code, detail));
    }

    /// The same where it does no harm that there is something which nobody has asked for.
    ///
    /// # Errors
    ///
    /// [`Refusal::Invalid`] with all that was wrong.
    pub(crate) fn finish_known(mut self) -> Result<(), Refusal> {
        self.pairs.clear();
        self.finish()
    }

    /// # Errors
    ///
    /// [`Refusal::Invalid`] with all that was wrong, and what nobody has asked for.
    pub(crate) fn finish(mut self) -> Result<(), Refusal> {
        let unknown = std::mem::take(&mut self.pairs);
        for (name, _) in unknown.iter().take(ERRORS_MAX) {
            self.refuse(name, "unknown_parameter", "is not a parameter here");
        }
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Refusal::Invalid(self.errors))
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Ok(RawQuery(query)) = RawQuery::from_request_parts(parts, state).await;
        Self::parse(query.as_deref().unwrap_or_default())
    }
}

/// Unknown parameters that are listed; thousands of them help nobody.
const ERRORS_MAX: usize = 10;

/// A JSON Pointer to a member of an object; a query is seen as one.
pub(crate) fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// `application/x-www-form-urlencoded`, but broken encodings are refused instead of repaired.
fn decode(text: &str) -> Result<String, Refusal> {
    let spaced: Cow<'_, str> = if text.contains('+') {
        text.replace('+', " ").into()
    } else {
        text.into()
    };
    let well_formed = spaced.match_indices('%').all(|(at, _)| {
        let digits = spaced.as_bytes().get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if !well_formed {
        return Err(Refusal::MalformedTarget);
    }
    let decoded = percent_decode_str(&spaced)
        .decode_utf8()
        .map_err(|_| Refusal::MalformedTarget)?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shopzen_contracts::catalog::Sort;

    use super::*;

    fn errors(params: Params) -> Vec<(String, String)> {
        match params.finish() {
            Ok(()) => Vec::new(),
            Err(Refusal::Invalid(errors)) => errors
                .into_iter()
                .map(|error| (error.pointer, error.code))
                .collect(),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn known_parameters_are_taken_and_unknown_ones_are_named() {
        let mut params = Params::parse(
            "q=brass+lamp&min_price=5&option.color=red&option.size=L&sort=-price&x%2Fy=1",
        )
        .unwrap();
        assert_eq!(params.text("q").as_deref(), Some("brass lamp"));
        assert_eq!(
            params.parsed::<i64>("min_price", "must be a whole number"),
            Some(5)
        );
        assert_eq!(params.one_of::<Sort>("sort"), Some(Sort::PriceDescending));
        let options = params.prefixed("option.");
        assert_eq!(options["color"], "red");
        assert_eq!(options["size"], "L");
        assert_eq!(
            errors(params),
            [("/x~1y".to_owned(), "unknown_parameter".to_owned())]
        );
    }

    #[test]
    fn a_wrong_value_is_refused_by_its_name() {
        let mut params = Params::parse("limit=1e9&sort=magic&q=a&q=b&empty=").unwrap();
        assert_eq!(
            params.parsed::<u32>("limit", "must be a whole number"),
            None
        );
        assert_eq!(params.one_of::<Sort>("sort"), None);
        params.text("q");
        assert_eq!(params.text("empty"), None);
        let errors = errors(params);
        let pointers: Vec<&str> = errors.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers, ["/limit", "/sort", "/q"]);
    }

    #[test]
    fn broken_encodings_are_refused() {
        for bad in ["q=%", "q=%f", "q=%zz", "%ff=1", "q=%c3%28", "q=%é1"] {
            assert!(
                matches!(Params::parse(bad), Err(Refusal::MalformedTarget)),
                "{bad}"
            );
        }
        assert_eq!(
            Params::parse("q=%C3%A9").unwrap().text("q").as_deref(),
            Some("é")
        );
    }

    proptest! {
        #[test]
        fn no_query_makes_it_panic(query in ".{0,200}") {
            if let Ok(mut params) = Params::parse(&query) {
                params.text("q");
                params.prefixed("option.");
                let _ = params.finish();
            }
        }
    }
}
