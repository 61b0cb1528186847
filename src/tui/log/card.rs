//! The error card: why a build failed, before its whole log.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget};
use rust_i18n::t;

use super::lens::OfStep;
use super::line::Shown;
use crate::domain::build::Build;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::reason::Reason;
use crate::domain::step::Step;
use crate::log::file::LogFile;
use crate::log::reader::parse;
use crate::log::sanitize::Sanitizer;
use crate::log::sanitize::printable;
use crate::log::scan::{self, Counts};
use crate::tui::keymap::Action;
use crate::tui::look::Look;
use crate::tui::theme::Role;
use crate::tui::widget::text::{fit, width};
use crate::tui::widget::wrap::wrap;

/// So many of the step's last lines are shown.
const LAST_LINES: usize = 20;
/// So many are shown on the smallest screen, too.
const LEAST_LINES: usize = 3;
/// The excerpt of the Dockerfile is among so many of the log's last lines.
const EXCERPT_WITHIN: usize = 40;
/// What BuildKit puts over and under an excerpt.
const RULE: &str = "--------------------";

/// Why a build failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Card {
    failure: Option<Failure>,
    reason: Reason,
    step: Option<(u32, String, Option<String>)>,
    excerpt: Vec<String>,
    last_lines: Vec<String>,
}

impl Card {
    /// Gathers what is known of a build's failure.
    pub(super) fn of(build: &Build, steps: &[Step], log: Option<&LogFile>) -> Card {
        let failure = build.failure.clone();
        let number = failure.as_ref().and_then(|failure| failure.step);
        let step = number.and_then(|number| steps.iter().find(|step| step.number == number));
        let last_lines = match (log, number) {
            (Some(log), Some(number)) => last_lines(log, number),
            _ => Vec::new(),
        };
        Card {
            reason: build.reason.clone(),
            step: step.map(|step| (step.number, step.name.clone(), step.platform.clone())),
            excerpt: log.map(excerpt).unwrap_or_default(),
            last_lines,
            failure,
        }
    }

    /// As text, to be pasted into a message.
    pub(super) fn text(&self) -> String {
        let mut lines = vec![self.message().to_string()];
        lines.extend(self.step.iter().map(|(number, name, _)| format!("#{number} {name}")));
        lines.extend(self.excerpt.iter().cloned());
        lines.extend(self.last_lines.iter().cloned());
        lines.join("\n")
    }

    fn message(&self) -> &Reason {
        self.failure.as_ref().map_or(&self.reason, |failure| &failure.reason)
    }

    pub(super) fn render(&self, area: Rect, buf: &mut Buffer, look: &Look) {
        let lang = look.lang.code();
        let mut lines: Vec<Line> = Vec::new();
        let label = |key: &str| Span::styled(format!("{}  ", look.text(key)), look.style(Role::Muted));
        if let Some(failure) = &self.failure {
            let kind = serde_json::to_value(failure.kind).ok();
            let kind = kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or("unknown");
            let headline = look.text(&format!("failure.{kind}")).into_owned();
            lines.push(Line::styled(
                format!("{} {headline}", look.glyphs.choose("\u{2717}", "X")),
                look.style(Role::StatusFail),
            ));
        }
        lines.push(Line::styled(printable(&look.say(self.message())).into_owned(), look.style(Role::Strong)));
        if let Some(hint) = self.failure.as_ref().and_then(|failure| failure.hint.as_ref()) {
            lines.push(Line::styled(look.say(hint), look.style(Role::StatusWarn)));
        }
        lines.push(Line::default());
        if let Some((number, name, platform)) = &self.step {
            let room = usize::from(area.width).saturating_sub(12);
            let name = fit(&printable(name), room).into_owned();
            lines.push(Line::from(vec![label("card.step"), Span::raw(format!("#{number} {name}"))]));
            if let Some(platform) = platform {
                lines.push(Line::from(vec![label("card.platform"), Span::raw(platform.clone())]));
            }
        }
        if let Some(failure) = &self.failure {
            if let Some(file) = &failure.file {
                let at = failure.line.map_or_else(String::new, |line| format!(":{line}"));
                lines.push(Line::from(vec![label("card.file"), Span::raw(format!("{file}{at}"))]));
            }
            match (failure.signal, failure.exit_code) {
                (Some(signal), _) => {
                    lines.push(Line::from(t!("card.signal", locale = lang, signal = signal).into_owned()));
                }
                (None, Some(code)) => {
                    lines.push(Line::from(t!("card.exit_code", locale = lang, code = code).into_owned()))
                }
                (None, None) => {}
            }
        }
        // A line that is too long is cut, so that there is room for all of them.
        let columns = usize::from(area.width);
        let small = area.height < 20;
        for line in self.excerpt.iter().filter(|line| !small || line.contains(">>>")) {
            let line = fit(line, columns.saturating_sub(2));
            let fault = line.contains(">>>");
            lines.push(Line::styled(format!("  {line}"), look.style(if fault { Role::LogError } else { Role::Muted })));
        }
        lines = wrap(lines, columns);
        if !self.last_lines.is_empty() {
            // Where there is no room for everything, the message and what was printed last stay.
            let most = usize::from(area.height).saturating_sub(LEAST_LINES + 2);
            lines.truncate(most.max(2));
            if !small {
                lines.push(Line::default());
            }
            // The end of what was printed matters most, and the keys below it.
            let room = usize::from(area.height).saturating_sub(lines.len() + 2).max(LEAST_LINES);
            let from = self.last_lines.len().saturating_sub(room);
            let title = t!("card.last_lines", locale = lang, n = self.last_lines.len() - from).into_owned();
            lines.push(Line::styled(title, look.style(Role::Header)));
            let cut = |line: &String| Line::from(format!("  {}", fit(line, columns.saturating_sub(2))));
            lines.extend(self.last_lines[from..].iter().map(cut));
        }
        let (text, foot) = if area.height > 4 {
            (Rect { height: area.height - 1, ..area }, Rect { y: area.bottom() - 1, height: 1, ..area })
        } else {
            (area, Rect { height: 0, ..area })
        };
        Paragraph::new(lines).render(text, buf);
        self.keys(usize::from(foot.width), look).render(foot, buf);
    }

