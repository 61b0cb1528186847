//! What is known of what is selected, in the place of the log.

mod fields;
mod platform;
mod push;

use chrono::TimeDelta;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget};
use rust_i18n::t;

use fields::{Fields, nothing, shown, time};

use super::app::App;
use super::data::{BuildSummary, Tags};
use super::look::Look;
use super::place::Pane;
use super::theme::Role;
use super::view::role_of;
use super::widget::pane::PaneBlock;
use super::widget::text::{bytes, duration};
use crate::domain::build::{Build, BuildState};
use crate::domain::grant_keys::{NetworkMode, SecretRefs};
use crate::domain::history::{Past, expected_duration};
use crate::domain::rule::{Rule, Supersede};
use crate::domain::secret_arg;
use crate::log::sanitize::printable;
use crate::protocol::EntityName;
use crate::tui::widget::wrap::wrap;

/// So many of a rule's last builds are in its picture.
const LAST: usize = 60;

impl From<&BuildSummary> for Past {
    fn from(row: &BuildSummary) -> Past {
        Past {
            id: row.id,
            path: row.path.clone(),
            rule: row.rule.clone(),
            state: row.state,
            started_at: row.started_at,
            finished_at: row.finished_at,
        }
    }
}

/// Draws the details.
pub fn draw(app: &App, area: Rect, buf: &mut Buffer, focused: bool) {
    let look = app.look();
    let title = look.text("pane.details").into_owned();
    let inner = PaneBlock::new(Pane::Log.number(), &title).render(area, buf, &look, focused);
    let lines = wrap(lines(app, &look, usize::from(inner.width)), usize::from(inner.width));
    let last = lines.len().saturating_sub(usize::from(inner.height));
    let offset = u16::try_from(app.details_scroll.min(last)).unwrap_or(u16::MAX);
    Paragraph::new(lines).scroll((offset, 0)).render(inner, buf);
}

fn lines(app: &App, look: &Look, columns: usize) -> Vec<Line<'static>> {
    match app.focus {
        Pane::Namespaces if app.lists.namespaces.name().is_some() => namespace(app, look),
        Pane::Rules if app.lists.rules.name().is_some() => rule(app, look, columns),
        Pane::Namespaces | Pane::Repositories | Pane::Rules => repository(app, look, columns),
        Pane::Builds | Pane::Log => build(app, look, columns),
        Pane::Tags => tag(app, look),
        Pane::Builders => builder(app, look),
        Pane::Pushes => push::lines(app, look),
        Pane::Platforms => platform::lines(app, look),
    }
}

fn namespace(app: &App, look: &Look) -> Vec<Line<'static>> {
    let name = app.lists.namespaces.name().unwrap_or_default();
    let Some(namespace) = app.data.settings.namespaces.get(name) else { return nothing(look) };
    let mut fields = Fields::new(look);
    fields.add("name", name);
    fields.add("summary", &namespace.summary);
    fields.add("registry", &namespace.registry);
    fields.flag("auto_create", namespace.auto_create);
    fields.flag("immutable", namespace.immutable);
    if !namespace.network_mode.is_sandbox() {
        fields.add("network_mode", namespace.network_mode.word());
    }
    if namespace.allow_host_network {
        fields.flag("allow_host_network", true);
    }
    fields.add("pull_from", namespace.pull_from.join(", "));
    granted(&namespace.secrets, &namespace.ssh, &mut fields);
    fields.add("file", shown(app.client.file_of(&EntityName::Namespace(name.to_owned()))));
    fields.lines()
}

fn repository(app: &App, look: &Look, columns: usize) -> Vec<Line<'static>> {
    let Some(path) = app.repository_in_question() else { return nothing(look) };
    let Some(repository) = app.repository(&path) else { return nothing(look) };
    let mut fields = Fields::new(look);
    fields.add("name", path.to_string());
    fields.add("summary", &repository.summary);
    if let Some(namespace) = app.data.settings.namespaces.get(&path.namespace) {
        fields.add("image", namespace.image_name(&path));
    }
    fields.add("source", repository.source.as_ref().map_or("", |source| &source.url));
    fields.add("platform", repository.source.as_ref().and_then(|source| source.platform.as_deref()).unwrap_or(""));
    fields.flag("auto", repository.build.auto);
    fields.add("poll", repository.build.poll.map_or_else(String::new, |poll| poll.to_string()));
    fields.add("problem", app.data.unwatched(&path).map_or_else(String::new, |problem| look.say(problem)));
    fields.flag("cache", repository.build.cache);
    fields.flag("immutable", repository.immutable);
    fields.add("network", &repository.build.network);
    fields.add("builder", &repository.build.builder);
    fields.add("file", shown(app.client.file_of(&EntityName::Repository(path.clone()))));
    let mut lines = fields.lines();
    if !repository.description.is_empty() {
        lines.push(Line::default());
        lines.extend(repository.description.lines().map(|line| Line::raw(printable(line).into_owned())));
    }
    let rows: Vec<&BuildSummary> = app.data.builds.values().rev().filter(|row| row.path == path).take(LAST).collect();
    lines.extend(picture(&rows, look, columns));
    lines
}

