//! How a value is laid out where there is no text yet to follow: `[tables]` at the top, small ones inline below.

use toml_edit::{Array, ArrayOfTables, InlineTable, Item, Table, Value};

/// Lines are kept this short, where they can be.
const WIDTH: usize = 100;

/// The keys of tables that mean "one of several", such as a secret's source: these are inline, even at the top.
const CHOICES: [&str; 4] = ["file", "env", "command", "regex"];

/// A document's table of the keys of `source`. Level 0 is the document itself.
pub(super) fn table(source: &InlineTable, level: usize) -> Table {
    let mut table = Table::new();
    for (key, value) in source.iter() {
        table.insert(key, item(key, value, level));
    }
    table
}

/// What stands behind a key of a table at `level`.
pub(super) fn item(key: &str, source: &Value, level: usize) -> Item {
    let fits = key.chars().count() + 3 + value(source).to_string().trim().chars().count() <= WIDTH;
    match source {
        Value::InlineTable(source) if own_table(source, level, fits) => Item::Table(self::table(source, level.max(1))),
        Value::Array(array) if level == 0 && all_tables(array) => {
            let tables = array.iter().filter_map(Value::as_inline_table);
            Item::ArrayOfTables(tables.map(|source| self::table(source, 1)).collect::<ArrayOfTables>())
        }
        Value::Array(array) if !fits && array.len() > 1 => Item::Value(Value::Array(one_a_line(array))),
        _ => Item::Value(value(source)),
    }
}

fn own_table(source: &InlineTable, level: usize, fits: bool) -> bool {
    let choice = source.len() == 1 && source.iter().all(|(key, _)| CHOICES.contains(&key));
    match level {
        0 => !source.is_empty() && !choice,
        // Inside dotted keys, where no header can stand.
        usize::MAX => false,
        _ => !fits,
    }
}

/// Whether an array can be written as `[[tables]]`.
pub(super) fn all_tables(array: &Array) -> bool {
    !array.is_empty() && array.iter().all(Value::is_inline_table)
}

/// The value on one line, in our spacing.
pub(super) fn value(source: &Value) -> Value {
    let mut value = source.clone();
    value.decor_mut().clear();
    match &mut value {
        Value::Array(array) => {
            let elements: Vec<Value> = array.iter().map(self::value).collect();
            *array = Array::from_iter(elements);
            array.fmt();
        }
        Value::InlineTable(table) => {
            for (_, element) in table.iter_mut() {
                *element = self::value(element);
            }
            table.fmt();
        }
        _ => {}
    }
    value
}

fn one_a_line(array: &Array) -> Array {
    let mut lines = Array::new();
    for element in array.iter() {
        lines.push_formatted(value(element).decorated("\n    ", ""));
    }
    lines.set_trailing("\n");
    lines.set_trailing_comma(true);
    lines
}
