//! A sample of every request and reply, for tests that go over all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use chrono::DateTime;

use super::builds::{BuildDetail, BuildPage};
use super::logs::{BuildLog, FoundLine, LogFound, LogIndex, LogName, LogRange, LogSearch, OpenedLog};
use super::platforms::{LoginId, LoginInvitation, NotificationState, RulePreview, SavePreview, SecretUse, SourceRefs};
use super::*;
use crate::domain::audit::{AuditPage, AuditQuery};
use crate::domain::build::{BuildId, BuildState, sample, sample_retried};
use crate::domain::build_query::{BuildQuery, PushPage, PushQuery};
use crate::domain::build_summary::BuildSummary;
use crate::domain::builder::{Builder, BuilderKind, Readiness};
use crate::domain::config::RegistrySettings;
use crate::domain::image_tag::{
    AttachedKind, AttachedTag, Attestation, ImagePart, Layer, TagDetail, TagInfo, TagNames, TagPage,
};
use crate::domain::journal::{self, PushId};
use crate::domain::name::RepositoryPath;
use crate::domain::namespace::Namespace;
use crate::domain::notification::Event;
use crate::domain::outline::{BuildArg, LintWarning, Outline, Target};
use crate::domain::platform_account::{Identity, Lack, PlatformRepository, RegisteredWebhook, RepositoryPage};
use crate::domain::preview::{self, PreviewRow};
use crate::domain::problem::{Problem, Topic};
use crate::domain::push::{CommitId, Ref, RefKind};
use crate::domain::reason::{Reason, phrase, reason};
use crate::domain::registry_access::{Access, RegistryAccess, RepositoryAccess};
use crate::domain::repository::{Repository, Source, Visibility};
use crate::domain::requester::Requester;
use crate::domain::rule::Rule;
use crate::domain::settings::Settings;
use crate::domain::source_platform::{PlatformKind, SourcePlatform};
use crate::domain::step::{Step, StepsFile};
use crate::domain::tag_copy::{TagCopy, Transfer};
use crate::domain::tag_history::{HistoryCursor, HistoryQuery, MoveTo, TagAction, TagEvent, TagHistory, TagMove};

fn path() -> RepositoryPath {
    RepositoryPath { namespace: "acme".into(), repository: "api".into() }
}

fn main_branch() -> Ref {
    Ref { kind: RefKind::Branch, name: "main".into() }
}

fn commit() -> CommitId {
    "d4ef3dc3b77a011a5779eec7efdd45d4ef3dc3b7".parse().unwrap()
}

fn source() -> Source {
    Source { url: "https://git.example.com/acme/api.git".into(), ..Source::default() }
}

fn repository() -> Repository {
    Repository { source: Some(source()), rules: vec![Rule::starter("main")], ..Repository::default() }
}

