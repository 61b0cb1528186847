use super::*;

fn now() -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn build(id: u64, repository: &str) -> Waiting {
    Waiting {
        id: BuildId(id),
        repository: repository.into(),
        platforms: Vec::new(),
        labels: BTreeMap::new(),
        builder: None,
        not_before: None,
        retry: None,
        awaited: None,
        last_turn: 0,
    }
}

fn retry() -> Option<AwaitedAttempt> {
    Some(AwaitedAttempt { number: 2, most: 4, why: Reason::verbatim("no route to host") })
}

fn builder(name: &str, slots: u32, platforms: &[&str]) -> BuilderView {
    BuilderView {
        name: name.into(),
        slots,
        busy: 0,
        labels: BTreeMap::new(),
        platforms: Some(platforms.iter().map(|platform| platform.parse().unwrap()).collect()),
        readiness: Readiness::Ready,
        warm: Arc::default(),
    }
}

fn pool(limit: u32) -> PoolView {
    PoolView { limit, running: BTreeMap::new(), blocked: None, unusable_builders: Vec::new() }
}

fn started(decisions: &BTreeMap<BuildId, Decision>) -> Vec<u64> {
    decisions.iter().filter(|(_, decision)| matches!(decision, Decision::Start(_))).map(|(id, _)| id.0).collect()
}

fn reason(decision: &Decision) -> String {
    match decision {
        Decision::Queue(reason) | Decision::Hold(reason) => reason.to_string(),
        Decision::Start(_) => panic!("it starts"),
    }
}

#[test]
fn repositories_take_turns_where_one_build_runs_at_a_time() {
    let builder = [builder("m", 1, &["linux/amd64"])];
    let waiting = [Waiting { last_turn: 3, ..build(2, "a/x") }, Waiting { last_turn: 2, ..build(4, "b/y") }];
    let decisions = schedule(now(), &waiting, &builder, &pool(1));
    assert_eq!(started(&decisions), [4]);
    assert!(reason(&decisions[&BuildId(2)]).ends_with("it is next"));
}

#[test]
fn a_repository_with_many_builds_does_not_starve_another() {
    let waiting = [build(1, "a/x"), build(2, "a/x"), build(3, "a/x"), build(4, "b/y")];
    let decisions = schedule(now(), &waiting, &[builder("m", 2, &["linux/amd64"])], &pool(2));
    assert_eq!(started(&decisions), [1, 4]);
    assert_eq!(reason(&decisions[&BuildId(3)]), "waits for a slot: 2 of 2 builds are running; 1 ahead of it");
}

#[test]
fn a_build_whose_time_has_not_come_is_held_and_the_next_one_starts() {
    let commit = "c".repeat(40).parse().unwrap();
    let not_before = Some(Deadline::after(now(), chrono::TimeDelta::seconds(5)));
    let awaits = Waiting { awaited: Some(commit), not_before, ..build(2, "a/x") };
    let decisions = schedule(now(), &[awaits], &[builder("m", 1, &[])], &pool(1));
    let expected = "waits for the server to have commit cccccccccccc; asked again at 2026-01-01 00:00:05Z";
    assert_eq!(reason(&decisions[&BuildId(2)]), expected);
    let held = Waiting { not_before, retry: retry(), ..build(1, "a/x") };
    let decisions = schedule(now(), &[held, build(2, "a/x")], &[builder("m", 1, &[])], &pool(1));
    assert_eq!(started(&decisions), [2]);
    assert_eq!(reason(&decisions[&BuildId(1)]), "attempt 2 of 4 starts at 2026-01-01 00:00:05Z: no route to host");
}

#[test]
fn labels_and_names_choose_the_builder() {
    let mut overseas = builder("far", 1, &["linux/amd64"]);
    overseas.labels.insert("region".into(), "overseas".into());
    let near = builder("near", 1, &["linux/amd64"]);
    let labelled = Waiting { labels: BTreeMap::from([("region".into(), "overseas".into())]), ..build(1, "a/x") };
    let named = Waiting { builder: Some("near".into()), ..build(2, "a/x") };
    let decisions = schedule(now(), &[labelled.clone(), named], &[near.clone(), overseas], &pool(9));
    assert_eq!(decisions[&BuildId(1)], Decision::Start(vec![("far".into(), vec![])]));
    assert_eq!(decisions[&BuildId(2)], Decision::Start(vec![("near".into(), vec![])]));
    let alone = schedule(now(), &[labelled], &[near], &pool(9));
    assert_eq!(reason(&alone[&BuildId(1)]), "no builder is labelled region = \"overseas\"; label one in builders/");
}

