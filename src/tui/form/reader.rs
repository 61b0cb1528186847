//! Reading the fields of a form, and collecting what is wrong with them.

use super::field::Field;
use super::page::Page;
use crate::domain::duration::HumanDuration;
use crate::domain::reason::{Reason, reason};
use crate::domain::setting_problem::SettingProblem;

/// The word for no choice.
pub(super) const ANY: &str = "-";

/// What is wrong: the field's key and number, and why. An empty key is the form's own.
pub(super) type Problems = Vec<(String, usize, Reason)>;

/// The key of the lines that name a secret each.
pub(super) const SECRET: &str = "secret";

pub(super) fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

/// Reads the fields.
pub(super) struct Reader<'a> {
    pub pages: &'a [Page],
    pub(super) problems: Problems,
}

impl<'a> Reader<'a> {
    pub(super) fn new(pages: &'a [Page]) -> Reader<'a> {
        Reader { pages, problems: Vec::new() }
    }

    pub(super) fn field(&self, key: &str, number: usize) -> Option<&Field> {
        self.pages.iter().flat_map(|page| &page.fields).find(|field| field.key == key && field.number == number)
    }

    pub(super) fn text(&self, key: &str) -> String {
        self.field(key, 0).map_or_else(String::new, |field| field.content().trim().to_owned())
    }

    /// What stands in the lines of one key, with their numbers; empty ones left out.
    pub(super) fn lines(&self, key: &str) -> Vec<(usize, String)> {
        let fields = self.pages.iter().flat_map(|page| &page.fields).filter(|field| field.key == key);
        let lines = fields.map(|field| (field.number, field.content().trim().to_owned()));
        lines.filter(|(_, text)| !text.is_empty()).collect()
    }

    pub(super) fn optional(&self, key: &str) -> Option<String> {
        Some(self.text(key)).filter(|text| !text.is_empty() && text != ANY)
    }

    pub(super) fn is_on(&self, key: &str) -> bool {
        self.text(key) == "true"
    }

    pub(super) fn wrong(&mut self, key: &str, number: usize, why: impl Into<Reason>) {
        self.problems.push((key.to_owned(), number, why.into()));
    }

    /// A length of time; none where nothing is typed.
    pub(super) fn duration(&mut self, key: &str) -> Option<HumanDuration> {
        let text = self.optional(key)?;
        let parsed = HumanDuration::parse(&text);
        if parsed.is_none() {
            self.wrong(key, 0, reason!("form.duration"));
        }
        parsed
    }

    /// A list with commas between.
    pub(super) fn list<T: std::str::FromStr>(&mut self, key: &str) -> Vec<T>
    where
        T::Err: Into<Reason>,
    {
        let text = self.text(key);
        let mut list = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.parse() {
                Ok(value) => list.push(value),
                Err(error) => self.wrong(key, 0, error),
            }
        }
        list
    }

    /// What the domain says is wrong, at the fields of its keys.
    pub(super) fn take_problems(&mut self, problems: Vec<SettingProblem>) {
        for problem in problems {
            match problem.keys.as_slice() {
                ["secrets"] => self.wrong(SECRET, 0, problem.reason),
                [key] if self.field(key, 0).is_some() => self.wrong(key, 0, problem.reason),
                _ => self.wrong("", 0, problem),
            }
        }
    }
}
