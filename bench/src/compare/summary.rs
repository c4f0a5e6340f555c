//! Medians, ratios and their table.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::{Comparison, Run};
use crate::json::Object;
use crate::load::Report;

/// A figure of a report.
pub type Figure = fn(&Report) -> f64;

/// Figures whose ratios are printed.
const RATIOS: [(&str, Figure); 5] = [
    ("IOPS", |r| r.iops),
    ("p50", |r| r.p50_us),
    ("p99", |r| r.p99_us),
    ("cpu/IO", |r| r.target_us_per_io),
    ("machine cpu/IO", |r| r.machine_busy / r.iops.max(1.0)),
];

/// The middle of the values, the mean of the two middle ones; NaN when there are none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match (values.get(half), values.len() % 2) {
        (Some(middle), 1) => *middle,
        (Some(upper), _) => (values.get(half.wrapping_sub(1)).unwrap_or(upper) + upper) / 2.0,
        (None, _) => f64::NAN,
    }
}

impl Comparison {
    fn of<'a>(&'a self, row: &'a str, label: &'a str) -> impl Iterator<Item = &'a Run> {
        self.runs
            .iter()
            .filter(move |r| r.row == row && r.label == label)
    }

    /// Median of a figure over the rounds.
    pub fn median(&self, row: &str, label: &str, figure: Figure) -> f64 {
        median(self.of(row, label).map(|r| figure(&r.report)).collect())
    }

    /// Median, least and most of the ratio of the first target to `label`, round by round.
    pub fn ratio(&self, row: &str, label: &str, figure: Figure) -> Option<(f64, f64, f64)> {
        let first = self.labels.first()?;
        let base: HashMap<usize, f64> = self
            .of(row, label)
            .map(|r| (r.round, figure(&r.report)))
            .collect();
        let pairs = self.of(row, first).filter_map(|r| {
            let below = base.get(&r.round).copied().filter(|b| *b > 0.0)?;
            Some(figure(&r.report) / below)
        });
        let ratios: Vec<f64> = pairs.collect();
        let least = ratios.iter().copied().reduce(f64::min)?;
        let most = ratios.iter().copied().reduce(f64::max)?;
        Some((median(ratios), least, most))
    }

    /// Commands that did not end GOOD, all runs together.
    pub fn errors(&self) -> u64 {
        self.runs.iter().map(|r| r.report.errors).sum()
    }

    /// Medians and ratios, one JSON object per row and target.
    pub fn json_lines(&self) -> Vec<Object> {
        let mut out = Vec::new();
        for row in &self.rows {
            for label in &self.labels {
                let mut o = Object::new();
                o.boolean("median", true)
                    .text("row", &row.name)
                    .text("target", label);
                for (name, figure) in [
                    ("iops", (|r| r.iops) as Figure),
                    ("mib_s", |r| r.mib_s),
                    ("p50_us", |r| r.p50_us),
                    ("p99_us", |r| r.p99_us),
                    ("target_us_per_io", |r| r.target_us_per_io),
                    ("target_util", |r| r.target_util),
                ] {
                    o.float(name, self.median(&row.name, label, figure));
                }
                if Some(label) != self.labels.first() {
                    for (name, figure) in RATIOS {
                        if let Some((mid, least, most)) = self.ratio(&row.name, label, figure) {
                            o.float(&format!("ratio {name}"), mid);
                            o.float(&format!("ratio {name} min"), least);
                            o.float(&format!("ratio {name} max"), most);
                        }
                    }
                }
                out.push(o);
            }
        }
        out
    }

    fn table(&self) -> String {
        let mut out = format!(
            "{:<13}{:<14}{:>9}{:>8}{:>9}{:>9}{:>10}{:>10}{:>6}{:>10}{:>7}{:>8}{:>6}{:>8}\n",
            "row",
            "target",
            "IOPS",
            "MiB/s",
            "p50 us",
            "p99 us",
            "cpu us/IO",
            "cpu s/GiB",
            "util",
            "IOPS/core",
            "client",
            "foreign",
            "steal",
            "RSS MiB"
        );
        for row in &self.rows {
            for label in &self.labels {
                let m = |figure: Figure| self.median(&row.name, label, figure);
                let (iops, cpu, util) = (
                    m(|r| r.iops),
                    m(|r| r.target_us_per_io),
                    m(|r| r.target_util),
                );
                let per_gib = cpu * 1e-6 * f64::from(1 << 30) / f64::from(row.block);
                let per_core = if util > 0.0 { iops / util } else { 0.0 };
                let short: String = label.chars().take(13).collect();
                let _ = writeln!(
                    out,
                    "{:<13}{:<14}{:>9.0}{:>8.0}{:>9.1}{:>9.1}{:>10.2}{:>10.3}{:>6.2}{:>10.0}{:>7.2}{:>8.2}{:>6.2}{:>8.1}",
                    row.name,
                    short,
                    iops,
                    m(|r| r.mib_s),
                    m(|r| r.p50_us),
                    m(|r| r.p99_us),
                    cpu,
                    per_gib,
                    util,
                    per_core,
                    m(|r| r.client_util),
                    m(Report::foreign),
                    m(|r| r.steal),
                    m(|r| r.rss_kib as f64 / 1024.0)
                );
            }
        }
        out
    }
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.table())?;
        let first = self.labels.first().map_or("", String::as_str);
        for label in self.labels.iter().skip(1) {
            writeln!(
                f,
                "\nratio {first} / {label}  (median of paired rounds, [min max])"
            )?;
            for row in &self.rows {
                write!(f, "{:<13}", row.name)?;
                for (name, figure) in RATIOS {
                    match self.ratio(&row.name, label, figure) {
                        Some((mid, low, high)) => {
                            write!(f, "  {name} {mid:.2} [{low:.2} {high:.2}]")?
                        }
                        None => write!(f, "  {name} -")?,
                    }
                }
                writeln!(f)?;
            }
        }
        let disturbed = self
            .runs
            .iter()
            .filter(|r| r.report.foreign() > 0.25 || r.report.steal > 0.05)
            .count();
        if disturbed > 0 {
            writeln!(
                f,
                "\nnote: in {disturbed} of {} runs others took over 0.25 CPU or the host over 0.05: trust cpu/IO before IOPS and latency",
                self.runs.len()
            )?;
        }
        for failure in &self.failures {
            writeln!(f, "failed: {failure}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_even_and_no_values() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }
}
