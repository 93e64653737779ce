//! A disk of the broker's own, small enough to be full at a word.

use std::{fs, io, path::PathBuf, process::Command};

use super::processes::copy_folder;

/// What it holds when it is not full. It is memory, taken as it is used.
const SIZE: &str = "4g";
/// What is left of a full one.
const LEFT_KIB: u64 = 16;

/// A mounted tmpfs, for as long as this is kept.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Mounts one at a folder, which is made. None where this user may not, or this system cannot.
    pub fn mount(folder: PathBuf) -> Option<Self> {
        fs::create_dir_all(&folder).ok()?;
        let options = format!("size={SIZE}");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&folder))
        .ok()?;
        Some(Self { folder })
    }

    /// Leaves no room beyond what is used.
    pub fn fill(&self) -> Result<(), String> {
        let found = nix::sys::statvfs::statvfs(&self.folder).map_err(|error| error.to_string())?;
        let used = found.blocks().saturating_sub(found.blocks_free());
        let used_kib = used.saturating_mul(found.fragment_size()) / 1024;
        self.resize(&format!("{}k", used_kib + LEFT_KIB))
    }

    pub fn free(&self) -> Result<(), String> {
        self.resize(SIZE)
    }

    /// Takes the disk away, and leaves what was on it in its folder.
    pub fn leave(self) -> io::Result<()> {
        let (folder, copy) = (self.folder.clone(), self.folder.with_extension("left"));
        copy_folder(&folder, &copy)?;
        drop(self);
        fs::remove_dir_all(&folder)?;
        fs::rename(copy, folder)
    }

    fn resize(&self, size: &str) -> Result<(), String> {
        let options = format!("remount,size={size}");
        run(Command::new("mount")
            .args(["-o", &options])
            .arg(&self.folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever still has files open there keeps them until it ends.
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.folder));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::print_stderr, reason = "a test that tests nothing says so")]
    fn a_full_disk_takes_nothing_until_it_is_free_and_what_it_took_is_left() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("disk");
        let Some(disk) = Disk::mount(folder.clone()) else {
            eprintln!("not tested: this user may not mount a disk");
            return;
        };
        let megabyte = vec![7; 1024 * 1024];
        fs::write(folder.join("before"), &megabyte).unwrap();
        disk.fill().unwrap();
        let refused = fs::write(folder.join("full"), &megabyte).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        disk.free().unwrap();
        fs::write(folder.join("after"), &megabyte).unwrap();
        disk.leave().unwrap();
        for file in ["before", "after"] {
            assert_eq!(fs::read(folder.join(file)).unwrap(), megabyte, "{file}");
        }
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        assert!(!mounts.contains(folder.to_str().unwrap()), "{mounts}");
    }
}
