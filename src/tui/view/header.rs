//! The first row: where somebody is, how the pool is; and the panes' names where one is shown at a time.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;
use rust_i18n::t;

use crate::domain::build::BuildState;
use crate::domain::builder::Readiness;
use crate::tui::app::App;
use crate::tui::data::Link;
use crate::tui::keymap::Action;
use crate::tui::place::Pane;
use crate::tui::theme::Role;
use crate::tui::widget::text::{fit, fit_middle, width};

/// Draws the first row, and the panes' names.
pub(super) fn draw(app: &App, buf: &mut Buffer) {
    let area = app.areas.header;
    let look = app.look();
    buf.set_style(area, look.style(Role::Bar));
    let right = pool(app, area.width);
    let room = usize::from(area.width).saturating_sub(right.width() + 2);
    let left = fit_middle(&breadcrumb(app), room).into_owned();
    Line::styled(format!(" {left}"), look.style(Role::Bar)).render(area, buf);
    let at = area.width.saturating_sub(u16::try_from(right.width()).unwrap_or(area.width));
    right.render(Rect { x: area.x + at, width: area.width - at, ..area }, buf);
    if app.areas.tabs.width > 0 {
        tabs(app, buf);
    }
}

/// `slipway  acme > api > main > #12`
fn breadcrumb(app: &App) -> String {
    let mut parts = Vec::new();
    match app.selected_repository() {
        Some(path) => parts.extend([path.namespace, path.repository]),
        None => parts.extend(app.lists.namespaces.name().map(str::to_owned)),
    }
    parts.extend(app.lists.rules.name().map(str::to_owned));
    if matches!(app.focus, Pane::Builds | Pane::Log) {
        parts.extend(app.lists.builds.build().map(|id| id.to_string()));
    }
    let path = parts.join(" > ");
    if path.is_empty() { "slipway".into() } else { format!("slipway  {path}") }
}

/// How the pool and its builders are, this machine's name, the time; what fits.
fn pool(app: &App, columns: u16) -> Line<'static> {
    let look = app.look();
    let lang = look.lang.code();
    let mut spans: Vec<Span<'static>> = Vec::new();
    let mut add = |text: String, role: Role| {
        if !spans.is_empty() {
            spans.push(Span::styled(" | ", look.style(Role::Bar)));
        }
        spans.push(Span::styled(text, look.style(Role::Bar).patch(look.style(role))));
    };
    match (&app.data.link, &app.data.status) {
        // Nobody asks the pool for a mere log.
        _ if app.single => {}
        (Link::Lost(_), _) => add(app.text("header.lost"), Role::StatusFail),
        (Link::Silent(since), _) => {
            let since = since.with_timezone(&look.zone).format("%H:%M:%S");
            add(t!("header.silent", locale = lang, since = since).into_owned(), Role::StatusFail);
        }
        (Link::Stopped, _) => add(app.text("header.stopped"), Role::StatusWait),
        (Link::Connecting, _) | (Link::Connected, None) => add(app.text("header.connecting"), Role::StatusWait),
        (Link::Connected, Some(status)) => {
            let running = app.data.count(BuildState::Running);
            let waiting = app.data.count(BuildState::Queued) + app.data.count(BuildState::Held);
            let role = if running > 0 { Role::StatusRun } else { Role::Bar };
            add(t!("header.pool", locale = lang, running = running, limit = status.limit).into_owned(), role);
            if waiting > 0 {
                add(t!("header.queued", locale = lang, n = waiting).into_owned(), Role::StatusWait);
            }
            if !status.problems.is_empty() {
                let (n, key) = (status.problems.len(), look.keymap.key(Action::Messages));
                let text = t!("header.problems", locale = lang, n = n, key = key).into_owned();
                add(text, Role::StatusFail);
            }
            let down = status.builders.iter().find(|builder| builder.readiness != Readiness::Ready);
            if let Some(builder) = down.or_else(|| status.builders.first().filter(|_| columns >= 80)) {
                let (key, role) = match builder.readiness {
                    Readiness::Ready => ("header.builder_ready", Role::StatusOk),
                    Readiness::Starting => ("header.builder_starting", Role::StatusWait),
                    Readiness::Down(_) => ("header.builder_down", Role::StatusFail),
                };
                add(t!(key, locale = lang, name = builder.name).into_owned(), role);
            }
        }
    }
    if columns >= 80 {
        add(fit(&app.manners.host, 16).into_owned(), Role::Bar);
    }
    add(look.clock(), Role::Bar);
    spans.push(Span::styled(" ", look.style(Role::Bar)));
    Line::from(spans)
}

/// The panes' names, the shown one marked by brackets; where there is no room for all of them, of those around it, and of the
/// others their numbers.
fn tabs(app: &App, buf: &mut Buffer) {
    let look = app.look();
    let area = app.areas.tabs;
    let names: Vec<String> = Pane::ALL.iter().map(|pane| look.text(pane.text_key()).into_owned()).collect();
    // A number between two blanks, and a blank after it.
    let mut room = usize::from(area.width).saturating_sub(Pane::ALL.len() * 4);
    let focus = Pane::ALL.iter().position(|pane| *pane == app.focus).unwrap_or_default();
    let mut nearest: Vec<usize> = (0..Pane::ALL.len()).collect();
    nearest.sort_by_key(|index| index.abs_diff(focus));
    let fits = |index: &usize| {
        let wide = width(&names[*index]) + 1;
        let fits = wide <= room;
        room = room.saturating_sub(if fits { wide } else { room });
        fits
    };
    let named: Vec<usize> = nearest.into_iter().filter(fits).collect();
    let mut spans = Vec::new();
    for (index, (pane, name)) in Pane::ALL.into_iter().zip(&names).enumerate() {
        let shown = pane == app.focus;
        let label = match named.contains(&index) {
            false => pane.number().to_string(),
            true => format!("{} {name}", pane.number()),
        };
        let (text, role) =
            if shown { (format!("[{label}]"), Role::TitleFocus) } else { (format!(" {label} "), Role::Title) };
        spans.push(Span::styled(text, look.style(role)));
        spans.push(Span::raw(" "));
    }
    Line::from(spans).render(area, buf);
}
