//! A terminal's screen as SVG: text in runs of one style, backgrounds as boxes, borders as lines.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;
use vt100::{Cell, Color, Screen};

const CELL_WIDTH: f32 = 8.4;
const CELL_HEIGHT: f32 = 17.0;
const BASELINE: f32 = 13.0;
const BACKGROUND: &str = "#16181d";
const FOREGROUND: &str = "#d6d9e0";

/// The first 16 colours, as a dark terminal has them.
const PALETTE: [&str; 16] = [
    "#22252b", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#c8ccd4", "#7a8190", "#f28b93",
    "#b3dba0", "#f2d492", "#8cc6f7", "#dba0ec", "#83d0da", "#ffffff",
];

/// The whole screen.
pub fn draw(screen: &Screen) -> String {
    let (rows, columns) = screen.size();
    let (rows, columns) = (rows.get(), columns.get());
    let (width, height) = (f32::from(columns) * CELL_WIDTH + 16.0, f32::from(rows) * CELL_HEIGHT + 16.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace\" font-size=\"14\">\n<rect width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"{BACKGROUND}\"/>\n<g transform=\"translate(8 8)\">\n"
    );
    for row in 0..rows {
        draw_row(&mut svg, screen, row, columns);
    }
    let at = |row, column| stroke(screen.cell(row, column));
    let across = |row, column| at(row, column).map(|stroke| (stroke.line, [stroke.left, stroke.right]));
    let down = |row, column| at(row, column).map(|stroke| (stroke.line, [stroke.up, stroke.down]));
    for row in 0..rows {
        let y = (f32::from(row) + 0.5) * CELL_HEIGHT;
        for (line, from, to) in lines((0..columns).map(|column| across(row, column))) {
            line_element(&mut svg, &line, (from * CELL_WIDTH, y), (to * CELL_WIDTH, y));
        }
    }
    for column in 0..columns {
        let x = (f32::from(column) + 0.5) * CELL_WIDTH;
        for (line, from, to) in lines((0..rows).map(|row| down(row, column))) {
            line_element(&mut svg, &line, (x, from * CELL_HEIGHT), (x, to * CELL_HEIGHT));
        }
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

/// How a run of cells looks.
#[derive(PartialEq)]
struct Style {
    foreground: String,
    background: Option<String>,
    bold: bool,
    dim: bool,
}

fn style(cell: &Cell) -> Style {
    let (mut foreground, mut background) = (color(cell.fgcolor()), color(cell.bgcolor()));
    if cell.inverse() {
        let paper = background.unwrap_or_else(|| BACKGROUND.to_owned());
        background = Some(foreground.unwrap_or_else(|| FOREGROUND.to_owned()));
        foreground = Some(paper);
    }
    let foreground = foreground.unwrap_or_else(|| FOREGROUND.to_owned());
    Style { foreground, background, bold: cell.bold(), dim: cell.dim() }
}

fn color(color: Color) -> Option<String> {
    match color {
        Color::Default => None,
        Color::Idx(index @ 0..16) => Some(PALETTE[usize::from(index)].to_owned()),
        Color::Idx(index @ 16..232) => {
            let level = |part: u8| if part == 0 { 0 } else { 55 + 40 * part };
            let cube = index - 16;
            Some(format!("#{:02x}{:02x}{:02x}", level(cube / 36), level(cube / 6 % 6), level(cube % 6)))
        }
        Color::Idx(index) => Some(format!("#{0:02x}{0:02x}{0:02x}", 8 + 10 * (index - 232))),
        Color::Rgb(red, green, blue) => Some(format!("#{red:02x}{green:02x}{blue:02x}")),
    }
}

fn draw_row(svg: &mut String, screen: &Screen, row: u16, columns: u16) {
    let mut column = 0;
    while column < columns {
        let Some(first) = screen.cell(row, column) else { break };
        let look = style(first);
        let (start, mut text) = (column, String::new());
        while let Some(cell) = (column < columns).then(|| screen.cell(row, column)).flatten() {
            if style(cell) != look {
                break;
            }
            if !cell.is_wide_continuation() {
                let shown = cell.has_contents() && stroke(Some(cell)).is_none();
                text.push_str(if shown { cell.contents() } else { " " });
            }
            column += 1;
        }
        run(svg, (row, start, column), &text, &look);
    }
}

fn run(svg: &mut String, (row, start, end): (u16, u16, u16), text: &str, look: &Style) {
    let (x, y) = (f32::from(start) * CELL_WIDTH, f32::from(row) * CELL_HEIGHT);
    let width = f32::from(end - start) * CELL_WIDTH;
    if let Some(background) = &look.background {
        // Writing to a String cannot fail.
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{CELL_HEIGHT}\" fill=\"{background}\"/>"
        );
    }
    let mut cells = 0;
    // Every word has its own place, so that a font of another width moves nothing.
    for piece in text.split_inclusive("  ") {
        let word = piece.trim();
        if !word.is_empty() {
            let blanks = piece.len() - piece.trim_start().len();
            let x = x + (cells + blanks) as f32 * CELL_WIDTH;
            let length = word.width() as f32 * CELL_WIDTH;
            let escaped = word.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let weight = if look.bold { " font-weight=\"bold\"" } else { "" };
            let dim = if look.dim { " opacity=\"0.6\"" } else { "" };
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" fill=\"{}\"{weight}{dim} textLength=\"{length:.1}\" lengthAdjust=\"spacingAndGlyphs\">{escaped}</text>",
                y + BASELINE,
                look.foreground,
            );
        }
        cells += piece.width();
    }
}

