//! The tree of categories.

use std::collections::BTreeMap;

use shopzen_contracts::{FieldError, Slug, catalog};

use crate::feed::category_slug;

/// The most categories a shop has: the whole tree is one answer, and the broker takes 1 MiB.
const CATEGORIES_MAX: usize = 1_500;
/// The deepest place in the tree.
pub(super) const DEPTH_MAX: usize = 10;

/// One node. Neither name nor place ever change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Category {
    pub(crate) slug: Slug,
    pub(crate) name: String,
    /// None at the root.
    pub(crate) parent: Option<Slug>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct CategoryTree {
    nodes: BTreeMap<Slug, Category>,
}

impl CategoryTree {
    /// Puts a category in. Its parent may follow later.
    pub(crate) fn insert(&mut self, category: Category) {
        self.nodes.insert(category.slug.clone(), category);
    }

    /// A category and all above it, from the root down.
    pub(crate) fn chain(&self, slug: &Slug) -> Vec<Slug> {
        let mut chain = Vec::new();
        let mut next = Some(slug);
        while let Some(category) = next.and_then(|slug| self.nodes.get(slug)) {
            chain.push(category.slug.clone());
            next = category.parent.as_ref();
        }
        chain.reverse();
        chain
    }

    /// Finds the categories that `path` names, from the root down, and those that are to be made.
    /// The first part may name any category there is by its slug; those above it come with it.
    pub(crate) fn resolve(&self, path: &[String]) -> Result<Resolved, FieldError> {
        let mut found = Resolved::default();
        for (index, name) in path.iter().enumerate() {
            let refuse =
                |code, detail| FieldError::new(format!("/categories/{index}"), code, detail);
            match self.find(found.chain.last(), name) {
                Some(slug) if index == 0 => found.chain = self.chain(&slug),
                Some(slug) => found.chain.push(slug),
                None => {
                    let slug = self.free_slug(&found, name).ok_or_else(|| {
                        refuse("slug_taken", "has the slug of another category".to_owned())
                    })?;
                    let (name, parent) = (name.trim().to_owned(), found.chain.last().cloned());
                    found.chain.push(slug.clone());
                    found.missing.push(Category { slug, name, parent });
                }
            }
            if found.chain.len() > DEPTH_MAX {
                return Err(refuse(
                    "too_deep",
                    format!("is more than {DEPTH_MAX} levels deep"),
                ));
            }
        }
        if self.nodes.len() + found.missing.len() > CATEGORIES_MAX {
            let detail = format!("there are {CATEGORIES_MAX} categories, which is the most");
            return Err(FieldError::new("/categories", "too_many", detail));
        }
        Ok(found)
    }

    fn find(&self, parent: Option<&Slug>, name: &str) -> Option<Slug> {
        let candidates = candidates(parent, name);
        // Where a slug was given as it stands, it means that one.
        let given = Slug::parse(name).ok();
        given
            .iter()
            .chain(&candidates)
            .find(|slug| {
                let category = self.nodes.get(slug);
                category.is_some_and(|it| parent.is_none() || it.parent.as_ref() == parent)
            })
            .cloned()
    }

    fn free_slug(&self, found: &Resolved, name: &str) -> Option<Slug> {
        candidates(found.chain.last(), name)
            .into_iter()
            .find(|slug| !self.nodes.contains_key(slug) && !found.chain.contains(slug))
    }

    /// The tree as shoppers see it, siblings by name.
    pub(crate) fn shown(&self, product_count: impl Fn(&Slug) -> u64) -> Vec<catalog::Category> {
        let mut children: BTreeMap<Option<&Slug>, Vec<&Category>> = BTreeMap::new();
        for category in self.nodes.values() {
            children
                .entry(category.parent.as_ref())
                .or_default()
                .push(category);
        }
        branch(None, &children, &product_count)
    }
}

/// Where a path leads.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) chain: Vec<Slug>,
    /// Parents first.
    pub(crate) missing: Vec<Category>,
}

/// The slugs a category may have: its own name, or its parent's before it where another category
/// was faster (`men-shoes`).
fn candidates(parent: Option<&Slug>, name: &str) -> Vec<Slug> {
    let mut candidates = vec![category_slug(name)];
    candidates.extend(parent.map(|parent| category_slug(&format!("{parent} {name}"))));
    candidates
}

