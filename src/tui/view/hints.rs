//! The last row: the keys that matter here, as many as fit, and always where to find the others.

use ratatui::buffer::Buffer;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

use crate::tui::app::App;
use crate::tui::keymap::Action;
use crate::tui::modal::Modal;
use crate::tui::place::Pane;
use crate::tui::theme::Role;
use crate::tui::widget::text::width;

/// What matters in a pane, the most important first.
fn wanted(pane: Pane) -> &'static [Action] {
    match pane {
        Pane::Namespaces => &[Action::Add, Action::Open, Action::Edit, Action::Delete, Action::Search, Action::Palette],
        Pane::Repositories | Pane::Rules => &[
            Action::BuildNow,
            Action::Add,
            Action::Edit,
            Action::Replay,
            Action::Open,
            Action::EditToml,
            Action::Delete,
            Action::Search,
        ],
        Pane::Builds => &[
            Action::Open,
            Action::Cancel,
            Action::Retry,
            Action::BuildNow,
            Action::Search,
            Action::Copy,
            Action::Zoom,
            Action::Pager,
        ],
        Pane::Log => &[
            Action::EarlierAttempt,
            Action::LaterAttempt,
            Action::Search,
            Action::Follow,
            Action::FirstError,
            Action::NextStep,
            Action::Fold,
            Action::StepTable,
            Action::Wrap,
            Action::Copy,
            Action::Zoom,
            Action::Cancel,
        ],
        Pane::Tags => &[Action::Copy, Action::TagHistory, Action::Delete, Action::Search, Action::Zoom],
        Pane::Pushes => &[Action::Open, Action::Details, Action::Replay, Action::Search, Action::Copy, Action::Zoom],
        Pane::Platforms => &[
            Action::Add,
            Action::Edit,
            Action::CheckPlatform,
            Action::Details,
            Action::Delete,
            Action::Search,
            Action::Copy,
        ],
        Pane::Builders => &[Action::Add, Action::Edit, Action::Details, Action::Delete],
    }
}

/// Draws the hints.
pub(super) fn draw(app: &App, buf: &mut Buffer) {
    let look = app.look();
    let area = app.areas.hints;
    let hint = |action: Action| {
        let key = app.manners.keymap.keys(action).first()?.to_string();
        let text = look.text(&format!("hint.{}", action.name())).into_owned();
        let role = if app.forbidden(action).is_some() { Role::Muted } else { Role::KeyText };
        Some((key, text, role))
    };
    // The keys of a pane are not at hand while something is in front of it.
    let (wanted, last) = match app.modal {
        // It names its own.
        Some(Modal::Form(_)) => return,
        Some(_) => (&[][..], Action::Back),
        None => (wanted(app.focus), Action::Help),
    };
    let Some(last) = hint(last) else { return };
    let mut room = usize::from(area.width).saturating_sub(width(&last.0) + width(&last.1) + 2);
    let mut shown = Vec::new();
    // What a mere log has no use for is not shown, nor attempts where there is only one; what only can't be done now is,
    // in grey.
    let is_optional = |action| app.single || matches!(action, Action::EarlierAttempt | Action::LaterAttempt);
    let fits = |action: &&Action| !is_optional(**action) || app.forbidden(**action).is_none();
    for hint in wanted.iter().filter(fits).filter_map(|action| hint(*action)) {
        let wide = width(&hint.0) + width(&hint.1) + 3;
        if wide > room {
            break;
        }
        room -= wide;
        shown.push(hint);
    }
    shown.push(last);
    let mut spans = Vec::new();
    for (key, text, role) in shown {
        spans.push(Span::raw(if spans.is_empty() { " " } else { "  " }));
        spans.push(Span::styled(key, look.style(Role::Key)));
        spans.push(Span::styled(format!(" {text}"), look.style(role)));
    }
    Line::from(spans).render(area, buf);
}
