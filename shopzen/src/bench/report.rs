//! Figures, for people as aligned text and for programs as whole numbers with their unit.

use std::{collections::BTreeMap, fmt::Write as _, num::NonZero, thread, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::processes::Parts;

/// Where nothing is known.
const UNKNOWN: &str = "–";
const GAP: &str = "  ";

/// One kind of answer in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Figures {
    pub count: u64,
    pub per_second: u64,
    /// From the request to the whole answer, in microseconds. 0 where there was none.
    pub latency_us: Latency,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

impl Figures {
    /// Of times in microseconds that were taken in `elapsed`.
    pub fn new(times: &Histogram<u64>, elapsed: Duration) -> Self {
        Self {
            count: times.len(),
            per_second: per_second(times.len(), elapsed),
            latency_us: Latency::of(times),
        }
    }

    /// The cells of a table: p50, p99 and the longest, in milliseconds.
    pub fn latency_cells(&self) -> [String; 3] {
        let Latency { p50, p99, max } = self.latency_us;
        [p50, p99, max].map(|us| {
            if self.count == 0 {
                UNKNOWN.to_owned()
            } else {
                ms(us)
            }
        })
    }
}

impl Latency {
    /// Of times in microseconds.
    pub fn of(times: &Histogram<u64>) -> Self {
        Self {
            p50: times.value_at_quantile(0.5),
            p99: times.value_at_quantile(0.99),
            max: times.max(),
        }
    }
}

/// What a run took of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// CPU time in milliseconds for each second that passed: 1000 is one processor, busy all the time.
    pub cpu_ms_per_s: Parts<u64>,
    /// Resident memory of shopzen.
    pub memory_bytes: Memory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    pub before: Option<u64>,
    /// The most that was seen in the run, looking once a second.
    pub max: Option<u64>,
}

impl Cost {
    pub fn new(
        cpu: &Parts<Duration>,
        elapsed: Duration,
        memory_before: Option<u64>,
        memory_max: Option<u64>,
    ) -> Self {
        let rate = |used: Option<Duration>| {
            used.map(|used| {
                per_second(u64::try_from(used.as_millis()).unwrap_or(u64::MAX), elapsed)
            })
        };
        Self {
            cpu_ms_per_s: Parts {
                nats: rate(cpu.nats),
                postgres: rate(cpu.postgres),
                shopzen: rate(cpu.shopzen),
                load: rate(cpu.load),
                machine: rate(cpu.machine),
            },
            memory_bytes: Memory {
                before: memory_before,
                max: memory_max,
            },
        }
    }
}

/// What runs cost, a line for each. `runs` are named by what stands under `what`.
pub fn cost_table(what: &str, runs: &[(String, Cost)]) -> String {
    let cpus = cpus();
    let machine = format!("machine (of {cpus})");
    let header = [
        what,
        "NATS",
        "PostgreSQL",
        "shopzen",
        "this load",
        &machine,
        "MB before",
        "MB at most",
    ];
    let rows = runs.iter().map(
        |(
            name,
            Cost {
                cpu_ms_per_s: cpu,
                memory_bytes: memory,
            },
        )| {
            let cpu = [cpu.nats, cpu.postgres, cpu.shopzen, cpu.load, cpu.machine];
            let memory = [memory.before, memory.max];
            let mut row = vec![name.clone()];
            row.extend(cpu.map(|ms| ms.map_or_else(|| UNKNOWN.to_owned(), seconds)));
            row.extend(memory.map(|bytes| bytes.map_or_else(|| UNKNOWN.to_owned(), megabytes)));
            row
        },
    );
    format!(
        "CPU seconds a second, and shopzen's resident memory\n{}",
        table(&header, &rows.collect::<Vec<_>>())
    )
}

/// What went otherwise than hoped, by name; nothing where all went well.
pub fn oddities(
    run: &str,
    others: &BTreeMap<String, u64>,
    first_other: Option<&str>,
    errors: &BTreeMap<String, u64>,
) -> String {
    let mut text = String::new();
    for (what, odd) in [("other answers", others), ("errors", errors)] {
        if !odd.is_empty() {
            let odd: Vec<String> = odd
                .iter()
                .map(|(name, count)| format!("{} × {name}", grouped(*count)))
                .collect();
            let _ = writeln!(text, "{run}: {what}: {}", odd.join(", "));
        }
    }
    if let Some(first) = first_other {
        let _ = writeln!(text, "{run}: the first of them: {first}");
    }
    text
}

