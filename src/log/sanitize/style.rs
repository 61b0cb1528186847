//! Colours and emphasis: parsing of SGR (select graphic rendition) parameters, and writing them again.

use vte::Params;

/// Least difference in red, green or blue that makes text readable on its background.
const SEEN: u8 = 24;

/// A colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// One of 256: the terminal's 16, a cube, and greys.
    Indexed(u8),
    /// Red, green, blue.
    Rgb(u8, u8, u8),
}

/// Appearance of a piece of text. Conceal (SGR 8) and blinking are not represented.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// The text's colour.
    pub foreground: Option<Colour>,
    /// The background's colour.
    pub background: Option<Colour>,
    /// SGR 1.
    pub bold: bool,
    /// SGR 2.
    pub dim: bool,
    /// SGR 3.
    pub italic: bool,
    /// SGR 4.
    pub underlined: bool,
    /// SGR 7.
    pub reversed: bool,
    /// SGR 9.
    pub crossed_out: bool,
}

impl Style {
    /// The style after a sequence with these parameters; those that are not known change nothing.
    pub(super) fn after(mut self, parameters: &Params) -> Style {
        let mut groups = parameters.iter();
        while let Some(group) = groups.next() {
            let number = group.first().copied().unwrap_or_default();
            match number {
                0 => self = Style::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                3 => self.italic = true,
                // `4:0` is no line, `4:3` a curly one.
                4 => self.underlined = group.get(1) != Some(&0),
                7 => self.reversed = true,
                9 => self.crossed_out = true,
                21 => self.underlined = true,
                22 => (self.bold, self.dim) = (false, false),
                23 => self.italic = false,
                24 => self.underlined = false,
                27 => self.reversed = false,
                29 => self.crossed_out = false,
                30..=37 => self.foreground = Some(indexed(number - 30)),
                39 => self.foreground = None,
                40..=47 => self.background = Some(indexed(number - 40)),
                49 => self.background = None,
                90..=97 => self.foreground = Some(indexed(number - 90 + 8)),
                100..=107 => self.background = Some(indexed(number - 100 + 8)),
                38 | 48 | 58 => {
                    let colour = match group {
                        [_] => extended(&mut groups),
                        [_, rest @ ..] => with_colons(rest),
                        [] => None,
                    };
                    match (number, colour) {
                        (38, Some(_)) => self.foreground = colour,
                        (48, Some(_)) => self.background = colour,
                        // The colour of the line under a text.
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        self
    }

    /// The style without its colours where foreground and background look alike, which would hide the text.
    pub(super) fn readable(self) -> Style {
        match (self.foreground, self.background) {
            (Some(text), Some(behind)) if look_alike(text, behind) => {
                Style { foreground: None, background: None, ..self }
            }
            _ => self,
        }
    }

    /// Appends the sequence that changes the terminal's style to this one.
    pub(super) fn write(self, from: Style, out: &mut Vec<u8>) {
        if self == Style::default() {
            return out.extend_from_slice(b"\x1b[0m");
        }
        let mut numbers: Vec<String> = Vec::new();
        if from != Style::default() {
            numbers.push("0".into());
        }
        let flags = [
            (self.bold, "1"),
            (self.dim, "2"),
            (self.italic, "3"),
            (self.underlined, "4"),
            (self.reversed, "7"),
            (self.crossed_out, "9"),
        ];
        numbers.extend(flags.iter().filter(|(set, _)| *set).map(|(_, number)| (*number).to_owned()));
        numbers.extend(self.foreground.map(|colour| sgr(colour, 0)));
        numbers.extend(self.background.map(|colour| sgr(colour, 10)));
        out.extend_from_slice(format!("\x1b[{}m", numbers.join(";")).as_bytes());
    }
}

fn indexed(number: u16) -> Colour {
    Colour::Indexed(u8::try_from(number).unwrap_or(u8::MAX))
}

/// `5;N` or `2;R;G;B`, of which each is a parameter.
fn extended<'a>(groups: &mut impl Iterator<Item = &'a [u16]>) -> Option<Colour> {
    let mut byte = || u8::try_from(*groups.next()?.first()?).ok();
    match byte()? {
        5 => Some(Colour::Indexed(byte()?)),
        2 => {
            let (red, green, blue) = (byte(), byte(), byte());
            Some(Colour::Rgb(red?, green?, blue?))
        }
        _ => None,
    }
}

/// `5:N`, `2:R:G:B`, or `2:SPACE:R:G:B` with a colour space, which is mostly empty.
fn with_colons(numbers: &[u16]) -> Option<Colour> {
    let byte = |at: usize| u8::try_from(*numbers.get(at)?).ok();
    match numbers.first()? {
        5 => Some(Colour::Indexed(byte(1)?)),
        2 => {
            let first = if numbers.len() >= 5 { 2 } else { 1 };
            Some(Colour::Rgb(byte(first)?, byte(first + 1)?, byte(first + 2)?))
        }
        _ => None,
    }
}

/// The parameters that choose a colour; `shift` is 10 for what is behind the text.
fn sgr(colour: Colour, shift: u16) -> String {
    match colour {
        Colour::Indexed(number @ 0..=7) => (30 + shift + u16::from(number)).to_string(),
        Colour::Indexed(number @ 8..=15) => (90 + shift + u16::from(number) - 8).to_string(),
        Colour::Indexed(number) => format!("{};5;{number}", 38 + shift),
        Colour::Rgb(red, green, blue) => format!("{};2;{red};{green};{blue}", 38 + shift),
    }
}

fn look_alike(one: Colour, other: Colour) -> bool {
    if one == other {
        return true;
    }
    let (one, other) = (rgb(one), rgb(other));
    one.iter().zip(other).all(|(one, other)| one.abs_diff(other) < SEEN)
}

/// A colour as xterm has it.
fn rgb(colour: Colour) -> [u8; 3] {
    const BASIC: [[u8; 3]; 16] = [
        [0, 0, 0],
        [205, 0, 0],
        [0, 205, 0],
        [205, 205, 0],
        [0, 0, 238],
        [205, 0, 205],
        [0, 205, 205],
        [229, 229, 229],
        [127, 127, 127],
        [255, 0, 0],
        [0, 255, 0],
        [255, 255, 0],
        [92, 92, 255],
        [255, 0, 255],
        [0, 255, 255],
        [255, 255, 255],
    ];
    match colour {
        Colour::Rgb(red, green, blue) => [red, green, blue],
        Colour::Indexed(number @ 0..=15) => BASIC[usize::from(number)],
        Colour::Indexed(number @ 16..=231) => {
            let level = |step: u8| if step == 0 { 0 } else { 55 + 40 * step };
            let cube = number - 16;
            [level(cube / 36), level(cube / 6 % 6), level(cube % 6)]
        }
        Colour::Indexed(number) => [8 + 10 * (number - 232); 3],
    }
}
