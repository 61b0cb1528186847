//! The README's list of keys is the table of the program.

use slipway::tui::keymap::{Action, Scope};

/// The table of the README, as the program has it.
fn table() -> String {
    let mut text = String::from("| where | key | action | in `[keys]` |\n| --- | --- | --- | --- |\n");
    for scope in [Scope::Global, Scope::List, Scope::Build, Scope::Platform, Scope::Tag, Scope::Log] {
        let place = match scope {
            Scope::Global => "everywhere",
            Scope::List => "lists",
            Scope::Build => "builds, log",
            Scope::Platform => "platforms",
            Scope::Tag => "tags",
            Scope::Log => "log",
        };
        for action in Action::ALL.iter().filter(|action| action.scope() == scope) {
            let keys = action.default_keys().split_whitespace().map(|key| format!("`{}`", key.replace('|', "\\|")));
            let keys = keys.collect::<Vec<_>>().join(" ");
            text.push_str(&format!("| {place} | {keys} | {} | `{}` |\n", action.english(), action.name()));
        }
    }
    text
}

#[test]
fn the_readme_lists_every_key() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(file).unwrap();
    if std::env::var_os("SLIPWAY_BLESS").is_some() {
        let (before, rest) = readme.split_once("<!-- keys -->\n").unwrap();
        let (_, after) = rest.split_once("<!-- /keys -->").unwrap();
        std::fs::write(file, format!("{before}<!-- keys -->\n{}<!-- /keys -->{after}", table())).unwrap();
        return;
    }
    assert!(readme.contains(&table()), "`SLIPWAY_BLESS=1 cargo test --test keys` writes the list anew");
}
