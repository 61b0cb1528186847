//! How many colours the terminal knows, and the nearest of those to a colour of sixteen million.

use ratatui::style::Color;

/// How many colours the terminal knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Sixteen million.
    True,
    /// 256.
    Indexed,
    /// Sixteen.
    Ansi,
    /// None: only bold, reversed and underlined.
    None,
}

impl Depth {
    /// What the environment says: `NO_COLOR`, `COLORTERM`, `TERM`.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Depth {
        let get = |name: &str| variable(name).filter(|value| !value.is_empty());
        let term = get("TERM").unwrap_or_default();
        if get("NO_COLOR").is_some() || term == "dumb" {
            return Depth::None;
        }
        if get("COLORTERM").is_some_and(|value| value == "truecolor" || value == "24bit") || term.ends_with("-direct") {
            return Depth::True;
        }
        // Over SSH COLORTERM is lost on the way; most terminals that say xterm-256color know at least those.
        if term.contains("256color") { Depth::Indexed } else { Depth::Ansi }
    }
}

/// The colour of 256 that is nearest to one of sixteen million.
pub(super) fn to_indexed(red: u8, green: u8, blue: u8) -> Color {
    // The cube of 6 by 6 by 6 and the greys of xterm.
    const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let nearest = |value: u8| (0..6u8).min_by_key(|step| STEPS[usize::from(*step)].abs_diff(value)).unwrap_or(0);
    let (r, g, b) = (nearest(red), nearest(green), nearest(blue));
    let distance = |to: [u8; 3]| {
        [red, green, blue].iter().zip(to).map(|(one, other)| u32::from(one.abs_diff(other)).pow(2)).sum::<u32>()
    };
    let cube = [r, g, b].map(|step| STEPS[usize::from(step)]);
    let grey = u8::try_from((u16::from(red) + u16::from(green) + u16::from(blue)) / 3).unwrap_or(0);
    let level = u8::try_from((u16::from(grey.saturating_sub(3)) / 10).min(23)).unwrap_or(23);
    let of_grey = [8 + level * 10; 3];
    if distance(of_grey) < distance(cube) {
        Color::Indexed(232 + level)
    } else {
        Color::Indexed(16 + 36 * r + 6 * g + b)
    }
}

/// The colour of sixteen that is nearest to one of sixteen million, as xterm has them.
pub(super) fn to_ansi(red: u8, green: u8, blue: u8) -> Color {
    const COLOURS: [(Color, [u8; 3]); 16] = [
        (Color::Black, [0, 0, 0]),
        (Color::Red, [205, 0, 0]),
        (Color::Green, [0, 205, 0]),
        (Color::Yellow, [205, 205, 0]),
        (Color::Blue, [0, 0, 238]),
        (Color::Magenta, [205, 0, 205]),
        (Color::Cyan, [0, 205, 205]),
        (Color::Gray, [229, 229, 229]),
        (Color::DarkGray, [127, 127, 127]),
        (Color::LightRed, [255, 0, 0]),
        (Color::LightGreen, [0, 255, 0]),
        (Color::LightYellow, [255, 255, 0]),
        (Color::LightBlue, [92, 92, 255]),
        (Color::LightMagenta, [255, 0, 255]),
        (Color::LightCyan, [0, 255, 255]),
        (Color::White, [255, 255, 255]),
    ];
    let distance = |to: &[u8; 3]| {
        [red, green, blue].iter().zip(to).map(|(one, other)| u32::from(one.abs_diff(*other)).pow(2)).sum::<u32>()
    };
    COLOURS.iter().min_by_key(|(_, colour)| distance(colour)).map_or(Color::Reset, |(colour, _)| *colour)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_depth_is_what_the_terminal_says() {
        let depth = |pairs: &[(&str, &str)]| {
            Depth::of(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(depth(&[("TERM", "xterm-256color")]), Depth::Indexed);
        assert_eq!(depth(&[("TERM", "xterm-256color"), ("COLORTERM", "truecolor")]), Depth::True);
        assert_eq!(depth(&[("TERM", "xterm-256color"), ("NO_COLOR", "1")]), Depth::None);
        assert_eq!(depth(&[("TERM", "xterm-256color"), ("NO_COLOR", "")]), Depth::Indexed);
        assert_eq!(depth(&[("TERM", "linux")]), Depth::Ansi);
        assert_eq!(depth(&[("TERM", "dumb")]), Depth::None);
    }

    #[test]
    fn colours_become_their_nearest() {
        assert_eq!(to_indexed(255, 0, 0), Color::Indexed(196));
        assert_eq!(to_indexed(128, 128, 128), Color::Indexed(244));
        assert_eq!(to_ansi(10, 10, 10), Color::Black);
        assert_eq!(to_ansi(250, 20, 20), Color::LightRed);
    }
}
