use std::io::Write;
use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use proptest::prelude::*;
use ratatui::buffer::Buffer;

use super::*;
use crate::lang::Lang;
use crate::tui::keymap::{Action, Scope};
use crate::tui::testing::{look, screen};
use crate::tui::theme::Theme;

/// A view of a file with this text.
fn view(text: &[u8], live: bool) -> (tempfile::TempDir, LogView) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    std::fs::write(&log, text).unwrap();
    let subject =
        Subject { build: None, attempt: None, origin: Origin::File { log, steps: None }, live, title: "a log".into() };
    let view = LogView::open(subject, Arc::new(|| {})).unwrap();
    (directory, view)
}

fn shown(view: &mut LogView, size: (u16, u16)) -> String {
    let theme = Theme::terminal();
    let look = look(&theme, Lang::En);
    screen(size, |frame| view.render(frame.area(), frame.buffer_mut(), &look, true))
}

fn typed(view: &mut LogView, text: &str) {
    for c in text.chars() {
        view.key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE));
    }
    view.key(KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE));
}

/// Lines of a build with three steps, one of which says more than fits.
fn of_a_build() -> Vec<u8> {
    let mut text = String::from("#1 [1/3] COPY . .\n#1 DONE 0.1s\n#2 [2/3] RUN make\n");
    for n in 0..40 {
        text.push_str(&format!("#2 {n}.500 compiling 模块 number {n} of a long list of modules that goes on and on\n"));
    }
    text.push_str("#2 41.000 \x1b[33mwarning\x1b[0m: unused\n#2 42.000 error: it does not link\n#2 DONE 43.0s\n#3 [3/3] RUN true\n");
    text.into_bytes()
}

/// Looks at a log that was written to; whether there was anything new.
fn looked_at(view: &mut LogView) -> bool {
    view.woken();
    view.catch_up()
}

#[test]
fn a_log_opens_at_its_end_and_every_toggle_shows() {
    let (_directory, mut view) = view(&of_a_build(), false);
    let mut screens = vec![shown(&mut view, (80, 12))];
    for actions in [
        &[Action::Wrap][..],
        &[Action::Wrap, Action::Timestamps, Action::StepNumbers],
        &[Action::Timestamps, Action::Timestamps, Action::StepNumbers, Action::In],
        &[Action::Out, Action::FirstError, Action::Mark],
        &[Action::Fold],
        &[Action::Fold, Action::Top],
    ] {
        for action in actions {
            view.act(*action);
        }
        screens.push(format!("{actions:?}\n{}", shown(&mut view, (80, 12))));
    }
    insta::assert_snapshot!(screens.join("\n"));
}

#[test]
fn the_wheel_scrolls_the_text_at_once_and_back_to_its_end() {
    let text: String = (0..40).map(|n| format!("line {n}\n")).collect();
    let (_directory, mut view) = view(text.as_bytes(), false);
    assert!(shown(&mut view, (60, 8)).contains("line 39"));
    view.scroll(-3);
    let screen = shown(&mut view, (60, 8));
    assert!(screen.contains("line 36") && !screen.contains("line 37"), "{screen}");
    view.scroll(3);
    assert!(shown(&mut view, (60, 8)).contains("line 39"));
    view.scroll(-100);
    assert!(shown(&mut view, (60, 8)).contains("line 0"));
}

#[test]
fn a_filter_that_nothing_matches_shows_nothing() {
    let (_directory, mut view) = view(b"alpha\nbeta\n", false);
    view.act(Action::Filter);
    typed(&mut view, "gamma");
    let screen = shown(&mut view, (60, 6));
    assert!(!screen.contains("alpha") && !screen.contains("beta"), "{screen}");
}

#[test]
fn a_file_that_has_neither_steps_nor_times_leaves_no_room_for_them() {
    let (_directory, mut plain) = view(b"alpha\n", false);
    assert!(shown(&mut plain, (60, 4)).contains("\u{2503} alpha"));
    let (_directory, mut of_a_build) = view(&of_a_build(), false);
    assert!(shown(&mut of_a_build, (60, 4)).contains("#3"));
}

#[test]
fn following_goes_on_as_the_log_grows_and_stops_when_somebody_scrolls_up() {
    let (directory, mut view) = view(b"first\n", true);
    let mut file = std::fs::OpenOptions::new().append(true).open(directory.path().join("log")).unwrap();
    writeln!(file, "second").unwrap();
    assert!(looked_at(&mut view));
    assert!(shown(&mut view, (60, 6)).contains("second"));
    view.act(Action::Up);
    for n in 0..20 {
        writeln!(file, "more {n}").unwrap();
    }
    looked_at(&mut view);
    let screen = shown(&mut view, (60, 6));
    assert!(screen.contains("PAUSED +20") && screen.contains("first"), "{screen}");
    view.act(Action::Bottom);
    assert!(shown(&mut view, (60, 6)).contains("more 19"));
}

#[test]
fn a_log_that_is_cut_or_replaced_is_shown_as_it_is_then() {
    let (directory, mut view) = view(&of_a_build(), true);
    shown(&mut view, (60, 6));
    std::fs::write(directory.path().join("log"), "begun anew\n").unwrap();
    assert!(looked_at(&mut view));
    assert!(shown(&mut view, (60, 6)).contains("begun anew"));
}

#[test]
fn a_search_counts_and_goes_from_hit_to_hit_and_around() {
    let (_directory, mut view) = view(&of_a_build(), false);
    view.act(Action::Search);
    typed(&mut view, "number 1[0-9]");
    while !looked_at(&mut view) {
        std::thread::yield_now();
    }
    view.act(Action::NextMatch);
    assert!(shown(&mut view, (90, 12)).contains("2/10"), "{}", shown(&mut view, (90, 12)));
    view.act(Action::PreviousMatch);
    view.act(Action::PreviousMatch);
    assert!(shown(&mut view, (90, 12)).contains("10/10"), "{}", shown(&mut view, (90, 12)));
}

#[test]
fn lines_are_copied_without_their_prefixes() {
    let (_directory, mut view) = view(&of_a_build(), false);
    view.act(Action::FirstError);
    view.act(Action::Select);
    view.act(Action::Up);
    assert_eq!(view.act(Action::Copy), Reply::Copy("warning: unused\nerror: it does not link".into()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn whatever_the_bytes_and_the_keys_only_text_is_drawn_and_nothing_breaks(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'#'), Just(b' '), Just(0x1b)], 0..3000),
        actions in prop::collection::vec(0usize..200, 0..40),
        columns in 1u16..120,
        rows in 1u16..40,
    ) {
        let (_directory, mut view) = view(&bytes, false);
        let scopes = [Scope::Log, Scope::Global];
        let all: Vec<Action> = Action::ALL.iter().copied().filter(|action| scopes.contains(&action.scope())).collect();
        let theme = Theme::terminal();
        let look = look(&theme, Lang::ZhCn);
        let area = Rect { x: 0, y: 0, width: columns, height: rows };
        for action in actions {
            if view.has_prompt() {
                typed(&mut view, "1");
                view.key(KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE));
            }
            view.act(all[action % all.len()]);
            looked_at(&mut view);
            let mut buffer = Buffer::empty(area);
            view.render(area, &mut buffer, &look, true);
            for cell in buffer.content() {
                let bad = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
                prop_assert!(!cell.symbol().contains(bad), "{:?}", cell.symbol());
            }
            prop_assert!(view.view.cursor <= bytes.len() as u64);
        }
    }
}
