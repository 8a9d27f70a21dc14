//! Reads the paths of a source file with a parser, macros and attributes included, and says where in the crate they lead.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ItemMod, ItemUse, UseTree, Visibility};

/// What one file names.
pub(super) struct Source {
    pub(super) references: Vec<Reference>,
    /// The names that the file's own `use` items bring into its scope, and the absolute paths of what they stand for.
    pub(super) imports: BTreeMap<String, Vec<String>>,
    /// Modules in files of their own that are compiled for tests alone.
    pub(super) test_modules: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reference {
    pub(super) line: usize,
    pub(super) target: Target,
    /// Whether it is compiled for tests alone.
    pub(super) in_tests: bool,
    /// Whether it is part of a `pub use`: a name for others, which the file itself need not use.
    pub(super) is_export: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// Within the crate: the absolute path without `crate`.
    Internal(Vec<String>),
    /// Of another crate, whose name comes first.
    External(Vec<String>),
    /// More `super` than there are modules.
    OutOfCrate(String),
    /// `use crate::*`.
    WholeCrate,
    /// No path: the keyword `async`.
    Async,
}

/// Reads one file. `crates`: the names that stand for crates.
pub(super) fn read(module: &[String], text: &str, crates: &BTreeSet<String>) -> Source {
    let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", module.join("::")));
    let mut names = LocalNames::default();
    names.visit_file(&file);
    let root = matches!(module, [only] if only == "main" || only == "lib");
    let mut reader = Reader {
        module: if root { Vec::new() } else { module.to_vec() },
        depth: 0,
        // A file of tests is declared under cfg(test) by the module above it.
        in_tests: usize::from(module.iter().skip(1).any(|segment| segment == "tests")),
        is_export: false,
        local_names: names.0,
        crates,
        source: Source { references: Vec::new(), imports: BTreeMap::new(), test_modules: Vec::new() },
    };
    reader.visit_file(&file);
    reader.source
}

/// The names that a file brings into scope: they hide crates of the same name (`use crate::config; config::load()`).
#[derive(Default)]
struct LocalNames(BTreeSet<String>);

impl LocalNames {
    fn collect(&mut self, tree: &UseTree, crate_itself: bool) {
        match tree {
            UseTree::Path(path) => self.collect(&path.tree, false),
            UseTree::Name(name) if !crate_itself => drop(self.0.insert(name.ident.to_string())),
            UseTree::Rename(rename) => drop(self.0.insert(rename.rename.to_string())),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.collect(item, crate_itself)),
            UseTree::Name(_) | UseTree::Glob(_) => {}
        }
    }
}

impl<'ast> Visit<'ast> for LocalNames {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.collect(&item.tree, true);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.0.insert(item.ident.to_string());
        visit::visit_item_mod(self, item);
    }
}

/// What a string among tokens can be: attributes may name paths in strings, `#[serde(with = "crate::domain::time")]`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Literals {
    MayBePaths,
    AreText,
}

struct Reader<'a> {
    /// Where the reader is, inline modules included; empty at the crate's root.
    module: Vec<String>,
    /// How many inline modules are open.
    depth: usize,
    /// How many items that are compiled for tests alone are open.
    in_tests: usize,
    is_export: bool,
    local_names: BTreeSet<String>,
    crates: &'a BTreeSet<String>,
    source: Source,
}

