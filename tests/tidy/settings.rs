//! Settings that are named somewhere exist.

use std::collections::BTreeSet;

use shopzen_tests::tree;
use toml::Table;

use crate::assert_none;

/// Written from the defaults.
const EXAMPLE: &str = "shopzen.example.toml";

/// `SHOPZEN_…` words of a text.
fn variables(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    text.match_indices("SHOPZEN_")
        .map(|(at, _)| {
            let word = &text[at..];
            let end = word.find(|c| !is_part(c)).unwrap_or(word.len());
            word[..end].to_owned()
        })
        // `SHOPZEN_<SECTION>__<KEY>` speaks of all of them.
        .filter(|word| !word.ends_with('_'))
        .collect()
}

/// The files that tell people which variables to set.
fn documents() -> Vec<String> {
    tree::files_below("")
        .into_iter()
        .filter(|file| {
            let name = file.rsplit('/').next().unwrap_or_default();
            let extension = name.rsplit('.').next().unwrap_or_default();
            name == "Dockerfile" || matches!(extension, "md" | "yaml" | "yml" | "env" | "sh")
        })
        .collect()
}

/// `SHOPZEN_ORDERS__DATABASE_URL`, also as `…_FILE`, is `database_url` of `[orders]`.
fn is_setting(variable: &str, example: &Table) -> bool {
    let path = variable.trim_start_matches("SHOPZEN_").to_ascii_lowercase();
    let known = |path: &str| {
        let mut keys = path.split("__");
        let section = keys.next().and_then(|section| example.get(section));
        keys.try_fold(section?, |value, key| value.get(key))
            .map(drop)
    };
    known(&path)
        .or_else(|| known(path.strip_suffix("_file")?))
        .is_some()
}

#[test]
fn every_variable_that_is_named_exists() {
    let named: BTreeSet<(String, String)> = documents()
        .into_iter()
        .flat_map(|file| {
            let variables = variables(&tree::read(&file));
            variables
                .into_iter()
                .map(move |variable| (variable, file.clone()))
        })
        .collect();
    let read_by_code: BTreeSet<String> = tree::files_below("")
        .iter()
        .filter(|file| file.ends_with(".rs"))
        .flat_map(|file| variables(&tree::read(file)))
        .collect();
    assert!(
        tree::exists(EXAMPLE),
        "{EXAMPLE} is missing: a test of `shopzen` writes it"
    );
    let example: Table = tree::read(EXAMPLE).parse().unwrap();
    let found: Vec<String> = named
        .into_iter()
        .filter(|(variable, _)| {
            if variable.contains("__") {
                !is_setting(variable, &example)
            } else {
                !read_by_code.contains(variable)
            }
        })
        .map(|(variable, file)| format!("{file}: {variable}"))
        .collect();
    assert_none(
        &found,
        "Nothing reads these: a setting that is not there is worse than none.",
    );
}
