//! Names of files for messages.

use std::path::Path;

/// The name of a file as text, for messages.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
