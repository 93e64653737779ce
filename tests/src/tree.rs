//! The files of this repository.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders that hold what is made, not what is written.
const NOT_OURS: [&str; 4] = [".git", ".shopzen", "node_modules", "target"];

/// The top of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is in a folder of the repository")
        .to_owned()
}

/// Every file below a folder of the repository, by its path from the top, sorted.
///
/// # Panics
///
/// Where the folder cannot be read.
pub fn files_below(folder: &str) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)
            .expect("folders can be read")
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().expect("files have types");
            if kind.is_dir() && !NOT_OURS.contains(&name.as_str()) {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(from_top(&entry.path()));
            }
        }
    }
    files.sort();
    files
}

fn from_top(path: &Path) -> String {
    path.strip_prefix(root())
        .expect("files are below the top")
        .to_string_lossy()
        .into_owned()
}

/// A file's text; empty where it is none (a picture, say).
///
/// # Panics
///
/// Where there is no such file.
pub fn read(path: &str) -> String {
    let bytes = fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    String::from_utf8(bytes).unwrap_or_default()
}

/// Whether a file's name ends in `.extension`.
pub fn is_a(extension: &str, path: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|found| found == extension)
}

pub fn exists(path: &str) -> bool {
    root().join(path).exists()
}

/// Compares a generated file with what it must be.
///
/// # Panics
///
/// Where it differs. It is written then, so that the author sees the change as a diff.
pub fn assert_generated(path: &str, wanted: &str) {
    let found = fs::read_to_string(root().join(path)).unwrap_or_default();
    if found != wanted {
        fs::write(root().join(path), wanted).expect("generated files can be written");
        panic!("{path} was not up to date. It is written: look at the difference and commit it");
    }
}
