//! The cells of the lists whose rows have many.

use ratatui::text::Span;
use rust_i18n::t;

use crate::domain::build::BuildState;
use crate::domain::builder::Readiness;
use crate::domain::image_tag::TagInfo;
use crate::domain::journal::{Answer, PushRecord, Verdict};
use crate::domain::reason::reason;
use crate::tui::app::App;
use crate::tui::data::{BuildSummary, Tags};
use crate::tui::list::Key;
use crate::tui::look::Look;
use crate::tui::theme::Role;
use crate::tui::widget::text::{bytes, duration};

/// The role of a build's state.
pub(crate) fn role_of(state: BuildState) -> Role {
    match state {
        BuildState::Queued | BuildState::Held => Role::StatusWait,
        BuildState::Running => Role::StatusRun,
        BuildState::Succeeded => Role::StatusOk,
        BuildState::Failed | BuildState::TimedOut => Role::StatusFail,
        BuildState::Cancelled | BuildState::Superseded => Role::StatusStopped,
        BuildState::Interrupted | BuildState::Refused => Role::StatusWarn,
    }
}

/// The role of what a rule answered to a push.
pub(crate) fn role_of_verdict(verdict: Verdict) -> Role {
    match verdict {
        Verdict::Built => Role::StatusOk,
        Verdict::NoMatch => Role::Muted,
        Verdict::AutoOff | Verdict::Skipped | Verdict::Paths | Verdict::Duplicate | Verdict::Superseded => {
            Role::StatusStopped
        }
        Verdict::Paused | Verdict::Refused | Verdict::Waiting => Role::StatusWarn,
        Verdict::Failed => Role::StatusFail,
    }
}

pub(super) fn build_cells(app: &App, row: &BuildSummary, look: &Look) -> Vec<Span<'static>> {
    let state = look.text(&format!("state.{}", row.state.word())).into_owned();
    let status = Span::styled(format!("{} {state}", look.glyphs.build(row.state)), look.style(role_of(row.state)));
    let narrowed = app.selected_repository().is_some();
    let reason = || match &row.attempt {
        Some(attempt) => {
            look.say(&reason!("build.attempt_reason", progress = attempt.told(look.now), why = row.reason))
        }
        None => look.say(&row.reason),
    };
    // Within one repository its name says nothing, and what a waiting build waits for does.
    let repository = match row.state {
        BuildState::Queued | BuildState::Held if !row.reason.is_empty() => {
            let name = if narrowed { String::new() } else { format!("{}  ", row.path) };
            let later = app.data.starts.get(&row.id).map(|at| *at - look.now);
            let start = later.filter(|time| *time > chrono::TimeDelta::seconds(1)).map_or_else(String::new, |time| {
                format!("{}; ", t!("starts_in", locale = look.lang.code(), time = duration(time)))
            });
            Span::raw(format!("{name}{start}{}", reason()))
        }
        _ if narrowed => Span::styled(reason(), look.style(Role::Muted)),
        _ => match &row.attempt {
            Some(attempt) => Span::raw(format!("{}  {}", row.path, look.say(attempt.told(look.now)))),
            None => Span::raw(row.path.to_string()),
        },
    };
    let progress = app.data.progress.get(&row.id).filter(|progress| progress.total > 0);
    let steps = progress.map_or_else(String::new, |progress| format!("{}/{}", progress.done, progress.total));
    let cache = progress.map_or_else(String::new, |progress| format!("{}%", progress.cached * 100 / progress.total));
    let trigger = look.text(&format!("trigger.{}", row.trigger.word())).into_owned();
    let id = if app.lists.builds.marked.contains(&Key::Build(row.id)) {
        Span::styled(format!("{}*", row.id), look.style(Role::Strong))
    } else {
        Span::raw(row.id.to_string())
    };
    let muted = |text: String| Span::styled(text, look.style(Role::Muted));
    vec![
        status,
        id,
        repository,
        Span::raw(row.rule.clone()),
        Span::raw(row.tags.join(" ")),
        muted(row.reference.name.clone()),
        muted(row.commit.short(8).to_owned()),
        muted(trigger),
        Span::raw(steps),
        Span::styled(cache, look.style(Role::StatusCached)),
        Span::raw(row.duration(look.now).map_or_else(String::new, duration)),
        muted(look.age(row.finished_at.unwrap_or(row.queued_at))),
    ]
}

pub(super) fn tag_cells(app: &App, name: &str, look: &Look) -> Vec<Span<'static>> {
    let Some((_, Some(Tags::There(tags)))) = app.shown_tags() else { return Vec::new() };
    let Some(tag) = tags.iter().find(|tag| tag.tag == name) else { return Vec::new() };
    let muted = |text: String| Span::styled(text, look.style(Role::Muted));
    vec![
        Span::raw(tag.tag.clone()),
        Span::raw(tag.size.map_or_else(String::new, bytes)),
        muted(tag.created.map_or_else(String::new, |at| look.age(at))),
        Span::raw(
            tag.origin.as_ref().and_then(|origin| origin.build).map_or_else(String::new, |build| format!("#{build}")),
        ),
        muted(content_of(tag, look)),
        muted(tag.digest.clone()),
    ]
}

