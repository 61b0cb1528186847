use std::sync::LazyLock;

use proptest::prelude::*;
use regex::Regex;

use super::*;
use crate::log::follow::Lines;

fn shown(line: &str) -> String {
    String::from_utf8(Sanitizer::default().line(line.as_bytes()).to_vec()).unwrap()
}

/// The sequences that a log may have.
static SGR: LazyLock<Regex> = LazyLock::new(|| {
    let colour = r"[34][0-7]|9[0-7]|10[0-7]|[34]8;5;\d{1,3}|[34]8;2;\d{1,3};\d{1,3};\d{1,3}";
    regex(&format!(r"\x1b\[(?:[0-479]|{colour})(?:;(?:[1-479]|{colour}))*m"))
});
static STYLED: LazyLock<Regex> = LazyLock::new(|| regex(r"([\p{Extended_Pictographic}\x{1f3fb}-\x{1f3ff}])\x{fe0f}"));
static JOINED: LazyLock<Regex> = LazyLock::new(|| regex(r"([\p{Extended_Pictographic}\x{1f3fb}-\x{1f3ff}])\x{200d}"));
static BAD: LazyLock<Regex> =
    LazyLock::new(|| regex(r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}--[\n\t]]"));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

/// Whether a terminal would take a text for text, but for line ends, tabs and the colours that are allowed: told
/// without the filter's own code.
fn clean_terminal(text: &str, colours: bool) -> Result<(), String> {
    let rest = if colours { SGR.replace_all(text, "") } else { text.into() };
    let rest = STYLED.replace_all(&rest, "$1");
    let rest = JOINED.replace_all(&rest, "$1");
    match BAD.find(&rest) {
        Some(found) => Err(format!("{:?} in {text:?}", found.as_str())),
        None => Ok(()),
    }
}

/// What a terminal shows of one line.
fn on_a_terminal(line: &str) -> (String, (u16, u16)) {
    let cells = |count| std::num::NonZero::new(count).unwrap();
    let mut terminal = vt100::Parser::new(cells(2), cells(400), 0);
    terminal.process(line.as_bytes());
    let position = terminal.screen().cursor_position();
    (terminal.screen().contents(), position)
}

#[test]
fn text_and_colours_pass() {
    for line in [
        "#5 0.1 plain\ttext",
        "\x1b[1;31mred\x1b[0m",
        "a\x1b[38;2;1;2;3mx\x1b[0m",
        "版本 é £ 🦀",
        "👩\u{200d}🚀 ⚠\u{fe0f}",
        "",
    ] {
        assert_eq!(shown(line), line);
    }
    assert_eq!(shown("\x1b[38:2::1:2:3mx\x1b[38:5:208;48;5;20my"), "\x1b[38;2;1;2;3mx\x1b[0;38;5;208;48;5;20my\x1b[0m");
    assert_eq!(shown("\x1b[31;1mno end"), "\x1b[1;31mno end\x1b[0m");
}

#[test]
fn what_moves_clears_asks_or_renames_does_not_pass() {
    for (line, expected) in [
        ("a\x1b[2Jb\x1b[10;10Hc", "abc"),
        ("a\x1b]0;title\x07b", "ab"),
        ("a\x1b]52;c;cGFzdGU=\x1b\\b", "ab"),
        ("a\x1b]0;x\x1b]0;y\x07b", "ab"),
        ("a\x1bPq#0\x1b\\b\x1b_x\x1b\\\x1b^y\x1b\\\x1bXz\x1b\\", "ab"),
        ("a\x1bcb\x1b(0c\x1b7", "abc"),
        ("a\x1b[6nb\x1b[?1049hc\x1b[>1mz", "abcz"),
        ("a\u{9b}2Jb\u{9d}0;t\x07c\u{85}d", "abcd"),
        ("a\u{90}q\u{9c}b\x1b]0;t\u{9c}c", "abc"),
        ("a\x1b[\u{9b}2Jb\x1b(\u{9b}31mc", "ab\x1b[31mc\x1b[0m"),
        ("a\x1b\u{9d}0;t\x07b", "ab"),
        ("a\x07b\x0e\x7f\0", "ab"),
        ("unfinished \x1b[31", "unfinished "),
        ("a\u{202e}b\u{2066}c\u{61c}", "a<202e>b<2066>c<061c>"),
        (
            "ma\u{200b}in\u{feff}\u{2028}\u{e0041}\u{ad}\u{fe0f}\u{200d}",
            "ma<200b>in<feff><2028><e0041><00ad><fe0f><200d>",
        ),
    ] {
        assert_eq!(shown(line), expected, "{line:?}");
    }
}