/// A line's look.
#[derive(Clone, PartialEq)]
struct Line {
    heavy: bool,
    color: String,
}

/// The arms of a border's sign.
struct Stroke {
    line: Line,
    left: bool,
    right: bool,
    up: bool,
    down: bool,
}

fn stroke(cell: Option<&Cell>) -> Option<Stroke> {
    let cell = cell?;
    // left, right, up, down
    let arms = match cell.contents() {
        "\u{2500}" | "\u{2501}" => [true, true, false, false],
        "\u{2502}" | "\u{2503}" => [false, false, true, true],
        "\u{250c}" | "\u{250f}" => [false, true, false, true],
        "\u{2510}" | "\u{2513}" => [true, false, false, true],
        "\u{2514}" | "\u{2517}" => [false, true, true, false],
        "\u{2518}" | "\u{251b}" => [true, false, true, false],
        _ => return None,
    };
    let heavy = matches!(cell.contents(), "\u{2501}" | "\u{2503}" | "\u{250f}" | "\u{2513}" | "\u{2517}" | "\u{251b}");
    let line = Line { heavy, color: style(cell).foreground };
    Some(Stroke { line, left: arms[0], right: arms[1], up: arms[2], down: arms[3] })
}

/// Joins the arms of neighbours along one row or column: each line, with where it begins and ends, in cells.
fn lines(cells: impl Iterator<Item = Option<(Line, [bool; 2])>>) -> Vec<(Line, f32, f32)> {
    let mut lines: Vec<(Line, f32, f32)> = Vec::new();
    for (at, cell) in cells.enumerate() {
        let Some((line, arms)) = cell else { continue };
        for (half, _) in [0.0, 0.5].into_iter().zip(arms).filter(|(_, there)| *there) {
            let from = at as f32 + half;
            match lines.last_mut() {
                Some((last, _, to)) if *last == line && *to == from => *to += 0.5,
                _ => lines.push((line.clone(), from, from + 0.5)),
            }
        }
    }
    lines
}

fn line_element(svg: &mut String, line: &Line, from: (f32, f32), to: (f32, f32)) {
    let width = if line.heavy { 2.4 } else { 1.0 };
    let _ = writeln!(
        svg,
        "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"{}\" stroke-width=\"{width}\"/>",
        from.0, from.1, to.0, to.1, line.color
    );
}
