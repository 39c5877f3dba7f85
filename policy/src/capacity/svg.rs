//! A picture of where the bits are: one bar for each place, the largest first.
//!
//! It stands alone: no scripts, no fonts or pictures from elsewhere; all text is escaped.

use std::fmt::Write as _;

use super::report::{bits, place};
use super::{Capacity, Leaf};

/// No more bars than this; what is left is one more bar.
const MAX_BARS: usize = 24;

/// Longer labels are cut in the middle, in characters.
const MAX_LABEL: usize = 46;

/// Longer notes are cut, in characters.
const MAX_NOTE: usize = 24;

/// Longer titles are cut, in characters.
const MAX_TITLE: usize = 64;

const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 32.0;
const LABELS: f64 = 350.0;
const VALUES: f64 = 196.0;
const ROW: f64 = 26.0;
const BAR: f64 = 14.0;
const TOP: f64 = 168.0;

/// What kinds of places there are, and their colours: readable on white, and told apart by people
/// with any colour vision (Okabe and Ito 2008).
const KINDS: [(&str, &str); 6] = [
    ("integers", "#0072b2"),
    ("other numbers", "#56b4e9"),
    ("text", "#d55e00"),
    ("lists of values", "#009e73"),
    ("several types", "#cc79a7"),
    ("unbounded", "#b00020"),
];

/// A bar.
struct Bar {
    label: String,
    bits: f64,
    note: String,
    kind: usize,
}

/// A picture of a capacity. `allowed`: what `sdcCapacity` says, in bits.
pub fn svg(title: &str, capacity: &Capacity, allowed: Option<u64>) -> String {
    let bars = bars(capacity);
    let notes = notes(capacity);
    let bottom = TOP + ROW * bars.len().max(1) as f64;
    let height = bottom + 32.0 + 18.0 * notes.len() as f64;
    let mut out = String::with_capacity(4096);
    let title = shortened(title, MAX_TITLE);
    let total = total(capacity);
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title desc" font-family="system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif" font-size="13" fill="#1f2933">
<title id="title">Information capacity of {0}</title>
<desc id="desc">{1}</desc>
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="{MARGIN}" y="44" font-size="22" font-weight="600">Information capacity of {0}</text>
<text x="{MARGIN}" y="68" fill="#52606d">{1}</text>"##,
        escaped(&title),
        escaped(&total),
    );
    gauge(&mut out, capacity, allowed);
    legend(&mut out, &bars);
    chart(&mut out, &bars, bottom);
    for (i, note) in notes.iter().enumerate() {
        let _ = writeln!(
            out,
            r##"<text x="{MARGIN}" y="{:.1}" font-size="12" fill="#52606d">{}</text>"##,
            bottom + 30.0 + 18.0 * i as f64,
            escaped(note),
        );
    }
    out.push_str("</svg>\n");
    out
}

fn total(capacity: &Capacity) -> String {
    let size = if capacity.by_size {
        ", by the size of the body alone"
    } else {
        ""
    };
    match capacity.bits() {
        Some(_) => format!(
            "One release carries at most {} bits{size}.",
            spaced(capacity.bits_f64())
        ),
        None => "Nothing bounds what one release carries.".to_owned(),
    }
}

/// How much of what is allowed is used.
#[expect(clippy::cast_precision_loss, reason = "for display")]
fn gauge(out: &mut String, capacity: &Capacity, allowed: Option<u64>) {
    let Some(allowed) = allowed else {
        return;
    };
    let length = WIDTH - 2.0 * MARGIN;
    let share = (capacity.bits_f64() / (allowed as f64).max(1.0)).min(1.0);
    let exceeded = capacity.bits().is_none_or(|bits| bits > allowed);
    let colour = if exceeded { "#b00020" } else { "#334e68" };
    let limit = grouped(&allowed.to_string());
    let words = if exceeded {
        format!("more than the {limit} bits of sdcCapacity")
    } else {
        format!("{:.0} % of the {limit} bits of sdcCapacity", share * 100.0)
    };
    let _ = writeln!(
        out,
        r##"<rect x="{MARGIN}" y="84" width="{length}" height="10" rx="5" fill="#e4e7eb"/>
<rect x="{MARGIN}" y="84" width="{:.1}" height="10" rx="5" fill="{colour}"/>
<text x="{}" y="68" text-anchor="end" fill="{colour}">{words}</text>"##,
        (length * share).max(2.0),
        WIDTH - MARGIN,
    );
}

fn legend(out: &mut String, bars: &[Bar]) {
    let mut x = MARGIN;
    for (kind, (name, colour)) in KINDS.iter().enumerate() {
        if bars.iter().all(|bar| bar.kind != kind) {
            continue;
        }
        let _ = writeln!(
            out,
            r##"<rect x="{x}" y="114" width="12" height="12" rx="2" fill="{colour}"/>
<text x="{}" y="125" fill="#52606d">{name}</text>"##,
            x + 18.0,
        );
        x += 44.0 + 7.2 * name.len() as f64;
    }
}

