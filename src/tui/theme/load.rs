//! Reading themes: the built-in ones and the user's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ratatui::style::{Color, Modifier, Style};
use serde::Deserialize;

use super::depth::{Depth, to_ansi, to_indexed};
use super::role::Role;
use super::styles::Theme;
use crate::domain::reason::{AsReason, Reason, display_as_reason, output, quoted, reason};

/// The themes that come with slipway, the usual one first.
const BUILT_IN: [(&str, &str); 5] = [
    ("terminal", include_str!("../../../themes/terminal.toml")),
    ("slipway-dark", include_str!("../../../themes/slipway-dark.toml")),
    ("slipway-light", include_str!("../../../themes/slipway-light.toml")),
    ("high-contrast", include_str!("../../../themes/high-contrast.toml")),
    ("mono", include_str!("../../../themes/mono.toml")),
];

/// A theme that inherits longer than this inherits itself.
const MOST_ANCESTORS: usize = 8;

/// Why a theme can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ThemeError {
    /// There is none of that name.
    Unknown {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// Its file can't be read, or is wrong.
    Wrong {
        /// The theme.
        name: String,
        /// Its file; none: it is built in.
        file: Option<PathBuf>,
        /// What is wrong, with the line where it is known.
        reason: Reason,
    },
    /// It inherits itself.
    Circle {
        /// The theme.
        name: String,
    },
}

display_as_reason!(ThemeError);

impl AsReason for ThemeError {
    fn reason(&self) -> Reason {
        match self {
            ThemeError::Unknown { name, known } => reason!("theme.unknown", name = quoted(name), known),
            ThemeError::Wrong { name, file: Some(file), reason } => {
                reason!("theme.wrong", name = quoted(name), file, reason)
            }
            ThemeError::Wrong { name, file: None, reason } => {
                reason!("theme.wrong_built_in", name = quoted(name), reason)
            }
            ThemeError::Circle { name } => reason!("theme.circle", name = quoted(name)),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    inherits: Option<String>,
    palette: BTreeMap<String, String>,
    roles: BTreeMap<String, Look>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Look {
    fg: Option<String>,
    bg: Option<String>,
    bold: bool,
    dim: bool,
    italic: bool,
    underlined: bool,
    reversed: bool,
}

/// The names of all themes, the user's last.
pub fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).collect();
    let files = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut own: Vec<String> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .filter_map(|path| path.file_stem()?.to_str().map(str::to_owned))
        .filter(|name| !names.contains(name))
        .collect();
    own.sort();
    names.append(&mut own);
    names
}

impl Theme {
    /// The one that needs nothing of the terminal but its own sixteen colours.
    pub fn terminal() -> Theme {
        built_in("terminal", Depth::Ansi)
    }

    /// A theme by name: the user's of that name in a directory, else the built-in one. Without colours it is always `mono`.
    ///
    /// # Errors
    /// When there is none of that name, or its file is wrong.
    pub fn load(name: &str, directory: &Path, depth: Depth) -> Result<Theme, ThemeError> {
        let name = if depth == Depth::None { "mono" } else { name };
        load(name, directory, depth)
    }
}

/// A theme of [`BUILT_IN`].
fn built_in(name: &str, depth: Depth) -> Theme {
    load_from(name, Path::new(""), depth).expect("a theme in the source code, tried by the tests")
}

fn load(name: &str, directory: &Path, depth: Depth) -> Result<Theme, ThemeError> {
    load_from(name, directory, depth).map_err(|error| match error {
        ThemeError::Unknown { name, .. } => ThemeError::Unknown { name, known: names(directory).join(", ") },
        error => error,
    })
}

fn load_from(name: &str, directory: &Path, depth: Depth) -> Result<Theme, ThemeError> {
    let (mut palette, mut roles) = (BTreeMap::new(), BTreeMap::new());
    let (first, own) = read(name, directory)?;
    let mut file = first;
    let mut ancestors = 0;
    loop {
        for (key, value) in file.palette {
            palette.entry(key).or_insert(value);
        }
        for (key, value) in file.roles {
            roles.entry(key).or_insert(value);
        }
        let Some(parent) = file.inherits else { break };
        ancestors += 1;
        if ancestors > MOST_ANCESTORS {
            return Err(ThemeError::Circle { name: name.to_owned() });
        }
        file = read(&parent, directory)?.0;
    }
    let wrong = |reason: Reason| ThemeError::Wrong { name: name.to_owned(), file: own.clone(), reason };
    if let Some(unknown) = roles.keys().find(|key| !Role::ALL.iter().any(|role| role.name() == **key)) {
        let nearest = Role::ALL.iter().map(|role| (strsim::levenshtein(unknown, role.name()), role.name())).min();
        let role = quoted(unknown);
        return Err(wrong(match nearest {
            Some((_, nearest)) => reason!("theme.nearest_role", role, nearest = quoted(nearest)),
            None => reason!("theme.no_role", role),
        }));
    }
    let mut styles = BTreeMap::new();
    for role in Role::ALL {
        let Some(look) = look_of(role.name(), &roles) else { continue };
        styles.insert(
            *role,
            style(look, &palette, depth)
                .map_err(|reason| wrong(reason!("theme.of_role", role = quoted(role.name()), reason)))?,
        );
    }
    Ok(Theme { name: name.to_owned(), styles, file: own })
}

/// The user's file of that name, else the built-in one; and where it is.
fn read(name: &str, directory: &Path) -> Result<(File, Option<PathBuf>), ThemeError> {
    let path = directory.join(format!("{name}.toml"));
    let own =
        if directory.as_os_str().is_empty() || name.contains('/') { None } else { fs::read_to_string(&path).ok() };
    let (text, own) = match (own, BUILT_IN.iter().find(|(built_in, _)| *built_in == name)) {
        (Some(text), _) => (text, Some(path.clone())),
        (None, Some((_, text))) => ((*text).to_owned(), None),
        (None, None) => return Err(ThemeError::Unknown { name: name.to_owned(), known: String::new() }),
    };
    let file = toml::from_str(&text).map_err(|error| {
        let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let said = output(error.message());
        let reason = match line {
            Some(line) => reason!("theme.at_line", line, said),
            None => Reason::verbatim(error.message()),
        };
        ThemeError::Wrong { name: name.to_owned(), file: Some(path), reason }
    })?;
    Ok((file, own))
}

/// What is said of a role, or of the role before its last dot.
fn look_of<'a>(name: &str, roles: &'a BTreeMap<String, Look>) -> Option<&'a Look> {
    match (roles.get(name), name.rsplit_once('.')) {
        (Some(look), _) => Some(look),
        // A part of the text looks like all text, which is drawn below it anyway.
        (None, Some(("text", _)) | None) => None,
        (None, Some((parent, _))) => look_of(parent, roles),
    }
}

