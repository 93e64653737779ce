//! Many pages of Prometheus' text format made into one.

use std::{collections::BTreeMap, fmt::Write as _};

/// Puts the samples of several processes side by side: each gets a label `process`, and those of
/// one metric stand together under one `HELP` and one `TYPE`, as the format demands.
pub fn merge<'a>(pages: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for (process, page) in pages {
        // Samples follow the header of their family; its name is a prefix of theirs.
        let mut current = String::new();
        for line in page.lines().filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                let (kind, name) = (words.next(), words.next().unwrap_or_default());
                name.clone_into(&mut current);
                let family = families.entry(current.clone()).or_default();
                match kind {
                    Some("HELP") => line.clone_into(&mut family.help),
                    Some("TYPE") => line.clone_into(&mut family.kind),
                    _ => {}
                }
            } else {
                let name = line.split(['{', ' ']).next().unwrap_or_default();
                if !name.starts_with(&current) || current.is_empty() {
                    name.clone_into(&mut current);
                }
                let sample = labelled(line, process);
                families
                    .entry(current.clone())
                    .or_default()
                    .samples
                    .push(sample);
            }
        }
    }
    let mut text = String::new();
    for family in families.into_values() {
        for line in [family.help, family.kind]
            .into_iter()
            .filter(|line| !line.is_empty())
        {
            let _ = writeln!(text, "{line}");
        }
        for sample in family.samples {
            let _ = writeln!(text, "{sample}");
        }
    }
    text
}

#[derive(Debug, Default)]
struct Family {
    help: String,
    kind: String,
    samples: Vec<String>,
}

/// `name{a="b"} 1` or `name 1`, with `process` as its first label.
fn labelled(sample: &str, process: &str) -> String {
    match sample.split_once('{') {
        Some((name, rest)) if rest.starts_with('}') => {
            format!("{name}{{process=\"{process}\"{rest}")
        }
        Some((name, rest)) if !name.contains(' ') => {
            format!("{name}{{process=\"{process}\",{rest}")
        }
        _ => match sample.split_once(' ') {
            Some((name, value)) => format!("{name}{{process=\"{process}\"}} {value}"),
            None => sample.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_metric_stand_together_and_say_whose_they_are() {
        let orders = "# HELP a_total Things.\n# TYPE a_total counter\na_total 1\n\n# TYPE b summary\nb{quantile=\"0.5\"} 2\nb_sum 3\n";
        let stock = "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"{\"} 4\n";
        assert_eq!(
            merge([("orders", orders), ("stock", stock)]),
            "# HELP a_total Things.\n\
             # TYPE a_total counter\n\
             a_total{process=\"orders\"} 1\n\
             a_total{process=\"stock\",x=\"{\"} 4\n\
             # TYPE b summary\n\
             b{process=\"orders\",quantile=\"0.5\"} 2\n\
             b_sum{process=\"orders\"} 3\n"
        );
    }
}