/// Lines of aligned columns, the numbers to the right.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|&cell| cell.to_owned()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&header).chain(rows).collect();
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:>width$}"))
            .collect();
        text.push_str(cells.join(GAP).trim_end());
        text.push('\n');
    }
    text
}

/// Processors that this program may use.
pub fn cpus() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// 1,234,567.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Rounded down, as all figures here.
fn per_second(count: u64, elapsed: Duration) -> u64 {
    let elapsed = elapsed.as_micros().max(1);
    u64::try_from(u128::from(count) * 1_000_000 / elapsed).unwrap_or(u64::MAX)
}

/// Microseconds as milliseconds with a tenth.
fn ms(us: u64) -> String {
    format!("{}.{}", grouped(us / 1000), us % 1000 / 100)
}

/// Milliseconds as seconds with a hundredth.
fn seconds(ms: u64) -> String {
    format!("{}.{:02}", grouped(ms / 1000), ms % 1000 / 10)
}

fn megabytes(bytes: u64) -> String {
    grouped(bytes / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_what_so_many_stayed_under() {
        let mut times = Histogram::new_with_max(60_000_000, 3).unwrap();
        for us in 1..=1_000_u64 {
            times.record(us * 1_000).unwrap();
        }
        let figures = Figures::new(&times, Duration::from_millis(2_500));
        assert_eq!((figures.count, figures.per_second), (1_000, 400));
        let Latency { p50, p99, max } = figures.latency_us;
        for (found, expected) in [(p50, 500_000), (p99, 990_000), (max, 1_000_000)] {
            assert!(
                found.abs_diff(expected) <= expected / 1_000,
                "{found} for {expected}"
            );
        }
        assert_eq!(
            figures.latency_cells()[1],
            format!("{}.{}", p99 / 1000, p99 % 1000 / 100)
        );
    }

    #[test]
    fn of_no_answers_no_times_are_shown() {
        let times = Histogram::new_with_max(60_000_000, 3).unwrap();
        let figures = Figures::new(&times, Duration::ZERO);
        assert_eq!(
            (figures.count, figures.per_second, figures.latency_us.max),
            (0, 0, 0)
        );
        assert_eq!(figures.latency_cells(), [UNKNOWN; 3]);
    }

    #[test]
    fn numbers_stand_under_each_other() {
        let rows = [
            vec!["16".to_owned(), grouped(1_234)],
            vec!["256".to_owned(), UNKNOWN.to_owned()],
        ];
        assert_eq!(
            table(&["shoppers", "a second"], &rows),
            "shoppers  a second\n      16     1,234\n     256         –\n"
        );
    }

    #[test]
    fn numbers_are_written_for_people() {
        let numbers = [0, 12, 999, 1_000, 56_789, 1_234_567];
        let shown = ["0", "12", "999", "1,000", "56,789", "1,234,567"];
        assert_eq!(numbers.map(grouped), shown);
        assert_eq!(
            [0, 99, 8_149, 1_234_567].map(ms),
            ["0.0", "0.0", "8.1", "1,234.5"]
        );
        assert_eq!(
            [0, 9, 460, 1_995].map(seconds),
            ["0.00", "0.00", "0.46", "1.99"]
        );
    }

    #[test]
    fn the_cost_of_a_run_is_by_the_second_and_says_what_is_unknown() {
        let cpu = Parts {
            nats: Some(Duration::from_millis(920)),
            shopzen: Some(Duration::from_secs(3)),
            ..Parts::default()
        };
        let cost = Cost::new(&cpu, Duration::from_secs(2), Some(54_900_000), None);
        assert_eq!(
            (cost.cpu_ms_per_s.nats, cost.cpu_ms_per_s.shopzen),
            (Some(460), Some(1_500))
        );
        let text = cost_table("shoppers", &[("16".to_owned(), cost)]);
        let cells: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(cells, ["16", "0.46", "–", "1.50", "–", "–", "54", "–"]);
    }

    #[test]
    fn what_went_otherwise_is_told() {
        let none = BTreeMap::new();
        assert_eq!(oddities("16", &none, None, &none), "");
        let others = [("HTTP 503".to_owned(), 1_200), ("placed".to_owned(), 1)].into();
        assert_eq!(
            oddities("16 shoppers", &others, Some("503 {}"), &none),
            "16 shoppers: other answers: 1,200 × HTTP 503, 1 × placed\n\
             16 shoppers: the first of them: 503 {}\n"
        );
    }
}
