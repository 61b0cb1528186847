//! The modules of the crate, and which file names something of which other file.
//!
//! Read from the syntax of the sources, without what is compiled for tests only. A re-export is not an import: a name
//! that passes through `pub use` counts for the file that defines it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree, Visibility};

/// Segments of a path.
type Segments = Vec<String>;

/// A module: of a file, or written inside of one.
#[derive(Debug, Default)]
struct Module {
    /// Position of the module in the crate.
    path: Segments,
    /// File that holds the module, relative to `src`.
    file: String,
    children: BTreeSet<String>,
    /// Names that the module defines.
    items: BTreeSet<String>,
    /// Names that `use` brings into the module, and the path of each as it is written. `*` stands for all names.
    uses: Vec<(String, Segments)>,
    /// Paths that the module names, as they are written, apart from re-exports.
    mentions: BTreeSet<Segments>,
}

/// The imports of the crate.
#[derive(Debug, Default)]
pub(crate) struct Imports {
    modules: BTreeMap<Segments, Module>,
    /// Each file with the files that it imports, and the names that it takes from each.
    pub(crate) files: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    /// Each file with the paths of other crates that it names.
    pub(crate) foreign: BTreeMap<String, BTreeSet<String>>,
}

impl Imports {
    /// Reads the crate whose sources are below the directory.
    pub(crate) fn read(source: &Path) -> Self {
        let mut imports = Imports::default();
        imports.read_file(source, &source.join("lib.rs"), Vec::new());
        imports.resolve_all();
        imports
    }

    fn read_file(&mut self, source: &Path, path: &Path, module: Segments) {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = path.strip_prefix(source).unwrap().display().to_string();
        let folder = match path.file_name().and_then(|name| name.to_str()) {
            Some("lib.rs" | "mod.rs") => path.parent().unwrap().to_owned(),
            _ => path.with_extension(""),
        };
        self.read_items(source, &file, &folder, module, &syntax.items);
    }

    fn read_items(&mut self, source: &Path, file: &str, folder: &Path, path: Segments, items: &[Item]) {
        let mut module = Module { path: path.clone(), file: file.to_owned(), ..Module::default() };
        for item in items.iter().filter(|item| !is_for_tests(attributes(item))) {
            if let Some(name) = name(item) {
                module.items.insert(name);
            }
            if let Item::Mod(child) = item {
                let name = child.ident.to_string();
                module.children.insert(name.clone());
                let below = [path.clone(), vec![name.clone()]].concat();
                match &child.content {
                    Some((_, items)) => self.read_items(source, file, &folder.join(&name), below, items),
                    None => self.read_file(source, &file_of(folder, &name, &child.attrs), below),
                }
            } else if !matches!(item, Item::Macro(macro_rules) if macro_rules.ident.is_some()) {
                // What the body of a macro names is a matter of the files that use it.
                Mentions(&mut module).visit_item(item);
            }
        }
        self.modules.insert(path, module);
    }

    fn resolve_all(&mut self) {
        let mut files = BTreeMap::<String, BTreeMap<String, BTreeSet<String>>>::new();
        let mut foreign = BTreeMap::<String, BTreeSet<String>>::new();
        for module in self.modules.values() {
            let imported = files.entry(module.file.clone()).or_default();
            let foreign = foreign.entry(module.file.clone()).or_default();
            for mention in &module.mentions {
                match self.absolute(module, mention) {
                    Some(path) => {
                        for file in self.definers(&path, 0).into_iter().filter(|file| *file != module.file) {
                            imported.entry(file).or_default().insert(path.join("::"));
                        }
                    }
                    None => {
                        foreign.insert(self.written_out(module, mention).join("::"));
                    }
                }
            }
        }
        (self.files, self.foreign) = (files, foreign);
    }

