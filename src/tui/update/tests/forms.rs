use super::*;
use crate::domain::push::{CommitId, Ref};
use crate::sys::secret::Secret;
use crate::tui::form::{Form, Refs};

fn key(app: &mut App, code: KeyCode) -> Vec<Effect> {
    app.update(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)), now())
}

fn form(app: &App) -> &Form {
    let Some(Modal::Form(form)) = &app.modal else { panic!("no form") };
    form
}

/// A new repository's form, with what saving it would do being worked out.
fn asking(app: &mut App) -> FormId {
    press(app, "1j2afresh");
    key(app, KeyCode::PageDown);
    press(app, "/srv/git/fresh");
    assert!(matches!(key(app, KeyCode::F(2))[..], [Effect::PreviewToml { .. }]));
    open_form(app)
}

fn starting() -> SavePreview {
    SavePreview { diff: "+[[rules]]".into(), starter: Some(Box::new(Rule::starter("trunk"))), warnings: Vec::new() }
}

#[test]
fn a_form_that_is_left_while_it_waits_takes_keys_when_it_is_open_again() {
    let mut app = with_builds();
    let left = asking(&mut app);
    app.update(Event::Paste("-more".into()), now());
    press(&mut app, "\x1b");
    assert!(app.modal.is_none());
    app.update(Event::Preview { form: left, result: Ok(starting()) }, now());
    press(&mut app, "a");
    assert_ne!(open_form(&app), left);
    app.update(Event::Preview { form: left, result: Ok(starting()) }, now());
    assert!(!form(&app).saving && form(&app).diff.is_none());
    let url = form(&app).pages[1].fields.iter().find(|field| field.key == "url").unwrap();
    assert_eq!(url.content(), "/srv/git/fresh", "nothing is added to what is being previewed");
    assert!(matches!(key(&mut app, KeyCode::F(2))[..], [Effect::PreviewToml { .. }]));
}

#[test]
fn what_a_form_asked_is_no_answer_to_another_one() {
    let mut app = with_builds();
    let left = asking(&mut app);
    press(&mut app, "\x1bje");
    app.update(Event::Preview { form: left, result: Ok(starting()) }, now());
    assert!(form(&app).diff.is_none(), "it is another repository's");
    let effects = app.update(Event::Answered { purpose: Purpose::Form(left), result: Ok(Reply::Done) }, now());
    assert!(matches!(effects[..], [Effect::ReadSettings]), "{effects:?}");
    assert!(app.modal.is_some());
    let refused = Err(Error::new(ErrorKind::Refused, Reason::verbatim("there is one already")));
    app.update(Event::Answered { purpose: Purpose::Form(left), result: refused }, now());
    assert_eq!(form(&app).error, None);
    assert!(app.notices.up(now()).iter().any(|notice| notice.text.contains("there is one already")));
}

#[test]
fn only_a_new_repository_gets_the_rule_to_start_with() {
    let mut app = with_builds();
    press(&mut app, "2je");
    assert!(matches!(key(&mut app, KeyCode::F(2))[..], [Effect::PreviewToml { .. }]));
    previewed(&mut app, starting());
    let effects = key(&mut app, KeyCode::F(2));
    let [Effect::Ask { request, .. }] = &effects[..] else { panic!("{effects:?}") };
    let Request::Save { entity, mode: SaveMode::Edit } = &**request else { panic!("{request:?}") };
    let Entity::Repository { value, .. } = &**entity else { panic!("{entity:?}") };
    assert_eq!(value.rules, [Rule::starter("main")]);
}

#[test]
fn a_form_that_was_sent_and_left_is_a_draft_only_where_the_pool_refuses_it() {
    for refuses in [false, true] {
        let mut app = with_builds();
        let sent = asking(&mut app);
        previewed(&mut app, starting());
        assert!(matches!(key(&mut app, KeyCode::F(2))[..], [Effect::Ask { .. }]));
        press(&mut app, "\x1ba");
        assert_eq!(open_form(&app), sent, "its answer is still to come");
        press(&mut app, "\x1b");
        let result = if refuses {
            Err(Error::new(ErrorKind::Refused, Reason::verbatim("the disk is full")))
        } else {
            Ok(Reply::Done)
        };
        app.update(Event::Answered { purpose: Purpose::Form(sent), result }, now());
        assert_eq!(app.draft.is_some(), refuses);
        press(&mut app, "a");
        assert!(!form(&app).saving);
        assert_eq!(form(&app).error, refuses.then_some(Reason::verbatim("the disk is full")));
    }
}

#[test]
fn a_new_secret_is_shown_before_another_form_which_is_kept() {
    let mut app = with_builds();
    press(&mut app, "1adraft");
    let (left, secret) = (FormId(u64::MAX), Secret::new("5e5e"));
    app.update(Event::SavedWithSecret { form: left, name: "github".into(), secret, result: Ok(()) }, now());
    assert!(matches!(app.modal, Some(Modal::NewSecret(_))));
    press(&mut app, "\x1ba");
    assert_eq!(form(&app).pages[0].fields[0].content(), "draft");
}

#[test]
fn refs_of_another_source_are_not_taken_for_those_of_the_rule() {
    let mut app = with_builds();
    press(&mut app, "2j3j");
    let effects = press(&mut app, "e");
    let source = effects.into_iter().find_map(|effect| match effect {
        Effect::ListRefs(source, _) => Some(source),
        _ => None,
    });
    let source = source.unwrap();
    let commit: CommitId = "d4ef3dc3b77a011a5779eec7efdd45aaaaaaaaaa".parse().unwrap();
    let refs = || Ok(vec![(Ref::branch("main"), commit.clone())]);
    let other = crate::domain::repository::Source { url: "https://git.example.com/other".into(), ..source.clone() };
    app.update(Event::Refs(other, refs()), now());
    assert!(matches!(form(&app).refs, Refs::Asked));
    app.update(Event::Refs(source, refs()), now());
    assert!(matches!(form(&app).refs, Refs::There(_)));
}