fn style(look: &Look, palette: &BTreeMap<String, String>, depth: Depth) -> Result<Style, Reason> {
    let mut style = Style::new();
    if let Some(fg) = &look.fg {
        style.fg = Some(colour(fg, palette, depth)?);
    }
    if let Some(bg) = &look.bg {
        style.bg = Some(colour(bg, palette, depth)?);
    }
    for (on, modifier) in [
        (look.bold, Modifier::BOLD),
        (look.dim, Modifier::DIM),
        (look.italic, Modifier::ITALIC),
        (look.underlined, Modifier::UNDERLINED),
        (look.reversed, Modifier::REVERSED),
    ] {
        if on {
            style = style.add_modifier(modifier);
        }
    }
    Ok(style)
}

/// A colour of the palette, `#rrggbb`, or one of the terminal's own by name; as many colours as the terminal knows.
fn colour(text: &str, palette: &BTreeMap<String, String>, depth: Depth) -> Result<Color, Reason> {
    let text = palette.get(text).map_or(text, String::as_str);
    let parsed = text.parse::<Color>();
    match (parsed, depth) {
        (_, Depth::None) => Ok(Color::Reset),
        (Ok(Color::Rgb(red, green, blue)), Depth::Indexed) => Ok(to_indexed(red, green, blue)),
        (Ok(Color::Rgb(red, green, blue)), Depth::Ansi) => Ok(to_ansi(red, green, blue)),
        (Ok(colour), _) => Ok(colour),
        (Err(_), _) => Err(reason!("theme.no_colour", text = quoted(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What WCAG calls the contrast of two colours.
    fn contrast(one: Color, other: Color) -> f64 {
        let luminance = |colour| {
            let Color::Rgb(r, g, b) = colour else { panic!("{colour} is not one of sixteen million") };
            let part = |value: u8| {
                let value = f64::from(value) / 255.0;
                if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b)
        };
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn every_built_in_theme_loads_at_every_depth() {
        for (name, _) in BUILT_IN {
            for depth in [Depth::True, Depth::Indexed, Depth::Ansi] {
                assert_eq!(built_in(name, depth).name(), name);
            }
        }
    }

    #[test]
    fn text_can_be_read_in_every_theme_that_brings_its_own_colours() {
        for name in ["slipway-dark", "slipway-light", "high-contrast"] {
            let theme = built_in(name, Depth::True);
            let ground = theme.style(Role::Text).bg.unwrap();
            for role in Role::ALL {
                let style = theme.style(*role);
                let Some(fg) = style.fg else { continue };
                let least = match role {
                    Role::Border | Role::Scrollbar => 2.0,
                    Role::Muted | Role::LogTime | Role::Backdrop | Role::FieldNote | Role::StatusStopped => 3.0,
                    _ => 4.5,
                };
                let found = contrast(fg, style.bg.unwrap_or(ground));
                assert!(found >= least, "{name}: {}: {found:.2}", role.name());
            }
        }
    }

    #[test]
    fn without_colours_no_role_has_one_and_the_selection_is_seen() {
        let theme = built_in("mono", Depth::None);
        for role in Role::ALL {
            let style = theme.style(*role);
            assert!(style.fg.is_none() && style.bg.is_none(), "{}", role.name());
        }
        assert!(theme.style(Role::Selection).add_modifier.contains(Modifier::REVERSED));
    }

    #[test]
    fn a_users_theme_inherits_and_overrides() {
        let directory = tempfile::tempdir().unwrap();
        let text = "inherits = \"slipway-dark\"\n[palette]\nred = \"#010203\"\n";
        fs::write(directory.path().join("mine.toml"), text).unwrap();
        let theme = load("mine", directory.path(), Depth::True).unwrap();
        assert_eq!(theme.style(Role::StatusFail).fg, Some(Color::Rgb(1, 2, 3)));
        assert_eq!(theme.style(Role::StatusOk), built_in("slipway-dark", Depth::True).style(Role::StatusOk));
        assert!(names(directory.path()).contains(&"mine".to_owned()));
    }

    #[test]
    fn what_is_wrong_with_a_theme_is_named() {
        let directory = tempfile::tempdir().unwrap();
        for (text, expected) in [
            ("[roles]\n\"status.okay\" = {}", "status.ok"),
            ("[roles]\ntext = { fg = \"redd\" }", "redd"),
            ("[roles]\ntext = { colour = \"red\" }", "line 2"),
            ("inherits = \"bad\"", "inherits itself"),
            ("inherits = \"nobody\"", "there is no theme"),
        ] {
            fs::write(directory.path().join("bad.toml"), text).unwrap();
            let error = load("bad", directory.path(), Depth::True).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
