//! Settings that are named somewhere exist.

use std::collections::BTreeSet;

use shopzen_tests::tree;

use crate::assert_none;

/// Written from the defaults.
const EXAMPLE: &str = "shopzen.example.toml";

/// The name at the beginning of a text.
fn name(text: &str) -> &str {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    &text[..end]
}

/// `SHOPZEN_…` words of a text.
fn variables(text: &str) -> BTreeSet<String> {
    text.match_indices("SHOPZEN_")
        .map(|(at, _)| name(&text[at..]).to_owned())
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

/// Every setting as its variable, from lines such as `# database_url = ""` under `[orders]`.
fn settings(example: &str) -> BTreeSet<String> {
    let mut section = String::new();
    let mut settings = BTreeSet::new();
    for line in example.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_ascii_uppercase();
        }
        let Some((key, _)) = line.trim_start_matches("# ").split_once(" =") else {
            continue;
        };
        if !section.is_empty() && !key.contains(' ') {
            let key = key.to_ascii_uppercase();
            settings.insert(format!("SHOPZEN_{section}__{key}"));
            settings.insert(format!("SHOPZEN_{section}__{key}_FILE"));
        }
    }
    settings
}

/// Variables that compose reads for itself: `${SHOPZEN_PORT:-8080}`.
fn of_compose(file: &str) -> impl Iterator<Item = String> {
    file.split("${").skip(1).map(|rest| name(rest).to_owned())
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
    let sources = tree::files_below("");
    let sources = sources.iter().filter(|file| tree::is_a("rs", file));
    let mut known: BTreeSet<String> = sources
        .flat_map(|file| variables(&tree::read(file)))
        .filter(|variable| !variable.contains("__"))
        .collect();
    known.extend(settings(&tree::read(EXAMPLE)));
    known.extend(of_compose(&tree::read("compose.yaml")));
    let found: Vec<String> = named
        .into_iter()
        .filter(|(variable, _)| !known.contains(variable))
        .map(|(variable, file)| format!("{file}: {variable}"))
        .collect();
    assert_none(
        &found,
        "Nothing reads these: a setting that is not there is worse than none.",
    );
}
