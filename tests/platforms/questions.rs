//! Who a token is, what it sees, what it sets, and whether anything was pushed.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use slipway::domain::commit_status::CommitState;
use slipway::domain::platform_account::{Lack, PlatformRepository};
use slipway::domain::source_platform::{PlatformKind, SourcePlatform};
use slipway::source::platform::{Api, ApiProblem, Connector, Pushed};
use slipway::store::secrets::Secret;
use wiremock::matchers::{body_json, header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::{TOKEN, api, asked, commit, json, source, status};

async fn answer(server: &MockServer, at: &str, answer: ResponseTemplate) {
    Mock::given(method("GET")).and(path(at)).respond_with(answer).mount(server).await;
}

fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

#[tokio::test]
async fn github_says_who_a_token_is_what_it_may_do_and_when_it_ends() {
    let server = MockServer::start().await;
    let user = json(200, r#"{"login":"octocat","id":1,"name":"monalisa octocat","type":"User"}"#)
        .insert_header("x-oauth-scopes", "gist, repo:status")
        .insert_header("github-authentication-token-expiration", "2027-01-31 12:00:00 UTC");
    Mock::given(path("/api/v3/user"))
        .and(header("authorization", bearer()))
        .and(header("x-github-api-version", "2022-11-28"))
        .and(header("accept", "application/vnd.github+json"))
        .respond_with(user)
        .mount(&server)
        .await;
    let identity = api(PlatformKind::Github, &server).identity().await.unwrap();
    assert_eq!((identity.login.as_deref(), identity.name.as_deref()), (Some("octocat"), Some("monalisa octocat")));
    assert_eq!(identity.scopes.unwrap(), ["gist", "repo:status"]);
    assert_eq!(identity.expires_at.unwrap().to_rfc3339(), "2027-01-31T12:00:00+00:00");
    let lacks: Vec<&str> = identity.lacks.iter().map(|lack| lack.right.as_ref()).collect();
    assert_eq!(lacks, ["repo", "admin:repo_hook"]);
}

#[tokio::test]
async fn githubs_fine_grained_tokens_do_not_say_what_they_may() {
    let server = MockServer::start().await;
    answer(&server, "/api/v3/user", json(200, r#"{"login":"octocat","name":null}"#)).await;
    let identity = api(PlatformKind::Github, &server).identity().await.unwrap();
    assert_eq!((identity.scopes, identity.lacks, identity.expires_at), (None, vec![], None));
}

#[tokio::test]
async fn gitlab_says_what_its_own_tokens_may_and_what_those_of_a_login_may() {
    let server = MockServer::start().await;
    answer(&server, "/api/v4/user", json(200, r#"{"id":1,"username":"john_smith","name":"John Smith"}"#)).await;
    let own =
        r#"{"id":4,"name":"Test Token","revoked":false,"scopes":["read_api"],"active":true,"expires_at":"2027-08-15"}"#;
    Mock::given(path("/api/v4/personal_access_tokens/self"))
        .and(header("authorization", bearer()))
        .respond_with(json(200, own))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    let identity = api(PlatformKind::Gitlab, &server).identity().await.unwrap();
    assert_eq!(identity.login.as_deref(), Some("john_smith"));
    assert_eq!(identity.expires_at.unwrap().to_rfc3339(), "2027-08-15T00:00:00+00:00");
    let lacks = identity.lacks.iter().map(|Lack { right, purpose }| format!("{right} {purpose}"));
    let expected = ["api to set the statuses of commits", "api to register webhooks"];
    assert_eq!(lacks.skip(1).collect::<Vec<_>>(), expected);
    // Of a login: the first way knows nothing of it.
    answer(&server, "/api/v4/personal_access_tokens/self", json(404, r#"{"message":"404 Not Found"}"#)).await;
    let info = r#"{"resource_owner_id":1,"scope":["api"],"expires_in":7200,"application":{"uid":"1cb2"}}"#;
    answer(&server, "/oauth/token/info", json(200, info)).await;
    let identity = api(PlatformKind::Gitlab, &server).identity().await.unwrap();
    assert_eq!((identity.scopes.unwrap(), identity.lacks), (vec!["api".to_owned()], vec![]));
    assert!(identity.expires_at.unwrap() > chrono::Utc::now());
}

#[tokio::test]
async fn a_gitlab_below_a_path_is_asked_there_what_a_login_may_do() {
    let server = MockServer::start().await;
    answer(&server, "/gitlab/api/v4/user", json(200, r#"{"username":"kim"}"#)).await;
    answer(&server, "/gitlab/oauth/token/info", json(200, r#"{"scope":["api"],"expires_in":7200}"#)).await;
    let mut platform = crate::support::platform(PlatformKind::Gitlab, &server);
    platform.url = Some(format!("{}/gitlab", server.uri()));
    let token = Some(slipway::store::secrets::Secret::new("one"));
    let api = Api::new(&Connector::new(&platform).unwrap(), &platform, token).unwrap();
    assert_eq!(api.identity().await.unwrap().scopes.unwrap(), ["api"]);
}

#[tokio::test]
async fn the_others_say_whose_a_token_is() {
    for (kind, at, body, login, name) in [
        (PlatformKind::Gitea, "/api/v1/user", r#"{"id":1,"login":"kim","full_name":"Kim K"}"#, "kim", "Kim K"),
        (
            PlatformKind::Bitbucket,
            "/2.0/user",
            r#"{"type":"user","username":"kim","nickname":"k","display_name":"Kim K","account_id":"557058:a"}"#,
            "kim",
            "Kim K",
        ),
        (PlatformKind::Gitee, "/api/v5/user", r#"{"id":1,"login":"kim","name":"Kim K"}"#, "kim", "Kim K"),
        (
            PlatformKind::Codeup,
            "/oapi/v1/platform/user",
            r#"{"id":"99d1****6124","lastOrganization":"60d5","name":"Kim K","username":"kim"}"#,
            "kim",
            "Kim K",
        ),
    ] {
        let server = MockServer::start().await;
        let proof =
            if kind == PlatformKind::Codeup { ("x-yunxiao-token", TOKEN.into()) } else { ("authorization", bearer()) };
        Mock::given(path(at)).and(header(proof.0, proof.1)).respond_with(json(200, body)).mount(&server).await;
        let identity = api(kind, &server).identity().await.unwrap();
        assert_eq!((identity.login.as_deref(), identity.name.as_deref()), (Some(login), Some(name)), "{kind:?}");
        assert_eq!(identity.scopes, None);
    }
}

#[tokio::test]
async fn bitbucket_knows_tokens_that_are_nobodys() {
    let server = MockServer::start().await;
    let refused = r#"{"type":"error","error":{"message":"This API is only accessible with user credentials"}}"#;
    answer(&server, "/2.0/user", json(403, refused)).await;
    assert_eq!(api(PlatformKind::Bitbucket, &server).identity().await.unwrap().login, None);
}

/// A page of one repository, and the next page of none, asked for as the first says.
async fn listed(
    kind: PlatformKind,
    at: &str,
    first: ResponseTemplate,
    last: &str,
) -> (Vec<PlatformRepository>, MockServer) {
    let server = MockServer::start().await;
    Mock::given(path(at)).and(query_param("page", "2")).respond_with(json(200, last)).mount(&server).await;
    answer(&server, at, first).await;
    let api = api(kind, &server);
    let page = api.repositories("api", None).await.unwrap();
    let next = page.next.unwrap_or_else(|| panic!("{kind:?} names no next page"));
    let second = api.repositories("api", Some(&next)).await.unwrap();
    assert_eq!((second.repositories, second.next), (vec![], None), "{kind:?}");
    (page.repositories, server)
}

#[tokio::test]
async fn every_platform_lists_the_repositories_of_a_token_page_by_page() {
    let found = |url: &str, branch: Option<&str>| PlatformRepository {
        name: "acme/api".into(),
        url: url.into(),
        default_branch: branch.map(str::to_owned),
        private: true,
    };
    let like_github = r#"[{"id":1,"name":"api","full_name":"acme/api","private":true,
        "clone_url":"https://git.example.com/acme/api.git","default_branch":"main"},
        {"id":2,"name":"web","full_name":"acme/web","private":false,
        "clone_url":"https://git.example.com/acme/web.git","default_branch":""}]"#;
    let expected = found("https://git.example.com/acme/api.git", Some("main"));
    for (kind, at) in [(PlatformKind::Github, "/api/v3/user/repos"), (PlatformKind::Gitea, "/api/v1/user/repos")] {
        // Relative to the page itself, as RFC 8288 allows.
        let first = json(200, like_github).insert_header("link", "<?page=2>; rel=\"next\", <?page=2>; rel=\"last\"");
        assert_eq!(listed(kind, at, first, "[]").await.0, std::slice::from_ref(&expected), "{kind:?}");
    }
    let project = r#"[{"id":4,"path_with_namespace":"acme/api","http_url_to_repo":"https://git.example.com/acme/api.git",
        "default_branch":null,"visibility":"internal"}]"#;
    let first = json(200, project).insert_header("link", "</api/v4/projects?page=2>; rel=\"next\"");
    let (repositories, server) = listed(PlatformKind::Gitlab, "/api/v4/projects", first, "[]").await;
    assert_eq!(repositories, [found("https://git.example.com/acme/api.git", None)]);
    let query = &asked(&server).await[0].1;
    assert!(query.contains("membership=true") && query.contains("search=api"), "{query}");
    let gitee = r#"[{"id":1,"full_name":"acme/api","html_url":"https://gitee.com/acme/api.git","private":false,
        "internal":true,"public":false,"default_branch":"master"}]"#;
    let first = json(200, gitee).insert_header("total_page", "2").insert_header("total_count", "101");
    let (repositories, server) = listed(PlatformKind::Gitee, "/api/v5/user/repos", first, "[]").await;
    assert_eq!(repositories, [found("https://gitee.com/acme/api.git", Some("master"))]);
    assert!(asked(&server).await[0].1.contains("q=api"));
    let codeup = r#"[{"accessLevel":40,"archived":false,"defaultBranch":"master","id":2835387,"name":"api",
        "httpUrlToRepo":"https://codeup.aliyun.com/acme/api.git","pathWithNamespace":"acme/api","visibility":"private"}]"#;
    let first = json(200, codeup).insert_header("x-next-page", "2").insert_header("x-total-pages", "2");
    let at = "/oapi/v1/codeup/organizations/acme/repositories";
    let (repositories, server) = listed(PlatformKind::Codeup, at, first, "[]").await;
    assert_eq!(repositories, [found("https://codeup.aliyun.com/acme/api.git", Some("master"))]);
    assert!(asked(&server).await[0].1.contains("search=api"));
}

#[tokio::test]
async fn bitbucket_lists_a_workspace_and_names_the_next_page_in_the_body() {
    let server = MockServer::start().await;
    let last = r#"{"pagelen":100,"values":[],"page":2,"size":1}"#;
    let at = "/2.0/repositories/acme";
    Mock::given(path(at)).and(query_param("page", "2")).respond_with(json(200, last)).mount(&server).await;
    let first = format!(
        r#"{{"pagelen":100,"page":1,"next":"{}{at}?page=2","values":[{{"type":"repository","full_name":"acme/api",
        "is_private":true,"mainbranch":{{"type":"branch","name":"main"}},"links":{{"clone":[
        {{"name":"https","href":"https://kim@bitbucket.org/acme/api.git"}},
        {{"name":"ssh","href":"git@bitbucket.org:acme/api.git"}}]}}}}]}}"#,
        server.uri()
    );
    answer(&server, at, json(200, &first)).await;
    let api = api(PlatformKind::Bitbucket, &server);
    let page = api.repositories("a\"pi", None).await.unwrap();
    assert_eq!(page.repositories[0].url, "https://bitbucket.org/acme/api.git", "no source's URL has a user in it");
    let second = api.repositories("", page.next.as_deref()).await.unwrap();
    assert_eq!((second.repositories, second.next), (vec![], None));
    let query = &asked(&server).await[0].1;
    assert!(query.contains("q=full_name+%7E+%22a%5C%22pi%22"), "{query}");
}

#[tokio::test]
async fn the_token_follows_no_page_to_another_server() {
    let server = MockServer::start().await;
    let elsewhere = MockServer::start().await;
    let link = format!("<{}/api/v3/user/repos?page=2>; rel=\"next\"", elsewhere.uri());
    answer(&server, "/api/v3/user/repos", json(200, "[]").insert_header("link", link.as_str())).await;
    let api = api(PlatformKind::Github, &server);
    let next = api.repositories("", None).await.unwrap().next.unwrap();
    let error = api.repositories("", Some(&next)).await.unwrap_err();
    assert!(matches!(error.reason, ApiProblem::Elsewhere(_)), "{error}");
    let moved =
        ResponseTemplate::new(301).insert_header("location", format!("{}/api/v3/user", elsewhere.uri()).as_str());
    answer(&server, "/api/v3/user", moved).await;
    let error = api.identity().await.unwrap_err();
    assert!(matches!(error.reason, ApiProblem::Elsewhere(_)), "{error}");
    assert_eq!(asked(&elsewhere).await, []);
}

#[tokio::test]
async fn a_renamed_repository_is_followed_on_its_own_server() {
    let server = MockServer::start().await;
    let moved = ResponseTemplate::new(301).insert_header("location", "/api/v3/repositories/1");
    answer(&server, "/api/v3/repos/acme/api", moved).await;
    let found = json(200, "{}").insert_header("etag", "W/\"1\"");
    Mock::given(path("/api/v3/repositories/1"))
        .and(header("authorization", bearer()))
        .respond_with(found)
        .mount(&server)
        .await;
    let pushed = api(PlatformKind::Github, &server).pushed_since(&source(), None).await.unwrap();
    assert_eq!(pushed, Pushed::Changed { etag: "W/\"1\"".into() });
}

#[tokio::test]
async fn what_changes_something_is_never_made_a_question_on_its_way() {
    let server = MockServer::start().await;
    let at = format!("/api/v3/repos/acme/api/statuses/{}", commit());
    let moved =
        |status: u16| ResponseTemplate::new(status).insert_header("location", "/api/v3/repositories/1/statuses");
    for status in [307, 301] {
        Mock::given(path(at.as_str())).respond_with(moved(status)).up_to_n_times(1).mount(&server).await;
    }
    Mock::given(path(at.as_str())).respond_with(moved(303)).mount(&server).await;
    Mock::given(path("/api/v3/repositories/1/statuses")).respond_with(json(200, "{}")).mount(&server).await;
    let api = api(PlatformKind::Github, &server);
    let set = || async { api.set_status(&source(), &commit(), &status(CommitState::Success)).await };
    set().await.unwrap();
    set().await.unwrap();
    let error = set().await.unwrap_err();
    assert!(matches!(error.reason, ApiProblem::Elsewhere(_)), "{error}");
    let methods: Vec<String> = asked(&server).await.into_iter().map(|(method, ..)| method).collect();
    assert_eq!(methods, ["POST"; 5]);
}

#[tokio::test]
async fn a_web_page_is_no_sign_that_a_status_was_set() {
    let server = MockServer::start().await;
    let page = ResponseTemplate::new(200).set_body_raw("<html>log in</html>", "text/html");
    Mock::given(method("POST")).respond_with(page).mount(&server).await;
    let api = api(PlatformKind::Github, &server);
    let error = api.set_status(&source(), &commit(), &status(CommitState::Success)).await.unwrap_err();
    assert!(matches!(error.reason, ApiProblem::Unreadable(_)), "{error}");
}

#[tokio::test]
async fn github_says_that_nothing_was_pushed_and_the_others_can_not() {
    let server = MockServer::start().await;
    let at = "/api/v3/repos/acme/api";
    Mock::given(path(at))
        .and(header("if-none-match", "\"1\""))
        .respond_with(ResponseTemplate::new(304))
        .mount(&server)
        .await;
    answer(&server, at, json(200, r#"{"pushed_at":"2026-01-01T00:00:00Z"}"#).insert_header("etag", "\"2\"")).await;
    let api = api(PlatformKind::Github, &server);
    assert_eq!(api.pushed_since(&source(), Some("\"1\"")).await.unwrap(), Pushed::Unchanged);
    let changed = Pushed::Changed { etag: "\"2\"".into() };
    assert_eq!(api.pushed_since(&source(), Some("\"0\"")).await.unwrap(), changed);
    assert_eq!(api.pushed_since(&source(), None).await.unwrap(), changed);
    let gitea = crate::support::api(PlatformKind::Gitea, &server);
    assert_eq!(gitea.pushed_since(&source(), None).await.unwrap(), Pushed::Unknown);
}

#[tokio::test]
async fn statuses_are_set_in_each_platforms_words() {
    let sha = commit().to_string();
    let github =
        serde_json::json!({ "state": "error", "context": "slipway/acme/api/main", "description": "#1042 succeeded" });
    let gitlab = serde_json::json!({
        "state": "failed", "name": "slipway/acme/api/main", "description": "#1042 succeeded", "ref": "main",
    });
    let bitbucket = serde_json::json!({
        "state": "FAILED", "key": "slipway/acme/api/main", "name": "slipway/acme/api/main",
        "description": "#1042 succeeded", "url": format!("https://bitbucket.org/acme/api/commits/{sha}"),
    });
    for (kind, at, body) in [
        (PlatformKind::Github, format!("/api/v3/repos/acme/api/statuses/{sha}"), &github),
        (PlatformKind::Gitea, format!("/api/v1/repos/acme/api/statuses/{sha}"), &github),
        (PlatformKind::Gitlab, format!("/api/v4/projects/acme%2Fapi/statuses/{sha}"), &gitlab),
        (PlatformKind::Bitbucket, format!("/2.0/repositories/acme/api/commit/{sha}/statuses/build"), &bitbucket),
        (
            PlatformKind::Codeup,
            format!("/oapi/v1/codeup/organizations/acme/repositories/acme%2Fapi/commits/{sha}/statuses"),
            &github,
        ),
    ] {
        let server = MockServer::start().await;
        let made = Mock::given(method("POST")).and(body_json(body)).respond_with(json(201, "{\"id\":1}"));
        made.mount(&server).await;
        api(kind, &server).set_status(&source(), &commit(), &status(CommitState::Error)).await.unwrap();
        assert_eq!(asked(&server).await[0].1, at);
    }
    let server = MockServer::start().await;
    let error = api(PlatformKind::Gitee, &server).set_status(&source(), &commit(), &status(CommitState::Success)).await;
    assert!(matches!(error.unwrap_err().reason, ApiProblem::Unsupported { platform: "Gitee", .. }));
    assert_eq!(asked(&server).await, []);
}

#[tokio::test]
async fn a_status_that_gitlab_has_already_is_no_error() {
    let server = MockServer::start().await;
    let already = r#"{"message":"Cannot transition status via :enqueue from :pending (ApiProblem(s): Status cannot transition via \"enqueue\")"}"#;
    Mock::given(method("POST")).respond_with(json(400, already)).mount(&server).await;
    api(PlatformKind::Gitlab, &server).set_status(&source(), &commit(), &status(CommitState::Pending)).await.unwrap();
}

#[tokio::test]
async fn an_api_is_reached_through_its_platforms_proxy() {
    let proxy = MockServer::start().await;
    answer(&proxy, "/api/v1/user", json(200, r#"{"login":"kim"}"#)).await;
    let mut platform = SourcePlatform::new(PlatformKind::Gitea);
    (platform.url, platform.proxy) = (Some("http://gitea.slipway.invalid".into()), Some(proxy.uri()));
    let api = Api::new(&Connector::new(&platform).unwrap(), &platform, None).unwrap();
    assert_eq!(api.identity().await.unwrap().login.as_deref(), Some("kim"));
    let asked = &proxy.received_requests().await.unwrap()[0];
    assert_eq!(asked.headers["host"], "gitea.slipway.invalid");
}

#[tokio::test]
async fn a_private_ca_vouches_for_an_api_of_its_own() {
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let files = tempfile::tempdir().unwrap();
    let at = |name: &str| files.path().join(name);
    std::fs::write(at("api.pem"), certificate.pem()).unwrap();
    std::fs::write(at("api.key"), key.serialize_pem()).unwrap();
    let config = Arc::new(slipway::tls::server(&at("api.pem"), &at("api.key")).unwrap());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let session = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(session, connection);
            // Whoever does not trust it hangs up.
            if stream.read(&mut [0; 4096]).is_err() {
                continue;
            }
            let body = "{\"login\":\"kim\"}";
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), authority.pem()).unwrap();
    let mut platform = SourcePlatform::new(PlatformKind::Gitea);
    platform.url = Some(format!("https://localhost:{port}"));
    let ask = async |platform: &SourcePlatform| {
        let api = Api::new(&Connector::new(platform).unwrap(), platform, Some(Secret::new(TOKEN))).unwrap();
        api.identity().await
    };
    let error = ask(&platform).await.unwrap_err();
    assert!(matches!(&error.reason, ApiProblem::Network(why) if why.to_string().contains("certificate")), "{error}");
    platform.ca = Some(file.path().display().to_string());
    assert_eq!(ask(&platform).await.unwrap().login.as_deref(), Some("kim"));
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(rcgen::DnType::CommonName, "slipway test authority");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap()
}
