use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use super::*;
use crate::domain::build::{Build, BuildState, Trigger, sample};
use crate::domain::build_query::{BuildQuery, PushQuery};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::journal::{self, PushRecord};
use crate::domain::name::RepositoryPath;
use crate::domain::push::Ref;
use crate::domain::reason::Reason;
use crate::domain::rule::Rule;
use crate::domain::rule_history::RuleHistory;
use crate::store::{builds as build_files, pushes as push_files};

struct World {
    directory: tempfile::TempDir,
    catalog: Catalog,
}

/// A build whose kind follows from a number.
fn build(id: u64, kind: u16) -> Build {
    let pick = |step: u16, count: u16| (kind / step) % count;
    let states =
        [BuildState::Queued, BuildState::Running, BuildState::Succeeded, BuildState::Failed, BuildState::TimedOut];
    let state = states[usize::from(pick(1, 5))];
    let machinery = state == BuildState::Failed && pick(5, 4) == 0;
    let failure = if machinery { FailureKind::Network } else { FailureKind::Dockerfile };
    let target = (pick(20, 3) == 0).then(|| "release".to_owned());
    let at = sample().queued_at + TimeDelta::seconds(i64::try_from(id).unwrap());
    Build {
        id: BuildId(id),
        namespace: ["acme", "other"][usize::from(pick(60, 2))].into(),
        repository: ["api", "web"][usize::from(pick(120, 2))].into(),
        reference: [Ref::branch("main"), Ref::tag("v1")][usize::from(pick(240, 2))].clone(),
        commit: format!("{kind:04x}{id:036x}").parse().unwrap(),
        trigger: [Trigger::Push, Trigger::Schedule][usize::from(pick(480, 2))],
        push: (pick(960, 2) == 0).then_some(PushId(u64::from(pick(3, 4)))),
        state,
        queued_at: at,
        finished_at: state.is_final().then_some(at),
        failure: (state == BuildState::Failed).then(|| Failure::new(failure, Reason::verbatim("exit code: 1"))),
        rule: Rule { target, ..Rule::starter("main") },
        ..sample()
    }
}

fn push(id: u64, kind: u16) -> PushRecord {
    let of = build(id, kind);
    PushRecord {
        id: PushId(id),
        repository: of.path(),
        reference: of.reference,
        commit: of.commit,
        settled: !kind.is_multiple_of(3),
        ..journal::sample()
    }
}

fn queries() -> Vec<BuildQuery> {
    let all = BuildQuery::default;
    let path = |text: &str| Some(text.parse().unwrap());
    let states = |states: &[BuildState]| states.iter().copied().collect::<BTreeSet<_>>();
    vec![
        all(),
        BuildQuery { namespace: Some("acme".into()), ..all() },
        BuildQuery { repository: path("acme/api"), ..all() },
        BuildQuery { repository: path("acme/web"), rule: Some("main".into()), ..all() },
        BuildQuery {
            repository: path("acme/web"),
            rule: Some("main".into()),
            reference: Some(Ref::tag("v1")),
            ..all()
        },
        BuildQuery { rule: Some("main".into()), reference: Some(Ref::branch("main")), ..all() },
        BuildQuery { states: states(&[BuildState::Failed, BuildState::Running]), ..all() },
        BuildQuery { repository: path("acme/api"), states: states(&[BuildState::Succeeded]), ..all() },
        BuildQuery { trigger: Some(Trigger::Schedule), ..all() },
        BuildQuery { commit: Some("00".into()), ..all() },
        BuildQuery { commit: Some("0012".into()), ..all() },
        BuildQuery { text: "API failed".into(), ..all() },
        BuildQuery { text: "#1".into(), states: states(&[BuildState::Queued]), ..all() },
    ]
}