#[test]
fn what_a_string_without_an_end_holds_is_shown() {
    assert_eq!(shown("a\x1b]0;never ended"), "a0;never ended");
    assert_eq!(shown("a\u{9d}0;never \u{1b}_ended"), "aended");
    assert_eq!(printable("x\x1bPtold all the same"), "xtold all the same");
}

#[test]
fn bytes_that_are_no_text_never_reach_the_terminal() {
    let line = |line: &[u8]| String::from_utf8(Sanitizer::default().line(line).to_vec()).unwrap();
    assert_eq!(line(b"a\x9b2Jb"), "a\u{fffd}2Jb");
    assert_eq!(line(b"a\xe4\xc2\x9b31mb\xc2"), "a\u{fffd}\x1b[31mb\u{fffd}\x1b[0m");
}

#[test]
fn a_text_cannot_be_hidden_by_its_colours() {
    assert_eq!(shown("\x1b[8mhidden\x1b[28m"), "hidden");
    assert_eq!(shown("\x1b[31;41mred on red"), "red on red");
    assert_eq!(shown("\x1b[1;38;2;1;1;1;40mblack on black"), "\x1b[1mblack on black\x1b[0m");
    assert_eq!(shown("\x1b[38;5;16;48;2;0;0;9mx"), "x");
    assert_eq!(shown("\x1b[5;58;5;1;31mx"), "\x1b[31mx\x1b[0m");
    assert_eq!(shown("\x1b[30;107mread me"), "\x1b[30;107mread me\x1b[0m");
}

#[test]
fn a_sequence_that_never_ends_takes_no_memory() {
    let mut sanitizer = Sanitizer::default();
    let line = [b"\x1b[".as_slice(), &[b'1'; 100_000], b"mend"].concat();
    assert_eq!(String::from_utf8_lossy(sanitizer.line(&line)), "end");
    let line = ["\x1b]0;"; 30_000].concat();
    assert_eq!(sanitizer.line(line.as_bytes()), b"0;");
    let line = ["\x1b[1Gab\x1b[3D"; 30_000].concat();
    assert_eq!(sanitizer.line(line.as_bytes()), b"ab");
}

#[test]
fn progress_that_is_drawn_again_shows_as_it_was_last() {
    for (line, expected) in [
        ("10%\r50%\r100%", "100%"),
        ("#5 0.123 10%\r100%", "#5 0.123 100%"),
        ("#5 [1/2] RUN x\r\rDONE", "#5 DONE"),
        ("done\r", "done"),
        ("\ra", "a"),
        ("a|\x08/\x08-\x08done", "adone"),
        ("50%\x08\x08\x08", "50%"),
        ("50%\x1b[2K\x1b[1G100%", "100%"),
        ("50%\x1b[1000D\x1b[0K100%", "100%"),
        ("50%\r\x1b[Kdone", "done"),
        ("\x1b[31mred\x1b[0m\rplain", "plain"),
        ("ab\x1b[31mcd\x08\x08ef", "ab\x1b[31mef\x1b[0m"),
        ("宽宽\x08\x08x", "宽x"),
        ("abc\x1b[2Dx", "ax"),
        ("abc\x1b[3D\x1b[2Cx", "abx"),
    ] {
        assert_eq!(shown(line), expected, "{line:?}");
    }
}

#[test]
fn a_line_that_was_left_in_a_sequence_does_not_swallow_the_next() {
    let mut sanitizer = Sanitizer::default();
    assert_eq!(sanitizer.line(b"a\x1b[31"), b"a");
    assert_eq!(sanitizer.line(b"next\x07"), b"next");
    assert_eq!(sanitizer.line(b"\x1b[31mred"), b"\x1b[31mred\x1b[0m");
    assert_eq!(sanitizer.line(b"plain\x07"), b"plain");
}

#[test]
fn texts_that_need_no_colours_have_none_and_stay_on_their_lines() {
    assert_eq!(printable("a\x1b[2Jb\u{202e}c\td\r\ne\x08"), "ab<202e>c d  e");
    assert_eq!(printable("\x1b[31mred\x1b]0;told\x07\u{9b}8m"), "red0;told");
    assert_eq!(printable("宽 é"), "宽 é");
    assert_eq!(printable_lines("a\tb\r\n\n\x1b[1mc\x1b]x\n"), "a\tb\n\ncx\n");
    assert!(matches!(printable_lines("a\nb\t版本"), Cow::Borrowed(_)));
}