impl Reader<'_> {
    fn note(&mut self, line: usize, target: Target) {
        let (in_tests, is_export) = (self.in_tests > 0, self.is_export);
        self.source.references.push(Reference { line, target, in_tests, is_export });
    }

    /// `imported`: the path stands in a `use`, so that its first segment cannot be a local variable.
    fn note_path(&mut self, segments: &[String], line: usize, imported: bool) {
        if let Some(target) = self.target(segments, imported) {
            self.note(line, target);
        }
    }

    fn target(&self, segments: &[String], imported: bool) -> Option<Target> {
        let first = segments.first()?;
        match first.as_str() {
            "crate" | "tokengate" => Some(Target::Internal(segments[1..].to_vec())),
            "self" | "super" => {
                let ups = segments.iter().take_while(|segment| *segment == "super").count();
                let skipped = ups.max(usize::from(first == "self"));
                let Some(kept) = self.module.len().checked_sub(ups) else {
                    return Some(Target::OutOfCrate(segments.join("::")));
                };
                let beyond = segments.len() > skipped;
                beyond.then(|| Target::Internal([&self.module[..kept], &segments[skipped..]].concat()))
            }
            _ if !imported && segments.len() == 1 => None,
            // `draft::Draft`, where `draft` is a module below this one, or was brought into scope by a `use`, which counts itself.
            _ if self.local_names.contains(first) && !imported => self.below(segments),
            _ if self.crates.contains(first) => Some(Target::External(segments.to_vec())),
            _ => self.below(segments),
        }
    }

    fn below(&self, segments: &[String]) -> Option<Target> {
        (!self.module.is_empty()).then(|| Target::Internal([self.module.as_slice(), segments].concat()))
    }

    fn note_use(&mut self, tree: &UseTree, prefix: &[String]) {
        let with = |ident: &syn::Ident| [prefix, &[ident.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.note_use(&path.tree, &with(&path.ident)),
            UseTree::Name(name) if name.ident == "self" => {
                let alias = prefix.last().cloned().unwrap_or_default();
                self.note_import(alias, prefix, name.ident.span().start().line);
            }
            UseTree::Name(name) => {
                self.note_import(name.ident.to_string(), &with(&name.ident), name.ident.span().start().line);
            }
            UseTree::Rename(rename) => {
                self.note_import(rename.rename.to_string(), &with(&rename.ident), rename.ident.span().start().line);
            }
            UseTree::Group(group) => group.items.iter().for_each(|item| self.note_use(item, prefix)),
            UseTree::Glob(glob) => {
                let line = glob.star_token.spans[0].start().line;
                if prefix == ["crate"] || prefix == ["tokengate"] {
                    self.note(line, Target::WholeCrate);
                }
                self.note_path(&[prefix, &["*".to_owned()]].concat(), line, true);
            }
        }
    }

    fn note_import(&mut self, name: String, path: &[String], line: usize) {
        if let (Some(Target::Internal(absolute)), 0, 0) = (self.target(path, true), self.depth, self.in_tests) {
            self.source.imports.insert(name, absolute);
        }
        self.note_path(path, line, true);
    }

    /// Reads the paths in tokens that no parser has looked into: the inside of macros and attributes.
    fn note_tokens(&mut self, tokens: TokenStream, literals: Literals) {
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if !path.is_empty() && colons == 2 => {
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Ident(ident) => {
                    self.note_path(&path, line, false);
                    line = ident.span().start().line;
                    path = vec![ident.to_string()];
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && colons < 2 => colons += 1,
                // `$crate::store`: the dollar says nothing about where the path leads.
                TokenTree::Punct(_) => {
                    self.note_path(&path, line, false);
                    path.clear();
                    colons = 0;
                }
                TokenTree::Group(group) => {
                    self.note_path(&path, line, false);
                    path.clear();
                    colons = 0;
                    self.note_tokens(group.stream(), literals);
                }
                TokenTree::Literal(literal) => {
                    self.note_path(&path, line, false);
                    path.clear();
                    colons = 0;
                    if literals == Literals::MayBePaths {
                        self.note_literal(&literal);
                    }
                }
            }
        }
        self.note_path(&path, line, false);
    }

    fn note_literal(&mut self, literal: &proc_macro2::Literal) {
        let Ok(syn::Lit::Str(text)) = syn::parse_str::<syn::Lit>(&literal.to_string()) else { return };
        let Ok(path) = syn::parse_str::<syn::Path>(&text.value()) else { return };
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.note_path(&segments, literal.span().start().line, false);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let tests = usize::from(attributes_of(item).iter().any(is_for_tests));
        self.in_tests += tests;
        visit::visit_item(self, item);
        self.in_tests -= tests;
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        let tests = usize::from(function.attrs.iter().any(is_for_tests));
        self.in_tests += tests;
        visit::visit_impl_item_fn(self, function);
        self.in_tests -= tests;
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if item.content.is_none() && self.in_tests > 0 {
            self.source.test_modules.push(item.ident.to_string());
        }
        self.module.push(item.ident.to_string());
        self.depth += 1;
        visit::visit_item_mod(self, item);
        self.depth -= 1;
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.is_export = !matches!(item.vis, Visibility::Inherited);
        self.note_use(&item.tree, &[]);
        self.is_export = false;
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.note_path(&[item.ident.to_string()], item.ident.span().start().line, true);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // `::hyper::…` can be nothing but a crate.
        let line = path.segments.first().map_or(0, |segment| segment.ident.span().start().line);
        self.note_path(&segments, line, path.leading_colon.is_some());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.note_tokens(mac.tokens.clone(), Literals::AreText);
        visit::visit_macro(self, mac);
    }

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        self.note_tokens(list.tokens.clone(), Literals::MayBePaths);
        visit::visit_meta_list(self, list);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if let Some(keyword) = &signature.asyncness {
            self.note(keyword.span.start().line, Target::Async);
        }
        visit::visit_signature(self, signature);
    }

    fn visit_expr_async(&mut self, block: &'ast syn::ExprAsync) {
        self.note(block.async_token.span.start().line, Target::Async);
        visit::visit_expr_async(self, block);
    }
}

fn attributes_of(item: &syn::Item) -> &[Attribute] {
    match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        _ => &[],
    }
}

/// `cfg(test)` and `cfg(any(test, …))`: nothing of it is in a gateway.
fn is_for_tests(attribute: &Attribute) -> bool {
    let is_test = |token: &TokenTree| matches!(token, TokenTree::Ident(ident) if ident == "test");
    let Ok(list) = attribute.meta.require_list() else { return false };
    let condition: Vec<TokenTree> = list.tokens.clone().into_iter().collect();
    let for_tests = match condition.as_slice() {
        [only] => is_test(only),
        [TokenTree::Ident(any), TokenTree::Group(alternatives)] => {
            any == "any" && alternatives.stream().into_iter().any(|token| is_test(&token))
        }
        _ => false,
    };
    attribute.path().is_ident("cfg") && for_tests
}
