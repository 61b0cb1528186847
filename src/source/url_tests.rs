use super::*;

fn parsed(text: &str) -> SourceUrl {
    SourceUrl::parse(text).unwrap()
}

fn error(text: &str) -> String {
    SourceUrl::parse(text).unwrap_err().to_string()
}

#[test]
fn the_forms_of_git_are_understood() {
    for (text, transport, host) in [
        ("https://github.com/acme/api.git", Transport::Https, Some("github.com")),
        ("HTTP://[::1]:8080/a", Transport::Http, Some("[::1]")),
        ("ssh://git@host:2222/a.git", Transport::Ssh, Some("host")),
        ("git@github.com:acme/api.git", Transport::Ssh, Some("github.com")),
        ("git://host/a", Transport::Git, Some("host")),
        ("file:///srv/a%20b", Transport::Local, None),
        ("/srv/a:b", Transport::Local, None),
    ] {
        let url = parsed(text);
        assert_eq!((url.transport(), url.host()), (transport, host), "{text}");
    }
    assert_eq!(parsed("file:///srv/a@b").as_str(), "file:///srv/a@b");
    assert_eq!(parsed("file:///srv/a%20b").local_path(), Some(Path::new("/srv/a b")));
    assert_eq!(parsed("ssh://host:2222/a").port(), Some(2222));
    // Whose name ssh uses is for ~/.ssh/config to say.
    assert_eq!(parsed("ssh://host/a").as_str(), "ssh://host/a");
    assert_eq!(parsed("host:a.git").as_str(), "host:a.git");
    assert_eq!((parsed("host:a.git").user(), parsed("kim@host:a.git").user()), (None, Some("kim")));
    assert_eq!(parsed("git+ssh://kim@host/a").as_str(), "ssh://kim@host/a");
}

#[test]
fn a_repository_has_the_same_path_however_it_is_reached() {
    let same = |one: &str, other: &str| parsed(one).has_path_of(&parsed(other), false);
    assert!(same("https://GitHub.com/acme/api.git", "git@github.com:acme/api"));
    assert!(same("ssh://git@host:2222/acme/api.git", "http://host:3000/acme/api/"));
    assert!(same("git@host:/acme/ü", "https://host/acme/%C3%BC"));
    assert!(same("file:///srv/api.git", "/srv/api"));
    assert!(same("https://host/acme/api", "https://other/acme/api"));
    assert!(!parsed("https://host/acme/api").is_same_repository(&parsed("https://other/acme/api")));
    assert!(parsed("https://Host/acme/api").is_same_repository(&parsed("git@host:acme/api.git")));
    assert!(!same("https://host/acme/api", "https://host/acme/apis"));
    assert!(!same("https://host/acme/api", "https://host/acme/API"));
    assert!(parsed("https://host/acme/api").is_at("Acme/API", true));
    assert!(!same("/acme/api", "https://host/acme/api"));
}

#[test]
fn what_leaves_this_machine_over_plain_http_is_in_the_open() {
    let open = |url: &str| parsed(url).is_in_the_open();
    assert!(open("http://host/a") && open("http://localhost.example/a") && open("http://10.0.0.1/a"));
    assert!(!open("http://localhost:3000/a") && !open("http://[::1]/a") && !open("http://127.8.0.1/a"));
    assert!(!open("https://host/a") && !open("git@host:a") && !open("/srv/a"));
}

#[test]
fn what_is_no_source_says_what_to_do() {
    for (text, expected) in [
        ("  ", "the source is empty"),
        ("../api", "neither a URL nor an absolute path"),
        ("api", "neither a URL nor an absolute path"),
        ("~/api", "neither a URL nor an absolute path"),
        ("./a:b", "neither a URL nor an absolute path"),
        ("ftp://host/a", "begins with ftp://; known are https, http, ssh, git and file"),
        ("https://github.com", "names a host but no repository"),
        ("https:///a/b?x=1", "has a ? or #"),
        ("git@host:a#main", "has a ? or #"),
        ("https://host/a.git#main:svc", "has a ? or #"),
        ("git@host:", "names a host but no repository"),
        ("file://host/a", "names another host"),
        ("ssh:///a", "names no host"),
        ("https://host:99999/a", "is not a URL"),
        ("https://host/a\nb", "control character"),
    ] {
        let got = error(text);
        assert!(got.contains(expected), "{text}: {got}");
    }
}

