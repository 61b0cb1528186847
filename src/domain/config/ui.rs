//! `[ui]`: how the dashboard looks and listens.

use serde::{Deserialize, Serialize};

/// `[ui]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UiConfig {
    /// A theme's name, or `auto`: by the terminal's background.
    pub theme: String,
    /// The theme of a dark terminal, where `theme` is `auto`.
    pub theme_dark: String,
    /// The theme of a light terminal, where `theme` is `auto`.
    pub theme_light: String,
    /// The language of the texts.
    pub language: Language,
    /// The signs for states and borders.
    pub glyphs: GlyphSet,
    /// Clicks and the wheel come to the dashboard; the terminal's own selection then needs Shift.
    pub mouse: bool,
    /// How the end of a build is signalled where the dashboard is not in sight.
    pub notify: Notify,
}

impl Default for UiConfig {
    fn default() -> Self {
        UiConfig {
            theme: "terminal".into(),
            theme_dark: "slipway-dark".into(),
            theme_light: "slipway-light".into(),
            language: Language::Auto,
            glyphs: GlyphSet::Auto,
            mouse: false,
            notify: Notify::Bell,
        }
    }
}

/// The language of the texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Language {
    /// As the locale says.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// English.
    #[serde(rename = "en")]
    En,
    /// 简体中文.
    #[serde(rename = "zh-CN")]
    ZhCn,
}

/// The signs for states and borders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GlyphSet {
    /// Unicode, unless the locale or the terminal knows none.
    #[default]
    Auto,
    /// Unicode.
    Unicode,
    /// ASCII.
    Ascii,
}

/// How the end of a build is signalled where the dashboard is not in sight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notify {
    /// Not at all.
    None,
    /// By the terminal's bell.
    #[default]
    Bell,
    /// By a notification of the terminal (OSC 9).
    Osc9,
}