#[test]
fn json_for_a_terminal_is_ascii_and_means_the_same() {
    let value = serde_json::json!({ "版本": "\u{9b}2J\u{202e}🦀\x7f\x1b\n" });
    let text = printable_json(&serde_json::to_string_pretty(&value).unwrap());
    assert!(text.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')), "{text}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
}

#[test]
fn half_of_a_joined_emoji_that_is_written_over_leaves_no_joiner() {
    let mut sanitizer = Sanitizer::default();
    assert_eq!(sanitizer.line("👩\u{200d}🚀\u{8}x".as_bytes()), "👩x".as_bytes());
    assert_eq!(sanitizer.line("👩\u{200d}🚀\x1b[2D\x1b[K🚀".as_bytes()), "👩🚀".as_bytes());
}

#[test]
fn a_text_in_a_log_of_slipways_makes_no_line_of_its_own() {
    assert_eq!(escaped("url\n2026-01-01 ERROR \x1b[2J\u{202e}版本"), "url\\n2026-01-01 ERROR \\u{1b}[2J\\u{202e}版本");
    assert!(matches!(escaped("版本"), Cow::Borrowed(_)));
}

/// Bytes that mean something to terminals, among others.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "\x1b", "\x1b[", "\x1b]", "\x1bP", "\x1b\\", "\x1b(", "\u{9b}", "\u{9d}", "\u{90}", "\u{9c}", "\x07", "\x18", "\r", "\x08",
            "\t", "\n", "m", "K", "2J", "31", ";", ":", "38;2;", "48;5;", "8m", "0;t", "#5 0.1 ", "\u{202e}", "\u{200b}", "\u{200d}",
            "\u{fe0f}", "🚀", "👩", "👩\u{200d}🚀", "宽", "e\u{301}", "\u{7f}", "\u{2028}", "\u{e0041}",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
        1 => "[ -~]{1,6}".prop_map(String::into_bytes),
        1 => any::<char>().prop_map(|c| c.to_string().into_bytes()),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// The clean lines of a log that arrives in pieces.
fn in_pieces(bytes: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (mut lines, mut sanitizer, mut clean) = (Lines::default(), Sanitizer::default(), Vec::new());
    let mut take = |line: &[u8]| -> Result<(), ()> {
        clean.extend_from_slice(sanitizer.line(line));
        clean.push(b'\n');
        Ok(())
    };
    let mut at = 0;
    for size in sizes.iter().cycle() {
        if at == bytes.len() {
            break;
        }
        let end = (at + size).min(bytes.len());
        lines.push(&bytes[at..end], &mut take).unwrap();
        at = end;
    }
    lines.finish(&mut take).unwrap();
    clean
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_bytes_and_wherever_they_are_cut_the_log_is_clean(
        bytes in hostile(),
        sizes in prop::collection::vec(1usize..9, 1..6),
    ) {
        let clean = in_pieces(&bytes, &[usize::MAX / 2]);
        prop_assert_eq!(&in_pieces(&bytes, &sizes), &clean);
        prop_assert_eq!(&in_pieces(&clean, &sizes), &clean);
        let text = String::from_utf8(clean).unwrap();
        if let Err(why) = clean_terminal(&text, true) {
            prop_assert!(false, "{}", why);
        }
        // A terminal shows what the line says, where it is, and in no colour in the end.
        for line in text.lines().filter(|line| !line.contains('\t')) {
            let (contents, (row, _)) = on_a_terminal(line);
            prop_assert_eq!(row, 0);
            let said = SGR.replace_all(line, "");
            prop_assert!(!said.is_ascii() || contents.trim_end() == said.trim_end(), "{:?} {:?}", contents, said);
            prop_assert!(!line.contains('\x1b') || line.ends_with("\x1b[0m") || !line.rsplit("\x1b[0m").next().unwrap_or_default().contains('\x1b'));
        }
    }

    #[test]
    fn whatever_the_text_what_is_printed_of_it_is_clean(bytes in hostile()) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (line, lines) = (printable(&text).into_owned(), printable_lines(&text).into_owned());
        for (clean, again) in [(&line, printable(&line)), (&lines, printable_lines(&lines))] {
            prop_assert_eq!(&again, clean);
            if let Err(why) = clean_terminal(clean, false) {
                prop_assert!(false, "{}", why);
            }
        }
        prop_assert!(!line.contains(['\n', '\t']));
        prop_assert!(!escaped(&text).contains(|c: char| c != '\t' && c.is_control() || is_hidden(c)));
        // What a log's line shows as text is what is drawn of it.
        let mut sanitizer = Sanitizer::default();
        let drawn = sanitizer.text(&bytes);
        prop_assert_eq!(drawn.pieces().map(|(text, _)| text).collect::<String>(), drawn.text);
    }
}
