//! The last build of a stopped pool ends the daemon.

use slipway::buildkit::config::Config;
use slipway::buildkit::daemon::ensure;
use slipway::buildkit::daemon::in_use::{ask_to_stop_when_idle, stop_if_idle, use_daemon};

use crate::setting::Setting;

#[tokio::test]
async fn the_daemon_lives_until_its_last_user_lets_go() {
    let setting = Setting::new();
    let (dir, pool_lock) = (setting.daemon_dir(), setting.path("pool.lock"));
    let mut daemon = ensure(&setting.spec(&Config::default())).await.unwrap();
    let guard = use_daemon(&dir).await.unwrap();
    ask_to_stop_when_idle(&dir).unwrap();
    assert!(!stop_if_idle(&dir, &pool_lock).await.unwrap());
    assert!(daemon.process().is_alive());
    drop(guard);
    let (stopped, ended) = tokio::join!(stop_if_idle(&dir, &pool_lock), daemon.exited());
    assert!(stopped.unwrap());
    assert!(ended.unwrap().is_some_and(|status| status.code().is_some()), "it was asked, not killed");
}
