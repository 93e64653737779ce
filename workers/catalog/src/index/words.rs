//! Which products have which words: an inverted index.

use std::{collections::BTreeMap, ops::Bound};

/// Characters of a word that count.
const WORD_LENGTH_MAX: usize = 32;
/// Words of a search that count.
const SEARCH_WORDS_MAX: usize = 16;

/// The words of a text, as they are compared: without case, accents and signs, in Latin letters.
pub(super) fn words_of(text: &str) -> impl Iterator<Item = String> {
    let plain = slug::slugify(text);
    let words: Vec<String> = plain
        .split('-')
        .filter(|word| !word.is_empty())
        .map(|word| word.chars().take(WORD_LENGTH_MAX).collect())
        .collect();
    words.into_iter()
}

/// The place of a product among all. At most 28 bits, so that fields fit beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DocNumber(u32);

impl DocNumber {
    const MAX: u32 = (1 << 28) - 1;

    /// None where there are too many.
    pub(super) fn new(place: usize) -> Option<Self> {
        u32::try_from(place)
            .ok()
            .filter(|place| *place <= Self::MAX)
            .map(Self)
    }

    pub(super) fn place(self) -> usize {
        usize::try_from(self.0).expect("28 bits fit")
    }
}

/// Where in a product a word stands. Read as a number it says how much that counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields(u32);

impl Fields {
    pub(super) const DESCRIPTION: Self = Self(1);
    pub(super) const BRAND: Self = Self(2);
    pub(super) const SKU: Self = Self(4);
    pub(super) const NAME: Self = Self(8);
    const BITS: u32 = 4;

    pub(super) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// One product with a word, and where it has it: half a machine word, for there are millions.
#[derive(Clone, Copy, Debug)]
struct Posting(u32);

impl Posting {
    fn new(number: DocNumber, fields: Fields) -> Self {
        Self(number.0 << Fields::BITS | fields.0)
    }

    fn number(self) -> DocNumber {
        DocNumber(self.0 >> Fields::BITS)
    }

    fn weight(self) -> u32 {
        self.0 & ((1 << Fields::BITS) - 1)
    }
}

/// Words, each with the products that have it, in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Words {
    postings: BTreeMap<Box<str>, Vec<Posting>>,
}

impl Words {
    pub(super) fn insert(&mut self, word: &str, number: DocNumber, fields: Fields) {
        let posting = Posting::new(number, fields);
        match self.postings.get_mut(word) {
            None => {
                self.postings.insert(word.into(), vec![posting]);
            }
            Some(postings) => match postings.binary_search_by_key(&number, |it| it.number()) {
                Ok(at) => postings[at] = posting,
                Err(at) => postings.insert(at, posting),
            },
        }
    }

    pub(super) fn remove(&mut self, word: &str, number: DocNumber) {
        let Some(postings) = self.postings.get_mut(word) else {
            return;
        };
        if let Ok(at) = postings.binary_search_by_key(&number, |it| it.number()) {
            postings.remove(at);
        }
        if postings.is_empty() {
            self.postings.remove(word);
        }
    }

    /// The products that have all words of `search`, the last of which may be the beginning of one,
    /// with how well they fit. None where nothing is searched for.
    pub(super) fn find(&self, search: &str, docs_len: usize) -> Option<Vec<(DocNumber, u32)>> {
        let words: Vec<String> = words_of(search).take(SEARCH_WORDS_MAX).collect();
        let (last, others) = words.split_last()?;
        let mut scores = vec![0_u32; docs_len];
        self.score_prefix(last, &mut scores);
        for word in others {
            let mut these = vec![0_u32; docs_len];
            self.score_word(word, &mut these);
            for (score, this) in scores.iter_mut().zip(these) {
                *score = if *score == 0 || this == 0 {
                    0
                } else {
                    *score + this
                };
            }
        }
        let found = scores
            .into_iter()
            .enumerate()
            .filter(|(_, score)| *score > 0);
        Some(
            found
                .filter_map(|(place, score)| Some((DocNumber::new(place)?, score)))
                .collect(),
        )
    }

    fn score_word(&self, word: &str, scores: &mut [u32]) {
        for posting in self.postings.get(word).into_iter().flatten() {
            // A whole word counts twice as much as the beginning of one.
            raise(scores, *posting, 2);
        }
    }

    fn score_prefix(&self, prefix: &str, scores: &mut [u32]) {
        self.score_word(prefix, scores);
        let longer = (Bound::Excluded(prefix), Bound::Unbounded);
        let longer = self.postings.range::<str, _>(longer);
        for (_, postings) in longer.take_while(|(word, _)| word.starts_with(prefix)) {
            for posting in postings {
                raise(scores, *posting, 1);
            }
        }
    }
}

fn raise(scores: &mut [u32], posting: Posting, factor: u32) {
    if let Some(score) = scores.get_mut(posting.number().place()) {
        *score = (*score).max(posting.weight() * factor);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_compared_without_case_accents_and_signs() {
        let words = |text| words_of(text).collect::<Vec<_>>();
        assert_eq!(
            words("Große LAMP-BRASS.xl, 2 m!"),
            ["grosse", "lamp", "brass", "xl", "2", "m"]
        );
        assert_eq!(words("ランプ"), ["ranpu"]);
        assert_eq!(words(" \u{0}--!"), Vec::<String>::new());
        assert_eq!(words(&"a".repeat(99))[0].len(), WORD_LENGTH_MAX);
    }

    proptest! {
        #[test]
        fn found_is_what_has_all_words(
            texts in prop::collection::vec(prop::collection::vec("[ab]{1,3}", 1..4), 1..12),
            gone in prop::collection::vec(any::<bool>(), 12),
            search in prop::collection::vec("[ab]{1,3}", 1..3),
        ) {
            let mut index = Words::default();
            for (place, words) in texts.iter().enumerate() {
                for word in words {
                    index.insert(word, DocNumber::new(place).unwrap(), Fields::NAME);
                }
            }
            for (place, words) in texts.iter().enumerate().filter(|(place, _)| gone[*place]) {
                for word in words {
                    index.remove(word, DocNumber::new(place).unwrap());
                }
            }
            let (last, others) = search.split_last().unwrap();
            let expected: BTreeSet<usize> = texts
                .iter()
                .enumerate()
                .filter(|(place, words)| {
                    !gone[*place]
                        && others.iter().all(|word| words.contains(word))
                        && words.iter().any(|word| word.starts_with(last))
                })
                .map(|(place, _)| place)
                .collect();
            let found = index.find(&search.join(" "), texts.len()).unwrap();
            let found: BTreeSet<usize> = found.into_iter().map(|(it, _)| it.place()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
