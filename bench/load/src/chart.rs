//! The picture: a unit of work in each scenario, relative to socketioxide.

use std::fmt::Write;

use crate::{
    results::{Result, short},
    server::Kind,
    targets::{Metric, TARGETS},
};

/// Pixels.
const WIDTH: f64 = 860.0;
const LABELS: f64 = 250.0;
const BAR: f64 = 9.0;
const GROUP: f64 = 3.0 * BAR + 12.0;
const TOP: f64 = 74.0;
/// Bars that are longer are cut, and say what they are.
const LONGEST: f64 = 4.0;

const KINDS: [(Kind, &str); 3] =
    [(Kind::Ours, "#c2410c"), (Kind::Socketioxide, "#475569"), (Kind::Node, "#94a3b8")];

pub fn draw(results: &[Result]) -> String {
    let rows: Vec<_> = TARGETS
        .iter()
        .filter(|target| target.against == Kind::Socketioxide)
        .filter_map(|target| Some((target, target.result(results)?)))
        .filter(|(target, result)| result.median(Kind::Socketioxide, target.metric.name()).is_some())
        .collect();
    let height = TOP + rows.len() as f64 * GROUP + 30.0;
    let scale = (WIDTH - LABELS - 70.0) / LONGEST;
    let at = |ratio: f64| LABELS + ratio.min(LONGEST) * scale;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"#1e293b\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"16\">What a unit of work costs the server, relative to socketioxide \
         (shorter is better)</text>\n"
    );
    for (index, (kind, colour)) in KINDS.iter().enumerate() {
        let x = 16.0 + index as f64 * 120.0;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"40\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{}\" y=\"50\">{}</text>",
            x + 18.0,
            kind.name()
        );
    }
    let _ = writeln!(
        svg,
        "<path d=\"M376 40v12\" stroke=\"#15803d\" stroke-width=\"3\"/><text x=\"386\" y=\"50\">target of ours</text>"
    );
    for (index, (target, result)) in rows.iter().enumerate() {
        let y = TOP + index as f64 * GROUP;
        let metric = target.metric.name();
        let _ = writeln!(svg, "<text x=\"16\" y=\"{}\">{}</text>", y + 18.0, target.title);
        for (row, (kind, colour)) in KINDS.iter().enumerate() {
            let Some(ratio) = result.ratio(metric, *kind, Kind::Socketioxide) else { continue };
            let top = y + row as f64 * BAR;
            let value = result.median(*kind, metric).unwrap_or_default();
            let value = if target.metric == Metric::Resident { value / 1000.0 } else { value };
            let _ = writeln!(
                svg,
                "<rect x=\"{LABELS}\" y=\"{top}\" width=\"{:.1}\" height=\"{}\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{}\" font-size=\"9\">{} {}</text>",
                at(ratio) - LABELS,
                BAR - 1.0,
                at(ratio) + 4.0,
                top + 8.0,
                short(value),
                target.metric.unit(),
            );
        }
        let _ = writeln!(
            svg,
            "<path d=\"M{:.1} {}v{}\" stroke=\"#15803d\" stroke-width=\"2\"/>",
            at(target.limit),
            y - 2.0,
            BAR + 3.0
        );
    }
    let (top, bottom) = (TOP - 8.0, height - 24.0);
    for mark in [0.0, 1.0, 2.0, 3.0, LONGEST] {
        let x = at(mark);
        let last = if mark < LONGEST { "" } else { " and more" };
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {top}V{bottom}\" stroke=\"#cbd5e1\" stroke-dasharray=\"2 3\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" font-size=\"10\">{mark} ×{last}</text>",
            bottom + 14.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}
