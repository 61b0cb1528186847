//! The steps beside the log: a table with times, or bars along the time.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;
use rust_i18n::t;

use crate::domain::step::{Step, StepState};
use crate::log::sanitize::printable;
use crate::tui::look::Look;
use crate::tui::theme::Role;
use crate::tui::widget::text::{duration, fit, pad};

/// The role of a step's state.
fn role_of(state: StepState) -> Role {
    match state {
        StepState::Pending => Role::StatusWait,
        StepState::Running => Role::StatusRun,
        StepState::Done => Role::StatusOk,
        StepState::Cached => Role::StatusCached,
        StepState::Failed => Role::StatusFail,
        StepState::Cancelled => Role::StatusStopped,
    }
}

/// When a step worked, as far as it is known.
fn span(step: &Step, now: DateTime<Utc>) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let started = step.started?;
    let ended = if step.state == StepState::Running { now } else { step.completed.unwrap_or(started) };
    Some((started, ended.max(started)))
}

/// The steps that the whole time depends on: from the one that ended last back, each time to the one that ended last
/// before it began. What a step waits for is not told by BuildKit; what ended just before is the best that the times
/// can say.
pub(super) fn critical(steps: &[Step], now: DateTime<Utc>) -> Vec<usize> {
    let spans: Vec<Option<(DateTime<Utc>, DateTime<Utc>)>> = steps.iter().map(|step| span(step, now)).collect();
    // Clocks are read a moment apart.
    let slack = TimeDelta::milliseconds(5);
    let mut chain = Vec::new();
    let last = |before: Option<DateTime<Utc>>, chain: &[usize]| {
        (0..steps.len())
            .filter(|index| !chain.contains(index))
            .filter_map(|index| spans[index].map(|(start, end)| (end, end - start, index)))
            .filter(|(end, ..)| before.is_none_or(|before| *end <= before + slack))
            .max()
            .map(|(_, _, index)| index)
    };
    let mut next = last(None, &chain);
    while let Some(index) = next {
        chain.push(index);
        next = spans[index].and_then(|(start, _)| last(Some(start), &chain));
    }
    chain.reverse();
    chain
}

/// How long each step of a build worked, by its name; those from the cache left out.
pub(super) fn durations(steps: &[Step]) -> BTreeMap<String, TimeDelta> {
    let worked = steps.iter().filter(|step| !step.cached && step.state == StepState::Done);
    worked.filter_map(|step| Some((step.name.clone(), step.completed? - step.started?))).collect()
}

/// `+3.2s` where a step took noticeably longer than before, `-1.0s` where it was faster.
fn compared(step: &Step, took: TimeDelta, baseline: &BTreeMap<String, TimeDelta>) -> String {
    let Some(before) = baseline.get(&step.name).filter(|_| step.state.is_final() && !step.cached) else {
        return String::new();
    };
    let differs = took - *before;
    // What the eye would not see says nothing.
    if differs.abs() < TimeDelta::milliseconds(200).max(*before / 10) {
        return String::new();
    }
    format!("{}{}", if differs > TimeDelta::zero() { "+" } else { "-" }, duration(differs.abs()))
}

/// Draws the steps; `bars` along the time, else with their times alone. The step of the cursor's line is marked.
pub(super) fn render(
    steps: &[Step],
    baseline: &BTreeMap<String, TimeDelta>,
    bars: bool,
    current: Option<u32>,
    area: Rect,
    buf: &mut Buffer,
    look: &Look,
) {
    let mut shown: Vec<(usize, &Step)> = steps.iter().enumerate().filter(|(_, step)| step.number > 0).collect();
    shown.sort_by_key(|(_, step)| step.number);
    let critical = critical(steps, look.now);
    let own = steps.iter().filter(|step| !step.internal).count();
    let cached = steps.iter().filter(|step| !step.internal && step.cached).count();
    let first = steps.iter().filter_map(|step| step.started).min();
    let last = steps.iter().filter_map(|step| span(step, look.now)).map(|(_, end)| end).max();
    let whole = first.zip(last).map_or(TimeDelta::zero(), |(first, last)| last - first);
    let share = (cached * 100).checked_div(own).unwrap_or(0);
    let summary = t!("steps.summary", locale = look.lang.code(), time = duration(whole), cached = share).into_owned();
    let width = usize::from(area.width);
    Line::styled(fit(&summary, width).into_owned(), look.style(Role::Header))
        .render(Rect { height: 1.min(area.height), ..area }, buf);
    let rows = usize::from(area.height.saturating_sub(1));
    // The step that is looked at stays on the screen; while nothing is, the last ones do.
    let at = current.and_then(|current| shown.iter().position(|(_, step)| step.number == current));
    let from = at.unwrap_or(shown.len()).saturating_sub(rows / 2).min(shown.len().saturating_sub(rows));
    for (row, (index, step)) in shown.into_iter().skip(from).take(rows).enumerate() {
        let y = area.y + 1 + u16::try_from(row).unwrap_or(u16::MAX);
        let area = Rect { y, height: 1, ..area };
        let took = span(step, look.now).map_or(TimeDelta::zero(), |(start, end)| end - start);
        let differs = compared(step, took, baseline);
        let line = step_line(step, critical.contains(&index), &differs, bars.then_some((first, whole)), width, look);
        line.render(area, buf);
        if current == Some(step.number) {
            buf.set_style(area, look.style(Role::SelectionElsewhere));
        }
    }
}