impl World {
    fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let (catalog, _) = Catalog::open(&Home::at(directory.path())).unwrap();
        catalog.tend(|| false).unwrap();
        World { directory, catalog }
    }

    fn home(&self) -> Home {
        Home::at(self.directory.path())
    }

    fn files(&self) -> [PathBuf; 2] {
        let file = self.home().catalog_file();
        [file.clone(), file.with_extension("db-wal")]
    }

    /// What is on disk of the catalog, as a kill leaves it, and another one opened on it.
    fn kill(&mut self, damage: impl Fn(&mut [Vec<u8>; 2])) -> Start {
        let mut bytes = self.files().map(|file| fs::read(file).unwrap_or_default());
        damage(&mut bytes);
        // It writes what it has when it is dropped, which is not what a kill leaves.
        self.catalog = Catalog::new(&self.home());
        schema::remove(&self.home().catalog_file()).unwrap();
        for (file, bytes) in self.files().iter().zip(bytes).filter(|(_, bytes)| !bytes.is_empty()) {
            fs::write(file, bytes).unwrap();
        }
        let (catalog, start) = Catalog::open(&self.home()).unwrap();
        self.catalog = catalog;
        start
    }

    /// The builds that are on disk.
    fn on_disk(&self) -> BTreeMap<BuildId, Build> {
        let ids = build_files::ids(&self.home()).unwrap().into_iter();
        ids.filter_map(|id| Some((id, build_files::load(&self.home(), id).ok()?))).collect()
    }

    fn all(&self, query: &BuildQuery, limit: usize) -> Vec<BuildId> {
        let mut query = BuildQuery { limit, ..query.clone() };
        let mut found = Vec::new();
        loop {
            let page = self.catalog.builds(&query, &BTreeMap::new()).unwrap();
            found.extend(page.records.iter().map(|build| build.id));
            match page.more {
                Some(more) => query.before = Some(more),
                None => return found,
            }
        }
    }

    /// Compares what the catalog says with what is on disk.
    fn check(&self) {
        let builds = self.on_disk();
        for query in queries() {
            let expected: Vec<BuildId> =
                builds.values().rev().filter(|build| query.matches(build)).map(|build| build.id).collect();
            assert_eq!(self.all(&query, 3), expected, "{query:?}");
        }
        for path in ["acme/api", "acme/web", "other/api"] {
            let path: RepositoryPath = path.parse().unwrap();
            for reference in [Ref::branch("main"), Ref::tag("v1")] {
                let mut expected = RuleHistory::default();
                builds.values().filter(|build| build.path() == path).for_each(|build| expected.learn(build));
                let found = self.catalog.history(&path, "main", Some(&reference));
                assert_eq!(found.past(&reference), expected.past(&reference), "{path} {reference}");
                assert_eq!(
                    (&found.failed, found.succeeded, found.scheduled),
                    (&expected.failed, expected.succeeded, expected.scheduled),
                    "{path}"
                );
                if !found.failed.is_empty() {
                    assert_eq!(found.failed_as, expected.failed_as);
                }
            }
        }
        for id in 0..4 {
            let of_push = |build: &&Build| build.push == Some(PushId(id));
            let expected: Vec<BuildId> = builds.values().filter(of_push).map(|build| build.id).collect();
            let mut found: Vec<BuildId> = self
                .catalog
                .builds_of_push(PushId(id), DateTime::<Utc>::MIN_UTC)
                .unwrap()
                .iter()
                .map(|build| build.id)
                .collect();
            found.sort_unstable();
            assert_eq!(found, expected);
        }
        let journal: Vec<PushRecord> = push_files::ids(&self.home())
            .unwrap()
            .into_iter()
            .map(|id| push_files::load(&self.home(), id).unwrap())
            .collect();
        let path: RepositoryPath = "acme/api".parse().unwrap();
        for query in [PushQuery::default(), PushQuery { repository: Some(path), ..PushQuery::default() }] {
            let expected: Vec<PushId> =
                journal.iter().rev().filter(|push| query.matches(push)).map(|push| push.id).collect();
            let page = self.catalog.pushes(&query).unwrap();
            assert_eq!(page.records.iter().map(|push| push.id).collect::<Vec<_>>(), expected);
        }
        let unsettled: Vec<PushId> = journal.iter().filter(|push| !push.settled).map(|push| push.id).collect();
        let left = self.catalog.unsettled_pushes();
        assert_eq!(left.iter().map(|push| push.id).collect::<Vec<_>>(), unsettled);
    }

    fn is_open(&self, id: BuildId) -> bool {
        build_files::is_open(&self.home(), id)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Builds and pushes come, change and go, by the pool and by hand; the pool is killed between any two writes, and what a
    /// kill leaves of the catalog is cut off anywhere.
    #[test]
    fn the_catalog_says_what_is_on_disk_whatever_happens_to_it(
        steps in prop::collection::vec((0..13u8, 0..2_000u16, any::<prop::sample::Index>()), 1..40),
    ) {
        let mut world = World::new();
        let (mut next, mut next_push) = (1, 1);
        for (number, (step, kind, which)) in steps.into_iter().enumerate() {
            let there: Vec<BuildId> = world.on_disk().into_keys().collect();
            let chosen = (!there.is_empty()).then(|| there[which.index(there.len())]);
            match (step, chosen) {
                (0 | 1, _) => {
                    world.catalog.create(&build(next, kind)).unwrap();
                    next += 1;
                }
                (2, _) => {
                    world.catalog.record_push(&push(next_push, kind)).unwrap();
                    next_push += 1;
                }
                // A build ends; its kind stays, as its commit and rule do.
                (3 | 4, Some(id)) if world.is_open(id) => {
                    let ended = Build { finished_at: Some(sample().queued_at), ..build(id.0, kind / 5 * 5 + 2 + kind % 3) };
                    world.catalog.save(&ended).unwrap();
                    if step == 3 {
                        world.catalog.close(id).unwrap();
                    }
                }
                (5, Some(id)) => drop(world.catalog.delete(&[id]).unwrap()),
                (6, Some(id)) => fs::remove_dir_all(world.home().build_dir(id.0)).unwrap(),
                // Killed between the writes of a record and of its row.
                (7, _) => {
                    let directory = build_files::create(&world.home(), BuildId(next)).unwrap();
                    build_files::save(&directory.join(build_files::RECORD), &build(next, kind)).unwrap();
                    push_files::record(&world.home(), &push(next_push, kind)).unwrap();
                    (next, next_push) = (next + 1, next_push + 1);
                    world.kill(|_| ());
                }
                (8, Some(id)) if world.is_open(id) => {
                    let file = world.home().build_dir(id.0).join(build_files::RECORD);
                    build_files::save(&file, &build(id.0, kind / 5 * 5 + 2 + kind % 3)).unwrap();
                    world.kill(|_| ());
                }
                (9, _) => drop(world.kill(|files| files[0].truncate(which.index(files[0].len() + 1)))),
                (10, _) => drop(world.kill(|files| files[1].truncate(which.index(files[1].len() + 1)))),
                (11, _) => drop(world.kill(|files| files.iter_mut().for_each(Vec::clear))),
                // Somebody edits a record, and not within the clock's tick in which it was written.
                (12, Some(id)) => {
                    let file = world.home().build_dir(id.0).join(build_files::RECORD);
                    build_files::save(&file, &build(id.0, kind)).unwrap();
                    let then = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number as u64);
                    fs::File::options().append(true).open(&file).unwrap().set_modified(then).unwrap();
                }
                _ => {}
            }
            let start = world.kill(|_| ());
            let open: BTreeSet<BuildId> = world.on_disk().into_keys().filter(|id| world.is_open(*id)).collect();
            prop_assert_eq!(&start.open, &open);
            prop_assert!(start.last_build >= open.last().map_or(0, |id| id.0));
            world.catalog.tend(|| false).unwrap();
            prop_assert!(world.catalog.is_complete());
            world.check();
        }
    }
}

