use super::*;

fn home_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = dir.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    let home = Home::at(dir.path());
    (dir, home)
}

#[test]
fn one_managed_builder_is_kept_the_one_that_was_in_force_first() {
    let managed = "kind = \"managed\"\n";
    let (_dir, home) = home_with(&[("builders/b.toml", managed)]);
    let before = Settings::load(&home, &Settings::default());
    fs::write(home.builders_dir().join("a.toml"), managed).unwrap();
    let now = Settings::load(&home, &before);
    assert_eq!(now.builders.keys().collect::<Vec<_>>(), ["b"]);
    assert!(now.problems.values().any(|problem| problem.contains("a.toml") && problem.contains("\"b\"")));
    let fresh = Settings::load(&home, &Settings::default());
    assert_eq!(fresh.builders.keys().collect::<Vec<_>>(), ["a"]);
}

#[test]
fn a_broken_rule_of_one_repository_hides_no_other() {
    let rule = "[[rule]]\nname = \"main\"\nbranch = \"main\"\nversions = [{ name = \"latest\" }]\n";
    let broken = rule.replace("branch = \"main\"", "branch = { regex = \"(\" }");
    let (_dir, home) = home_with(&[
        ("namespaces/acme.toml", ""),
        ("namespaces/acme/api.toml", &broken),
        ("namespaces/acme/web.toml", rule),
    ]);
    let settings = Settings::load(&home, &Settings::default());
    let names: Vec<String> = settings.repositories.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["acme/web"]);
    assert_eq!(settings.problems.len(), 1);
    fs::write(home.repository_file("acme", "api"), rule).unwrap();
    let good = Settings::load(&home, &settings);
    assert_eq!(good.repositories.len(), 2);
    fs::write(home.repository_file("acme", "api"), broken).unwrap();
    assert_eq!(Settings::load(&home, &good).repositories, good.repositories, "the last good state stays");
}

/// Waits until the copies are written, which takes place beside the work of the pool.
fn wait_for_copy(home: &Home, below: &str) {
    let copy = home.last_good_dir().join(below);
    while !copy.exists() {
        std::thread::yield_now();
    }
}

#[test]
fn a_file_that_is_broken_when_the_pool_starts_has_its_last_good_state_in_force() {
    let rule = "[[rule]]\nname = \"main\"\nbranch = \"main\"\nversions = [{ name = \"latest\" }]\n";
    let (_dir, home) = home_with(&[
        ("config.toml", "[pool]\nbuilds = 7\n"),
        ("namespaces/acme.toml", ""),
        ("namespaces/acme/api.toml", rule),
        ("namespaces/acme/web.toml", rule),
    ]);
    let good = Settings::take_over(&home, &Settings::default());
    for below in ["config.toml", "namespaces/acme.toml", "namespaces/acme/api.toml", "namespaces/acme/web.toml"] {
        wait_for_copy(&home, below);
    }
    let files = [home.config_file(), home.namespace_file("acme"), home.repository_file("acme", "api")];
    for file in &files {
        fs::write(file, "auto = = true\n").unwrap();
    }
    let now = Settings::take_over(&home, &Settings::default());
    assert_eq!((&now.config, &now.namespaces), (&good.config, &good.namespaces));
    assert_eq!(now.repositories, good.repositories);
    assert_eq!(now.problems.keys().collect::<std::collections::BTreeSet<_>>(), files.iter().collect());
    // A client that reads the files itself sees the same.
    assert_eq!(Settings::load(&home, &Settings::default()).repositories, good.repositories);

    // What is removed is gone, and does not come back with a broken file of its name.
    fs::remove_file(home.repository_file("acme", "api")).unwrap();
    let now = Settings::take_over(&home, &Settings::default());
    assert_eq!(now.repositories.len(), 1);
    assert!(!home.last_good_dir().join("namespaces/acme/api.toml").exists());
    fs::write(home.repository_file("acme", "api"), "auto = = true\n").unwrap();
    assert_eq!(Settings::load(&home, &Settings::default()).repositories.len(), 1);
}

#[test]
fn repositories_without_their_namespaces_file_are_told() {
    let (_dir, home) = home_with(&[("namespaces/acme/web.toml", "")]);
    let settings = Settings::load(&home, &Settings::default());
    assert!(settings.repositories.is_empty());
    let problem = settings.problems.values().next().unwrap();
    assert!(problem.contains("acme.toml"), "{problem}");
}

#[test]
fn a_file_of_an_unknown_older_form_is_told_and_kept() {
    let (_dir, home) =
        home_with(&[("builders/a.toml", "schema = 0\nkind = \"fresh\"\n"), ("builders/b.toml", "kind = \"fresh\"\n")]);
    let settings = Settings::take_over(&home, &Settings::default());
    assert_eq!(settings.builders.keys().collect::<Vec<_>>(), ["b"]);
    assert!(settings.problems.values().next().unwrap().contains("knows no way"));
}

#[test]
fn what_a_dead_writer_left_is_cleaned_up() {
    let (_dir, home) =
        home_with(&[("namespaces/acme/.api.toml.slipway-4294967295-0.tmp", "x"), ("namespaces/acme.toml", "")]);
    clean(&home).unwrap();
    assert_eq!(fs::read_dir(home.namespaces_dir().join("acme")).unwrap().count(), 0);
}

#[test]
fn a_registry_on_loopback_is_spoken_to_in_plain_http_unless_a_file_says_otherwise() {
    let mut settings = Settings::default();
    for (host, plain) in [
        ("localhost:5000", true),
        ("127.0.0.1:5000", true),
        ("127.8.9.1", true),
        ("[::1]:5000", true),
        ("registry.example.com", false),
        ("10.0.0.1:5000", false),
    ] {
        assert_eq!(settings.registry(host).plain_http, plain, "{host}");
    }
    settings.registries.insert("localhost:5000".into(), RegistrySettings::default());
    assert!(!settings.registry("localhost:5000").plain_http);
}
