//! The list panes: their columns and cells.

use ratatui::buffer::Buffer;
use ratatui::layout::{Margin, Position, Rect};
use ratatui::text::Span;
use rust_i18n::t;

use crate::domain::pattern::Pattern;
use crate::domain::rule::Rule;
use crate::tui::app::App;
use crate::tui::data::{BuildSummary, Tags};
use crate::tui::list::{Key, Sort};
use crate::tui::look::Look;
use crate::tui::place::Pane;
use crate::tui::rows::{self, Left};
use crate::tui::theme::Role;
use crate::tui::widget::pane::PaneBlock;
use crate::tui::widget::table::{Column, Table};
use crate::tui::window::Scope;

use super::cells::{build_cells, builder_cells, platform_cells, push_cells, role_of, tag_cells};

/// Draws a list pane; where its rows are, and where the cursor belongs.
pub(super) fn draw(app: &mut App, pane: Pane, area: Rect, buf: &mut Buffer) -> (Rect, Option<Position>) {
    let header = header_of(area);
    if let Some(list) = app.list_mut(pane) {
        list.set_height(usize::from(inside(area).height.saturating_sub(u16::from(header))));
    }
    let look = app.look();
    let focused = app.focus == pane;
    let Some(list) = app.list(pane) else { return (Rect::default(), None) };
    let title = look.text(pane.text_key());
    let shown = list.rows.iter().filter(|key| **key != Key::All).count();
    let mut state = String::new();
    if list.sort.by > 0 || list.sort.reversed {
        let order = rows::orders(pane).get(list.sort.by).copied().unwrap_or_default();
        state = format!("{}{}", look.text(order), if list.sort.reversed { " -" } else { "" });
    }
    if !list.marked.is_empty() {
        let marked = t!("list.marked", locale = look.lang.code(), count = list.marked.len());
        state = format!("{marked} {state}").trim_end().to_owned();
    }
    let left = match pane {
        Pane::Builds => app.builds_left(),
        Pane::Pushes => app.pushes_left(),
        _ => Left::None,
    };
    if left != Left::None && list.sort != Sort::default() {
        let newest = t!("list.of_newest", locale = look.lang.code(), count = shown);
        state = format!("{state} {newest}");
    }
    let count = match left {
        Left::None => shown.to_string(),
        Left::About(older) => (shown + older).to_string(),
        Left::Some => format!("{shown}+"),
    };
    let block = PaneBlock::new(pane.number(), &title).count(&count).filter(&list.filter, list.typing).state(&state);
    let inner = block.render(area, buf, &look, focused);
    let cursor = (list.typing && focused).then(|| block.filter_end(area));
    let columns = columns(pane, app.selected_repository().is_some(), &look);
    let empty =
        if list.filter.is_empty() || left != Left::None { empty_text(app, pane) } else { app.text("empty.filtered") };
    let table = Table::new(&columns).header(header).selected(list.index, focused).offset(list.offset).empty(&empty);
    let rows = table.render(inner, buf, &look, list.rows.len(), |index| cells(app, pane, &list.rows[index], &look));
    (rows, cursor)
}

/// What is inside a pane's border.
fn inside(area: Rect) -> Rect {
    area.inner(Margin { horizontal: 1, vertical: 1 })
}

/// Whether a pane has room for its columns' titles.
fn header_of(area: Rect) -> bool {
    let inner = inside(area);
    inner.height > 2 && inner.width > 30
}

/// A pane's columns. Those with the higher number go first where there is no room.
fn columns(pane: Pane, narrowed: bool, look: &Look) -> Vec<Column> {
    let column = |key: &str, least: usize, priority: u8| {
        Column::new(look.text(&format!("column.{key}")).into_owned(), least, priority)
    };
    match pane {
        Pane::Namespaces => vec![column("name", 8, 0).grows(), column("count", 5, 2).right(), column("last", 1, 1)],
        Pane::Repositories => vec![column("name", 10, 0).grows().cut_in_the_middle(), column("last", 6, 1)],
        Pane::Rules => vec![column("name", 6, 0), column("ref", 8, 2).grows(), column("last", 4, 1)],
        Pane::Builds => vec![
            column("state", 9, 0),
            column("build", 5, 0),
            column(if narrowed { "why" } else { "repository" }, 10, 3).grows(),
            column("rule", 6, 2),
            column("tags", 8, 4),
            column("ref", 6, 5),
            column("commit", 8, 8),
            column("trigger", 7, 9),
            column("steps", 5, 1).right(),
            column("cache", 5, 6).right(),
            column("time", 5, 1).right(),
            column("age", 4, 7).right(),
        ],
        Pane::Tags => vec![
            column("name", 8, 0).grows(),
            column("size", 6, 2).right(),
            column("age", 4, 1).right(),
            column("build", 5, 3),
            column("platforms", 11, 4),
            column("digest", 14, 5),
        ],
        Pane::Builders => vec![
            column("name", 8, 0).grows(),
            column("state", 7, 0),
            column("slots", 5, 1).right(),
            column("cache_use", 5, 2).right(),
            column("labels", 8, 3),
        ],
        Pane::Pushes => vec![
            column("push", 2, 0),
            column("outcome", 9, 0).grows(),
            column("repository", 10, 3).cut_in_the_middle(),
            column("ref", 6, 0).cut_in_the_middle(),
            column("commit", 8, 4),
            column("origin", 7, 5),
            column("age", 4, 1).right(),
        ],
        Pane::Platforms => vec![
            column("name", 8, 0).grows(),
            column("kind", 6, 1),
            column("token", 3, 2),
            column("webhooks", 3, 3),
            column("bound", 3, 0),
            column("url", 16, 4).cut_in_the_middle(),
        ],
        Pane::Log => Vec::new(),
    }
}

