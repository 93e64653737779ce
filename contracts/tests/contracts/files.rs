//! Files that tests write.

use std::{fs, path::PathBuf};

/// A folder of this crate.
pub(crate) fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub(crate) fn pretty(json: &impl serde::Serialize) -> String {
    let mut text = serde_json::to_string_pretty(json).unwrap();
    text.push('\n');
    text
}

/// Compares a folder's files with what they must be, and writes those that differ, so that the
/// author sees the change as a diff. Returns the names of files that were not as they must be.
pub(crate) fn write_changed(folder_name: &str, wanted: &[(String, String)]) -> Vec<String> {
    let folder = folder(folder_name);
    fs::create_dir_all(&folder).unwrap();
    let mut changed = Vec::new();
    for (name, text) in wanted {
        let path = folder.join(name);
        if fs::read_to_string(&path).is_ok_and(|found| found == *text) {
            continue;
        }
        fs::write(&path, text).unwrap();
        changed.push(format!("{folder_name}/{name}"));
    }
    changed
}

/// The names of a folder's files, sorted.
pub(crate) fn names_in(folder_name: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder(folder_name))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