/// Every request, by its name in `tests/protocol/requests`.
#[expect(clippy::too_many_lines, reason = "a table: one row for each request")]
pub(crate) fn requests() -> Vec<(&'static str, Request)> {
    let save = |entity| Request::Save { entity: Box::new(entity), mode: SaveMode::Apply };
    let (id, log, rule) = (BuildId(7), LogName::Build(BuildLog::of(BuildId(7), 2)), || "main".to_owned());
    let platform = Entity::Platform {
        name: "gitlab".into(),
        value: SourcePlatform::new(PlatformKind::Gitlab),
        token: None,
        webhook_secret: None,
        login: Some(LoginId(1)),
    };
    let registry = Entity::Registry {
        host: "registry.example.com".into(),
        value: RegistrySettings::default(),
        password: Some("s3cret".into()),
    };
    let builds = BuildQuery {
        repository: Some(path()),
        states: BTreeSet::from([BuildState::Failed]),
        before: Some(id),
        ..BuildQuery::default()
    };
    let search = LogSearch { pattern: "error".into(), from: 10, backwards: true, limit: 5 };
    vec![
        ("status", Request::Status),
        ("stop", Request::Stop),
        ("watch", Request::Watch),
        ("settings", Request::Settings),
        ("save", save(Entity::Rule { path: path(), value: Rule::starter("main") })),
        ("save-namespace", save(Entity::Namespace { name: "acme".into(), value: Namespace::default() })),
        ("save-repository", save(Entity::Repository { path: path(), value: repository() })),
        ("save-builder", save(Entity::Builder { name: "big".into(), value: Builder::of(BuilderKind::Fresh) })),
        ("save-registry", save(registry)),
        ("save-platform", save(platform)),
        ("save-secret", save(Entity::Secret { name: "npm".into(), value: "s3cret".into() })),
        ("delete", Request::Delete(EntityName::Platform("gitlab".into()))),
        (
            "preview_save",
            Request::PreviewSave {
                entity: Box::new(Entity::Repository { path: path(), value: repository() }),
                with_starter: true,
            },
        ),
        ("build_page", Request::BuildPage(builds)),
        ("builds", Request::Builds { ids: vec![id] }),
        ("steps", Request::Steps { ids: vec![id], attempt: None }),
        ("steps-of-an-attempt", Request::Steps { ids: vec![id], attempt: Some(2) }),
        ("start", Request::Start { path: path(), rule: Some(rule()) }),
        ("replay", Request::Replay { path: path(), rule: rule(), reference: main_branch() }),
        ("retry", Request::Retry { id }),
        ("cancel", Request::Cancel { id }),
        ("wait", Request::Wait { id, known: Some(Reason::verbatim("waits for a slot")) }),
        ("push_page", Request::PushPage(PushQuery { before: Some(PushId(3)), ..PushQuery::default() })),
        ("pushes", Request::Pushes { ids: vec![PushId(3)] }),
        ("open_log", Request::OpenLog(BuildLog::newest(id))),
        ("read_log", Request::ReadLog { log, offset: 100, limit: 4096, wait: true }),
        ("read_log-of-the-pool", Request::ReadLog { log: LogName::Pool, offset: 0, limit: 4096, wait: false }),
        ("index_log", Request::IndexLog { log: LogName::Stderr(BuildLog::newest(id)), every: 1000 }),
        ("search_log", Request::SearchLog { log, search }),
        ("repository_refs", Request::RepositoryRefs { path: path() }),
        ("refs", Request::Refs(source())),
        ("preview_rule", Request::PreviewRule { path: path(), rule: rule() }),
        ("examine", Request::Examine { path: path(), rule: Box::new(Rule::starter("main")), reference: main_branch() }),
        ("tag_names", Request::TagNames { path: path() }),
        ("tags", Request::Tags { path: path(), tags: vec!["v1".into()], further: 100 }),
        ("tag", Request::Tag { path: path(), tag: "v1".into() }),
        (
            "tag_history",
            Request::TagHistory(HistoryQuery {
                path: path(),
                tag: "v1".into(),
                at: Some(DateTime::UNIX_EPOCH),
                before: Some(HistoryCursor { build: Some(id), change: Some(2) }),
                limit: 50,
            }),
        ),
        ("plan_tag_move", Request::PlanTagMove { path: path(), tag: "v1".into(), to: MoveTo::Build(id) }),
        (
            "move_tag",
            Request::MoveTag {
                path: path(),
                tag: "v1".into(),
                digest: "sha256:4567".into(),
                before: Some("sha256:0123".into()),
            },
        ),
        ("copy_tag", Request::CopyTag { path: path(), tag: "v1".into(), to: "r.example/acme/api".into() }),
        ("delete_tag", Request::DeleteTag { path: path(), tag: "v1".into() }),
        ("check_platform", Request::CheckPlatform { name: "gitlab".into() }),
        (
            "check_registry",
            Request::CheckRegistry { host: "registry.example.com".into(), repository: Some("acme/api".into()) },
        ),
        (
            "platform_repositories",
            Request::PlatformRepositories { name: "gitlab".into(), filter: "api".into(), page: Some("2".into()) },
        ),
        ("begin_login", Request::BeginLogin { name: "gitlab".into() }),
        ("finish_login", Request::FinishLogin { login: LoginId(1) }),
        ("register_webhook", Request::RegisterWebhook { path: path() }),
        ("secrets", Request::Secrets),
        ("notifications", Request::Notifications),
        ("test_notification", Request::TestNotification { name: "chat".into() }),
        ("audit", Request::Audit(AuditQuery { limit: 50, ..AuditQuery::default() })),
    ]
}

fn status() -> PoolStatus {
    let builder = BuilderStatus {
        name: "managed".into(),
        kind: BuilderKind::Managed,
        readiness: Readiness::Ready,
        address: Some("unix:///run/buildkitd.sock".into()),
        slots: 2,
        busy: 1,
        platforms: vec!["linux/amd64".parse().unwrap()],
        labels: BTreeMap::from([("arch".into(), "amd64".into())]),
        cache_bytes: Some(1_000_000),
        version: Some("v0.26.0".into()),
        host_network: false,
    };
    PoolStatus {
        pid: 4711,
        version: "0.1.0".into(),
        started_at: DateTime::UNIX_EPOCH,
        running: 1,
        queued: 0,
        limit: 2,
        builders: vec![builder],
        webhooks: Some("http://127.0.0.1:8484".into()),
        webhook_refusals: Vec::new(),
        paused: vec![PausedRule { repository: path(), rule: "main".into(), failures: 3 }],
        problems: vec![Problem {
            topic: Topic::Source(path()),
            reason: reason!("problem.source_unread", path = path(), why = "no answer", wait = Duration::from_secs(60)),
        }],
    }
}

