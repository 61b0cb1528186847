use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Repo {
    visibility: String,
    immutable: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    summary: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
    build: Build,
    #[serde(rename = "rule", skip_serializing_if = "Vec::is_empty")]
    rules: Vec<Rule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<Token>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Token {
    File(String),
    Env(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    url: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Build {
    auto: bool,
    cache: bool,
}

impl Default for Build {
    fn default() -> Self {
        Build { auto: true, cache: true }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rule {
    name: String,
    branch: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    platforms: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    args: BTreeMap<String, String>,
    versions: Vec<Version>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Version {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<u8>,
}

const HAND: &str = r#"# The public API.
# Ask Kim before changing it.

schema = 1
visibility = "private" # for now

[source]
url = 'https://example.com/api.git'

# everything that reaches main
[[rule]]
name = "main"
branch = "main"
platforms = [
    "linux/amd64", # the servers
    "linux/arm64",
]
versions = [{name="latest"}]

# what customers get
[[rule]]
name = "release"  # keep this name
branch = "release"
versions = [{ name = "v1", commit = 30 }]

# the end
"#;

fn hand() -> Repo {
    read::parse(Path::new("a.toml"), HAND).unwrap()
}

fn edited(change: impl FnOnce(&mut Repo)) -> String {
    edited_from(HAND, change)
}

fn edited_from(text: &str, change: impl FnOnce(&mut Repo)) -> String {
    let mut repo: Repo = read::parse(Path::new("a.toml"), text).unwrap();
    change(&mut repo);
    let new = render(Path::new("a.toml"), Some(text), &repo).unwrap();
    assert_eq!(read::parse::<Repo>(Path::new("a.toml"), &new).unwrap(), repo, "{new}");
    new
}

#[test]
fn a_new_file_is_laid_out_as_a_person_would() {
    let mut repo = hand();
    repo.token = Some(Token::File("github".into()));
    repo.rules[1].args.insert("GO_VERSION".into(), "1.24".into());
    repo.rules[1].versions[0].name = r"${a}\w".into();
    let text = render(Path::new("a.toml"), None, &repo).unwrap();
    assert_eq!(
        text,
        r#"schema = 1
visibility = "private"
immutable = false
token = { file = "github" }

[source]
url = "https://example.com/api.git"

[build]
auto = true
cache = true

[[rule]]
name = "main"
branch = "main"
platforms = ["linux/amd64", "linux/arm64"]
versions = [{ name = "latest" }]

[[rule]]
name = "release"
branch = "release"
args = { GO_VERSION = "1.24" }
versions = [{ name = '${a}\w', commit = 30 }]
"#
    );
}

#[test]
fn long_tables_and_arrays_get_lines_of_their_own() {
    let mut repo = Repo::default();
    let rule = Rule { name: "a".into(), platforms: vec!["linux/amd64-long-name".into(); 6], ..Rule::default() };
    repo.rules = vec![rule];
    for n in 0..8 {
        repo.rules[0].args.insert(format!("ARGUMENT_{n}"), "a value".into());
    }
    let text = render(Path::new("a.toml"), None, &repo).unwrap();
    assert!(text.contains("platforms = [\n    \"linux/amd64-long-name\",\n"), "{text}");
    assert!(text.contains("\n[rule.args]\nARGUMENT_0 = \"a value\"\n"), "{text}");
    assert_eq!(read::parse::<Repo>(Path::new("a"), &text).unwrap(), repo);
}

#[test]
fn saving_what_was_read_changes_nothing() {
    assert_eq!(edited(|_| {}), HAND);
}

#[test]
fn a_changed_value_keeps_its_comment_and_no_default_is_added() {
    let expected = HAND.replace("\"private\" #", "\"public\" #");
    assert_eq!(edited(|repo| repo.visibility = "public".into()), expected);
}

#[test]
fn a_default_that_was_written_out_stays() {
    let text =
        "schema = 1\nsummary = \"\" # later\nimmutable = false\n\n[[rule]]\nname = \"a\"\nplatforms = []\nargs = {}\n";
    let new = edited_from(text, |repo| {
        repo.immutable = true;
        repo.rules[0].branch = "b".into();
    });
    assert_eq!(new, text.replace("false", "true").replace("\"a\"\n", "\"a\"\nbranch = \"b\"\n"));
}

#[test]
fn a_table_that_was_left_out_gets_only_what_differs() {
    let expected = HAND.replace("api.git'\n", "api.git'\n\n[build]\nauto = false\n");
    assert_eq!(edited(|repo| repo.build.auto = false), expected);
}

#[test]
fn a_key_that_goes_takes_its_comment_and_leaves_the_head_of_the_file() {
    let text = "# head\n\n# about the summary\nsummary = \"x\"\nimmutable = true\n";
    let new = edited_from(text, |repo| repo.summary.clear());
    assert_eq!(new, "schema = 1\n# head\n\nimmutable = true\n");
}

#[test]
fn comments_stay_with_their_rule_when_rules_change_places() {
    let new = edited(|repo| repo.rules.reverse());
    let (head, rules) = HAND.split_at(HAND.find("\n# everything").unwrap());
    let (main, rest) = rules.split_at(rules.find("\n# what").unwrap());
    let (release, end) = rest.split_at(rest.find("\n# the end").unwrap());
    assert_eq!(new, format!("{head}{release}{main}{end}"));
}

#[test]
fn rules_are_added_where_they_belong_and_removed_with_their_comments() {
    let added = Rule { name: "dev".into(), branch: "dev".into(), ..Rule::default() };
    let new = edited(|repo| repo.rules.insert(1, added));
    let block = "\n[[rule]]\nname = \"dev\"\nbranch = \"dev\"\nversions = []\n";
    assert_eq!(new, HAND.replace("\n# what customers", &format!("{block}\n# what customers")));
    let new = edited(|repo| drop(repo.rules.remove(0)));
    let start = HAND.find("\n# everything").unwrap();
    let end = HAND.find("\n# what").unwrap();
    assert_eq!(new, format!("{}{}", &HAND[..start], &HAND[end..]));
}

#[test]
fn a_renamed_rule_keeps_its_comment() {
    let new = edited(|repo| repo.rules[1].name = "stable".into());
    assert_eq!(new, HAND.replace("\"release\"  # keep", "\"stable\"  # keep"));
}

#[test]
fn arrays_and_inline_tables_keep_their_form() {
    let new = edited(|repo| repo.rules[0].platforms.push("linux/riscv64".into()));
    assert_eq!(new, HAND.replace("arm64\",\n", "arm64\",\n    \"linux/riscv64\",\n"));
    let new = edited(|repo| drop(repo.rules[0].platforms.remove(0)));
    assert!(new.contains("# the servers") && !new.contains("amd64"), "{new}");
    let new = edited(|repo| repo.rules[1].versions[0].time = Some("yyyyMMdd".into()));
    assert_eq!(new, HAND.replace("commit = 30 }", "commit = 30, time = \"yyyyMMdd\" }"));
    let new = edited(|repo| repo.rules[1].versions[0].commit = None);
    assert_eq!(new, HAND.replace("\"v1\", commit = 30 }", "\"v1\" }"));
    let new = edited(|repo| repo.rules[0].versions.push(Version { name: "edge".into(), ..Version::default() }));
    assert!(new.contains("[{name=\"latest\"}, { name = \"edge\" }]"), "{new}");
}

#[test]
fn dotted_keys_and_inline_forms_are_followed() {
    let text =
        "schema = 1\nbuild.auto = true # yes\nrule = [{ name = \"a\" }, { name = \"b\" }]\ntoken = { file = \"x\" }\n";
    let new = edited_from(text, |repo| {
        repo.build = Build { auto: false, cache: false };
        repo.rules.remove(0);
        repo.token = Some(Token::Env("X".into()));
    });
    assert_eq!(
        new,
        "schema = 1\nbuild.auto = false # yes\nbuild.cache = false\nrule = [{ name = \"b\" }]\ntoken = { env = \"X\" }\n"
    );
}

#[test]
fn a_file_that_does_not_parse_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.toml");
    fs::write(&path, "visibilty = 1\n").unwrap();
    let error = save(&path, &hand()).unwrap_err().to_string();
    assert!(
        error.contains("a.toml:1:1: unknown key \"visibilty\"; did you mean \"visibility\"?; it is kept"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "visibilty = 1\n");
}

#[test]
fn saving_makes_directories_and_keeps_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("namespaces/acme/api.toml");
    save(&path, &hand()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let mut repo = hand();
    repo.immutable = true;
    let shown = preview(&path, &repo).unwrap();
    save(&path, &repo).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), shown);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(read::load::<Repo>(&path).unwrap(), repo);
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.toml");
    fs::write(&path, "\u{feff}# head\nsummary = \"x\"\n").unwrap();
    let mut repo: Repo = read::load(&path).unwrap();
    repo.summary = "y".into();
    save(&path, &repo).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "schema = 1\n# head\nsummary = \"y\"\n");
}

#[test]
fn a_diff_is_unified_and_empty_for_no_change() {
    assert_eq!(diff("a\n", "a\n", "x"), "");
    let text = diff("a\nb\n", "a\nc\n", "namespaces/acme.toml");
    assert_eq!(text, "--- namespaces/acme.toml\n+++ namespaces/acme.toml\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
}

prop_compose! {
    fn rule()(name in "[a-d]", branch in "[a-z\"'\\\\\n #é]{0,6}", platforms in prop::collection::vec("[a-c]{1,3}", 0..4),
              args in prop::collection::btree_map("[A-Za-z .]{0,3}", "[a-z ]{0,60}", 0..4),
              versions in prop::collection::vec(("[a-c]", prop::option::of("t"), prop::option::of(6u8..40)), 0..3)) -> Rule {
        let versions = versions.into_iter().map(|(name, time, commit)| Version { name, time, commit }).collect();
        Rule { name, branch, platforms, args, versions }
    }
}

prop_compose! {
    fn repo()(visibility in "[a-z]{0,3}", immutable: bool, summary in "\\PC{0,5}", auto: bool, cache: bool,
              url in prop::option::of(("[a-z]", prop::option::of("[a-z]"))), rules in prop::collection::vec(rule(), 0..4),
              token in prop::option::of(("[a-z]", any::<bool>()))) -> Repo {
        let source = url.map(|(url, platform)| Source { url, platform });
        let token = token.map(|(name, file)| if file { Token::File(name) } else { Token::Env(name) });
        Repo { visibility, immutable, summary, source, build: Build { auto, cache }, rules, token }
    }
}

proptest! {
    #[test]
    fn what_is_saved_is_what_is_loaded(old in repo(), new in repo()) {
        let path = Path::new("a.toml");
        let first = render(path, None, &old).unwrap();
        prop_assert_eq!(&read::parse::<Repo>(path, &first).unwrap(), &old);
        let second = render(path, Some(&first), &new).unwrap();
        prop_assert_eq!(&read::parse::<Repo>(path, &second).unwrap(), &new);
        prop_assert_eq!(&render(path, Some(&second), &new).unwrap(), &second);
        let by_hand = render(path, Some(HAND), &new).unwrap();
        prop_assert_eq!(&read::parse::<Repo>(path, &by_hand).unwrap(), &new);
        prop_assert!(by_hand.contains("# Ask Kim"));
    }
}