    /// The path from the root of the crate. `None` for a path of another crate, or of a name that `use` brought.
    fn absolute(&self, module: &Module, path: &[String]) -> Option<Segments> {
        let mut base = module.path.clone();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => {
                base.clear();
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|segment| segment == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            first if module.children.contains(first) => {}
            first => {
                // A module that `use` brought in: what is taken from it counts, not the module.
                let (_, used) = module.uses.iter().find(|(name, used)| name == first && used[..] != path[..])?;
                let mut used = self.absolute(module, used)?;
                if !self.modules.contains_key(&used) {
                    return None;
                }
                used.extend_from_slice(&rest[1..]);
                return Some(used);
            }
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    /// The path with what `use` says of its first segment put in place of it.
    fn written_out(&self, module: &Module, path: &[String]) -> Segments {
        match module.uses.iter().find(|(name, used)| *name == path[0] && used[0] != path[0]) {
            Some((_, used)) => [used.clone(), path[1..].to_vec()].concat(),
            None => path.to_vec(),
        }
    }

    /// The files that define what the path names. None for a module itself: only what is taken from it counts.
    fn definers(&self, path: &[String], depth: usize) -> BTreeSet<String> {
        if depth > 16 {
            return BTreeSet::new();
        }
        let mut at = Vec::new();
        for (index, segment) in path.iter().enumerate() {
            let module = &self.modules[&at];
            if module.children.contains(segment) && !(index + 1 == path.len() && module.items.contains(segment)) {
                at.push(segment.clone());
                continue;
            }
            if segment == "*" || module.items.contains(segment) {
                return BTreeSet::from([module.file.clone()]);
            }
            let rest = &path[index + 1..];
            let named = module.uses.iter().filter(|(name, _)| name == segment).map(|(_, used)| used.clone());
            let globs = module.uses.iter().filter(|(name, _)| name == "*").map(|(_, used)| {
                let mut used = used.clone();
                used.pop();
                used.push(segment.clone());
                used
            });
            let found: BTreeSet<String> = named
                .chain(globs)
                .filter_map(|used| self.absolute(module, &used))
                .filter(|used| used[..] != path[..=index])
                .flat_map(|used| self.definers(&[used, rest.to_vec()].concat(), depth + 1))
                .collect();
            return found;
        }
        BTreeSet::new()
    }
}

/// The file of a module that is declared in a file whose modules are in the folder.
fn file_of(folder: &Path, name: &str, attributes: &[Attribute]) -> PathBuf {
    let written = attributes.iter().find_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(file), .. }) => Some(file.value()),
            _ => None,
        },
        _ => None,
    });
    match written {
        Some(file) => folder.parent().unwrap().join(file),
        None => Some(folder.join(name).with_extension("rs"))
            .filter(|file| file.exists())
            .unwrap_or_else(|| folder.join(name).join("mod.rs")),
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

/// Collects what a module names.
struct Mentions<'a>(&'a mut Module);

impl Mentions<'_> {
    fn tree(&mut self, tree: &UseTree, above: &Segments, is_import: bool) {
        let (name, path) = match tree {
            UseTree::Path(path) => {
                let below = [above.clone(), vec![path.ident.to_string()]].concat();
                return self.tree(&path.tree, &below, is_import);
            }
            UseTree::Group(group) => return group.items.iter().for_each(|tree| self.tree(tree, above, is_import)),
            UseTree::Name(name) if name.ident == "self" => (above.last().unwrap().clone(), above.clone()),
            UseTree::Name(name) => (name.ident.to_string(), [above.clone(), vec![name.ident.to_string()]].concat()),
            UseTree::Rename(rename) => {
                (rename.rename.to_string(), [above.clone(), vec![rename.ident.to_string()]].concat())
            }
            UseTree::Glob(_) => ("*".to_owned(), [above.clone(), vec!["*".to_owned()]].concat()),
        };
        if is_import {
            self.0.mentions.insert(path.clone());
        }
        self.0.uses.push((name, path));
    }

    /// Paths in the arguments of macros and attributes, which are tokens, and in the texts of attributes.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path = Segments::new();
        let mut colons = 0;
        for token in tokens {
            match &token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Ident(ident) if colons == 2 && !path.is_empty() => path.push(ident.to_string()),
                _ => {
                    self.mention(std::mem::take(&mut path));
                    match &token {
                        TokenTree::Ident(ident) => path.push(ident.to_string()),
                        TokenTree::Group(group) => self.tokens(group.stream()),
                        TokenTree::Literal(literal) => {
                            let text = literal.to_string();
                            let text = text.trim_matches('"');
                            if text.starts_with("crate::") || text.starts_with("super::") {
                                self.mention(text.split("::").map(str::to_owned).collect());
                            }
                        }
                        TokenTree::Punct(_) => {}
                    }
                }
            }
            colons = 0;
        }
        self.mention(path);
    }

    fn mention(&mut self, path: Segments) {
        if path.len() > 1 {
            self.0.mentions.insert(path);
        }
    }
}

impl<'ast> Visit<'ast> for Mentions<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.tree(&item.tree, &Segments::new(), matches!(item.vis, Visibility::Inherited));
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.mention(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let syn::Meta::List(list) = &attribute.meta
            && !attribute.path().is_ident("doc")
        {
            self.tokens(list.tokens.clone());
        }
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }
}
