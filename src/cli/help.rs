//! The command line's help in the language of the person.
//!
//! English is clap's own attributes. The other language has a text for each command path and argument id
//! ([`lang::help`]), which replaces the English where the help is made. What clap itself says around them can't be set
//! there, and is replaced in what it made. Completions and the manual page stay English.

use clap::builder::{PossibleValue, Resettable, StyledStr};
use clap::{Arg, Command};
use unicode_width::UnicodeWidthChar as _;

use super::terminal::{Door, To};
use crate::domain::reason::{Phrase, phrase};
use crate::lang::{self, Lang};
use crate::tui::widget::wrap::may_break;

/// The names that clap puts before parts of the help, each with a colon.
const AROUND: [(&str, Phrase); 6] = [
    ("Usage", phrase!("help.usage")),
    ("Commands", phrase!("help.commands")),
    ("Arguments", phrase!("help.arguments")),
    ("Options", phrase!("help.options")),
    ("[aliases", phrase!("help.aliases")),
    ("[alias", phrase!("help.alias")),
];

/// The command line with its help in that language.
pub(super) fn in_language_of(mut command: Command, lang: Lang) -> Command {
    if lang != Lang::En {
        // Only then the texts of `--help` and of the subcommand `help` are there.
        command.build();
        command = in_language(command, lang, &[]);
    }
    command
}

fn in_language(command: Command, lang: Lang, path: &[String]) -> Command {
    let (about, long_about) = match key(path, "").and_then(|key| lang::help(&key, lang)) {
        Some(text) => (Some(first_paragraph(text)), command.get_long_about().map(|_| breakable(text))),
        None => (None, None),
    };
    let styled = |text: Option<String>| Resettable::from(text.map(StyledStr::from));
    let command = command.about(styled(about)).long_about(styled(long_about));
    let command = command.mut_args(|argument| argument_in_language(argument, lang, path));
    command.mut_subcommands(|command| {
        let path = [path, &[command.get_name().to_owned()]].concat();
        in_language(command, lang, &path)
    })
}

fn argument_in_language(argument: Arg, lang: Lang, path: &[String]) -> Arg {
    let text = |suffix: &str| {
        key(path, &format!("#{}{suffix}", argument.get_id())).and_then(|key| lang::help(&key, lang)).unwrap_or_default()
    };
    let (help, long_help) = match text("+") {
        "" => (first_paragraph(text("")), breakable(text(""))),
        long => (breakable(text("")), breakable(long)),
    };
    // clap would say these in English, and break lines within.
    let says = |name: Phrase, value: &str| format!("[{}: {value}]", lang::render(&name.into(), lang));
    let mut notes = Vec::new();
    if argument.get_action().takes_values() && !argument.get_default_values().is_empty() {
        let values: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        notes.push(says(phrase!("help.default"), &values.join(" ")));
    }
    let values = argument.get_possible_values();
    if !values.is_empty() {
        let names: Vec<&str> = values.iter().map(PossibleValue::get_name).collect();
        notes.push(says(phrase!("help.possible_values"), &names.join(", ")));
    }
    let help = format!("{help} {}", notes.join(" "));
    for value in values.iter().map(PossibleValue::get_name) {
        match text(&format!("={value}")) {
            "" => {}
            text => notes.push(format!("- {value}: {}", breakable(text))),
        }
    }
    let long_help = format!("{long_help}\n\n{}", notes.join("\n"));
    argument
        .help(help.trim_end().to_owned())
        .long_help(long_help.trim_end().to_owned())
        .hide_default_value(true)
        .hide_possible_values(true)
}

/// The key of a command's text, or of its argument's (`#ID`, `#ID=VALUE`): the narrowest of `build start#rule`,
/// `build#rule` and `#rule` that has one; none where none has. The help of a command within `help` is that command's.
fn key(path: &[String], argument: &str) -> Option<String> {
    let last = path.len().saturating_sub(1);
    let names = path.iter().enumerate().filter(|(at, name)| *at == last || *name != "help");
    let path: Vec<&str> = names.map(|(_, name)| name.as_str()).collect();
    let keys: Vec<String> = match argument {
        "" if path.last() == Some(&"help") => vec!["help".to_owned()],
        "" => vec![path.join(" ")],
        argument => (0..=path.len()).rev().map(|length| format!("{}{argument}", path[..length].join(" "))).collect(),
    };
    keys.into_iter().find(|key| lang::help(key, Lang::ZhCn).is_some())
}

/// The first paragraph, as clap has it in a list: without the full stop.
fn first_paragraph(text: &str) -> String {
    let first = text.split("\n\n").next().unwrap_or(text);
    breakable(first.strip_suffix('。').unwrap_or(first))
}

/// Keeps a wide character and what follows together.
const JOINER: char = '\u{2060}';

/// clap breaks lines at blanks only, and takes every character for one column wide. So each wide character has another
/// one after it: a blank where a line may be broken, a joiner elsewhere; [`shown`] takes them away again.
fn breakable(text: &str) -> String {
    let mut broken = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        broken.push(character);
        if is_wide(character) {
            let breaks = characters.peek().is_some_and(|next| may_break(character, *next));
            broken.push(if breaks { ' ' } else { JOINER });
        }
    }
    broken
}

/// Shows the help that clap made, where clap would have shown it.
pub(super) fn show(made: &clap::Error, lang: Lang) {
    let text = StyledStr::from(shown(&made.render().ansi().to_string(), lang));
    // A reader that left early is no error worth words.
    let _ = if made.use_stderr() {
        let mut door = Door::to(To::Stderr);
        door.text(&text.to_string()).and_then(|()| door.flush())
    } else {
        // clap knows whether this terminal has colours.
        Command::new("slipway").override_help(text).print_help()
    };
}