fn rule(app: &App, look: &Look, columns: usize) -> Vec<Line<'static>> {
    let Some((path, rule)) = app.rule_in_question() else { return nothing(look) };
    let mut fields = Fields::new(look);
    rule_fields(rule, &mut fields);
    let now = rule.build_now_ref().map_or_else(|error| look.say(&error.reason), |_| look.text("form.yes").into_owned());
    fields.add("build_now", now);
    if let Some(paused) = app.data.paused(&path, &rule.name) {
        fields.spans("paused", vec![Span::styled(look.say(paused), look.style(Role::StatusWarn))]);
    }
    let rows: Vec<&BuildSummary> =
        app.data.builds.values().rev().filter(|row| row.path == path && row.rule == rule.name).take(LAST).collect();
    let mut lines = fields.lines();
    lines.extend(picture(&rows, look, columns));
    lines
}

fn rule_fields(rule: &Rule, fields: &mut Fields) {
    fields.add("name", &rule.name);
    if let Ok((kind, pattern)) = rule.pattern() {
        fields.add("ref", format!("{} {}", kind.word(), pattern.text()));
    }
    fields.add("dockerfile", format!("{} {}", rule.dockerfile.directory, rule.dockerfile.file));
    fields.add("context", rule.context.as_deref().unwrap_or_default());
    fields.add("target", rule.target.as_deref().unwrap_or_default());
    fields.add("platforms", rule.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    for version in &rule.versions {
        let time = version.time.map_or_else(String::new, |time| format!("-{}", time.word()));
        let commit = version.commit.map_or_else(String::new, |digits| format!("-<{}>", digits.get()));
        fields.add("version", format!("{}{time}{commit}", version.name));
    }
    fields.flag("auto", rule.auto);
    if rule.supersede != Supersede::Never {
        fields.add("supersede", rule.supersede.word());
    }
    fields.add("paths", rule.paths.join(", "));
    fields.add("ignore_paths", rule.ignore_paths.join(", "));
    if let Some(schedule) = &rule.schedule {
        fields.add("schedule", format!("{} ({})", schedule.cron, schedule.time_zone));
        let next = fields.look.upcoming(schedule, 1).unwrap_or_else(|error| fields.look.say(&error));
        fields.add("next", next);
    }
    if rule.follow_base_images {
        fields.flag("follow_base_images", true);
    }
    fields.add("network_mode", rule.network_mode.map_or("", NetworkMode::word));
    if rule.keep_git {
        fields.flag("keep_git", true);
    }
    let output: Vec<String> = rule.output_keys().iter().map(|(key, value)| format!("{key}={value}")).collect();
    fields.add("image_output", output.join(", "));
    for (key, texts) in [("image_label", &rule.labels), ("annotation", &rule.annotations)] {
        for (name, value) in texts {
            fields.add(key, format!("{name}={value}"));
        }
    }
    granted(&rule.secrets, &rule.ssh, fields);
    fields.add("pause_after", rule.pause_after.map_or_else(String::new, |count| count.to_string()));
    for (name, value) in &rule.args {
        fields.add(
            "arg",
            format!("{name}={}", if secret_arg::is_masked(&rule.plain_args, name, value) { "***" } else { value }),
        );
    }
}

/// What builds get by name.
fn granted(secrets: &SecretRefs, ssh: &[String], fields: &mut Fields) {
    for (id, reference) in secrets {
        fields.add("secret", format!("{id}={reference}"));
    }
    fields.add("ssh", ssh.join(", "));
}

fn build(app: &App, look: &Look, columns: usize) -> Vec<Line<'static>> {
    let Some(row) = app.selected_build() else { return nothing(look) };
    let mut fields = Fields::new(look);
    fields.add("name", format!("{} {}", row.id, row.path));
    let state = look.text(&format!("state.{}", row.state.word())).into_owned();
    let role = look.style(role_of(row.state));
    fields.spans("state", vec![Span::styled(format!("{} {state}", look.glyphs.build(row.state)), role)]);
    fields.add("reason", look.say(&row.reason));
    fields.add("ref", row.reference.to_string());
    fields.add("commit", row.commit.to_string());
    let by = if row.asked_by.is_empty() { String::new() } else { format!(" ({})", row.asked_by) };
    fields.add("trigger", format!("{}{by}", look.text(&format!("trigger.{}", row.trigger.word()))));
    let time = |at| time(at, look);
    fields.add("queued", time(row.queued_at));
    fields.add("started", row.started_at.map(time).unwrap_or_default());
    fields.add("finished", row.finished_at.map(time).unwrap_or_default());
    fields.add("took", row.duration(look.now).map(duration).unwrap_or_default());
    fields.add("builder", row.builders.join(", "));
    if let Some(progress) = &row.attempt {
        fields.add("attempts", look.say(progress.told(look.now)));
        let shown = app.log.as_ref().and_then(|log| log.record()).filter(|build| build.id == row.id);
        for attempt in shown.map(Build::attempts).unwrap_or_default() {
            let state = look.text(&format!("state.{}", attempt.state.word())).into_owned();
            let took = attempt.duration(look.now).map(duration).unwrap_or_default();
            let line = format!("{}  {state}  {took}  {}", attempt.number, look.say(&attempt.reason));
            fields.add("attempt", line);
        }
    }
    fields.add("tags", row.tags.join(" "));
    for image in &row.images {
        fields.add("image", &image.name);
        fields.add("digest", &image.digest);
        fields.add("platforms", image.platforms.join(", "));
    }
    fields.add("file", shown(app.client.directory_of(row.id)));
    let same = |other: &&BuildSummary| other.path == row.path && other.rule == row.rule;
    let rows: Vec<&BuildSummary> = app.data.builds.values().rev().filter(same).take(LAST).collect();
    let mut lines = fields.lines();
    lines.extend(picture(&rows, look, columns));
    lines
}