#[test]
fn each_platform_goes_to_a_builder_of_its_own_and_to_one_where_one_has_both() {
    let both =
        Waiting { platforms: vec!["linux/amd64".parse().unwrap(), "linux/arm64".parse().unwrap()], ..build(1, "a/x") };
    let emulating = builder("intel", 4, &["linux/amd64", "linux/arm64"]);
    let arm = builder("arm", 4, &["linux/arm64"]);
    let together = schedule(now(), std::slice::from_ref(&both), std::slice::from_ref(&emulating), &pool(9));
    assert_eq!(together[&BuildId(1)], Decision::Start(vec![("intel".into(), both.platforms.clone())]));
    let apart = schedule(now(), std::slice::from_ref(&both), &[emulating, arm], &pool(9));
    assert_eq!(
        apart[&BuildId(1)],
        Decision::Start(vec![
            ("intel".into(), vec![both.platforms[0].clone()]),
            ("arm".into(), vec![both.platforms[1].clone()])
        ])
    );
    let neither = schedule(now(), &[both], &[builder("intel", 4, &["linux/amd64"])], &pool(9));
    assert!(reason(&neither[&BuildId(1)]).starts_with("no builder builds for linux/arm64; install its emulator"));
}

#[test]
fn a_warm_builder_comes_first_and_a_busy_one_last() {
    let mut warm = builder("warm", 2, &[]);
    warm.warm = Arc::new(BTreeSet::from(["a/x".to_owned()]));
    warm.busy = 1;
    let cold = builder("cold", 2, &[]);
    let decisions = schedule(now(), &[build(1, "a/x"), build(2, "b/y")], &[cold, warm], &pool(9));
    assert_eq!(decisions[&BuildId(1)], Decision::Start(vec![("warm".into(), vec![])]));
    assert_eq!(decisions[&BuildId(2)], Decision::Start(vec![("cold".into(), vec![])]));
}

#[test]
fn a_builder_that_is_down_is_said_with_its_reason_and_one_that_starts_is_waited_for() {
    let mut down = builder("m", 1, &[]);
    down.readiness = Readiness::Down(Reason::verbatim("buildkitd is not installed; run `slipway setup`"));
    let decisions = schedule(now(), &[build(1, "a/x")], &[down.clone()], &pool(1));
    assert!(matches!(decisions[&BuildId(1)], Decision::Hold(_)));
    assert_eq!(reason(&decisions[&BuildId(1)]), "builder m: buildkitd is not installed; run `slipway setup`");
    down.readiness = Readiness::Starting;
    let decisions = schedule(now(), &[build(1, "a/x")], &[down], &pool(1));
    assert!(matches!(decisions[&BuildId(1)], Decision::Queue(_)));
    assert_eq!(reason(&decisions[&BuildId(1)]), "waits for a slot: builder m is starting; it is next");
}

#[test]
fn a_full_disk_holds_everything() {
    let blocked = PoolView { blocked: Some(Reason::verbatim("the disk is full")), ..pool(1) };
    let decisions = schedule(now(), &[build(1, "a/x")], &[builder("m", 1, &[])], &blocked);
    assert_eq!(decisions[&BuildId(1)], Decision::Hold(WaitReason::Blocked(Reason::verbatim("the disk is full"))));
}

#[test]
fn a_clock_that_is_set_back_holds_a_build_no_longer_than_its_wait() {
    let not_before = Some(Deadline::after(now(), chrono::TimeDelta::seconds(10)));
    let waiting = [Waiting { not_before, retry: retry(), ..build(1, "a/x") }];
    let at = |now| started(&schedule(now, &waiting, &[builder("m", 1, &[])], &pool(1)));
    assert_eq!(at(now()), [] as [u64; 0]);
    assert_eq!(at(now() - chrono::TimeDelta::days(1)), [1]);
}

#[test]
fn where_no_file_of_a_builder_can_be_read_that_is_said() {
    let broken = PoolView { unusable_builders: vec![Reason::verbatim("big.toml: address")], ..pool(1) };
    let decisions = schedule(now(), &[build(1, "a/x")], &[], &broken);
    assert!(reason(&decisions[&BuildId(1)]).starts_with("no builder is usable: big.toml: address"));
}
