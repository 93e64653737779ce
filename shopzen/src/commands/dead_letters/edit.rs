//! Where a new message comes from: a file, or the operator's editor.

use std::{
    env, fs,
    io::{self, Read as _, Write as _},
    path::Path,
};

use shopzen_chassis::WholeLetter;
use tokio::process::Command;

use crate::exit::{Exit, Failure, OrFail as _};

/// The new message from a file, or from standard input.
pub(super) fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        io::stdin().read_to_string(&mut text).map(|_| ())
    } else {
        fs::read_to_string(file).map(|read| text = read)
    };
    let next = "--payload names a file with the new message in UTF-8, or - for standard input";
    read.or_fail(Exit::Usage, format!("cannot read {}", file.display()), next)?;
    Ok(text)
}

/// The message as the operator left it in their editor.
pub(super) async fn in_editor(letter: &WholeLetter) -> Result<String, Failure> {
    let payload = letter.edited_payload.as_ref().unwrap_or(&letter.payload);
    let shown = u64::try_from(letter.payload_bytes).unwrap_or(u64::MAX);
    if shown > u64::try_from(payload.len()).unwrap_or(u64::MAX) {
        return Err(Failure::new(
            Exit::Usage,
            "the message is too large for an editor",
            "--payload FILE has the new one",
        ));
    }
    let cannot = |what: &str| format!("cannot {what} the message");
    let next = "$EDITOR names an editor; --payload FILE needs none";
    let mut file = tempfile::Builder::new()
        .prefix("shopzen-letter-")
        .suffix(".json")
        .tempfile()
        .or_fail(Exit::Software, cannot("write down"), next)?;
    let before = pretty(payload);
    file.write_all(before.as_bytes())
        .and_then(|()| file.flush())
        .or_fail(Exit::Software, cannot("write down"), next)?;
    let editor = ["VISUAL", "EDITOR"]
        .into_iter()
        .find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_else(|| "vi".to_owned());
    // By the shell, as everybody else does it: an editor may have arguments.
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg(&editor)
        .arg(file.path())
        .status()
        .await
        .or_fail(Exit::Software, cannot("edit"), next)?;
    let after = fs::read_to_string(file.path()).or_fail(Exit::Usage, cannot("read"), next)?;
    if !status.success() || after == before {
        return Err(Failure::new(
            Exit::Usage,
            "the message was not changed",
            "save a change in the editor, or use --payload FILE",
        ));
    }
    Ok(after)
}

/// JSON with line breaks; anything else as it is.
pub(super) fn pretty(text: &str) -> String {
    let value: Result<serde_json::Value, _> = serde_json::from_str(text);
    value
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_else(|_| text.to_owned())
}