#[test]
fn a_page_is_right_before_the_catalog_is_made() {
    let world = World::new();
    for id in 1..=1_100 {
        let directory = build_files::create(&world.home(), BuildId(id)).unwrap();
        fs::write(directory.join(build_files::RECORD), toml::to_string(&build(id, 3)).unwrap()).unwrap();
        build_files::close(&directory).unwrap();
    }
    let (catalog, start) = Catalog::open(&world.home()).unwrap();
    assert_eq!((catalog.is_complete(), start.last_build, start.open.len()), (false, 1_100, 0));
    let world = World { catalog, ..world };
    world.catalog.create(&build(1_101, 0)).unwrap();
    let newest = |world: &World| world.all(&BuildQuery::default(), 500)[..3].to_vec();
    assert_eq!(newest(&world), [1_101, 1_100, 1_099].map(BuildId));
    assert_eq!(world.all(&queries()[2], 100).len(), 1_101);
    // Half of the rows are written when the pool ends; the next one goes on.
    let count = std::cell::Cell::new(0);
    let stops = || {
        count.set(count.get() + 1);
        count.get() > 2
    };
    world.catalog.tend(stops).unwrap();
    assert!(!world.catalog.is_complete());
    let mut world = world;
    world.kill(|_| ());
    assert!((1..1_101).contains(&world.catalog.build_floor()));
    assert_eq!(newest(&world), [1_101, 1_100, 1_099].map(BuildId));
    world.catalog.tend(|| false).unwrap();
    world.check();
}

#[test]
fn a_client_reads_beside_the_pool_and_without_one() {
    let world = World::new();
    for id in 1..=3 {
        world.catalog.create(&build(id, 3)).unwrap();
    }
    let all = |catalog: &Catalog| {
        let page = catalog.builds(&BuildQuery::default(), &BTreeMap::new()).unwrap();
        page.records.iter().map(|build| build.id.0).collect::<Vec<_>>()
    };
    let beside = Catalog::read(&world.home());
    assert_eq!((all(&beside), beside.build_floor()), (vec![3, 2, 1], 0));
    fs::remove_dir_all(world.home().build_dir(2)).unwrap();
    let after = Catalog::read(&world.home());
    assert_eq!((all(&after), after.build_floor()), (vec![3, 1], NOTHING));
    fs::remove_file(world.home().catalog_file()).unwrap();
    assert_eq!(all(&Catalog::read(&world.home())), [3, 1]);
}

