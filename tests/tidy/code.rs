//! What may stand in which file.

use std::path::Path;

use shopzen_tests::tree;

use crate::assert_none;

/// A line of a source file, with where it stands.
struct Line {
    file: String,
    number: usize,
    text: String,
}

impl Line {
    fn place(&self) -> String {
        format!("{}:{}: {}", self.file, self.number, self.text.trim())
    }
}

fn lines_of(file: &str) -> Vec<Line> {
    let lines = tree::read(file);
    lines
        .lines()
        .zip(1..)
        .map(|(text, number)| Line {
            file: file.to_owned(),
            number,
            text: text.to_owned(),
        })
        .collect()
}

/// Whether a whole file is a test's.
fn is_test(file: &str) -> bool {
    let stem = Path::new(file).file_stem().unwrap_or_default();
    let stem = stem.to_string_lossy();
    file.split('/').any(|folder| folder == "tests") || stem == "tests" || stem.ends_with("_tests")
}

fn rust_files() -> Vec<String> {
    let files = tree::files_below("");
    files
        .into_iter()
        .filter(|file| tree::is_a("rs", file))
        .collect()
}

/// The lines of a file that are not in its `mod tests`, which stands last.
fn production_lines(file: &str) -> Vec<Line> {
    let lines = lines_of(file);
    lines
        .into_iter()
        .take_while(|line| line.text.trim() != "#[cfg(test)]")
        .collect()
}

#[test]
fn subjects_are_written_beside_their_types() {
    const KINDS: [&str; 5] = [
        "\"shop.cmd",
        "\"shop.qry",
        "\"shop.evt",
        "\"shop.pub",
        "\"shop.{",
    ];
    // The chassis answers some requests for every worker, so it composes their subjects.
    let allowed = |file: &str| {
        file.starts_with("contracts/") || file == "workers/chassis/src/builtin.rs" || is_test(file)
    };
    let found: Vec<String> = rust_files()
        .iter()
        .filter(|file| !allowed(file))
        .flat_map(|file| production_lines(file))
        .filter(|line| KINDS.iter().any(|kind| line.text.contains(kind)))
        .map(|line| line.place())
        .collect();
    assert_none(
        &found,
        "Use the type's SUBJECT: a subject written twice is a subject that will differ.",
    );
}

#[test]
fn domains_are_pure() {
    const IMPURE: [&str; 8] = [
        "sqlx",
        "tokio",
        "async_nats",
        "axum",
        "SystemTime",
        "Timestamp::now",
        "now_v7",
        "async fn",
    ];
    let is_domain = |file: &&String| {
        file.starts_with("workers/")
            && (file.ends_with("/src/domain.rs") || file.contains("/src/domain/"))
    };
    let found: Vec<String> = rust_files()
        .iter()
        .filter(is_domain)
        .flat_map(|file| production_lines(file))
        .filter(|line| !line.text.trim_start().starts_with("//"))
        .filter(|line| IMPURE.iter().any(|word| line.text.contains(word)))
        .map(|line| line.place())
        .collect();
    assert_none(
        &found,
        "A domain has no clock, no chance, no I/O and no async: hand times and ids in, and leave the rest \
         to the handler.",
    );
}

#[test]
fn files_are_named_for_what_they_hold() {
    const EMPTY_NAMES: [&str; 6] = ["utils", "util", "helpers", "helper", "common", "misc"];
    let found: Vec<String> = rust_files()
        .into_iter()
        .filter(|file| {
            let mut parts = file.trim_end_matches(".rs").split('/');
            parts.any(|part| EMPTY_NAMES.contains(&part))
        })
        .collect();
    assert_none(
        &found,
        "Name the file for the noun it is about; what fits no noun belongs to its one user.",
    );
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("dbg", "!("),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
    ];
    let found: Vec<String> = tree::files_below("")
        .iter()
        .filter(|file| !tree::is_a("lock", file) && !file.contains("/fixtures/"))
        .flat_map(|file| lines_of(file))
        .filter(|line| marks.iter().any(|mark| line.text.contains(mark)))
        .map(|line| line.place())
        .collect();
    assert_none(
        &found,
        "Do it, or file an issue that says why not: nobody reads notes in code.",
    );
}

/// A stand-in that is late on purpose says so, where clippy asks for the reason.
#[test]
fn tests_wait_for_conditions() {
    let sleep = concat!("sleep", "(");
    let mut found = Vec::new();
    for file in rust_files() {
        let lines = lines_of(&file);
        let tests_from = if is_test(&file) {
            0
        } else {
            production_lines(&file).len()
        };
        for (index, line) in lines.iter().enumerate().skip(tests_from) {
            let before = &lines[index.saturating_sub(3)..index];
            let is_meant = before
                .iter()
                .any(|line| line.text.contains("disallowed_methods"));
            if line.text.contains(sleep) && !is_meant {
                found.push(line.place());
            }
        }
    }
    assert_none(
        &found,
        "Wait for the condition you mean, with a deadline: a while is too long or too short.",
    );
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut found = Vec::new();
    for file in tree::files_below("") {
        if !tree::is_a("md", &file) {
            continue;
        }
        let folder = Path::new(&file).parent().unwrap_or(Path::new(""));
        for line in lines_of(&file) {
            for target in line.text.split("](").skip(1) {
                let target = target.split([')', '#', ' ']).next().unwrap_or_default();
                let is_elsewhere =
                    target.is_empty() || target.contains(':') || target.starts_with('/');
                let path = folder.join(target).to_string_lossy().into_owned();
                if !is_elsewhere && !tree::exists(&path) {
                    found.push(line.place());
                }
            }
        }
    }
    assert_none(&found, "These links lead nowhere.");
}

/// What the page says of a test would say nothing without it.
#[test]
fn tests_that_documents_name_exist() {
    let page = tree::read("docs/openid-conformance.md");
    let sources: String = rust_files()
        .iter()
        .filter(|file| is_test(file))
        .map(|file| tree::read(file))
        .collect();
    let quoted = page.split('`').skip(1).step_by(2);
    let names: Vec<&str> = quoted
        .filter(|name| name.matches('_').count() > 4)
        .collect();
    assert!(names.len() > 30, "{names:?}");
    let found: Vec<String> = names
        .into_iter()
        .filter(|name| !sources.contains(&format!("async fn {name}()")))
        .map(str::to_owned)
        .collect();
    assert_none(&found, "There are no tests of these names.");
}

/// A bug that no longer fits the code would look like one that is not found.
#[test]
fn planted_bugs_fit_the_code() {
    let patches = tree::files_below("tests/planted");
    let patches = patches.iter().filter(|path| tree::is_a("patch", path));
    let found: Vec<String> = patches
        .filter(|path| {
            let applies = std::process::Command::new("git")
                .args(["apply", "--check", path])
                .current_dir(tree::root())
                .status();
            let says_how = tree::read(path)
                .lines()
                .any(|line| line.starts_with("chaos: "));
            !says_how || !applies.is_ok_and(|status| status.success())
        })
        .cloned()
        .collect();
    assert_none(&found, "these no longer fit the code: make them anew");
}
