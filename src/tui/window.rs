//! Which part of the pool's records the lists know: pages, the newest first, asked for as somebody scrolls to them. Pure.

use std::collections::BTreeMap;

use crate::domain::build_query::{BuildQuery, PushQuery};
use crate::domain::build_summary::BuildSummary;
use crate::domain::journal::PushRecord;
use crate::domain::name::RepositoryPath;

/// The first page: as many records as a screen holds.
const FIRST: usize = 50;
/// Every other page.
const NEXT: usize = 500;
/// The places of so many narrowed lists are remembered.
const MOST_WINDOWS: usize = 64;

/// What a list of records is narrowed to.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// Namespace of the repository.
    pub namespace: Option<String>,
    /// Repository.
    pub repository: Option<RepositoryPath>,
    /// Name of the rule.
    pub rule: Option<String>,
    /// Words that the pool looks for.
    pub text: String,
}

impl Scope {
    /// A repository, or one of its rules.
    pub fn of(path: &RepositoryPath, rule: Option<&str>) -> Scope {
        Scope { repository: Some(path.clone()), rule: rule.map(str::to_owned), ..Scope::default() }
    }

    /// Whether a build belongs to it; its words aside.
    pub fn has_build(&self, row: &BuildSummary) -> bool {
        self.has(&row.path) && self.rule.as_ref().is_none_or(|rule| *rule == row.rule)
    }

    /// Whether a push belongs to it.
    pub fn has_push(&self, push: &PushRecord) -> bool {
        self.has(&push.repository)
    }

    fn has(&self, path: &RepositoryPath) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == path.namespace)
            && self.repository.as_ref().is_none_or(|repository| repository == path)
    }

    /// The query for its builds.
    pub fn builds(&self) -> BuildQuery {
        let Scope { namespace, repository, rule, text } = self.clone();
        BuildQuery { namespace, repository, rule, text, ..BuildQuery::default() }
    }

    /// The query for its pushes.
    pub fn pushes(&self) -> PushQuery {
        let Scope { namespace, repository, .. } = self.clone();
        PushQuery { namespace, repository, ..PushQuery::default() }
    }
}

/// A page that is to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageWanted<Id> {
    /// The list that it is for.
    pub scope: Scope,
    /// Only records below this number; none: the newest.
    pub before: Option<Id>,
    /// The most records.
    pub limit: usize,
}

/// A page that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRead<Id> {
    /// The list that it is for.
    pub scope: Scope,
    /// As it was asked for.
    pub before: Option<Id>,
    /// Where the next page begins; none: there is none.
    pub next: Option<Id>,
    /// About how many records are older than all of it.
    pub older: usize,
    /// The highest number in it.
    pub newest: Option<Id>,
}

#[cfg(test)]
impl<Id> PageRead<Id> {
    /// The only page of all records.
    pub(crate) fn whole() -> PageRead<Id> {
        PageRead { scope: Scope::default(), before: None, next: None, older: 0, newest: None }
    }
}

/// How much of a list is known: all of its records from a number on.
#[derive(Debug, Clone)]
struct Window<Id> {
    /// The lowest number from which on all are known; none: every record is known.
    floor: Option<Id>,
    older: usize,
    /// The highest number of the page that was read last from the top.
    newest: Option<Id>,
    /// There may be newer records that the pool did not tell of.
    stale: bool,
}

/// How much of each list is known.
#[derive(Debug, Clone)]
pub struct Windows<Id> {
    windows: BTreeMap<Scope, Window<Id>>,
    /// The page that is awaited: one at a time, so that typing a word asks for few.
    asked: bool,
    /// The pool could not be asked.
    failed: bool,
}

impl<Id> Default for Windows<Id> {
    fn default() -> Windows<Id> {
        Windows { windows: BTreeMap::new(), asked: false, failed: false }
    }
}

impl<Id: Copy + Ord> Windows<Id> {
    /// The page to ask for where a list, of which `known` records are shown, is to show `wanted`.
    pub fn want(&mut self, scope: &Scope, known: usize, wanted: usize) -> Option<PageWanted<Id>> {
        if self.asked || self.failed {
            return None;
        }
        let all = Scope::default();
        let scope = if self.has_all() { &all } else { scope };
        let (before, limit) = match self.windows.get(scope) {
            None => (None, FIRST),
            Some(window) if window.stale => (None, FIRST),
            Some(window) if known < wanted => (Some(window.floor?), NEXT),
            Some(_) => return None,
        };
        self.asked = true;
        Some(PageWanted { scope: scope.clone(), before, limit })
    }

    /// Takes over how far a page reaches.
    pub fn take(&mut self, page: &PageRead<Id>) {
        self.asked = false;
        if self.windows.len() >= MOST_WINDOWS {
            self.windows.retain(|scope, _| *scope == Scope::default() || *scope == page.scope);
        }
        let known = self.windows.get(&page.scope);
        let window = match (known, page.before) {
            // What was known below the page is known still where nothing lies between.
            (Some(known), None) if page.next.is_some() && known.newest >= page.next => {
                Window { newest: page.newest.max(known.newest), stale: false, ..known.clone() }
            }
            (Some(known), Some(before)) if known.floor == Some(before) => {
                Window { floor: page.next, older: page.older, ..known.clone() }
            }
            // It was asked for before the list began anew.
            (_, Some(_)) => return,
            (_, None) => Window { floor: page.next, older: page.older, newest: page.newest, stale: false },
        };
        self.windows.insert(page.scope.clone(), window);
    }