#[test]
fn what_the_pool_knows_of_open_builds_stands_above_their_records() {
    let world = World::new();
    world.catalog.create(&build(1, 0)).unwrap();
    world.catalog.create(&build(2, 0)).unwrap();
    let held = Build { state: BuildState::Held, ..build(1, 0) };
    let open = BTreeMap::from([(BuildId(1), held)]);
    let states = |state| BuildQuery { states: BTreeSet::from([state]), ..BuildQuery::default() };
    let ids = |query: &BuildQuery| {
        let page = world.catalog.builds(query, &open).unwrap();
        page.records.iter().map(|build| build.id.0).collect::<Vec<_>>()
    };
    assert_eq!((ids(&states(BuildState::Held)), ids(&states(BuildState::Queued))), (vec![1], vec![2]));
}

#[test]
fn a_record_that_cannot_be_read_is_told_until_somebody_fixes_it() {
    let mut world = World::new();
    for id in 1..=2 {
        world.catalog.create(&build(id, 3)).unwrap();
        world.catalog.close(BuildId(id)).unwrap();
    }
    let record = world.home().build_dir(1).join(build_files::RECORD);
    let good = fs::read(&record).unwrap();
    fs::write(&record, "no toml").unwrap();
    fs::remove_file(world.home().catalog_file()).unwrap();
    world.kill(|files| files.iter_mut().for_each(Vec::clear));
    let page = world.catalog.builds(&BuildQuery::default(), &BTreeMap::new()).unwrap();
    assert_eq!((page.records.len(), page.unreadable.len()), (1, 1));
    assert!(page.unreadable[0].1.to_string().contains("build.toml:1"), "{}", page.unreadable[0].1);
    fs::write(&record, good).unwrap();
    world.kill(|_| ());
    world.check();
}

#[test]
fn the_newest_builds_are_kept_by_number_and_by_age_and_the_newest_whatever_is_asked() {
    let world = World::new();
    let day = |id: u64| DateTime::UNIX_EPOCH + TimeDelta::days(i64::try_from(id).unwrap());
    for id in 1..=9 {
        world.catalog.create(&Build { finished_at: Some(day(id)), ..build(id, 2) }).unwrap();
        if id != 3 {
            world.catalog.close(BuildId(id)).unwrap();
        }
    }
    let expired = |keep, oldest| world.catalog.expired(keep, oldest, 100).iter().map(|id| id.0).collect::<Vec<_>>();
    assert_eq!(expired(Some(6), None), [1, 2], "what is open stays");
    assert_eq!(expired(None, Some(day(5))), [1, 2, 4]);
    assert_eq!(expired(Some(0), Some(day(100))), [1, 2, 4, 5, 6, 7, 8]);
    assert_eq!(world.catalog.expired(Some(1), None, 2), [1, 2].map(BuildId));
    assert_eq!(world.catalog.delete(&[1, 2, 2].map(BuildId)).unwrap(), 2);
    assert_eq!(world.catalog.oldest_build(), Some(BuildId(3)));
    world.check();
}

#[test]
fn damage_that_shows_late_is_repaired_from_the_records() {
    let world = World::new();
    for id in 1..=50 {
        world.catalog.create(&build(id, u16::try_from(id).unwrap() * 7)).unwrap();
    }
    // What the pages say is nonsense from here on.
    let mut damages = world.catalog.damages();
    damages.mark_unchanged();
    world.catalog.writer().as_ref().unwrap().connection.execute_batch("DROP TABLE build").unwrap();
    let page = world.catalog.builds(&queries()[2], &BTreeMap::new()).unwrap();
    assert!(damages.has_changed().unwrap() && !world.catalog.is_complete());
    assert!(page.records.iter().all(|build| build.repository == "api"));
    world.catalog.create(&build(51, 3)).unwrap();
    world.check_pages();
    world.catalog.tend(|| false).unwrap();
    world.check();
}

impl World {
    fn check_pages(&self) {
        let builds = self.on_disk();
        for query in queries() {
            let expected: Vec<BuildId> =
                builds.values().rev().filter(|build| query.matches(build)).map(|build| build.id).collect();
            assert_eq!(self.all(&query, 3), expected, "{query:?}");
        }
    }
}

#[test]
fn a_disk_that_takes_no_catalog_has_one_that_lasts_as_long_as_the_pool() {
    let world = World::new();
    world.catalog.create(&build(1, 3)).unwrap();
    // What can't be opened stands for what can't be written: root may write everywhere.
    schema::remove(&world.home().catalog_file()).unwrap();
    fs::create_dir(world.home().catalog_file()).unwrap();
    let (catalog, start) = Catalog::open(&world.home()).unwrap();
    assert_eq!(start.open, BTreeSet::from([BuildId(1)]));
    let world = World { catalog, ..world };
    world.catalog.create(&build(2, 3)).unwrap();
    world.check();
}
