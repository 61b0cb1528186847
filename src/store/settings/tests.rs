use std::fs;

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
    assert!(
        now.problems
            .values()
            .any(|problem| problem.to_string().contains("a.toml") && problem.to_string().contains("\"b\""))
    );
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
    let good = start(&home).0;
    for below in ["config.toml", "namespaces/acme.toml", "namespaces/acme/api.toml", "namespaces/acme/web.toml"] {
        wait_for_copy(&home, below);
    }
    let files = [home.config_file(), home.namespace_file("acme"), home.repository_file("acme", "api")];
    for file in &files {
        fs::write(file, "auto = = true\n").unwrap();
    }
    let now = start(&home).0;
    assert_eq!((&now.config, &now.namespaces), (&good.config, &good.namespaces));
    assert_eq!(now.repositories, good.repositories);
    assert_eq!(now.problems.keys().collect::<std::collections::BTreeSet<_>>(), files.iter().collect());
    // A client that reads the files itself sees the same.
    assert_eq!(Settings::load(&home, &Settings::default()).repositories, good.repositories);

    // What is removed is gone, and does not come back with a broken file of its name.
    fs::remove_file(home.repository_file("acme", "api")).unwrap();
    let now = start(&home).0;
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
    assert!(problem.to_string().contains("acme.toml"), "{problem}");
}

#[test]
fn a_file_of_an_unknown_older_form_is_told_and_kept() {
    let (_dir, home) =
        home_with(&[("builders/a.toml", "schema = 0\nkind = \"fresh\"\n"), ("builders/b.toml", "kind = \"fresh\"\n")]);
    let settings = start(&home).0;
    assert_eq!(settings.builders.keys().collect::<Vec<_>>(), ["b"]);
    assert!(settings.problems.values().next().unwrap().to_string().contains("knows no way"));
}

#[test]
fn what_a_dead_writer_left_is_cleaned_up() {
    let (_dir, home) =
        home_with(&[("namespaces/acme/.api.toml.slipway-4294967295-0.tmp", "x"), ("namespaces/acme.toml", "")]);
    clean(&home).unwrap();
    assert_eq!(fs::read_dir(home.namespaces_dir().join("acme")).unwrap().count(), 0);
}

/// A home with a repository of this summary, and a cache that says another one: it shows which of the two is believed.
fn home_with_cache() -> (tempfile::TempDir, Home) {
    let files = [("namespaces/acme.toml", ""), ("namespaces/acme/api.toml", "summary = \"file\"\n")];
    let (dir, home) = home_with(&files);
    let (mut settings, stamps) = start(&home);
    settings.repositories.values_mut().for_each(|repository| repository.summary = "cache".into());
    let later = SystemTime::now() + std::time::Duration::from_secs(3_600);
    cache::keep(&home, &cache::outdated(&home, &settings, &stamps, &Stamps::default(), later).unwrap());
    (dir, home)
}

fn summaries(settings: &Settings) -> Vec<&str> {
    settings.repositories.values().map(|repository| repository.summary.as_str()).collect()
}

#[test]
fn repositories_whose_files_are_as_they_were_come_from_the_cache() {
    let (_dir, home) = home_with_cache();
    assert_eq!(summaries(&look(&home)), ["cache"]);
    let (settings, stamps) = start(&home);
    assert_eq!(summaries(&settings), ["cache"]);
    assert_eq!(summaries(&again(&home, &settings, &stamps).0), ["cache"]);
    fs::write(home.repository_file("acme", "api"), "summary = \"edit\"\n").unwrap();
    fs::write(home.repository_file("acme", "web"), "summary = \"new\"\n").unwrap();
    assert_eq!(summaries(&start(&home).0), ["edit", "new"]);
    let (settings, stamps) = again(&home, &settings, &stamps);
    assert_eq!(summaries(&settings), ["edit", "new"]);
    fs::remove_file(home.repository_file("acme", "web")).unwrap();
    fs::write(home.repository_file("acme", "api"), "summary = = 1\n").unwrap();
    let (settings, stamps) = again(&home, &settings, &stamps);
    assert_eq!((summaries(&settings), settings.problems.len()), (vec!["edit"], 1), "the last good state stays");
    assert_eq!(again(&home, &settings, &stamps).0.problems.len(), 1, "a problem is told as long as it is there");
}

#[test]
fn a_cache_that_is_damaged_or_writable_by_others_is_none() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_dir, home) = home_with_cache();
    let text = fs::read_to_string(home.settings_cache()).unwrap();
    for damaged in [text.replace("cache", "casht"), text.replacen("checksum", "chocksum", 1), String::new()] {
        fs::write(home.settings_cache(), damaged).unwrap();
        assert_eq!(summaries(&look(&home)), ["file"]);
    }
    fs::write(home.settings_cache(), &text).unwrap();
    assert_eq!(summaries(&look(&home)), ["cache"]);
    fs::set_permissions(home.settings_cache(), fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(summaries(&look(&home)), ["file"]);
}

#[test]
fn edits_that_keep_size_and_time_and_backups_that_are_restored_are_noticed() {
    let (_dir, home) = home_with_cache();
    let (settings, stamps) = start(&home);
    assert_eq!(summaries(&settings), ["cache"]);
    let file = home.repository_file("acme", "api");
    let modified = fs::metadata(&file).unwrap().modified().unwrap();
    let keep_time = |file: &Path| {
        let times = fs::FileTimes::new().set_modified(modified);
        fs::File::options().write(true).open(file).unwrap().set_times(times).unwrap();
    };
    let backup = home.state_dir().join("backup");
    fs::copy(&file, &backup).unwrap();
    keep_time(&backup);
    let before = Stamps::of(&home);
    // The clock of the file system has ticks.
    while Stamps::of(&home) == before {
        fs::write(&file, "summary = \"elif\"\n").unwrap();
        keep_time(&file);
    }
    assert_eq!(summaries(&start(&home).0), ["elif"]);
    let (settings, stamps) = again(&home, &settings, &stamps);
    assert_eq!(summaries(&settings), ["elif"]);
    fs::rename(&backup, &file).unwrap();
    assert_eq!(summaries(&start(&home).0), ["file"], "another file of the same size and time");
    assert_eq!(summaries(&again(&home, &settings, &stamps).0), ["file"]);
}

#[test]
fn what_was_edited_a_moment_ago_is_not_kept_in_the_cache() {
    let (_dir, home) = home_with(&[("namespaces/acme.toml", ""), ("namespaces/acme/api.toml", "")]);
    let (settings, stamps) = start(&home);
    let outdated = |began| cache::outdated(&home, &settings, &stamps, &Stamps::default(), began);
    assert_eq!(outdated(SystemTime::now()), None);
    assert!(outdated(SystemTime::now() + std::time::Duration::from_secs(3_600)).is_some());
}
