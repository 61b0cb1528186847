//! The command line's help in the language of the person.
//!
//! The texts are clap's own attributes, in English; they are put into the other language where the help is made. What
//! clap itself says around them can't be set there, and is replaced in what it made. Completions and the manual page
//! stay English.

use clap::builder::{PossibleValue, Resettable, StyledStr};
use clap::{Arg, Command};
use unicode_width::UnicodeWidthChar as _;

use super::terminal::{Door, To};
use crate::lang::{self, Lang};
use crate::tui::widget::wrap::may_break;

/// The names that clap puts before parts of the help, each with a colon.
const AROUND: [&str; 6] = ["Usage", "Commands", "Arguments", "Options", "[aliases", "[alias"];

/// The command line with its help in that language.
pub(super) fn in_language_of(mut command: Command, lang: Lang) -> Command {
    if lang != Lang::En {
        // Only then the texts of `--help` and of the subcommand `help` are there.
        command.build();
        command = in_language(command, lang);
    }
    command
}

fn in_language(command: Command, lang: Lang) -> Command {
    let text = |text: Option<&StyledStr>| Resettable::from(text.map(|text| StyledStr::from(translated(text, lang))));
    let (about, long_about) = (text(command.get_about()), text(command.get_long_about()));
    let command = command.about(about).long_about(long_about);
    let command = command.mut_args(|argument| argument_in_language(argument, lang));
    command.mut_subcommands(|command| in_language(command, lang))
}

fn argument_in_language(argument: Arg, lang: Lang) -> Arg {
    let (help, long_help) = (argument.get_help(), argument.get_long_help().or(argument.get_help()));
    let [help, long_help] = [help, long_help].map(|text| text.map_or_else(String::new, |text| translated(text, lang)));
    // clap would say these in English, and break lines within.
    let says = |name: &str, value: &str| format!("[{}: {value}]", lang::help(name, lang).unwrap_or(name));
    let mut notes = Vec::new();
    if argument.get_action().takes_values() && !argument.get_default_values().is_empty() {
        let values: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        notes.push(says("default", &values.join(" ")));
    }
    let values = argument.get_possible_values();
    if !values.is_empty() {
        let names: Vec<&str> = values.iter().map(PossibleValue::get_name).collect();
        notes.push(says("possible values", &names.join(", ")));
    }
    let help = format!("{help} {}", notes.join(" "));
    for (value, text) in values.iter().filter_map(|value| Some((value.get_name(), value.get_help()?))) {
        notes.push(format!("- {value}: {}", translated(text, lang)));
    }
    let long_help = format!("{long_help}\n\n{}", notes.join("\n"));
    argument
        .help(help.trim_end().to_owned())
        .long_help(long_help.trim_end().to_owned())
        .hide_default_value(true)
        .hide_possible_values(true)
}

/// Each paragraph in that language, where it is known.
fn translated(text: &StyledStr, lang: Lang) -> String {
    let in_language = |text: &str| {
        let (sentence, stop) = text.strip_suffix('.').map_or((text, ""), |sentence| (sentence, "。"));
        lang::help(sentence, lang).map_or_else(|| text.to_owned(), |text| breakable(&format!("{text}{stop}")))
    };
    text.to_string().split("\n\n").map(in_language).collect::<Vec<String>>().join("\n\n")
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
    for name in AROUND {
        text = text.replace(&format!("{name}:"), &format!("{}:", lang::help(name, lang).unwrap_or(name)));
    }
    text
}

fn is_wide(character: char) -> bool {
    character.width() == Some(2)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    /// Every text of the help below a command.
    fn texts(command: &Command, found: &mut BTreeSet<String>) {
        let mut add = |text: Option<&StyledStr>| {
            let text = text.map(ToString::to_string).unwrap_or_default();
            let paragraphs = text.split("\n\n").map(|text| text.strip_suffix('.').unwrap_or(text).to_owned());
            found.extend(paragraphs.filter(|text| !text.is_empty()));
        };
        add(command.get_about());
        add(command.get_long_about());
        add(command.get_after_help());
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            add(argument.get_help());
            add(argument.get_long_help());
            argument.get_possible_values().iter().for_each(|value| add(value.get_help()));
        }
        command.get_subcommands().filter(|command| !command.is_hide_set()).for_each(|command| texts(command, found));
    }

    /// What `slipway ARGUMENTS` shows in a terminal of 100 columns.
    fn help_of(command: &Command, arguments: &[&str]) -> String {
        let arguments = ["slipway"].iter().chain(arguments);
        let made = command.clone().term_width(100).try_get_matches_from(arguments).unwrap_err();
        shown(&made.render().to_string(), Lang::ZhCn)
    }

    #[test]
    fn every_text_of_the_help_has_a_translation() {
        let mut command = Cli::command();
        command.build();
        let mut found: BTreeSet<String> = AROUND.map(str::to_owned).into();
        found.extend(["default", "possible values"].map(str::to_owned));
        texts(&command, &mut found);
        assert!(found.len() > 150, "only {} were found", found.len());
        let missing: Vec<_> = found.iter().filter(|text| lang::help(text, Lang::ZhCn).is_none()).collect();
        assert!(missing.is_empty(), "translate them under [help] of src/lang/cli.zh-CN.toml: {missing:#?}");
        let idle: Vec<_> = lang::all_help().filter(|text| !found.contains(*text)).collect();
        assert!(idle.is_empty(), "no help says so any more; remove them from [help]: {idle:#?}");
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
