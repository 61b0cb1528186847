//! Which rows each list shows: what is narrowed by the panes before, filtered and sorted. Pure.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::app::App;
use super::data::{BuildSummary, Tags};
use super::effect::Effect;
use super::list::{Key, List, Sort};
use super::place::Pane;
use super::window::Scope;
use crate::domain::build::BuildId;
use crate::domain::journal::PushRecord;
use crate::domain::name::RepositoryPath;

/// So many of the newest builds are always known.
const NEWEST: usize = 1_000;

/// How many records of a list are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// All are known.
    None,
    /// Some are left.
    Some,
    /// About so many are left.
    About(usize),
}

impl Left {
    fn of(older: Option<usize>, is_whole: bool, is_all: bool) -> Left {
        match older.filter(|_| is_all) {
            _ if is_whole => Left::None,
            // The pool does not know yet how many there are.
            None | Some(0) => Left::Some,
            Some(older) => Left::About(older),
        }
    }
}

/// The orders that a pane's list can have, as keys of their texts.
pub fn orders(pane: Pane) -> &'static [&'static str] {
    match pane {
        Pane::Namespaces | Pane::Repositories | Pane::Rules => &["sort.name", "sort.last_build"],
        Pane::Builds => &["sort.newest", "sort.repository", "sort.state", "sort.duration"],
        Pane::Tags => &["sort.newest", "sort.name", "sort.size"],
        Pane::Builders | Pane::Platforms => &["sort.name"],
        Pane::Pushes => &["sort.newest", "sort.repository"],
        Pane::Log => &[],
    }
}

impl App {
    /// Works out every list's rows again; to be called whenever what is known, selected, filtered or sorted changed.
    pub fn arrange(&mut self) {
        let rows = self.namespace_rows();
        self.lists.namespaces.set_rows(rows);
        let rows = self.repository_rows();
        self.lists.repositories.set_rows(rows);
        let rows = self.rule_rows();
        self.lists.rules.set_rows(rows);
        let rows = self.build_rows();
        self.lists.builds.set_rows(rows);
        let rows = self.tag_rows();
        self.lists.tags.set_rows(rows);
        let rows = self.builder_rows();
        self.lists.builders.set_rows(rows);
        let rows = self.push_rows();
        self.lists.pushes.set_rows(rows);
        let rows = self.platform_rows();
        self.lists.platforms.set_rows(rows);
    }

    fn namespace_rows(&self) -> Vec<Key> {
        let list = &self.lists.namespaces;
        let mut names: Vec<&String> =
            self.data.settings.namespaces.keys().filter(|name| matches(&list.filter, &[name])).collect();
        if list.sort.by == 1 {
            let last = |name: &str| self.data.last_build(&Scope { namespace: Some(name.into()), ..Scope::default() });
            names.sort_by_cached_key(|name| std::cmp::Reverse(last(name).map(|row| row.id)));
        }
        with_all(names.into_iter().cloned(), list)
    }

    fn repository_rows(&self) -> Vec<Key> {
        let list = &self.lists.repositories;
        let namespace = self.lists.namespaces.name();
        let mut paths: Vec<_> = self
            .data
            .settings
            .repositories
            .keys()
            .filter(|path| namespace.is_none_or(|namespace| path.namespace == namespace))
            .map(|path| (path, path.to_string()))
            .filter(|(_, name)| matches(&list.filter, &[name]))
            .collect();
        if list.sort.by == 1 {
            let newest: HashMap<&RepositoryPath, BuildId> =
                self.data.builds.values().map(|row| (&row.path, row.id)).collect();
            paths.sort_by_cached_key(|(path, _)| std::cmp::Reverse(newest.get(path)));
        }
        with_all(paths.into_iter().map(|(_, name)| name), list)
    }

    fn rule_rows(&self) -> Vec<Key> {
        let list = &self.lists.rules;
        let Some(path) = self.selected_repository() else { return Vec::new() };
        let Some(repository) = self.repository(&path) else { return Vec::new() };
        let mut names: Vec<&String> =
            repository.rules.iter().map(|rule| &rule.name).filter(|name| matches(&list.filter, &[name])).collect();
        if list.sort.by == 1 {
            names.sort_by_cached_key(|name| {
                std::cmp::Reverse(self.data.last_build(&Scope::of(&path, Some(name))).map(|row| row.id))
            });
        }
        with_all(names.into_iter().cloned(), list)
    }

