//! What runs have shown, and their medians.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};

use crate::{Outcome, measure::Sample, scenario::Scenario, server::Kind};

/// All runs of one scenario.
pub struct Result {
    pub scenario: &'static Scenario,
    pub runs: BTreeMap<Kind, Vec<Sample>>,
}

/// A number over all runs.
#[derive(Clone, Copy)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Result {
    pub fn new(scenario: &'static Scenario) -> Self {
        Self { scenario, runs: BTreeMap::new() }
    }

    pub fn spread(&self, kind: Kind, metric: &str) -> Option<Spread> {
        let mut values: Vec<f64> =
            self.runs.get(&kind)?.iter().filter_map(|sample| sample.get(metric).copied()).collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Spread { median, least, most })
    }

    pub fn median(&self, kind: Kind, metric: &str) -> Option<f64> {
        Some(self.spread(kind, metric)?.median)
    }

    /// The median of one, divided by the other's.
    pub fn ratio(&self, metric: &str, one: Kind, other: Kind) -> Option<f64> {
        Some(self.median(one, metric)? / self.median(other, metric)?)
    }

    /// A file with all runs and their medians.
    pub fn write(&self, folder: &Path) -> Outcome {
        let mut runs = serde_json::Map::new();
        let mut medians = serde_json::Map::new();
        for (kind, samples) in &self.runs {
            let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
            let shown = |sample: &Sample| -> Value {
                sample.iter().map(|(name, value)| (name.clone(), json!(rounded(*value)))).collect()
            };
            runs.insert(kind.name().into(), samples.iter().map(shown).collect());
            let names = samples.iter().flat_map(|sample| sample.keys());
            let median = names.filter_map(|name| Some((name.clone(), self.median(*kind, name)?)));
            medians.insert(kind.name().into(), shown(&median.collect()));
        }
        let Scenario { name, title, unit, .. } = self.scenario;
        let result =
            json!({"scenario": name, "title": title, "unit": unit, "medians": medians, "runs": runs});
        fs::create_dir_all(folder)?;
        Ok(fs::write(folder.join(format!("{name}.json")), format!("{result:#}\n"))?)
    }
}

/// Three digits, as far as they say something.
pub fn short(value: f64) -> String {
    match value {
        value if value.abs() >= 100.0 => grouped(value.round() as i64),
        value if value.abs() >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// Thousands apart.
fn grouped(value: i64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

impl Spread {
    pub fn show(self) -> String {
        let Self { median, least, most } = self;
        if least == most {
            short(median)
        } else {
            format!("{} ({}–{})", short(median), short(least), short(most))
        }
    }

    pub fn scaled(self, by: f64) -> Self {
        Self { median: self.median * by, least: self.least * by, most: self.most * by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SCENARIOS;

    #[test]
    fn medians_and_ratios() {
        let mut result = Result::new(&SCENARIOS[0]);
        let sample = |value: f64| Sample::from([("cpu_us".to_owned(), value)]);
        result.runs.insert(Kind::Ours, [3.0, 1.0, 2.0].map(sample).to_vec());
        result.runs.insert(Kind::Node, [4.0, 12.0].map(sample).to_vec());
        let ours = result.spread(Kind::Ours, "cpu_us").unwrap();
        assert_eq!(ours.show(), "2.00 (1.00–3.00)");
        assert_eq!(result.median(Kind::Node, "cpu_us"), Some(8.0));
        assert_eq!(result.ratio("cpu_us", Kind::Ours, Kind::Node), Some(0.25));
        assert_eq!(result.ratio("cpu_us", Kind::Ours, Kind::Raw), None);
        assert_eq!(result.median(Kind::Ours, "p50_us"), None);
    }

    #[test]
    fn numbers() {
        for (value, text) in [(0.333, "0.33"), (12.34, "12.3"), (123.4, "123"), (1234567.0, "1 234 567")] {
            assert_eq!(short(value), text);
        }
    }
}
