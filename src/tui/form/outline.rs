//! What the rule's Dockerfile offers: asked of BuildKit once the fields say where it is, taken into fields by a key.

use ratatui::text::{Line, Span};
use rust_i18n::t;

use super::content;
use super::field::{Field, Value};
use super::kind::Kind;
use super::state::Form;
use crate::domain::outline::Outline;
use crate::domain::pattern::Pattern;
use crate::domain::preview::Answer;
use crate::domain::push::{Ref, RefKind};
use crate::domain::reason::{Phrase, Reason, phrase};
use crate::domain::rule::Rule;
use crate::log::sanitize::printable;
use crate::protocol::{Entity, Request};
use crate::tui::effect::{Effect, Purpose};
use crate::tui::look::Look;
use crate::tui::theme::Role;
use crate::tui::widget::input::Input;

/// The page whose fields the Dockerfile has something to say to.
const PAGE: &str = "form.page.arguments";

impl Form {
    /// The page of the arguments is shown, and what the Dockerfile offers beside it.
    pub(super) fn shows_outline(&self) -> bool {
        matches!(self.kind, Kind::Rule { .. }) && self.pages[self.page].title == PAGE && self.offered.question.is_some()
    }

    /// Asks for the outline where the fields say of another Dockerfile than the one that was asked for.
    pub(super) fn ask_outline(&mut self) -> Option<Effect> {
        let Kind::Rule { path, .. } = &self.kind else { return None };
        let page = &self.pages[self.page];
        // A target that is being typed is not yet the one that is meant.
        if page.title != PAGE || page.fields.get(self.focus).is_some_and(|field| field.key == "target") {
            return None;
        }
        let Some(Entity::Rule { value: rule, .. }) = content::read(&self.kind, &self.pages).0 else { return None };
        let reference = self.example(&rule)?;
        let dockerfile = &rule.dockerfile;
        let question = format!(
            "{path} {reference} {:?} {:?} {:?} {:?}",
            dockerfile.directory, dockerfile.file, rule.context, rule.target
        );
        if self.offered.question.as_ref() == Some(&question) {
            return None;
        }
        self.offered.question = Some(question.clone());
        self.offered.answer = None;
        let request = Request::Examine { path: path.clone(), rule: Box::new(rule), reference };
        Some(Effect::Ask { request: Box::new(request), purpose: Purpose::Outline(question) })
    }

    /// A ref that the rule builds.
    fn example(&self, rule: &Rule) -> Option<Ref> {
        let literal = |kind, pattern: &Option<Pattern>| match pattern {
            Some(Pattern::Literal(name)) if !name.is_empty() => Some(Ref { kind, name: name.clone() }),
            _ => None,
        };
        literal(RefKind::Branch, &rule.branch).or_else(|| literal(RefKind::Tag, &rule.tag)).or_else(|| {
            let row = self.preview.iter().find(|row| row.answer == Answer::Match)?;
            Some(row.reference.clone())
        })
    }

    /// Takes over what the Dockerfile offers, if it is still what was asked.
    pub fn take_outline(&mut self, question: &str, answer: Result<Outline, Reason>) {
        if self.offered.question.as_deref() == Some(question) {
            self.offered.answer = Some(answer);
        }
    }

    /// Puts what the Dockerfile offers into the field with the focus: the next target, the next argument that no field
    /// has.
    ///
    /// # Errors
    /// Why there is nothing to take.
    pub(super) fn take_offer(&mut self) -> Result<(), Phrase> {
        const NOTHING: Phrase = phrase!("outline.nothing_offered");
        let outline = match &self.offered.answer {
            Some(Ok(outline)) => outline,
            Some(Err(_)) => return Err(NOTHING),
            None => return Err(phrase!("outline.not_known_yet")),
        };
        let page = &self.pages[self.page];
        let Some(field) = page.fields.get(self.focus) else { return Err(NOTHING) };
        let text = match field.key {
            "target" if !outline.targets.is_empty() => {
                let names: Vec<&str> = outline.targets.iter().map(|target| target.name.as_str()).collect();
                let next = names.iter().position(|name| *name == field.content()).map_or(0, |at| at + 1);
                names.get(next).copied().unwrap_or_default().to_owned()
            }
            "arg" => match next_argument(outline, &page.fields, field) {
                Some(text) => text,
                None => return Err(NOTHING),
            },
            _ => return Err(NOTHING),
        };
        let focus = self.focus;
        self.pages[self.page].fields[focus].value = Value::Text(Box::new(Input::new(&text)));
        Ok(())
    }

    /// What the Dockerfile offers, or why that is not known.
    pub(super) fn outline_lines(&self, look: &Look) -> Vec<Line<'static>> {
        let mut lines = vec![Line::styled(look.text("form.outline.title").into_owned(), look.style(Role::Header))];
        let muted = look.style(Role::Muted);
        match &self.offered.answer {
            None => lines.push(Line::styled(look.text("form.outline.asked").into_owned(), muted)),
            Some(Err(why)) => {
                lines.push(Line::styled(printable(&look.say(why)).into_owned(), look.style(Role::FieldError)))
            }
            Some(Ok(outline)) => lines.extend(lines_of(outline, look)),
        }
        lines
    }
}

/// `NAME=VALUE` of the argument after the one that the field has, of those that no other field has.
fn next_argument(outline: &Outline, fields: &[Field], field: &Field) -> Option<String> {
    let name_of = |field: &Field| field.content().split('=').next().unwrap_or_default().trim().to_owned();
    let own = name_of(field);
    let others: Vec<String> =
        fields.iter().filter(|one| one.key == "arg" && one.number != field.number).map(name_of).collect();
    let free: Vec<_> = outline.args.iter().filter(|arg| !others.contains(&arg.name)).collect();
    let next = free.iter().position(|arg| arg.name == own).map_or(0, |at| (at + 1) % free.len());
    free.get(next).map(|arg| format!("{}={}", arg.name, arg.value))
}

fn lines_of(outline: &Outline, look: &Look) -> Vec<Line<'static>> {
    let (muted, strong) = (look.style(Role::Muted), look.style(Role::Strong));
    let lang = look.lang.code();
    let mut lines = Vec::new();
    let row = |name: String, description: &str| {
        Line::from(vec![
            Span::styled(format!("  {}", printable(&name)), strong),
            Span::styled(format!("  {}", printable(description)), muted),
        ])
    };
    lines.push(Line::raw(look.text("form.outline.targets").into_owned()));
    for target in &outline.targets {
        let default = if target.default { look.text("form.outline.default").into_owned() } else { String::new() };
        lines.push(row(target.name.clone(), format!("{default} {}", target.description).trim()));
    }
    if outline.targets.is_empty() {
        lines.push(Line::styled(look.text("form.outline.no_targets").into_owned(), muted));
    }
    lines.push(Line::raw(look.text("form.outline.args").into_owned()));
    for arg in &outline.args {
        lines.push(row(format!("{}={}", arg.name, arg.value), &arg.description));
    }
    if outline.args.is_empty() {
        lines.push(Line::styled(look.text("form.outline.no_args").into_owned(), muted));
    }
    if !outline.warnings.is_empty() {
        lines.push(Line::raw(t!("form.outline.warnings", locale = lang, count = outline.warnings.len()).into_owned()));
    }
    for warning in &outline.warnings {
        let line = warning.line.map_or_else(String::new, |line| format!("{line}: "));
        let text = format!("  {line}{} ({})", printable(&warning.message), warning.rule);
        lines.push(Line::styled(text, look.style(Role::StatusWarn)));
    }
    lines
}