fn steps() -> StepsFile {
    StepsFile { steps: vec![Step::named(0, "[1/2] FROM scratch")], warnings: Vec::new() }
}

/// Every reply, by its name in `tests/protocol/answers`.
#[expect(clippy::too_many_lines, reason = "a table: one row for each reply")]
pub(crate) fn answers() -> Vec<(&'static str, Reply)> {
    let mut settings = Settings::default();
    settings.namespaces.insert("acme".into(), Namespace::default());
    settings.repositories.insert(path(), repository());
    settings.problems.insert("/srv/slipway/builders/x.toml".into(), Reason::verbatim("what is wrong"));
    let row = PreviewRow {
        reference: main_branch(),
        commit: commit(),
        answer: preview::Answer::Match,
        tags: vec!["latest".into()],
        notes: Vec::new(),
    };
    let attached =
        AttachedTag { tag: "sha256-0123.sig".into(), digest: "sha256:0123".into(), kind: AttachedKind::Signature };
    let tag = TagInfo {
        digest: "sha256:0123".into(),
        platforms: vec!["linux/amd64".into()],
        size: Some(1234),
        created: Some(DateTime::UNIX_EPOCH),
        manifests: vec!["sha256:4567".into()],
        attached: vec![attached.clone()],
        ..TagInfo::named("registry.example.com/acme/api", "v1")
    };
    let identity = Identity {
        login: Some("robot".into()),
        scopes: Some(vec!["read_api".into()]),
        lacks: vec![Lack { right: "api".into(), purpose: phrase!("token_use.register_webhooks").into() }],
        ..Identity::default()
    };
    let outline = Outline {
        targets: vec![Target { name: "app".into(), description: String::new(), default: true }],
        args: vec![BuildArg { name: "GO".into(), value: "1.24".into(), description: String::new() }],
        warnings: vec![LintWarning { rule: "StageNameCasing".into(), message: "lower case".into(), line: Some(1) }],
    };
    let news = News {
        status: status(),
        builds: vec![sample()],
        ended: vec![BuildId(6)],
        pushes: vec![PushId(3)],
        settings_changes: 4,
    };
    let log = PathBuf::from("/srv/slipway/builds/7/log");
    let detail =
        BuildDetail { build: sample_retried(), steps: steps(), log: log.clone(), logs: BTreeMap::from([(1, log)]) };
    let page = BuildPage {
        builds: vec![BuildSummary::from(&sample_retried())],
        unreadable: vec![(BuildId(5), Reason::verbatim("no TOML"))],
        next: Some(BuildId(5)),
        older: 4,
    };
    let found = FoundLine { start: 10, end: 16, text: "error".into() };
    let repository = PlatformRepository {
        name: "acme/api".into(),
        url: "https://x/acme/api.git".into(),
        default_branch: None,
        private: true,
    };
    let invitation = LoginInvitation {
        login: LoginId(1),
        address: "https://gitlab.com/device".into(),
        code: "ABCD-EFGH".into(),
        holds: Duration::from_secs(900),
    };
    let notification = NotificationState {
        name: "chat".into(),
        url: Some("https://chat.example.com/…".into()),
        command: None,
        events: vec![Event::Failed],
        repositories: Vec::new(),
        signed: false,
        waiting: 1,
    };
    vec![
        ("done", Reply::Done),
        ("status", Reply::Status(Box::new(status()))),
        ("news", Reply::News(Box::new(news))),
        ("stopping", Reply::Stopping),
        ("settings", Reply::Settings(Box::new(SettingsSnapshot { stamp: 4, settings: settings.into() }))),
        ("saved", Reply::Saved { warnings: vec![reason!("save.secret_missing", name = "npm")] }),
        (
            "save_preview",
            Reply::SavePreview(SavePreview {
                diff: "+summary = \"x\"\n".into(),
                starter: Some(Box::new(Rule::starter("main"))),
                warnings: Vec::new(),
            }),
        ),
        ("build_page", Reply::BuildPage(page)),
        ("builds", Reply::Builds(vec![detail])),
        ("steps", Reply::Steps(BTreeMap::from([(BuildId(7), steps())]))),
        ("build", Reply::Build(Box::new(sample()))),
        ("queued", Reply::Queued { build: Box::new(sample()), already: false }),
        ("push_page", Reply::PushPage(PushPage { records: vec![journal::sample()], ..PushPage::default() })),
        ("pushes", Reply::Pushes(vec![journal::sample()])),
        (
            "log_opened",
            Reply::LogOpened(OpenedLog {
                attempt: 1,
                path: "/srv/slipway/builds/7/log".into(),
                size: Some(10),
                log: true,
                stderr: false,
            }),
        ),
        ("log_range", Reply::LogRange(LogRange { offset: 100, length: 0, size: 100, is_final: true })),
        ("log_index", Reply::LogIndex(LogIndex { size: 100, lines: 3, places: vec![0, 60], every: 2 })),
        ("log_found", Reply::LogFound(LogFound { lines: vec![found], next: Some(0), size: 100 })),
        (
            "refs",
            Reply::Refs(SourceRefs {
                default_branch: Some("main".into()),
                refs: vec![(main_branch(), commit())],
                left_out: 0,
            }),
        ),
        (
            "rule_preview",
            Reply::RulePreview(RulePreview { rows: vec![row], refs: 1, left_out: 0, source: source().url }),
        ),
        ("outline", Reply::Outline(outline)),
        ("tag_names", Reply::TagNames(TagNames { tags: vec!["v1".into()], attached: vec![attached] })),
        ("tags", Reply::Tags(TagPage { tags: vec![tag.clone()], further_requests: 3 })),
        ("tag", Reply::Tag(Box::new(tag_detail(tag)))),
        ("tag_history", Reply::TagHistory(tag_history())),
        (
            "tag_move",
            Reply::TagMove(TagMove {
                tag: "v1".into(),
                before: Some("sha256:0123".into()),
                before_build: Some(BuildId(8)),
                digest: "sha256:4567".into(),
                build: Some(BuildId(7)),
            }),
        ),
        (
            "tag_copied",
            Reply::TagCopied(TagCopy {
                from: "acme/api:v1".into(),
                to: "r.example/acme/api:v1".into(),
                digest: "sha256:4567".into(),
                before: None,
                build: Some(BuildId(7)),
                transfer: Transfer { sent: 3, sent_bytes: 1000, mounted: 1, there: 2, referrers: 0, kept: 0 },
            }),
        ),
        ("identity", Reply::Identity(identity)),
        ("registry_access", Reply::RegistryAccess(registry_access())),
        (
            "platform_repositories",
            Reply::PlatformRepositories(RepositoryPage { repositories: vec![repository], next: None }),
        ),
        ("invitation", Reply::Invitation(invitation)),
        (
            "webhook_registered",
            Reply::WebhookRegistered {
                outcome: RegisteredWebhook::Created,
                url: "https://build.example.com/gitlab".into(),
            },
        ),
        (
            "secrets",
            Reply::Secrets(vec![SecretUse {
                name: "npm".into(),
                used_by: vec![reason!("entity.namespace", name = "\"acme\"")],
            }]),
        ),
        ("notifications", Reply::Notifications(vec![notification])),
        (
            "notified",
            Reply::Notified { answer: reason!("delivery.answered", host = "chat.example.com", status = "200 OK") },
        ),
        ("audit", Reply::Audit(AuditPage::default())),
    ]
}

