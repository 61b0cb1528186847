//! Colours by role. No view names a colour: it names a role, and the theme says how that looks.
//!
//! A theme is a TOML file: `[palette]` names colours, `[roles]` says how each role looks, `inherits` names the theme that says the
//! rest. A role without a word of its own looks like the role before its last dot: `status.ok` like `status`.

mod background;
mod depth;
mod load;
mod role;
mod styles;

pub use background::Background;
pub use depth::Depth;
pub use load::{ThemeError, names};
pub use role::Role;
pub use styles::Theme;
