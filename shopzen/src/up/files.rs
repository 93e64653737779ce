//! Small things done to files.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::data_dir::DataDir;

/// A log that grows beyond this is cut; its end is kept in a second file.
const LOG_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// How much of the end of a log is read for a person.
const TAIL_BYTES: u64 = 8 * 1024;

pub fn remove_if_there(path: &Path) {
    // Only tidiness depends on it.
    let _ = fs::remove_file(path);
}

/// Opens a log to add to it.
pub fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// The last lines of a log.
pub fn tail(path: &Path, lines: usize) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    let first = all.len().saturating_sub(lines);
    all.get(first..).unwrap_or_default().join("\n")
}

/// Keeps the logs of servers that cannot do it themselves from filling the disk. They write with
/// `O_APPEND`, so cutting the file under them is safe; a few lines of that moment may be lost.
pub fn cut_long_logs(data: &DataDir) -> io::Result<()> {
    for entry in fs::read_dir(data.logs())? {
        let path = entry?.path();
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        if is_log && fs::metadata(&path)?.len() > LOG_BYTES_MAX {
            fs::copy(&path, path.with_extension("log.1"))?;
            OpenOptions::new().write(true).open(&path)?.set_len(0)?;
        }
    }
    Ok(())
}

/// Whether somebody may pass through every folder above `path`, and if not, which one stops them.
/// Access control lists are not looked at.
pub fn check_passage(path: &Path, uid: u32, gid: u32) -> Result<(), PathBuf> {
    const OWNER: u32 = 0o100;
    const GROUP: u32 = 0o010;
    const OTHERS: u32 = 0o001;
    let mut folders: Vec<&Path> = path.ancestors().skip(1).collect();
    folders.reverse();
    for folder in folders {
        let Ok(metadata) = fs::metadata(folder) else {
            continue;
        };
        let bit = if metadata.uid() == uid {
            OWNER
        } else if metadata.gid() == gid {
            GROUP
        } else {
            OTHERS
        };
        if metadata.mode() & bit == 0 {
            return Err(folder.to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_folder_that_lets_nobody_pass_is_named() {
        const NOBODY: u32 = 65_534;
        let top = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(top.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let open = top.path().join("open");
        let shut = open.join("shut");
        fs::create_dir_all(&shut).unwrap();
        fs::set_permissions(&shut, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(
            check_passage(&shut.join("pg"), NOBODY, NOBODY),
            Err(shut.clone())
        );
        assert_eq!(check_passage(&shut, NOBODY, NOBODY), Ok(()));
    }

    #[test]
    fn the_end_of_a_log_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("x.log");
        fs::write(&log, "one\ntwo\nthree\n").unwrap();
        assert_eq!(tail(&log, 2), "two\nthree");
        assert_eq!(tail(&folder.path().join("none.log"), 2), "");
    }
}
