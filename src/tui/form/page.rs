//! A page of a form.

use super::field::Field;

/// A page of a form.
#[derive(Debug, Clone)]
pub struct Page {
    /// The key of its title.
    pub title: &'static str,
    /// Its fields.
    pub fields: Vec<Field>,
}