fn tag(app: &App, look: &Look) -> Vec<Line<'static>> {
    let Some((_, Some(Tags::There(tags)))) = app.shown_tags() else { return nothing(look) };
    let Some(tag) = tags.iter().find(|tag| Some(tag.tag.as_str()) == app.lists.tags.name()) else {
        return nothing(look);
    };
    let mut fields = Fields::new(look);
    fields.add("name", &tag.name);
    fields.add("digest", &tag.digest);
    if let Some(problem) = &tag.problem {
        fields.add("reason", look.say(problem));
        return fields.lines();
    }
    fields.add("platforms", tag.platforms.join(", "));
    fields.add("size", tag.size.map(bytes).unwrap_or_default());
    fields.add("created", tag.created.map(|at| look.age(at)).unwrap_or_default());
    for attached in &tag.attached {
        fields.add("attached", format!("{} {}", look.say(attached.kind), attached.tag));
    }
    if let Some(origin) = &tag.origin {
        fields.add("ref", &origin.reference);
        fields.add("commit", &origin.commit);
        fields.add("build", origin.build.map_or_else(String::new, |build| format!("#{build}")));
    }
    fields.lines()
}

fn builder(app: &App, look: &Look) -> Vec<Line<'static>> {
    let name = app.lists.builders.name().unwrap_or_default();
    let builders = app.data.status.iter().flat_map(|status| &status.builders);
    let Some(builder) = builders.into_iter().find(|builder| builder.name == name) else { return nothing(look) };
    let mut fields = Fields::new(look);
    fields.add("name", &builder.name);
    fields.add("kind", builder.kind.word());
    fields.add("state", look.say(builder.readiness.state()));
    fields.add("reason", builder.readiness.reason().map_or_else(String::new, |reason| look.say(reason)));
    fields.add("address", builder.address.as_deref().unwrap_or_default());
    fields.add("slots", format!("{}/{}", builder.busy, builder.slots));
    fields.add("cache_use", builder.cache_bytes.map(bytes).unwrap_or_default());
    fields.add("platforms", builder.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    for (name, value) in &builder.labels {
        fields.add("label", format!("{name}={value}"));
    }
    fields.lines()
}

/// The durations of the last builds, the oldest first, with how each ended below; and what the next one will take.
fn picture(newest_first: &[&BuildSummary], look: &Look, columns: usize) -> Vec<Line<'static>> {
    // Every one of these is a single column wide, in terminals that are set up for Chinese, too.
    const LEVELS: [&str; 6] = ["_", ".", "-", "=", "+", "#"];
    let lasting = |row: &&&BuildSummary| row.state.is_final() && row.duration(look.now).is_some();
    let mut rows: Vec<&BuildSummary> = newest_first.iter().filter(lasting).take(columns.min(LAST)).copied().collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let past: Vec<Past> = newest_first.iter().map(|row| Past::from(*row)).collect();
    let expected = expected_duration(past.iter());
    rows.reverse();
    let time = |row: &BuildSummary| row.duration(look.now).unwrap_or(TimeDelta::zero()).num_milliseconds().max(0);
    let most = rows.iter().map(|row| time(row)).max().unwrap_or(1).max(1);
    let top = i64::try_from(LEVELS.len() - 1).unwrap_or(0);
    let bar = |row: &&BuildSummary| {
        let level = usize::try_from(time(row) * top / most).unwrap_or(0);
        Span::styled(LEVELS[level.min(LEVELS.len() - 1)], look.style(role_of(row.state)))
    };
    let end = |row: &&BuildSummary| Span::styled(look.glyphs.build(row.state), look.style(role_of(row.state)));
    let good = rows.iter().filter(|row| row.state == BuildState::Succeeded).count();
    let lang = look.lang.code();
    let mut title = t!("details.last_builds", locale = lang, n = rows.len(), good = good).into_owned();
    if let Some(expected) = expected {
        title.push_str("  ");
        title.push_str(&t!("details.median", locale = lang, time = duration(expected)));
    }
    vec![
        Line::default(),
        Line::styled(title, look.style(Role::Header)),
        Line::from(rows.iter().map(bar).collect::<Vec<_>>()),
        Line::from(rows.iter().map(end).collect::<Vec<_>>()),
    ]
}
