//! Bringing a document that a person wrote to a new value, changing no more of its text than the value changed.
//!
//! Three-way: what the document says (`base`) is compared with what it shall say (`new`), and only the keys that differ
//! are touched. A key that was left out because its default was meant stays out.

use toml_edit::{Array, ArrayOfTables, Decor, DocumentMut, InlineTable, Item, RawString, Table, Value};

use super::layout;

/// Changes `document`, which says `base`, so that it says `new`. Without a base all that `new` does not say goes.
pub(super) fn merge(document: &mut DocumentMut, base: Option<&InlineTable>, new: &InlineTable) {
    let mut merge = Merge { restructured: false };
    let left = merge.table(document.as_table_mut(), base, new, 0);
    if !left.is_empty() {
        let trailing = format!("{}{left}", document.trailing().as_str().unwrap_or_default());
        document.set_trailing(trailing);
    }
    if merge.restructured {
        renumber(document.as_table_mut(), &mut 0);
    }
}

struct Merge {
    /// Tables were added, removed or moved, so that those that stay need new places in the document.
    restructured: bool,
}

impl Merge {
    /// Returns comments that stood apart above keys that went, and that no key after them could take.
    fn table(&mut self, table: &mut Table, base: Option<&InlineTable>, new: &InlineTable, level: usize) -> String {
        let mut carried = String::new();
        for key in keys(table) {
            let (old, wanted) = (base.and_then(|base| base.get(&key)), new.get(&key));
            if !carried.is_empty() {
                prepend(table, &key, &std::mem::take(&mut carried));
            }
            match wanted {
                _ if level == 0 && key == super::schema::KEY => {}
                Some(wanted) if old.is_some_and(|old| same(old, wanted)) => {}
                Some(wanted) => carried = self.item(&mut table[&key], old, wanted, level),
                // A default that was written out: neither says it.
                None if base.is_some() && old.is_none() => {}
                None => {
                    carried = detached(prefix(table, &key));
                    self.restructured |= !table[&key].is_value();
                    table.remove(&key);
                }
            }
        }
        let mut before: Option<String> = None;
        for (key, wanted) in new.iter() {
            let known = base.and_then(|base| base.get(key));
            if !table.contains_key(key) && !known.is_some_and(|old| same(old, wanted)) {
                self.restructured |= table.is_implicit();
                let wanted = without_known(known, wanted);
                let item = layout::item(key, &wanted, if table.is_dotted() { usize::MAX } else { level });
                self.restructured |= !item.is_value();
                insert_after(table, before.as_deref(), key, item);
            }
            if table.contains_key(key) {
                before = Some(key.to_owned());
            }
        }
        carried
    }

    fn item(&mut self, item: &mut Item, base: Option<&Value>, new: &Value, level: usize) -> String {
        let base_table = base.and_then(Value::as_inline_table);
        let base_array = base.and_then(Value::as_array);
        match (&mut *item, new) {
            (Item::Table(table), Value::InlineTable(new)) => return self.table(table, base_table, new, level + 1),
            (Item::ArrayOfTables(tables), Value::Array(new)) if layout::all_tables(new) => {
                self.tables(tables, base_array, new);
            }
            (Item::Value(value), new) => merge_value(value, base, new),
            (item, new) => {
                self.restructured = true;
                *item = layout::item("", new, level);
            }
        }
        String::new()
    }

    /// Tables of an array are matched by their `name`, so that the comments of a rule stay with it.
    fn tables(&mut self, tables: &mut ArrayOfTables, base: Option<&Array>, new: &Array) {
        let old: Vec<Table> = tables.iter().cloned().collect();
        tables.clear();
        let new: Vec<&InlineTable> = new.iter().filter_map(Value::as_inline_table).collect();
        let old_names: Vec<Option<&str>> = old.iter().map(|t| t.get("name").and_then(Item::as_str)).collect();
        let new_names: Vec<Option<&str>> = new.iter().map(|t| t.get("name").and_then(Value::as_str)).collect();
        let pairs = pair(&old_names, &new_names, |_, _| false);
        for (at, (wanted, from)) in new.iter().zip(&pairs).enumerate() {
            let table = match *from {
                Some(from) => {
                    let mut table = old[from].clone();
                    let base = base.and_then(|base| base.get(from)).and_then(Value::as_inline_table);
                    self.table(&mut table, base, wanted, 1);
                    if from != at {
                        set_apart(table.decor_mut());
                    }
                    table
                }
                None => layout::table(wanted, 1),
            };
            tables.push(table);
        }
        let unmoved = pairs.iter().enumerate().all(|(at, from)| *from == Some(at)) && old.len() == new.len();
        self.restructured |= !unmoved;
    }
}