    /// A page can't be had now.
    pub fn fail(&mut self) {
        self.asked = false;
        self.failed = true;
    }

    /// The pool may have done something meanwhile that it did not tell of: every list begins anew at its top.
    pub fn stale(&mut self) {
        self.failed = false;
        self.windows.values_mut().for_each(|window| window.stale = true);
    }

    /// Whether every record is known, and so those of every narrowed list.
    fn has_all(&self) -> bool {
        self.windows.get(&Scope::default()).is_some_and(|window| window.floor.is_none())
    }

    /// Whether a record belongs to the known part of a list. Before its first page everything does.
    pub fn has(&self, scope: &Scope, id: Id) -> bool {
        self.has_all() || self.windows.get(scope).and_then(|window| window.floor).is_none_or(|floor| id >= floor)
    }

    /// Whether the first page of a list came.
    pub fn has_begun(&self, scope: &Scope) -> bool {
        self.windows.contains_key(scope)
    }

    /// Whether every record of a list is known.
    pub fn is_whole(&self, scope: &Scope) -> bool {
        self.has_all() || self.windows.get(scope).is_some_and(|window| window.floor.is_none())
    }

    /// About how many records are older than the known part of a list; none: it is not known.
    pub fn older(&self, scope: &Scope) -> Option<usize> {
        self.windows.get(scope).map(|window| if window.floor.is_some() { window.older } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(scope: &Scope, before: Option<u64>, next: Option<u64>, newest: u64) -> PageRead<u64> {
        PageRead { scope: scope.clone(), before, next, older: 7, newest: Some(newest) }
    }

    fn narrowed() -> Scope {
        Scope { text: "web".into(), ..Scope::default() }
    }

    #[test]
    fn pages_are_asked_for_one_at_a_time_until_the_list_is_long_enough_or_whole() {
        let (mut windows, all) = (Windows::default(), Scope::default());
        let first = windows.want(&all, 0, 100).unwrap();
        assert_eq!((first.before, first.limit), (None, FIRST));
        assert_eq!(windows.want(&all, 0, 100), None);
        windows.take(&page(&all, None, Some(951), 1_000));
        assert!(windows.has(&all, 951) && !windows.has(&all, 950));
        assert_eq!(windows.want(&all, 50, 40), None);
        let second = windows.want(&all, 50, 100).unwrap();
        assert_eq!((second.before, second.limit), (Some(951), NEXT));
        windows.take(&page(&all, Some(951), None, 950));
        assert!(windows.is_whole(&all) && windows.has(&all, 1));
        assert_eq!(windows.want(&all, 60, 100), None);
        assert_eq!(windows.want(&narrowed(), 0, 100), None, "who knows all knows the parts");
    }

    #[test]
    fn a_narrowed_list_has_pages_of_its_own() {
        let (mut windows, all) = (Windows::default(), Scope::default());
        windows.take(&page(&all, None, Some(951), 1_000));
        assert!(windows.has(&narrowed(), 3), "before its first page what is known is shown");
        assert_eq!(windows.want(&narrowed(), 900, 100).unwrap().scope, narrowed());
        windows.take(&page(&narrowed(), None, Some(40), 990));
        assert!(windows.has(&narrowed(), 40) && !windows.has(&narrowed(), 39) && !windows.has(&all, 40));
    }

    #[test]
    fn a_pool_that_was_away_is_asked_for_the_newest_again() {
        let (mut windows, all) = (Windows::default(), Scope::default());
        windows.take(&page(&all, None, Some(951), 1_000));
        windows.take(&page(&all, Some(951), Some(451), 950));
        windows.stale();
        assert_eq!(windows.want(&all, 550, 10).unwrap().before, None);
        windows.take(&page(&all, None, Some(971), 1_020));
        assert!(windows.has(&all, 451), "nothing lies between");
        windows.stale();
        windows.want(&all, 550, 10).unwrap();
        windows.take(&page(&all, None, Some(1_451), 1_500));
        assert!(!windows.has(&all, 1_450), "what lies between is not known");
        windows.take(&page(&all, Some(451), None, 450));
        assert!(!windows.is_whole(&all), "an answer to an older question changes nothing");
    }

    #[test]
    fn a_pool_that_does_not_answer_is_asked_again_when_it_is_back() {
        let (mut windows, all) = (Windows::<u64>::default(), Scope::default());
        windows.want(&all, 0, 1).unwrap();
        windows.fail();
        assert_eq!(windows.want(&all, 0, 1), None);
        windows.stale();
        assert!(windows.want(&all, 0, 1).is_some());
    }
}