/// At most [`DEPTH_MAX`] deep.
fn branch(
    parent: Option<&Slug>,
    children: &BTreeMap<Option<&Slug>, Vec<&Category>>,
    product_count: &impl Fn(&Slug) -> u64,
) -> Vec<catalog::Category> {
    let mut here = children.get(&parent).cloned().unwrap_or_default();
    here.sort_by(|a, b| (&a.name, &a.slug).cmp(&(&b.name, &b.slug)));
    here.into_iter()
        .map(|category| catalog::Category {
            slug: category.slug.clone(),
            name: category.name.clone(),
            product_count: product_count(&category.slug),
            children: branch(Some(&category.slug), children, product_count),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Resolves, makes what is missing, and shows where the path leads.
    fn grow(tree: &mut CategoryTree, names: &[&str]) -> String {
        let resolved = tree.resolve(&path(names)).unwrap();
        for category in resolved.missing {
            tree.insert(category);
        }
        resolved
            .chain
            .iter()
            .map(Slug::as_str)
            .collect::<Vec<_>>()
            .join("/")
    }

    #[test]
    fn missing_categories_are_made_and_found_again() {
        let mut tree = CategoryTree::default();
        assert_eq!(
            grow(&mut tree, &["Home & Garden", "Lamps"]),
            "home-garden/lamps"
        );
        assert_eq!(
            grow(&mut tree, &["Home & Garden", "Lamps"]),
            "home-garden/lamps"
        );
        assert_eq!(
            grow(&mut tree, &["home-garden", "lamps"]),
            "home-garden/lamps"
        );
        assert_eq!(
            grow(&mut tree, &["lamps"]),
            "home-garden/lamps",
            "those above come with it"
        );
        assert_eq!(
            grow(&mut tree, &["lamps", "Desk"]),
            "home-garden/lamps/desk"
        );
        assert_eq!(grow(&mut tree, &[]), "");
        assert_eq!(tree.nodes.len(), 3);
    }

    #[test]
    fn categories_of_one_name_at_two_places_are_two() {
        let mut tree = CategoryTree::default();
        assert_eq!(grow(&mut tree, &["Women", "Shoes"]), "women/shoes");
        assert_eq!(grow(&mut tree, &["Men", "Shoes"]), "men/men-shoes");
        assert_eq!(grow(&mut tree, &["Men", "Shoes"]), "men/men-shoes");
        assert_eq!(grow(&mut tree, &["men", "men-shoes"]), "men/men-shoes");
        assert_eq!(
            grow(&mut tree, &["Shoes", "Shoes"]),
            "women/shoes/shoes-shoes"
        );
    }

    #[test]
    fn a_tree_has_a_floor_and_an_edge() {
        let mut tree = CategoryTree::default();
        let deep: Vec<String> = (0..=DEPTH_MAX)
            .map(|level| format!("level {level}"))
            .collect();
        let error = tree.resolve(&deep).unwrap_err();
        assert_eq!(
            (error.pointer.as_str(), error.code.as_str()),
            ("/categories/10", "too_deep")
        );
        for number in 0..CATEGORIES_MAX {
            grow(&mut tree, &[&format!("c{number}")]);
        }
        assert_eq!(
            tree.resolve(&path(&["one more"])).unwrap_err().code,
            "too_many"
        );
        assert_eq!(grow(&mut tree, &["c7"]), "c7");
    }

    #[test]
    fn siblings_are_shown_by_name() {
        let mut tree = CategoryTree::default();
        grow(&mut tree, &["Lamps", "Floor"]);
        grow(&mut tree, &["Lamps", "Desk"]);
        grow(&mut tree, &["Chairs"]);
        let shown = tree.shown(|slug| u64::from(slug.as_str() == "lamps"));
        let names: Vec<&str> = shown
            .iter()
            .map(|category| category.name.as_str())
            .collect();
        assert_eq!(names, ["Chairs", "Lamps"]);
        assert_eq!(shown[1].children[0].name, "Desk");
        assert_eq!((shown[0].product_count, shown[1].product_count), (0, 1));
    }

    proptest! {
        #[test]
        fn whatever_is_asked_for_the_tree_stays_a_tree(
            paths in prop::collection::vec(prop::collection::vec("[ab -]{0,3}", 0..4), 0..20),
        ) {
            let mut tree = CategoryTree::default();
            for path in paths {
                let Ok(resolved) = tree.resolve(&path) else { continue };
                for category in resolved.missing {
                    let slug = category.slug.clone();
                    prop_assert!(!tree.nodes.contains_key(&slug));
                    tree.insert(category);
                }
                if let Some(leaf) = resolved.chain.last() {
                    prop_assert_eq!(&tree.chain(leaf), &resolved.chain);
                    prop_assert!(resolved.chain.len() >= path.len());
                }
            }
        }
    }
}
