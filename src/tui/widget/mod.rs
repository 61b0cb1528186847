//! Small pieces that views share.

pub mod input;
pub mod pane;
pub mod table;
pub mod text;
pub mod wrap;