/// What clap made of the help, as a person is to see it.
fn shown(made: &str, lang: Lang) -> String {
    let mut previous = char::default();
    let mut text: String = made
        .chars()
        .filter(|&character| {
            let filler = character == JOINER || character == ' ' && is_wide(previous);
            previous = character;
            !filler
        })
        .collect();
    for (name, phrase) in AROUND {
        text = text.replace(&format!("{name}:"), &format!("{}:", lang::render(&phrase.into(), lang)));
    }
    text
}

fn is_wide(character: char) -> bool {
    character.width() == Some(2)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    /// Each text of the help below a command: the command's path, the argument with its suffix, and the English.
    fn texts(command: &Command, path: &[String], found: &mut Vec<(Vec<String>, String, String)>) {
        let english = |text: Option<&StyledStr>| text.map(ToString::to_string).unwrap_or_default();
        let mut add = |argument: String, text: String| {
            if !text.is_empty() {
                found.push((path.to_owned(), argument, text));
            }
        };
        let about = english(command.get_about());
        add(String::new(), command.get_long_about().map_or(about, ToString::to_string));
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let (help, long) = (english(argument.get_help()), english(argument.get_long_help()));
            let id = argument.get_id();
            if long.is_empty() || long.starts_with(&help) {
                add(format!("#{id}"), if long.is_empty() { help } else { long });
            } else {
                add(format!("#{id}"), help);
                add(format!("#{id}+"), long);
            }
            for value in argument.get_possible_values() {
                add(format!("#{id}={}", value.get_name()), english(value.get_help()));
            }
        }
        for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
            texts(command, &[path, &[command.get_name().to_owned()]].concat(), found);
        }
    }

    /// What `slipway ARGUMENTS` shows in a terminal of 100 columns.
    fn help_of(command: &Command, arguments: &[&str]) -> String {
        let arguments = ["slipway"].iter().chain(arguments);
        let made = command.clone().term_width(100).try_get_matches_from(arguments).unwrap_err();
        shown(&made.render().to_string(), Lang::ZhCn)
    }

    #[test]
    fn every_command_and_argument_has_a_text_of_its_own_in_the_other_language() {
        let mut command = Cli::command();
        command.build();
        let mut found = Vec::new();
        texts(&command, &[], &mut found);
        assert!(found.len() > 150, "only {} were found", found.len());
        let mut faults = BTreeSet::new();
        let mut english_of: BTreeMap<String, String> = BTreeMap::new();
        for (path, argument, english) in found {
            match key(&path, &argument) {
                None => drop(faults.insert(format!("{}{argument} is missing: {english}", path.join(" ")))),
                Some(key) => match english_of.insert(key.clone(), english.clone()) {
                    // One text for several arguments is right where their English is one, too; within `help`, commands
                    // have the first paragraph alone.
                    Some(other) if !other.starts_with(&english) && !english.starts_with(&other) => {
                        faults.insert(format!("{}{argument} needs a text of its own: {english}", path.join(" ")));
                    }
                    _ => {}
                },
            }
        }
        let idle = lang::help_keys().filter(|key| !english_of.contains_key(*key));
        faults.extend(idle.map(|key| format!("nothing is called {key:?} any more")));
        assert!(faults.is_empty(), "src/lang/help.zh-CN.toml: {faults:#?}");
    }

    #[test]
    fn no_help_has_a_word_of_claps_own_left() {
        fn each(whole: &Command, command: &Command, above: &[&str], found: &mut usize) {
            for flag in ["-h", "--help"] {
                let help = help_of(whole, &[above, &[flag]].concat());
                let left = ["Usage", "Commands:", "Arguments:", "Options:", "values:", "[default", "[alias", "Print"];
                assert_eq!(left.iter().find(|left| help.contains(**left)), None, "{help}");
                *found += 1;
            }
            for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
                each(whole, command, &[above, &[command.get_name()]].concat(), found);
            }
        }
        let mut found = 0;
        each(&in_language_of(Cli::command(), Lang::ZhCn), &Cli::command(), &[], &mut found);
        assert!(found > 100, "only {found} were found");
    }

    #[test]
    fn the_help_of_a_command_reads_as_clap_would_have_made_it() {
        let command = in_language_of(Cli::command(), Lang::ZhCn);
        insta::assert_snapshot!(help_of(&command, &["completions", "-h"]), @r"
        输出 shell 的补全脚本

        用法: slipway completions [OPTIONS] <SHELL>

        参数:
          <SHELL>  shell 的名称 [可用的值: bash, elvish, fish, powershell, zsh]

        选项:
              --output <OUTPUT>  结果的输出格式 [默认: text] [可用的值: text, json]
          -h, --help             显示帮助（更多内容见 '--help'）
        ");
        let long = help_of(&command, &["help", "builder", "create"]);
        assert!(
            long.contains("[可用的值: managed, existing, fresh, provisioned]\n          - managed: 由 slipway"),
            "{long}"
        );
    }

    #[test]
    fn lines_are_broken_between_wide_characters_and_never_before_a_comma() {
        let made = breakable("按 TOML 文件创建，先显示差异");
        assert_eq!(
            made.chars().count(),
            "按 TOML 文件创建，先显示差异".chars().map(|c| c.width().unwrap()).sum::<usize>()
        );
        assert_eq!(shown(&made, Lang::ZhCn), "按 TOML 文件创建，先显示差异");
        assert!(!made.contains(" ，"), "{made:?}");
    }
}