    fn build_rows(&self) -> Vec<Key> {
        let (list, scope) = (&self.lists.builds, self.build_scope());
        let wanted = |row: &&BuildSummary| {
            // What was looked for by itself, such as the build of a push, is shown wherever it is, and so is what runs or waits.
            let is_shown = list.chosen_build() == Some(row.id) || !row.state.is_final();
            (is_shown || self.data.build_windows.has(&scope, row.id))
                && scope.has_build(row)
                && (list.filter.is_empty() || build_matches(&list.filter, row))
        };
        let mut rows: Vec<&BuildSummary> = self.data.builds.values().rev().filter(wanted).collect();
        let order: Option<fn(&BuildSummary, &BuildSummary) -> Ordering> = match list.sort.by {
            1 => Some(|a, b| (&a.path, &a.rule).cmp(&(&b.path, &b.rule))),
            2 => Some(|a, b| a.state.cmp(&b.state)),
            _ => None,
        };
        if let Some(order) = order {
            rows.sort_by(|a, b| order(a, b));
        } else if list.sort.by == 3 {
            rows.sort_by_key(|row| std::cmp::Reverse(row.duration(self.now)));
        }
        in_order(rows.into_iter().map(|row| Key::Build(row.id)), list.sort)
    }

    /// What the list of builds is narrowed to.
    pub fn build_scope(&self) -> Scope {
        let repository = self.selected_repository();
        Scope {
            namespace: self.lists.namespaces.name().map(str::to_owned),
            rule: self.lists.rules.name().filter(|_| repository.is_some()).map(str::to_owned),
            repository,
            text: self.lists.builds.filter.trim().to_owned(),
        }
    }

    /// How many builds of the list are not known.
    pub fn builds_left(&self) -> Left {
        let scope = self.build_scope();
        let older = self.data.build_windows.older(&scope);
        Left::of(older, self.data.build_windows.is_whole(&scope), scope == Scope::default())
    }

    /// How many pushes of the list are not known.
    pub fn pushes_left(&self) -> Left {
        let scope = self.push_scope();
        let older = self.data.push_windows.older(&scope);
        let is_all = scope == Scope::default() && self.lists.pushes.filter.is_empty();
        Left::of(older, self.data.push_windows.is_whole(&scope), is_all)
    }

    /// Asks for a page of builds where the list is to show more than are known.
    pub fn builds_wanted(&mut self) -> Option<Effect> {
        let (all, scope) = (Scope::default(), self.build_scope());
        let windows = &self.data.build_windows;
        let is_known = |key: &Key| matches!(key, Key::Build(id) if windows.has(&scope, *id));
        let list = &self.lists.builds;
        // One that is shown by itself leads to no others.
        let wanted = if list.selected().is_none_or(is_known) { list.rows_wanted() } else { 0 };
        let known = list.rows.iter().filter(|key| is_known(key)).count();
        // Much is worked out from the newest: when builds start, which were last, what failed today.
        let newest = self.data.newest_builds().take(NEWEST).count();
        let picture = self.scope_of_picture();
        let windows = &mut self.data.build_windows;
        let page = windows.want(&scope, known, wanted).or_else(|| windows.want(&all, newest, NEWEST));
        let page = page.or_else(|| windows.want(&picture?, 0, 0));
        page.map(Effect::ReadBuilds)
    }

    /// What the details show the past of.
    fn scope_of_picture(&self) -> Option<Scope> {
        match self.focus {
            _ if !self.details => None,
            Pane::Repositories => self.selected_repository().map(|path| Scope::of(&path, None)),
            Pane::Rules => self.rule_in_question().map(|(path, rule)| Scope::of(&path, Some(&rule.name))),
            Pane::Builds | Pane::Log => self.selected_build().map(|row| Scope::of(&row.path, Some(&row.rule))),
            _ => None,
        }
    }

    /// Asks for a page of the journal where the list is to show more than are known.
    pub fn journal_wanted(&mut self) -> Option<Effect> {
        let (scope, list) = (self.push_scope(), &self.lists.pushes);
        let page = self.data.push_windows.want(&scope, list.rows.len(), list.rows_wanted());
        page.map(Effect::ReadJournal)
    }

    /// Asks for the last builds of what is on the screen, where they are not among the newest.
    pub fn last_builds_wanted(&mut self) -> Option<Effect> {
        let path = self.selected_repository();
        let named = |list: &List, scope: &dyn Fn(&str) -> Option<Scope>| {
            let names = list.visible().iter().filter_map(|key| match key {
                Key::Name(name) => scope(name),
                _ => None,
            });
            names.collect::<Vec<_>>()
        };
        let mut scopes =
            named(&self.lists.namespaces, &|name| Some(Scope { namespace: Some(name.to_owned()), ..Scope::default() }));
        scopes.extend(named(&self.lists.repositories, &|name| Some(Scope::of(&name.parse().ok()?, None))));
        scopes.extend(named(&self.lists.rules, &|name| Some(Scope::of(path.as_ref()?, Some(name)))));
        scopes.retain(|scope| self.data.lacks_last_build(scope));
        for scope in &scopes {
            // Asked for once; what was never built has none.
            self.data.last_builds.insert(scope.clone(), None);
        }
        (!scopes.is_empty()).then_some(Effect::ReadLastBuilds(scopes))
    }