fn tag_history() -> TagHistory {
    let event = TagEvent {
        at: DateTime::UNIX_EPOCH,
        action: TagAction::Move,
        digest: Some("sha256:4567".into()),
        build: Some(BuildId(7)),
        reference: None,
        commit: None,
        by: Requester::part("kim"),
        from: None,
    };
    TagHistory { events: vec![event], next: Some(HistoryCursor { build: Some(BuildId(7)), change: None }) }
}

fn tag_detail(info: TagInfo) -> TagDetail {
    let layer =
        Layer { digest: "sha256:89ab".into(), size: 1000, media_type: "application/vnd.oci.image.layer.v1.tar".into() };
    let part = ImagePart {
        platform: Some("linux/amd64".into()),
        digest: "sha256:4567".into(),
        size: 1234,
        layers: vec![layer],
    };
    let attestation = Attestation {
        kind: "https://slsa.dev/provenance/v1".into(),
        about: "sha256:4567".into(),
        reference: "sha256:cdef".into(),
    };
    TagDetail {
        info,
        parts: vec![part],
        moved: Some(DateTime::UNIX_EPOCH),
        labels: BTreeMap::from([("org.opencontainers.image.revision".into(), "d4ef3dc".into())]),
        attestations: vec![attestation],
    }
}

fn registry_access() -> RegistryAccess {
    let why = || Access::Refused(Reason::verbatim("it deletes nothing"));
    RegistryAccess {
        host: "registry.example.com".into(),
        user: Some("robot".into()),
        no_credential: None,
        sign_in: Access::Granted,
        repositories: vec![RepositoryAccess {
            repository: "acme/api".into(),
            pull: Access::Granted,
            push: Access::Granted,
            delete: why(),
            anybody: Some(true),
            visibility: Some(Visibility::Private),
        }],
        more: 0,
    }
}