fn merge_value(value: &mut Value, base: Option<&Value>, new: &Value) {
    match (&mut *value, new) {
        (Value::InlineTable(table), Value::InlineTable(new)) => {
            merge_inline(table, base.and_then(Value::as_inline_table), new);
        }
        (Value::Array(array), Value::Array(new)) => merge_array(array, base.and_then(Value::as_array), new),
        (value, new) if !same(value, new) => {
            let decor = value.decor().clone();
            *value = layout::value(new);
            *value.decor_mut() = decor;
        }
        _ => {}
    }
}

fn merge_inline(table: &mut InlineTable, base: Option<&InlineTable>, new: &InlineTable) {
    let mut changed = false;
    let keys: Vec<String> = table.iter().map(|(key, _)| key.to_owned()).collect();
    for key in keys {
        let old = base.and_then(|base| base.get(&key));
        match (table.get_mut(&key), new.get(&key)) {
            (Some(_), Some(wanted)) if old.is_some_and(|old| same(old, wanted)) => {}
            (Some(value), Some(wanted)) => merge_value(value, old, wanted),
            (Some(_), None) if base.is_some() && old.is_none() => {}
            _ => changed |= table.remove(&key).is_some(),
        }
    }
    for (key, wanted) in new.iter() {
        let known = base.and_then(|base| base.get(key));
        if !table.contains_key(key) && !known.is_some_and(|old| same(old, wanted)) {
            table.insert(key, layout::value(wanted));
            changed = true;
        }
    }
    if changed && plain(&table.to_string()) {
        table.fmt();
    }
}

fn merge_array(array: &mut Array, base: Option<&Array>, new: &Array) {
    let old: Vec<Value> = array.iter().cloned().collect();
    let name = |value: &Value| value.as_inline_table()?.get("name")?.as_str().map(str::to_owned);
    let old_names: Vec<Option<String>> = old.iter().map(name).collect();
    let new_names: Vec<Option<String>> = new.iter().map(name).collect();
    let says = |from: usize| base.and_then(|base| base.get(from)).unwrap_or(&old[from]);
    let equal = |from: usize, at: usize| new.get(at).is_some_and(|new| same(says(from), new));
    let pairs = pair(&old_names, &new_names, equal);
    let multi_line = old.iter().any(|value| decor_prefix(value.decor()).contains('\n'));
    let indent = old.last().map(|value| decor_prefix(value.decor()).rsplit('\n').next().unwrap_or_default().to_owned());
    let mut carried: String = old
        .iter()
        .enumerate()
        .filter(|(from, _)| !pairs.contains(&Some(*from)))
        .map(|(_, value)| decor_prefix(value.decor()).trim_end())
        .filter(|comment| comment.contains('#'))
        .collect();
    array.clear();
    for (at, (wanted, from)) in new.iter().zip(&pairs).enumerate() {
        let mut value = match *from {
            Some(from) => {
                let mut value = old[from].clone();
                if !equal(from, at) {
                    merge_value(&mut value, base.and_then(|base| base.get(from)), wanted);
                }
                value
            }
            None => {
                let prefix =
                    if multi_line { format!("\n{}", indent.as_deref().unwrap_or("    ")) } else { String::new() };
                layout::value(wanted).decorated(prefix, "")
            }
        };
        if !carried.is_empty() {
            let prefix = format!("{}{}", std::mem::take(&mut carried), decor_prefix(value.decor()));
            value.decor_mut().set_prefix(prefix);
        }
        array.push_formatted(value);
    }
    if !carried.is_empty() {
        array.set_trailing(format!("{carried}{}", array.trailing().as_str().unwrap_or_default()));
    }
    let unmoved = pairs.iter().enumerate().all(|(at, from)| *from == Some(at)) && old.len() == new.len();
    if !unmoved && plain(&array.to_string()) {
        array.fmt();
    }
}

