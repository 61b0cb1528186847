use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Doc {
    visibility: Visibility,
    count: u32,
    source: Option<Source>,
    build: Build,
    rule: Vec<Rule>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Visibility {
    #[default]
    Private,
    Public,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    url: String,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Build {
    auto: bool,
    cache: bool,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    name: String,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Version {
    name: String,
}

fn error(text: &str) -> String {
    parse::<Doc>(Path::new("a.toml"), text).unwrap_err().to_string()
}

#[test]
fn the_schema_is_no_key_of_the_type() {
    let doc: Doc = parse(Path::new("a"), "schema = 1\ncount = 2\n").unwrap();
    assert_eq!(doc.count, 2);
    assert_eq!(
        error("schema = 2\nfuture = 1\n"),
        "a.toml:1:10: written by a newer slipway (schema 2; this one knows 1): upgrade slipway"
    );
    assert!(error("schema = 0\n").contains("older slipway (schema 0"));
    assert_eq!(error("schema = \"one\"\n"), "a.toml:1:10: schema must be a number, such as 1");
    assert_eq!(
        error("schema = 1\n[build]\nschema = 1\n"),
        "a.toml:3:1: unknown key \"schema\"; known here: auto, cache"
    );
}

#[test]
fn an_unknown_key_names_the_nearest_wherever_it_stands() {
    for (text, expected) in [
        ("schema = 1\n\ncuont = true\n", "a.toml:3:1: unknown key \"cuont\"; did you mean \"count\"?"),
        ("[build]\n  auot = true\n", "a.toml:2:3: unknown key \"auot\"; did you mean \"auto\"?"),
        ("build = { auto = true, Cahce = true }\n", "a.toml:1:24: unknown key \"Cahce\"; did you mean \"cache\"?"),
        ("build.auot = true\n", "a.toml:1:7: unknown key \"auot\"; did you mean \"auto\"?"),
        (
            "[[rule]]\nname = \"a\"\n\n[[rule]]\nname = \"b\"\nversion = []\n",
            "a.toml:6:1: unknown key \"version\"; did you mean \"versions\"?",
        ),
        (
            "[[rule]]\nname = \"é\"\nversions = [{ name = \"é\", nam = 1 }]\n",
            "a.toml:3:27: unknown key \"nam\"; did you mean \"name\"?",
        ),
        ("[build]\nzzz = 1\n", "a.toml:2:1: unknown key \"zzz\"; known here: auto, cache"),
        ("[source]\nurl = \"x\"\nbranches = 1\n", "a.toml:3:1: unknown key \"branches\"; known here: url"),
        ("[buidl]\nauto = true\n", "a.toml:1:2: unknown key \"buidl\"; did you mean \"build\"?"),
        (
            "\"a`, expected `b\" = 1\n",
            "a.toml:1:1: unknown key \"a`, expected `b\"; known here: visibility, count, source, build, rule, labels",
        ),
    ] {
        assert_eq!(error(text), expected);
    }
}

#[test]
fn a_type_that_reads_itself_has_its_unknown_keys_pointed_at_too() {
    use crate::domain::repository::Repository;
    let text = "[[rule]]\nname = \"a\"\nbranch = { regx = 'a' }\nversions = []\n";
    let error = parse::<Repository>(Path::new("a.toml"), text).unwrap_err();
    assert_eq!(error.to_string(), "a.toml:3:12: unknown key \"regx\"; did you mean \"regex\"?");
}

#[test]
fn wrong_types_name_the_key_and_what_belongs_there() {
    for (text, expected) in [
        (
            "count = \"many\"\n",
            "a.toml:1:9: in count: string \"many\" is the wrong type; expected a whole number that is not negative",
        ),
        ("count = -1\n", "a.toml:1:9: in count: invalid value: integer -1, expected u32"),
        ("build = 1\n", "a.toml:1:9: in build: integer 1 is the wrong type; expected a table"),
        ("rule = {}\n", "a.toml:1:8: in rule: a table is the wrong type; expected an array"),
        ("[build]\nauto = 1\n", "a.toml:2:8: in build.auto: integer 1 is the wrong type; expected a boolean"),
        ("visibility = \"publik\"\n", "a.toml:1:14: in visibility: unknown value \"publik\"; did you mean \"public\"?"),
    ] {
        let got = error(text);
        assert_eq!(got.replace('`', ""), expected);
    }
}

#[test]
fn missing_keys_say_where_they_are_missing() {
    assert_eq!(error("count = 1\n[source]\n"), "a.toml:2:1: the key \"url\" is missing in source");
    assert_eq!(
        error("[[rule]]\nname = \"a\"\nversions = [{ }]\n"),
        "a.toml:3:13: the key \"name\" is missing in rule.versions"
    );
    let root = parse::<Source>(Path::new("a.toml"), "\n# empty\n").unwrap_err();
    assert_eq!(root.to_string(), "a.toml:1:1: the key \"url\" is missing");
}

#[test]
fn broken_toml_says_where() {
    assert_eq!(error("count = 1\ncount = 2\n"), "a.toml:2:1: the key \"count\" is given twice; remove one");
    assert!(error("[build]\nauto = \n").starts_with("a.toml:2:"), "{}", error("[build]\nauto = \n"));
    assert!(error("[build\n").starts_with("a.toml:1:7: not TOML: "), "{}", error("[build\n"));
    assert!(error("x = \"open\n").starts_with("a.toml:1:"), "{}", error("x = \"open\n"));
}

#[test]
fn a_file_that_is_not_text_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.toml");
    std::fs::write(&path, b"count = 1\n# caf\xe9\n").unwrap();
    let error = load::<Doc>(&path).unwrap_err().seen_from(dir.path());
    assert_eq!(error.to_string(), "a.toml:2:6: the file is not UTF-8 text; save it as UTF-8");
    assert!(!error.missing);
    let missing = load::<Doc>(&dir.path().join("b.toml")).unwrap_err();
    assert!(missing.missing);
    assert!(missing.to_string().ends_with("b.toml: there is no such file"));
}

#[test]
fn the_excerpt_points_at_the_place() {
    let excerpt = |text| parse::<Doc>(Path::new("a.toml"), text).unwrap_err().excerpt();
    assert_eq!(excerpt("schema = 1\n[build]\n\tauot = 'é'\n"), "  |\n3 | \tauot = 'é'\n  | \t^^^^\n");
    assert_eq!(excerpt("count = 1 # \u{1b}[31m\n"), "  |\n1 | count = 1 # \u{fffd}[31m\n  |             ^\n");
}