fn chart(out: &mut String, bars: &[Bar], bottom: f64) {
    let left = MARGIN + LABELS;
    let room = WIDTH - left - VALUES - MARGIN;
    let finite = bars
        .iter()
        .map(|bar| bar.bits)
        .filter(|bits| bits.is_finite());
    let (step, end) = scale(finite.fold(0.0, f64::max));
    let mut tick = 0.0;
    while tick <= end * 1.0001 {
        let x = left + room * tick / end;
        let _ = writeln!(
            out,
            r##"<line x1="{x:.1}" y1="{}" x2="{x:.1}" y2="{bottom}" stroke="#e4e7eb"/>
<text x="{x:.1}" y="{}" text-anchor="middle" font-size="11" fill="#7b8794">{}</text>"##,
            TOP - 8.0,
            TOP - 14.0,
            grouped(&tick.to_string()),
        );
        tick += step;
    }
    let _ = writeln!(
        out,
        r##"<text x="{}" y="{}" font-size="11" fill="#7b8794">bits</text>"##,
        left + room + 30.0,
        TOP - 14.0,
    );
    for (i, bar) in bars.iter().enumerate() {
        let y = TOP + ROW * i as f64;
        let length = if bar.bits.is_finite() {
            room * bar.bits / end
        } else {
            room
        };
        let colour = KINDS[bar.kind].1;
        let _ = writeln!(
            out,
            r##"<text x="{:.1}" y="{:.1}" text-anchor="end" font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="11.5">{}</text>
<rect x="{left}" y="{:.1}" width="{:.1}" height="{BAR}" rx="2" fill="{colour}"/>
<text x="{:.1}" y="{:.1}" font-size="12" font-weight="600" paint-order="stroke" stroke="#ffffff" stroke-width="4" stroke-linejoin="round">{}<tspan dx="8" font-size="11" font-weight="400" fill="#7b8794">{}</tspan></text>"##,
            left - 10.0,
            y + 11.5,
            escaped(&bar.label),
            y,
            length.max(1.0),
            left + length.max(1.0) + 8.0,
            y + 11.5,
            spaced(bar.bits),
            escaped(&shortened(&bar.note, MAX_NOTE)),
        );
    }
}

/// What the bars do not show.
fn notes(capacity: &Capacity) -> Vec<String> {
    let structure = capacity.structure_bits();
    let fixed = capacity
        .leaves
        .iter()
        .filter(|leaf| leaf.total_bits() == 0.0)
        .count();
    let mut notes = Vec::new();
    if structure.is_finite() && structure.abs() >= 0.005 && !capacity.by_size {
        let effect = if structure < 0.0 {
            "Unique keys, a fixed order and alternatives take away from the bars\u{2019} sum"
        } else {
            "Which parts and how many items there are adds to the bars\u{2019} sum"
        };
        notes.push(format!("{effect}: {} bits.", spaced(structure.abs())));
    }
    if fixed > 0 {
        let places = if fixed == 1 {
            "place carries nothing and is"
        } else {
            "places carry nothing and are"
        };
        notes.push(format!("{fixed} {places} not shown."));
    }
    notes
}

fn bars(capacity: &Capacity) -> Vec<Bar> {
    let leaves: Vec<&Leaf> = capacity.choices().collect();
    let shown = if leaves.len() > MAX_BARS {
        MAX_BARS - 1
    } else {
        leaves.len()
    };
    let mut bars: Vec<Bar> = leaves[..shown].iter().map(|leaf| bar(leaf)).collect();
    let rest = &leaves[shown..];
    if !rest.is_empty() {
        bars.push(Bar {
            label: format!("{} more places", rest.len()),
            bits: rest.iter().map(|leaf| leaf.total_bits()).sum(),
            note: "together".to_owned(),
            kind: 4,
        });
    }
    bars
}

fn bar(leaf: &Leaf) -> Bar {
    let bits = leaf.total_bits();
    let note = match leaf.instances {
        _ if leaf.n.is_infinite() => leaf.what.to_owned(),
        Some(1) => leaf.what.to_owned(),
        Some(times) => format!("{} \u{d7} {:.2}", grouped(&times.to_string()), leaf.bits()),
        None => "any number of times".to_owned(),
    };
    Bar {
        label: shortened(&place(&leaf.pointer), MAX_LABEL),
        bits,
        note,
        kind: match leaf.what {
            _ if !bits.is_finite() => 5,
            "integer" | "integer or marker" => 0,
            "number" => 1,
            "text" => 2,
            "one of a list" | "boolean" => 3,
            _ => 4,
        },
    }
}

/// Between ticks, and the last of them: 1, 2 or 5 times a power of ten, four to ten ticks.
fn scale(most: f64) -> (f64, f64) {
    if most <= 0.0 {
        return (1.0, 1.0);
    }
    let power = 10f64.powf((most / 4.0).log10().floor());
    let steps = [5.0, 2.0, 1.0].map(|times| times * power);
    let step = steps
        .into_iter()
        .find(|step| most / step >= 4.0)
        .unwrap_or(power);
    (step, (most / step).ceil() * step)
}

/// A figure in bits, with its digits in groups.
fn spaced(figure: f64) -> String {
    if figure.is_finite() {
        grouped(&bits(figure))
    } else {
        bits(figure)
    }
}

/// A number with narrow spaces between groups of three digits.
fn grouped(number: &str) -> String {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: Vec<char> = whole.chars().collect();
    let groups: Vec<String> = digits
        .rchunks(3)
        .rev()
        .map(|g| g.iter().collect())
        .collect();
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{}{dot}{fraction}", groups.join("\u{202f}"))
}

/// A text with its middle cut out, where it is longer than that many characters.
fn shortened(text: &str, most: usize) -> String {
    let all: Vec<char> = text.chars().collect();
    if all.len() <= most {
        return text.to_owned();
    }
    let tail = most * 2 / 3;
    let head: String = all[..most - tail - 1].iter().collect();
    let tail: String = all[all.len() - tail..].iter().collect();
    format!("{head}\u{2026}{tail}")
}

/// Text for XML: markup escaped, and what XML 1.0 §2.2 has no characters for replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
