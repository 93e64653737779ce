//! Rules of this repository that a compiler does not know. Each says what to do when it is broken.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod code;
mod layers;
mod settings;
mod workers;

/// Fails with all that was found at once.
fn assert_none(found: &[String], what_to_do: &str) {
    assert!(found.is_empty(), "{what_to_do}\n  {}", found.join("\n  "));
}
