//! From a schedule that fails to a short one that fails in the same way: delta debugging.

use crate::{op::Op, planted::Planted, run::run};

/// Takes away what is not needed for the invariant to be broken.
pub fn shrink(seed: u64, ops: &[Op], planted: Option<Planted>, invariant: &str) -> Vec<Op> {
    let fails = |ops: &[Op]| {
        let violation = run(seed, ops, planted).violation;
        violation.is_some_and(|violation| violation.invariant == invariant)
    };
    let mut kept = ops.to_vec();
    let mut part = kept.len().div_ceil(2).max(1);
    loop {
        let mut start = 0;
        let mut is_shorter = false;
        while start < kept.len() {
            let end = (start + part).min(kept.len());
            let without = [&kept[..start], &kept[end..]].concat();
            if fails(&without) {
                kept = without;
                is_shorter = true;
            } else {
                start = end;
            }
        }
        if part == 1 && !is_shorter {
            return kept;
        }
        part = (part / 2).max(1);
    }
}

/// A test for `reproductions.rs`, but for its name.
pub fn as_test(seed: u64, ops: &[Op]) -> String {
    let mut text = format!("#[test]\nfn name_me_for_what_was_wrong() {{\n    holds({seed}, &[\n");
    for op in ops {
        text.push_str(&format!("        {},\n", as_rust(*op)));
    }
    text.push_str("    ]);\n}\n");
    text
}

fn as_rust(op: Op) -> String {
    let mut text = format!("{op:?}");
    for (field, path) in [("card", "Card"), ("says", "Says"), ("fate", "Fate")] {
        text = text.replace(&format!("{field}: "), &format!("{field}: {path}::"));
    }
    text
}
