//! What is in front of everything.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Widget};

use rust_i18n::t;

use crate::tui::app::App;
use crate::tui::look::Look;
use crate::tui::modal::{CopyItem, Modal};
use crate::tui::theme::Role;
use crate::tui::widget::pane::{borders, clear};
use crate::tui::widget::text::{fit, width};
use crate::tui::widget::wrap::wrap;

/// Draws it over everything else; where the cursor belongs.
pub(super) fn draw(app: &mut App, frame: &mut Frame) -> Option<Position> {
    let area = frame.area();
    // It is drawn with what belongs to the same state.
    let mut modal = app.modal.take()?;
    let look = app.look();
    let buf = frame.buffer_mut();
    buf.set_style(area, look.style(Role::Backdrop));
    let cursor = match &mut modal {
        Modal::Help(help) => {
            help.render(area, buf, &look, &app.manners.keymap);
            help.cursor()
        }
        Modal::Palette(palette) => {
            palette.render(area, buf, &look);
            palette.cursor()
        }
        Modal::Messages(messages) => {
            let problems = app.data.status.as_ref().map_or(&[][..], |status| &status.problems);
            messages.render(area, buf, &look, &app.notices.all, problems);
            None
        }
        Modal::Confirm(confirm) => {
            let lines = vec![
                Line::styled(confirm.question.clone(), look.style(Role::Strong)),
                Line::default(),
                Line::styled(app.text("confirm.keys"), look.style(Role::KeyText)),
            ];
            popup(area, "", lines, buf, &look);
            None
        }
        Modal::Copy(items) => {
            let lines = items.iter().map(|item| copy_line(item, &look)).collect();
            popup(area, &app.text("copy.title"), lines, buf, &look);
            None
        }
        Modal::Replay(replay) => {
            let title = t!("replay.title", locale = look.lang.code(), rule = replay.rule, path = replay.path);
            match &mut replay.refs {
                Some(Ok(refs)) => {
                    refs.render_titled(area, buf, &look, &title);
                    refs.cursor()
                }
                Some(Err(why)) => {
                    popup(area, &title, vec![Line::styled(look.say(&*why), look.style(Role::FieldError))], buf, &look);
                    None
                }
                None => {
                    let text = Line::styled(app.text("replay.asked"), look.style(Role::Muted));
                    popup(area, &title, vec![text], buf, &look);
                    None
                }
            }
        }
        Modal::ReplayPush(replay) => {
            let lang = look.lang.code();
            let title = t!("replay.rules", locale = lang, reference = replay.reference.name, path = replay.path);
            replay.rules.render_titled(area, buf, &look, &title);
            replay.rules.cursor()
        }
        Modal::TagHistory(history) => {
            let title = t!("tag_history.title", locale = look.lang.code(), path = history.path, tag = history.tag);
            match &mut history.events {
                Some(Ok(events)) => {
                    events.render_titled(area, buf, &look, &title);
                    events.cursor()
                }
                Some(Err(why)) => {
                    popup(area, &title, vec![Line::styled(look.say(&*why), look.style(Role::FieldError))], buf, &look);
                    None
                }
                None => {
                    let text = Line::styled(app.text("tag_history.asked"), look.style(Role::Muted));
                    popup(area, &title, vec![text], buf, &look);
                    None
                }
            }
        }
        Modal::NewSecret(new) => {
            let lang = look.lang.code();
            let goes = match app.data.webhook_url(&new.platform) {
                Some(url) => t!("secret.url", locale = lang, url = url).into_owned(),
                None => app.text("secret.no_listener"),
            };
            let lines = vec![
                Line::raw(app.text("secret.once")),
                Line::default(),
                Line::styled(new.secret.expose().to_owned(), look.style(Role::Strong)),
                Line::default(),
                Line::raw(goes),
                Line::default(),
                Line::styled(app.text("secret.keys"), look.style(Role::KeyText)),
            ];
            popup(area, &t!("secret.title", locale = lang, name = new.platform), lines, buf, &look);
            None
        }
        Modal::Form(form) => {
            form.render(area, buf, &look);
            form.cursor()
        }
    };
    app.modal = Some(modal);
    cursor
}

fn copy_line<'a>(item: &'a CopyItem, look: &Look) -> Line<'a> {
    let text = item.text.as_deref().map(|text| fit(text.lines().next().unwrap_or_default(), 48));
    Line::from(vec![
        Span::styled(item.key.to_string(), look.style(Role::Key)),
        Span::styled(format!("  {}  ", item.label), look.style(Role::KeyText)),
        Span::styled(text.unwrap_or_default(), look.style(Role::Muted)),
    ])
}

/// A small popup in the middle, as large as its lines.
fn popup(screen: Rect, title: &str, lines: Vec<Line>, buf: &mut ratatui::buffer::Buffer, look: &Look) {
    let most = usize::from(screen.width.saturating_sub(4)).max(1);
    let widest = lines.iter().map(Line::width).max().unwrap_or(0).max(width(title) + 2);
    let inner = widest.min(most);
    let lines = wrap(lines, inner);
    let width = u16::try_from(inner + 4).unwrap_or(screen.width).min(screen.width);
    let height = u16::try_from(lines.len() + 2).unwrap_or(screen.height).min(screen.height);
    let area =
        Rect { x: screen.x + (screen.width - width) / 2, y: screen.y + (screen.height - height) / 2, width, height };
    clear(area, buf);
    buf.set_style(area, look.style(Role::Popup));
    let block = Block::bordered()
        .border_set(borders(look, true))
        .border_style(look.style(Role::PopupBorder))
        .title(title.to_owned())
        .padding(ratatui::widgets::Padding::horizontal(1));
    let inside = block.inner(area);
    block.render(area, buf);
    Paragraph::new(lines).render(inside, buf);
}
