//! What is on the screen: pure drawing of the state.

mod cells;
mod header;
mod hints;
mod layout;
mod lists;
mod modal;
mod notices;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Clear, Paragraph, Widget};

pub(crate) use cells::{role_of, role_of_verdict};
pub use layout::Areas;

use super::app::App;
use super::details;
use super::place::Pane;
use super::rows::Left;
use super::theme::Role;
use super::widget::pane::PaneBlock;
use crate::domain::build::BuildState;
use crate::tui::widget::wrap::wrap;

/// Draws everything, and keeps where it is.
pub fn draw(app: &mut App, frame: &mut Frame) {
    app.changes_at.take();
    let area = frame.area();
    frame.buffer_mut().set_style(area, app.look().style(Role::Text));
    if layout::is_too_small(area) {
        too_small(app, frame, area);
        return;
    }
    // An empty list says in words that it is.
    let rows = |pane: Pane| app.list(pane).map_or(0, |list| list.rows.len().max(1));
    app.areas = layout::layout(area, layout::Wish { focus: app.focus, zoomed: app.zoomed, rows: &rows });
    header::draw(app, frame.buffer_mut());
    let mut cursor = None;
    for (pane, area) in app.areas.panes.clone() {
        if app.details_cover_pane() {
            details::draw(app, area, frame.buffer_mut(), true);
        } else if pane == Pane::Log {
            cursor = draw_main(app, frame, area);
        } else {
            let (rows, at) = lists::draw(app, pane, area, frame.buffer_mut());
            app.areas.rows.insert(pane, rows);
            cursor = cursor.or(at);
        }
    }
    hints::draw(app, frame.buffer_mut());
    notices::draw(app, frame.buffer_mut());
    if app.modal.is_some() {
        cursor = modal::draw(app, frame);
    }
    if let Some(cursor) = cursor {
        frame.set_cursor_position(cursor);
    }
}

/// The log of the selected build, or the details of what is selected.
fn draw_main(app: &mut App, frame: &mut Frame, area: Rect) -> Option<ratatui::layout::Position> {
    let focused = app.focus == Pane::Log;
    if app.details {
        details::draw(app, area, frame.buffer_mut(), focused);
        return None;
    }
    if app.log.is_none() {
        no_log(app, frame, area, focused);
        return None;
    }
    // The log keeps where it was drawn; what it is drawn with belongs to the same state.
    let mut log = app.log.take()?;
    log.render(area, frame.buffer_mut(), &app.look(), focused);
    let cursor = log.cursor().filter(|_| focused);
    app.log = Some(log);
    cursor
}

/// In the place of the log where there is none: on a first start, how to get one.
fn no_log(app: &App, frame: &mut Frame, area: Rect, focused: bool) {
    let look = app.look();
    let empty = app.data.builds.is_empty() && app.builds_left() == Left::None;
    let title = look.text(Pane::Log.text_key());
    let inner = PaneBlock::new(Pane::Log.number(), &title).render(area, frame.buffer_mut(), &look, focused);
    let text = match app.selected_build() {
        _ if empty => {
            let line = |key: &str| app.text(&format!("welcome.{key}"));
            [
                line("title"),
                String::new(),
                line("line1"),
                String::new(),
                line("step1"),
                line("step2"),
                line("step3"),
                String::new(),
                line("help"),
            ]
            .join("\n")
        }
        Some(build) => {
            let state = look.text(&format!("state.{}", build.state.word())).into_owned();
            let text = rust_i18n::t!("empty.log_waits", locale = look.lang.code(), id = build.id, state = state);
            format!("{text}\n{}", look.say(&build.reason))
        }
        None => app.text("empty.log"),
    };
    let rows = wrap(text.lines().map(Line::raw), usize::from(inner.width));
    Paragraph::new(rows).style(look.style(Role::Muted)).render(inner, frame.buffer_mut());
}

fn too_small(app: &App, frame: &mut Frame, area: Rect) {
    let text = rust_i18n::t!("small", locale = app.manners.lang.code(), width = area.width, height = area.height);
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(wrap([Line::raw(text)], usize::from(area.width))), area);
}

/// The terminal's title: among many terminals, what to look at.
pub fn title(app: &App) -> String {
    let running = app.data.count(BuildState::Running);
    if running == 0 {
        return format!("{} ({})", app.text("title.idle"), app.manners.host);
    }
    // Of today: what failed last week is not news.
    let today = |row: &&super::data::BuildSummary| {
        row.state == BuildState::Failed && row.finished_at.is_some_and(|at| app.now - at < chrono::TimeDelta::days(1))
    };
    let failed = app.data.builds.values().rev().take(1000).filter(today).count();
    let text = rust_i18n::t!("title.running", locale = app.manners.lang.code(), running = running, failed = failed);
    format!("{text} ({})", app.manners.host)
}
