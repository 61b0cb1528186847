//! The dashboard. It sits on the pool's protocol and on the files; it holds no logic of its own about builds.
//!
//! Events come in through [`run`], `update` changes the [`app::App`] and says which [`effect::Effect`]s are wanted,
//! `view` draws it, `outside` and `run` carry the effects out.
//!
//! | module | what it is for |
//! | --- | --- |
//! | `run`, `pace`, `signals`, `terminal` | the loop, when a frame may be drawn, how it comes before builds, what ends it, the terminal taken over and given back |
//! | `outside`, `link`, `read`, `tag_list`, `manners` | effects, the way to the pool, the disk, what config.toml and the terminal say |
//! | `update` | what becomes of the state when something happens |
//! | [`view`] | what is on the screen: layout, header, lists, what is in front |
//! | [`app`], [`data`], [`list`], [`window`], `rows`, [`place`], [`notice`], [`modal`] | the state |
//! | [`log`] | the log viewer |
//! | [`form`] | the forms |
//! | [`popup`] | help, palette, messages |
//! | [`details`] | what is known of what is selected, with the past of a rule as a picture |
//! | [`widget`] | small pieces that views share |
//! | [`keymap`] | every action and its keys, in one table |
//! | [`theme`], [`glyphs`], [`look`] | colours by role, signs: how everything is drawn |

pub mod app;
pub mod data;
pub mod details;
pub mod effect;
pub mod event;
pub mod form;
pub mod glyphs;
pub mod keymap;
mod link;
pub mod list;
pub mod log;
pub mod look;
mod manners;
pub mod modal;
pub mod notice;
mod outside;
mod pace;
pub mod place;
pub mod popup;
mod read;
mod rows;
mod run;
mod signals;
#[cfg(test)]
mod snapshots_of_attempts;
#[cfg(test)]
mod snapshots_of_screens;
mod tag_list;
mod terminal;
#[cfg(test)]
pub(crate) mod testing;
pub mod theme;
mod update;
pub mod view;
pub mod widget;
pub mod window;

pub use run::{TuiError, run, view_file};
pub use terminal::is_there as has_terminal;