type Scale = (Option<DateTime<Utc>>, TimeDelta);

fn step_line(
    step: &Step,
    critical: bool,
    differs: &str,
    scale: Option<Scale>,
    width: usize,
    look: &Look,
) -> Line<'static> {
    let style = look.style(role_of(step.state));
    let time = match step.state {
        StepState::Cached => look.text("steps.cached").into_owned(),
        StepState::Pending => String::new(),
        _ => span(step, look.now).map_or_else(String::new, |(start, end)| duration(end - start)),
    };
    // A star for what the whole time depends on.
    let mark = if critical && !step.cached { "*" } else { " " };
    let head = format!("{}{mark}#{:<3} ", look.glyphs.step(step.state), step.number);
    let bar_room = if scale.is_some() { width / 2 } else { 0 };
    let differs = if differs.is_empty() { String::new() } else { format!("{differs:>7} ") };
    let name_room = width.saturating_sub(head.len().min(7) + 9 + differs.len() + bar_room);
    let name = pad(&fit(&printable(&step.name), name_room), name_room);
    let mut spans = vec![
        Span::styled(head, style),
        Span::styled(name, look.style(if step.internal { Role::Muted } else { Role::Text })),
        Span::styled(format!("{time:>8} "), style),
        Span::styled(differs, look.style(Role::StatusWarn)),
    ];
    if let Some((first, whole)) = scale {
        spans.push(Span::styled(bar(step, first, whole, bar_room, look), style));
    }
    Line::from(spans)
}

/// Where in the whole time a step worked.
fn bar(step: &Step, first: Option<DateTime<Utc>>, whole: TimeDelta, room: usize, look: &Look) -> String {
    let (Some(first), Some((start, end))) = (first, span(step, look.now)) else { return String::new() };
    let total = whole.num_milliseconds().max(1);
    let room = i64::try_from(room).unwrap_or(i64::MAX);
    let column = |at: DateTime<Utc>| ((at - first).num_milliseconds() * room / total).clamp(0, room);
    let (from, to) = (column(start), column(end).max(column(start) + 1).min(room));
    let blanks = usize::try_from(from.min(room - 1)).unwrap_or(0);
    let filled = usize::try_from((to - from).max(1)).unwrap_or(1);
    let sign = if step.cached { "." } else { look.glyphs.choose("=", "=") };
    format!("{}{}", " ".repeat(blanks), sign.repeat(filled))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::testing::now;

    fn step(number: u32, from: i64, to: i64) -> Step {
        let at = |seconds| Some(now() + TimeDelta::seconds(seconds));
        Step {
            number,
            state: StepState::Done,
            started: at(from),
            completed: at(to),
            ..Step::named(0, &format!("[{number}/9] RUN make {number}"))
        }
    }

    #[test]
    fn a_step_is_compared_with_the_last_good_one_of_its_name() {
        let before = durations(&[step(1, 0, 10), step(2, 0, 4)]);
        let differs = |step: &Step, seconds| compared(step, TimeDelta::seconds(seconds), &before);
        assert_eq!(differs(&step(1, 0, 15), 15), "+5.0s");
        assert_eq!(differs(&step(2, 0, 1), 1), "-3.0s");
        assert_eq!(differs(&step(1, 0, 10), 10), "");
        assert_eq!(differs(&step(3, 0, 10), 10), "");
    }

    #[test]
    fn the_critical_path_is_what_the_end_waited_for() {
        // 2 and 3 work at once, 3 longer; 4 comes after both.
        let steps = [step(1, 0, 2), step(2, 2, 4), step(3, 2, 9), step(4, 9, 10)];
        assert_eq!(critical(&steps, now()), [0, 2, 3]);
        assert!(critical(&[], now()).is_empty());
    }
}