    /// What the journal is narrowed to. Its words are looked for here: they may be those of verdicts.
    pub fn push_scope(&self) -> Scope {
        let namespace = self.lists.namespaces.name().map(str::to_owned);
        Scope { namespace, repository: self.selected_repository(), ..Scope::default() }
    }

    fn tag_rows(&self) -> Vec<Key> {
        let list = &self.lists.tags;
        let Some((_, Some(Tags::There(tags)))) = self.shown_tags() else { return Vec::new() };
        let mut tags: Vec<_> = tags.iter().filter(|tag| matches(&list.filter, &[&tag.tag, &tag.digest])).collect();
        match list.sort.by {
            0 => tags.sort_by_key(|tag| std::cmp::Reverse(tag.created)),
            2 => tags.sort_by_key(|tag| std::cmp::Reverse(tag.size)),
            _ => {}
        }
        in_order(tags.into_iter().map(|tag| Key::Name(tag.tag.clone())), list.sort)
    }

    fn builder_rows(&self) -> Vec<Key> {
        let list = &self.lists.builders;
        let names: Vec<&String> = match &self.data.status {
            Some(status) => status.builders.iter().map(|builder| &builder.name).collect(),
            None => self.data.settings.builders.keys().collect(),
        };
        let names = names.into_iter().filter(|name| matches(&list.filter, &[name]));
        in_order(names.map(|name| Key::Name(name.clone())), list.sort)
    }

    fn platform_rows(&self) -> Vec<Key> {
        let list = &self.lists.platforms;
        let platforms = self.data.settings.platforms.iter().filter(|(name, platform)| {
            matches(&list.filter, &[name, platform.kind.word(), platform.url.as_deref().unwrap_or_default()])
        });
        in_order(platforms.map(|(name, _)| Key::Name(name.clone())), list.sort)
    }

    fn push_rows(&self) -> Vec<Key> {
        let (list, scope) = (&self.lists.pushes, self.push_scope());
        let wanted = |push: &&PushRecord| {
            self.data.push_windows.has(&scope, push.id)
                && scope.has_push(push)
                && (list.filter.is_empty() || push_matches(&list.filter, push))
        };
        let mut rows: Vec<&PushRecord> = self.data.pushes.values().rev().filter(wanted).collect();
        if list.sort.by == 1 {
            rows.sort_by_key(|push| &push.repository);
        }
        in_order(rows.into_iter().map(|push| Key::Push(push.id)), list.sort)
    }
}

/// The rows of a list that narrows the next: everything first, unless there is nothing.
fn with_all(names: impl Iterator<Item = String>, list: &List) -> Vec<Key> {
    let mut rows = in_order(names.map(Key::Name), list.sort);
    if !rows.is_empty() || !list.filter.is_empty() {
        rows.insert(0, Key::All);
    }
    rows
}

fn in_order(rows: impl Iterator<Item = Key>, sort: Sort) -> Vec<Key> {
    let mut rows: Vec<Key> = rows.collect();
    if sort.reversed {
        rows.reverse();
    }
    rows
}

/// Whether every word of a filter stands somewhere, whatever its case.
fn matches(filter: &str, texts: &[&str]) -> bool {
    filter.split_whitespace().all(|word| {
        let word = word.to_lowercase();
        texts.iter().any(|text| text.to_lowercase().contains(&word))
    })
}

fn push_matches(filter: &str, push: &PushRecord) -> bool {
    let (id, path) = (push.id.to_string(), push.repository.to_string());
    let builds = push.builds().map(|id| id.to_string()).collect::<Vec<_>>().join(" ");
    let mut texts = vec![
        id.as_str(),
        path.as_str(),
        push.reference.name.as_str(),
        push.commit.short(12),
        push.origin.word(),
        builds.as_str(),
    ];
    texts.extend(push.answers.iter().map(|answer| answer.verdict.word()));
    matches(filter, &texts)
}

fn build_matches(filter: &str, row: &BuildSummary) -> bool {
    let (id, path, tags) = (row.id.to_string(), row.path.to_string(), row.tags.join(" "));
    matches(
        filter,
        &[
            &id,
            &path,
            &row.rule,
            row.state.word(),
            &row.reference.name,
            row.commit.short(12),
            &tags,
            row.trigger.word(),
            &row.asked_by,
        ],
    )
}
