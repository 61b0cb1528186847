//! Which rows each list shows: what is narrowed by the panes before, filtered and sorted. Pure.

use std::cmp::Ordering;

use super::app::App;
use super::data::{BuildSummary, Tags};
use super::list::{Key, List, Sort};
use super::place::Pane;
use crate::domain::journal::PushRecord;

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
            let last = |name: &str| self.data.builds.values().rev().find(|row| row.path.namespace == name);
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
            paths.sort_by_cached_key(|(path, _)| std::cmp::Reverse(self.data.last_build(path, None).map(|row| row.id)));
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
                std::cmp::Reverse(self.data.last_build(&path, Some(name)).map(|row| row.id))
            });
        }
        with_all(names.into_iter().cloned(), list)
    }

    fn build_rows(&self) -> Vec<Key> {
        let list = &self.lists.builds;
        let (namespace, repository) = (self.lists.namespaces.name(), self.selected_repository());
        let rule = self.lists.rules.name().filter(|_| repository.is_some());
        let wanted = |row: &&BuildSummary| {
            namespace.is_none_or(|namespace| row.path.namespace == namespace)
                && repository.as_ref().is_none_or(|path| row.path == *path)
                && rule.is_none_or(|rule| row.rule == rule)
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
        let list = &self.lists.pushes;
        let (namespace, repository) = (self.lists.namespaces.name(), self.selected_repository());
        let wanted = |push: &&PushRecord| {
            namespace.is_none_or(|namespace| push.repository.namespace == namespace)
                && repository.as_ref().is_none_or(|path| push.repository == *path)
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
