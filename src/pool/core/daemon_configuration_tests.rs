use super::*;

fn running(config: &str) -> Configuration {
    Configuration { running: Some(config.into()), ordered: Some(config.into()), ..Configuration::default() }
}

#[test]
fn a_daemon_is_restarted_once_for_each_configuration_and_never_under_a_build() {
    let mut daemon = running("a = 1");
    assert!(!daemon.restart_for("a = 1", false) && !daemon.blocks_builds);
    assert!(!daemon.restart_for("b = 1", true) && daemon.blocks_builds);
    assert!(daemon.restart_for("b = 1", false));
    daemon.restart_ordered("b = 1".into());
    assert!(!daemon.restart_for("b = 1", false) && daemon.blocks_builds);
    // What was wanted before is wanted again, and the restart is on its way.
    assert!(daemon.restart_for("a = 1", false) && daemon.blocks_builds);
    daemon.started("b = 1".into());
    assert!(!daemon.restart_for("b = 1", false) && !daemon.blocks_builds);
}

#[test]
fn other_resolvers_wait_for_a_moment_without_builds_and_hold_none_up() {
    let [before, after] =
        ["10.0.0.1", "10.8.0.1"].map(|server| format!("a = 1\n[dns]\nnameservers = [\"{server}\"]\n"));
    let mut daemon = running(&before);
    assert!(!daemon.restart_for(&after, true) && !daemon.blocks_builds);
    assert!(daemon.restart_for(&after, false) && daemon.blocks_builds);
    daemon.restart_ordered(after.clone());
    assert!(!daemon.restart_for(&after, true) && daemon.blocks_builds, "the daemon is about to end");
    daemon.started(after.clone());
    assert!(!daemon.restart_for(&after, false) && !daemon.blocks_builds);
    // One that was adopted while builds run on it.
    let mut adopted = Configuration { ordered: Some(after.clone()), ..Configuration::default() };
    adopted.adopted(before);
    assert!(!adopted.restart_for(&after, true) && !adopted.blocks_builds);
    assert!(adopted.restart_for(&after, false));
}

#[test]
fn an_adopted_daemon_of_another_configuration_is_restarted() {
    let mut daemon = Configuration { ordered: Some("a = 1".into()), ..Configuration::default() };
    daemon.adopted(String::new());
    assert!(daemon.restart_for("a = 1", false) && daemon.blocks_builds);
    daemon.restart_ordered("a = 1".into());
    daemon.adopted(String::new());
    assert!(daemon.restart_for("a = 1", false), "the order came to nothing");
}
