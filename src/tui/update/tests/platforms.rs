use super::*;
use crate::domain::platform_account::{PlatformRepository, RepositoryPage};
use crate::domain::secret_ref::SecretRef;
use crate::domain::source_platform::{PlatformKind, SourcePlatform};
use crate::protocol::{Entity, SaveMode};
use crate::sys::secret::Secret;
use crate::tui::data::Check;

/// A dashboard with the platform github, which has no token yet.
fn with_a_platform() -> App {
    let mut app = with_builds();
    let mut settings = configured();
    settings.platforms.insert("github".into(), SourcePlatform::new(PlatformKind::Github));
    app.update(Event::Settings(Box::new(settings)), now());
    app
}

#[test]
fn a_platform_is_checked_where_one_is_selected_and_once_at_a_time() {
    let mut app = with_a_platform();
    let effects = press(&mut app, "9C");
    let [Effect::Check { name, id }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(name, "github");
    assert!(app.details);
    assert!(press(&mut app, "C").is_empty(), "it is being asked already");
    let answer =
        |id| Event::Checked { name: "github".into(), id, result: Err(Reason::verbatim("it does not know the token")) };
    app.update(answer(*id), now());
    assert_eq!(app.data.checks["github"], Check::Failed(Reason::verbatim("it does not know the token")));
    let [Effect::Check { id: second, .. }] = &press(&mut app, "C")[..] else { panic!("it is not asked again") };
    app.update(answer(*id), now());
    assert_eq!(app.data.checks["github"], Check::Asked(*second), "an answer to an older question says nothing");
    let mut app = with_builds();
    assert!(press(&mut app, "9C").is_empty());
    assert!(!app.notices.up(now()).is_empty());
}

#[test]
fn a_token_that_is_typed_goes_to_the_pool_beside_the_toml_and_never_in_it() {
    let mut app = with_a_platform();
    press(&mut app, "9e\t\t\t\t ");
    press(&mut app, "\ts3cret");
    let f2 = || Event::Key(KeyEvent::new(KeyCode::F(2), KeyModifiers::NONE));
    let effects = app.update(f2(), now());
    let [Effect::PreviewToml { entity, .. }] = &effects[..] else { panic!("{effects:?}") };
    let Entity::Platform { value, .. } = &**entity else { panic!("{entity:?}") };
    assert_eq!(value.token, Some(SecretRef::File("platform-github".into())));
    assert!(!toml::to_string(value).unwrap().contains("s3cret"));
    previewed(&mut app, SavePreview { diff: "+token".into(), starter: None, warnings: Vec::new() });
    let effects = press(&mut app, "\r");
    let [Effect::Ask { request, purpose: Purpose::Form(_) }] = &effects[..] else { panic!("{effects:?}") };
    let Request::Save { entity, mode: SaveMode::Edit } = &**request else { panic!("{request:?}") };
    assert!(
        matches!(&**entity, Entity::Platform { token: Some(token), webhook_secret: None, .. } if token == "s3cret")
    );
}

#[test]
fn a_token_is_unseen_before_it_is_said_to_be_one_and_is_not_lost() {
    let mut app = with_a_platform();
    press(&mut app, "9e\t\t\t\t\ts3cret");
    let screen = crate::tui::testing::screen((120, 36), |frame| crate::tui::view::draw(&mut app, frame));
    assert!(screen.contains("******") && !screen.contains("s3cret"), "{screen}");
    let f2 = || Event::Key(KeyEvent::new(KeyCode::F(2), KeyModifiers::NONE));
    let effects = app.update(f2(), now());
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::PreviewToml { .. })), "it is not said what it is");
    press(&mut app, " ");
    let effects = app.update(f2(), now());
    let [Effect::PreviewToml { entity, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert!(matches!(&**entity, Entity::Platform { token: Some(token), .. } if token == "s3cret"));
}

#[test]
fn a_token_that_was_typed_never_becomes_the_name_of_a_variable() {
    let mut app = with_a_platform();
    press(&mut app, "9e\t\t\t\t \ts3cret");
    app.update(Event::Key(KeyEvent::new(KeyCode::BackTab, KeyModifiers::NONE)), now());
    press(&mut app, " ");
    let f2 = || Event::Key(KeyEvent::new(KeyCode::F(2), KeyModifiers::NONE));
    assert!(app.update(f2(), now()).is_empty(), "the name is asked for");
    press(&mut app, "no-name");
    assert!(app.update(f2(), now()).is_empty(), "no variable is called so");
    for _ in 0..7 {
        app.update(Event::Key(KeyEvent::new(KeyCode::Backspace, KeyModifiers::NONE)), now());
    }
    press(&mut app, "TOKEN");
    let effects = app.update(f2(), now());
    let [Effect::PreviewToml { entity, .. }] = &effects[..] else { panic!("{effects:?}") };
    let Entity::Platform { value, token: None, .. } = &**entity else { panic!("{entity:?}") };
    assert_eq!(value.token, Some(SecretRef::Env("TOKEN".into())));
}

#[test]
fn a_new_secret_of_webhooks_is_shown_until_it_is_closed_on_purpose() {
    let mut app = with_a_platform();
    press(&mut app, "9e");
    app.update(Event::Key(KeyEvent::new(KeyCode::PageDown, KeyModifiers::NONE)), now());
    press(&mut app, "\t\t\t\t\t ");
    app.update(Event::Key(KeyEvent::new(KeyCode::F(2), KeyModifiers::NONE)), now());
    previewed(&mut app, SavePreview { diff: "+webhook_secret".into(), starter: None, warnings: Vec::new() });
    let effects = press(&mut app, "\r");
    let [Effect::SaveWithSecret { form, name, value, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(value.webhook_secret, Some(SecretRef::File("webhook-github".into())));
    let saved = Event::SavedWithSecret { form: *form, name: name.clone(), secret: Secret::new("5e5e"), result: Ok(()) };
    app.update(saved, now());
    assert!(press(&mut app, "jq").is_empty());
    let effects = press(&mut app, "y");
    assert!(matches!(&effects[..], [Effect::Copy(text)] if text == "5e5e"), "{effects:?}");
    assert!(app.notices.all.iter().all(|notice| !notice.text.contains("5e5e")), "messages are kept");
    assert!(app.modal.is_some());
    press(&mut app, "\x1b");
    assert!(app.modal.is_none());
}

#[test]
fn what_was_deleted_with_its_secrets_is_not_offered_back() {
    for (token, comes_back) in
        [(SecretRef::Env("TOKEN".into()), true), (SecretRef::File("platform-github".into()), false)]
    {
        let mut app = with_builds();
        let mut settings = configured();
        let platform = SourcePlatform { token: Some(token), ..SourcePlatform::new(PlatformKind::Github) };
        settings.platforms.insert("github".into(), platform);
        app.update(Event::Settings(Box::new(settings)), now());
        let effects = press(&mut app, "9Xgithub\r");
        assert!(matches!(&effects[..], [Effect::Ask { .. }]), "{effects:?}");
        let purpose = Purpose::Form(open_form(&app));
        app.update(Event::Answered { purpose, result: Ok(Reply::Done) }, now());
        assert_eq!(press(&mut app, "u").len(), usize::from(comes_back));
    }
}

#[test]
fn a_source_is_picked_from_the_repositories_of_its_platform() {
    let mut app = with_a_platform();
    press(&mut app, "2a");
    let key = |app: &mut App, code| app.update(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)), now());
    key(&mut app, KeyCode::PageDown);
    assert!(key(&mut app, KeyCode::F(3)).is_empty(), "no platform is chosen yet");
    press(&mut app, "\t ");
    let effects = key(&mut app, KeyCode::F(3));
    let [Effect::ListRepositories(query)] = &effects[..] else { panic!("{effects:?}") };
    let found = |name: &str| PlatformRepository {
        name: name.into(),
        url: format!("https://github.com/{name}.git"),
        default_branch: Some("trunk".into()),
        private: false,
    };
    let page = RepositoryPage { repositories: vec![found("acme/api"), found("acme/Web")], next: None };
    app.update(Event::Repositories(query.clone(), Ok(page)), now());
    assert!(press(&mut app, "web\r").is_empty());
    let effects = key(&mut app, KeyCode::F(2));
    let [Effect::PreviewToml { entity, .. }] = &effects[..] else { panic!("{effects:?}") };
    let Entity::Repository { path, value } = &**entity else { panic!("{entity:?}") };
    let source = value.source.as_ref().unwrap();
    assert_eq!((path.repository.as_str(), source.url.as_str()), ("web", "https://github.com/acme/Web.git"));
    assert_eq!(source.platform.as_deref(), Some("github"));
}