fn cells(app: &App, pane: Pane, key: &Key, look: &Look) -> Vec<Span<'static>> {
    match (pane, key) {
        (_, Key::All) => vec![Span::styled(look.text("list.all").into_owned(), look.style(Role::Muted))],
        (Pane::Namespaces, Key::Name(name)) => {
            let count = app.data.settings.repositories.keys().filter(|path| path.namespace == *name).count();
            let last = app.data.last_build(&Scope { namespace: Some(name.clone()), ..Scope::default() });
            vec![Span::raw(name.clone()), Span::raw(count.to_string()), glyph(last, look)]
        }
        (Pane::Repositories, Key::Name(name)) => {
            let narrowed = app.lists.namespaces.name().is_some();
            let shown = if narrowed { name.split_once('/').map_or(name.as_str(), |(_, name)| name) } else { name };
            let last = name.parse().ok().and_then(|path| app.data.last_build(&Scope::of(&path, None)));
            vec![Span::raw(shown.to_owned()), last_build(last, look)]
        }
        (Pane::Rules, Key::Name(name)) => {
            let path = app.selected_repository();
            let repository = path.as_ref().and_then(|path| app.repository(path));
            let rule = repository.and_then(|repository| repository.rule(name));
            let last = path.as_ref().and_then(|path| app.data.last_build(&Scope::of(path, Some(name))));
            let what = rule.map(what_rule_does).unwrap_or_default();
            let paused = path.as_ref().and_then(|path| app.data.paused(path, name));
            let what = match paused {
                Some(_) => {
                    Span::styled(format!("{}: {what}", look.text("verdict.paused")), look.style(Role::StatusWarn))
                }
                None => Span::styled(what, look.style(Role::Muted)),
            };
            vec![Span::raw(name.clone()), what, glyph(last, look)]
        }
        (Pane::Builds, Key::Build(id)) => {
            app.data.builds.get(id).map(|row| build_cells(app, row, look)).unwrap_or_default()
        }
        (Pane::Tags, Key::Name(name)) => tag_cells(app, name, look),
        (Pane::Builders, Key::Name(name)) => builder_cells(app, name, look),
        (Pane::Platforms, Key::Name(name)) => platform_cells(app, name, look),
        (Pane::Pushes, Key::Push(id)) => {
            app.data.pushes.get(id).map(|push| push_cells(app, push, look)).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

fn glyph(last: Option<&BuildSummary>, look: &Look) -> Span<'static> {
    match last {
        Some(row) => Span::styled(look.glyphs.build(row.state), look.style(role_of(row.state))),
        None => Span::styled("-", look.style(Role::Muted)),
    }
}

/// `✓ 2m`: how the last build ended and how long ago, or for how long it has run.
fn last_build(last: Option<&BuildSummary>, look: &Look) -> Span<'static> {
    let Some(row) = last else { return Span::styled("-", look.style(Role::Muted)) };
    let since = row.finished_at.or(row.started_at).unwrap_or(row.queued_at);
    let text = format!("{} {}", look.glyphs.build(row.state), look.age(since));
    Span::styled(text, look.style(role_of(row.state)))
}

/// `v.* > ${version}`: which refs, and the tags they get.
fn what_rule_does(rule: &Rule) -> String {
    let pattern = match rule.pattern() {
        Ok((kind, Pattern::Literal(name))) => format!("{} {name}", kind.word()),
        Ok((kind, Pattern::Regex(regex))) => format!("{} /{regex}/", kind.word()),
        Err(_) => "?".into(),
    };
    let versions: Vec<&str> = rule.versions.iter().map(|version| version.name.as_str()).collect();
    format!("{pattern} > {}", versions.join(", "))
}

fn empty_text(app: &App, pane: Pane) -> String {
    let all = app.repository_in_question().is_none();
    match pane {
        Pane::Rules if app.selected_repository().is_none() => app.text("empty.rules_of_all"),
        Pane::Tags if all => app.text("empty.tags_of_all"),
        Pane::Tags => match app.shown_tags() {
            Some((_, Some(Tags::Failed(reason)))) => app.translated(reason),
            Some((_, Some(Tags::There(_)))) => app.text("empty.tags"),
            _ => app.text("empty.tags_asked"),
        },
        Pane::Builds if app.builds_left() != Left::None => app.text("empty.builds_reading"),
        Pane::Pushes if app.pushes_left() != Left::None => app.text("empty.pushes_reading"),
        _ => app.text(&format!("empty.{}", pane.text_key().trim_start_matches("pane."))),
    }
}