    /// The keys that fit, as many as there is room for.
    fn keys(&self, columns: usize, look: &Look) -> Line<'static> {
        let mut keys = vec![
            (Action::ErrorCard, "card.whole_log"),
            (Action::FirstError, "card.first_error"),
            (Action::Retry, "card.retry"),
            (Action::Copy, "card.copy"),
        ];
        // It is the machine's fault: there is more to be seen of it.
        if self.failure.as_ref().is_some_and(|failure| matches!(failure.kind, FailureKind::Disk | FailureKind::Daemon))
        {
            keys.insert(0, (Action::FocusBuilders, "card.builders"));
        }
        let mut line = Line::default();
        for (action, text) in keys {
            let key = look.keymap.key(action);
            let text = format!(" {}   ", look.text(text));
            if key.is_empty() || line.width() + width(&key) + width(text.trim_end()) > columns {
                continue;
            }
            line.push_span(Span::styled(key, look.style(Role::Key)));
            line.push_span(Span::styled(text, look.style(Role::KeyText)));
        }
        line
    }
}

/// What a step printed last.
fn last_lines(log: &LogFile, step: u32) -> Vec<String> {
    let (mut lines, mut at) = (Vec::new(), log.length());
    let mut sanitizer = Sanitizer::default();
    while lines.len() < LAST_LINES {
        let Ok(Some(start)) = scan::previous(log, &Counts::default(), &OfStep(step), at, 64) else { break };
        at = start;
        let Ok(Some(line)) = log.line(start) else { break };
        if parse(&line.text).seconds.is_some() {
            lines.push(Shown::of(&line.text, &mut sanitizer).text());
        }
    }
    lines.reverse();
    lines
}

/// The lines of the Dockerfile that BuildKit shows at the log's end, with the file's name over them.
fn excerpt(log: &LogFile) -> Vec<String> {
    let (mut lines, mut at) = (Vec::new(), log.length());
    while lines.len() < EXCERPT_WITHIN {
        let Ok(Some(start)) = log.before(at) else { break };
        let Ok(Some(line)) = log.line(start) else { break };
        lines.push(Shown::of(&line.text, &mut Sanitizer::default()).text());
        at = start;
    }
    lines.reverse();
    let mut rules = lines.iter().enumerate().filter(|(_, line)| *line == RULE).map(|(index, _)| index);
    match (rules.next(), rules.next()) {
        (Some(first), Some(last)) => lines[first + 1..last].to_vec(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::Hint;
    use crate::lang::Lang;
    use crate::tui::testing::{look, screen};
    use crate::tui::theme::Theme;

    /// A card with everything on it, in an area of that size.
    fn shown(kind: FailureKind, size: (u16, u16), lang: Lang) -> String {
        let mut failure =
            Failure::new(kind, Reason::verbatim("RUN make: a message that is so long that it takes more than one row"));
        failure.hint = Some(Hint::BuilderLog.into());
        failure.exit_code = Some(7);
        let card = Card {
            failure: Some(failure),
            reason: Reason::default(),
            step: Some((6, "[3/3] RUN make".into(), None)),
            excerpt: ["4 | COPY . .", "5 | >>> RUN make"].map(str::to_owned).to_vec(),
            last_lines: (1..=20).map(|n| format!("line {n}")).collect(),
        };
        let theme = Theme::terminal();
        screen(size, |frame| card.render(frame.area(), frame.buffer_mut(), &look(&theme, lang)))
    }

    #[test]
    fn the_message_the_last_lines_and_the_keys_are_there_at_every_size() {
        for size in [(116, 24), (78, 18), (58, 11), (40, 8)] {
            let screen = shown(FailureKind::Dockerfile, size, Lang::En);
            for text in ["RUN make: a message", "line 18", "line 20", "c whole log"] {
                assert!(screen.contains(text), "{text:?} is missing at {size:?}\n{screen}");
            }
            let said = screen.lines().find(|line| line.contains("the step's last")).unwrap();
            let lines = screen.lines().filter(|line| line.starts_with("  line ")).count();
            assert!(said.contains(&format!("last {lines} lines")), "{screen}");
        }
    }

    #[test]
    fn where_the_machine_failed_the_builders_are_a_key_away_and_the_hint_is_translated() {
        let screen = shown(FailureKind::Daemon, (78, 30), Lang::ZhCn);
        assert!(screen.contains("7 构建器") && screen.contains("见构建器自己的日志"), "{screen}");
        assert!(!shown(FailureKind::Dockerfile, (78, 30), Lang::En).contains("7 builders"));
    }
}