/// For each of the new elements the old one that it comes from: an equal one, one of the same name, or, for those that
/// are left, the one at the same place (a renamed one).
fn pair<N: PartialEq>(
    old: &[Option<N>],
    new: &[Option<N>],
    equal: impl Fn(usize, usize) -> bool,
) -> Vec<Option<usize>> {
    let mut pairs: Vec<Option<usize>> = vec![None; new.len()];
    let mut claim = |matches: &dyn Fn(usize, usize) -> bool| {
        for at in 0..new.len() {
            let free = |from: &usize| !pairs.contains(&Some(*from)) && matches(*from, at);
            if pairs[at].is_none() {
                pairs[at] = (0..old.len()).find(free);
            }
        }
    };
    claim(&|from, at| from == at && equal(from, at));
    claim(&equal);
    claim(&|from, at| old[from].is_some() && old[from] == new[at]);
    // A new name at an old place is a rename only where the old name is gone for good, which the free ones are.
    claim(&|from, at| from == at);
    pairs
}

/// Whether two values mean the same, however they are written.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.value() == b.value(),
        (Value::Integer(a), Value::Integer(b)) => a.value() == b.value(),
        (Value::Float(a), Value::Float(b)) => a.value().to_bits() == b.value().to_bits(),
        (Value::Boolean(a), Value::Boolean(b)) => a.value() == b.value(),
        (Value::Datetime(a), Value::Datetime(b)) => a.value() == b.value(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::InlineTable(a), Value::InlineTable(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => false,
    }
}

/// Of a table that the document left out, what its defaults do not say already.
fn without_known(known: Option<&Value>, new: &Value) -> Value {
    let (Some(Value::InlineTable(known)), Value::InlineTable(new)) = (known, new) else { return new.clone() };
    let mut left = new.clone();
    left.retain(|key, value| !known.get(key).is_some_and(|known| same(known, value)));
    Value::InlineTable(left)
}

fn keys(table: &Table) -> Vec<String> {
    table.iter().map(|(key, _)| key.to_owned()).collect()
}

/// What stands above a key or a table's header.
fn prefix<'a>(table: &'a Table, key: &str) -> &'a str {
    match table.get(key) {
        Some(Item::Table(table)) if !table.is_dotted() => decor_prefix(table.decor()),
        Some(Item::ArrayOfTables(tables)) => tables.get(0).map_or("", |table| decor_prefix(table.decor())),
        _ => table.key(key).map_or("", |key| decor_prefix(key.leaf_decor())),
    }
}

fn prepend(table: &mut Table, key: &str, text: &str) {
    let joined = format!("{text}{}", prefix(table, key));
    match table.get_mut(key) {
        Some(Item::Table(table)) if !table.is_dotted() => table.decor_mut().set_prefix(joined),
        Some(Item::ArrayOfTables(tables)) => {
            if let Some(first) = tables.get_mut(0) {
                first.decor_mut().set_prefix(joined);
            }
        }
        _ => {
            if let Some(mut key) = table.key_mut(key) {
                key.leaf_decor_mut().set_prefix(joined);
            }
        }
    }
}

/// The comments of a prefix that an empty line sets apart from what it stands above, such as a file's head.
fn detached(prefix: &str) -> String {
    match prefix.rfind("\n\n") {
        Some(at) if prefix[..at].contains('#') => prefix[..at + 2].to_owned(),
        _ => String::new(),
    }
}

/// An empty line above a table that had none because it was the first.
fn set_apart(decor: &mut Decor) {
    if let Some(prefix) = decor.prefix().and_then(RawString::as_str).filter(|prefix| !prefix.starts_with('\n')) {
        let prefix = format!("\n{prefix}");
        decor.set_prefix(prefix);
    }
}

fn decor_prefix(decor: &Decor) -> &str {
    decor.prefix().and_then(RawString::as_str).unwrap_or_default()
}

/// On one line and without a comment, so that it may be formatted again.
fn plain(text: &str) -> bool {
    !text.contains(['\n', '#'])
}

/// Inserts behind the key `before`, which the new value has before it, too; else behind the schema, else at the end.
fn insert_after(table: &mut Table, before: Option<&str>, key: &str, item: Item) {
    let order = keys(table);
    let anchor = before.unwrap_or(super::schema::KEY);
    let at = order.iter().position(|key| key == anchor).map_or(order.len(), |at| at + 1);
    table.insert(key, item);
    for key in &order[at..] {
        if let Some((key, item)) = table.remove_entry(key) {
            table.insert_formatted(&key, item);
        }
    }
}

/// Gives every table its place in the order in which they are held.
fn renumber(table: &mut Table, next: &mut isize) {
    if !table.is_dotted() {
        table.set_position(Some(*next));
        *next += 1;
    }
    for (_, item) in table.iter_mut() {
        match item {
            Item::Table(table) => renumber(table, next),
            Item::ArrayOfTables(tables) => tables.iter_mut().for_each(|table| renumber(table, next)),
            _ => {}
        }
    }
}
