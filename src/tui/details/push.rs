//! A push: what moved, and what each rule answered.

use ratatui::text::{Line, Span};

use super::fields::{Fields, nothing, time};
use crate::domain::journal::Answer;
use crate::log::sanitize::printable;
use crate::tui::app::App;
use crate::tui::look::Look;
use crate::tui::theme::Role;
use crate::tui::view::role_of_verdict;

pub(super) fn lines(app: &App, look: &Look) -> Vec<Line<'static>> {
    let Some(push) = app.selected_push() else { return nothing(look) };
    let mut fields = Fields::new(look);
    fields.add("push", push.id.to_string());
    fields.add("repository", push.repository.to_string());
    fields.add("ref", push.reference.to_string());
    fields.add("commit", push.commit.to_string());
    fields.add("subject", push.subject.clone().unwrap_or_default());
    let new = || look.text("details.new_ref").into_owned();
    fields.add("before", push.before.as_ref().map_or_else(new, ToString::to_string));
    let origin = look.text(&format!("origin.{}", push.origin.word())).into_owned();
    fields.add("pushed", format!("{} ({origin})", time(push.pushed_at, look)));
    let mut lines = fields.lines();
    lines.push(Line::default());
    lines.push(Line::styled(look.text("details.answers").into_owned(), look.style(Role::Header)));
    lines.extend(push.answers.iter().flat_map(|answer| answer_lines(answer, look)));
    if !push.settled {
        lines.push(Line::styled(look.text("outcome.asking").into_owned(), look.style(Role::StatusWait)));
    } else if push.answers.is_empty() {
        lines.push(Line::styled(look.text("details.no_rules").into_owned(), look.style(Role::Muted)));
    }
    lines
}

/// `main  built #12`, and below it why, where that says more.
fn answer_lines(answer: &Answer, look: &Look) -> Vec<Line<'static>> {
    let verdict = look.text(&format!("verdict.{}", answer.verdict.word())).into_owned();
    let build = answer.build.map_or_else(String::new, |id| format!(" {id}"));
    let head = Line::from(vec![
        Span::styled(format!("{}  ", printable(&answer.rule)), look.style(Role::Strong)),
        Span::styled(format!("{verdict}{build}"), look.style(role_of_verdict(answer.verdict))),
    ]);
    if answer.reason.id() == "journal.build" {
        return vec![head];
    }
    let reason = look.say(&answer.reason);
    vec![head, Line::styled(format!("  {}", printable(&reason)), look.style(Role::Muted))]
}