#[test]
fn credentials_in_a_url_are_refused_and_not_repeated() {
    for text in [
        "https://kim:s3cret@host/a.git",
        "http://:s3cret@host/a",
        "ssh://git:s3cret@host/a",
        "ssh://git%3As3cret@host/a",
        "ftp://kim:s3cret@host/a",
        "https://kim:s3cret@host:99999/a",
        "https://host/a?token=s3cret",
        "https:/kim:s3cret@host/a.git",
        "https:kim:s3cret@host/a.git",
        "kim:s3cret@host/a.git",
        "kim@example.com:s3cret@host/a.git",
        "//kim:s3cret@host/a.git",
        "kim:s3cret@host://a",
    ] {
        let got = error(text);
        assert!(!got.contains("s3cret") && !got.contains("kim"), "{got}");
    }
    let got = error("https://kim:s3cret@host/a.git");
    assert!(got.starts_with("the source https://host/a.git has credentials") && got.contains("secrets/"), "{got}");
}

#[test]
fn a_user_name_that_a_browser_copied_is_left_out() {
    for (text, expected) in [
        ("https://org@dev.azure.com/org/My%20Proj/_git/repo", "https://dev.azure.com/org/My%20Proj/_git/repo"),
        ("https://me@bitbucket.org/ws/r.git", "https://bitbucket.org/ws/r.git"),
        ("git://me@host/a", "git://host/a"),
    ] {
        let url = parsed(text);
        assert_eq!((url.as_str(), url.user()), (expected, None));
    }
    assert_eq!(
        parsed("git@ssh.dev.azure.com:v3/org/My%20Proj/repo").as_str(),
        "git@ssh.dev.azure.com:v3/org/My%20Proj/repo"
    );
}

#[test]
fn what_was_meant_is_said() {
    for (text, expected) in [
        ("https:/host/a", "lacks a slash; a URL begins with https://"),
        ("SSH:git@host/a", "lacks a slash"),
        ("host:a@b", "has an @ after its colon"),
        ("//host/a", "has no scheme before its //"),
        ("ext::sh -c touch% /tmp/x", "names a remote helper"),
        ("-oProxyCommand=x:a", "has no plain host name"),
        ("-x@host:a", "has a user that this form can't have"),
    ] {
        let got = error(text);
        assert!(got.contains(expected), "{text}: {got}");
    }
}

proptest::proptest! {
    #[test]
    fn no_password_survives(
        start in "(https|http|ssh|git|file|ftp|x)?:?/{0,3}",
        user in "[a-z@.%]{0,6}",
        password in "[a-z@/?#:.]{0,4}",
        end in "@[a-z.]{1,6}(:[0-9]{1,5})?[:/][a-z/.]{0,6}([?#][a-z]{0,3})?",
    ) {
        // A path of one slash is a path, whatever is in it.
        let is_path = start.starts_with('/') && !start.starts_with("//") || start == "file:///";
        proptest::prop_assume!(!is_path);
        let text = format!("{start}{user}:s3cret{password}{end}");
        let parsed = SourceUrl::parse(&text);
        let shown = match &parsed {
            Ok(url) => format!("{url} {url:?} {:?}", url.server()),
            Err(error) => format!("{error} {error:?}"),
        };
        proptest::prop_assert!(!shown.contains("s3cret"), "{text}: {shown}");
    }
}

#[test]
fn buildkit_is_given_a_form_that_it_takes_for_git() {
    let dir = |text| TreePath::parse(text).unwrap();
    let context = |url: &str, path| parsed(url).buildkit_context("abc", &dir(path));
    for (url, path, expected) in [
        ("https://host/acme/api", "/", "https://host/acme/api.git#abc"),
        ("https://host/acme/api/", "/", "https://host/acme/api.git#abc"),
        ("https://host/acme/api.git/", "svc/api", "https://host/acme/api.git#abc:svc/api"),
        ("git@host:acme/api", "/svc/", "git@host:acme/api#abc:svc"),
        ("ssh://host:22/a", "a%b", "ssh://git@host:22/a#abc:a%25b"),
        ("git://127.0.0.1:9418/a", "/", "git://127.0.0.1:9418/a#abc"),
    ] {
        assert_eq!(context(url, path).as_deref(), Some(expected));
    }
    assert_eq!(context("/srv/git/api.git", "/"), None);
}