/// The platforms of a tag's image with what is attached to it, or why it is no image that can be read.
fn content_of(tag: &TagInfo, look: &Look) -> String {
    if let Some(problem) = &tag.problem {
        return look.say(problem);
    }
    if let Some(artifact) = &tag.artifact {
        return look.say(&reason!("tag.artifact", artifact));
    }
    let attached = tag.attached_kinds().into_iter().map(|kind| format!(" +{}", look.say(kind)));
    format!("{}{}", tag.platforms.join(" "), attached.collect::<String>())
}

pub(super) fn builder_cells(app: &App, name: &str, look: &Look) -> Vec<Span<'static>> {
    let status = app.data.status.iter().flat_map(|status| &status.builders).find(|builder| builder.name == name);
    let Some(builder) = status else { return vec![Span::raw(name.to_owned())] };
    let role = match builder.readiness {
        Readiness::Ready => Role::StatusOk,
        Readiness::Starting => Role::StatusWait,
        Readiness::Down(_) => Role::StatusFail,
    };
    let labels: Vec<String> = builder.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    vec![
        Span::raw(builder.name.clone()),
        Span::styled(look.say(builder.readiness.state()), look.style(role)),
        Span::raw(format!("{}/{}", builder.busy, builder.slots)),
        Span::raw(builder.cache_bytes.map_or_else(String::new, bytes)),
        Span::styled(labels.join(" "), look.style(Role::Muted)),
    ]
}

pub(super) fn platform_cells(app: &App, name: &str, look: &Look) -> Vec<Span<'static>> {
    let Some(platform) = app.data.settings.platforms.get(name) else { return Vec::new() };
    let yes_no = |yes: bool| Span::raw(look.text(if yes { "form.yes" } else { "form.no" }).into_owned());
    let bound = app.data.bound_to(name).count();
    let unwatched = app.data.bound_to(name).filter(|path| app.data.unwatched(path).is_some()).count();
    let sources = match unwatched {
        0 => Span::raw(bound.to_string()),
        _ => {
            let text = t!("platform.unwatched", locale = look.lang.code(), bound = bound, unwatched = unwatched);
            Span::styled(text.into_owned(), look.style(Role::StatusFail))
        }
    };
    vec![
        Span::raw(name.to_owned()),
        Span::raw(platform.kind.word()),
        yes_no(platform.token.is_some()),
        yes_no(platform.webhook_secret.is_some()),
        sources,
        Span::styled(platform.url.clone().unwrap_or_default(), look.style(Role::Muted)),
    ]
}

pub(super) fn push_cells(app: &App, push: &PushRecord, look: &Look) -> Vec<Span<'static>> {
    let muted = |text: String| Span::styled(text, look.style(Role::Muted));
    // Within one namespace its name says nothing.
    let repository = match app.lists.namespaces.name() {
        Some(_) => push.repository.repository.clone(),
        None => push.repository.to_string(),
    };
    vec![
        Span::raw(push.id.to_string()),
        outcome(push, look),
        Span::raw(repository),
        Span::raw(push.reference.name.clone()),
        muted(push.commit.short(8).to_owned()),
        muted(look.text(&format!("origin.{}", push.origin.word())).into_owned()),
        muted(look.age(push.pushed_at)),
    ]
}

/// What became of a push: `built #12`, `skipped: the subject says [skip ci]`, `no rule matches`.
fn outcome(push: &PushRecord, look: &Look) -> Span<'static> {
    if !push.settled {
        return Span::styled(look.text("outcome.asking").into_owned(), look.style(Role::StatusWait));
    }
    let mut answers: Vec<&Answer> = push.answers_of_matching().collect();
    // What was built is looked for first.
    answers.sort_by_key(|answer| answer.verdict != Verdict::Built);
    let word = |answer: &Answer| {
        let word = look.text(&format!("verdict.{}", answer.verdict.word())).into_owned();
        answer.build.map_or(word.clone(), |id| format!("{word} {id}"))
    };
    let Some(first) = answers.first() else {
        return Span::styled(look.text("outcome.no_match").into_owned(), look.style(Role::Muted));
    };
    let text = match answers.as_slice() {
        [one] if one.build.is_none() => format!("{}: {}", word(one), look.say(&one.reason)),
        answers => answers.iter().map(|answer| word(answer)).collect::<Vec<_>>().join(", "),
    };
    Span::styled(text, look.style(role_of_verdict(first.verdict)))
}
