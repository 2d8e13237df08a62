//! Small charts as SVG within the page: no library, nothing fetched.
//!
//! Places are shares of the drawing and texts have a size of their own, so that a chart
//! fills whatever width there is and its letters stay as large as the page's.

mod axis;
mod bars;
mod histogram;
mod line;
mod panel;

pub(super) use axis::{Axis, plain};
pub(super) use bars::{Bar, bars};
pub(super) use histogram::{Mark, histogram};
pub(super) use line::{Series, lines};
pub(super) use panel::{Key, Panel, Table};

use maud::{Markup, html};

/// Classes of the colours that tell lines apart.
pub(super) const COLOURS: [&str; 6] = ["c0", "c1", "c2", "c3", "c4", "c5"];

/// What a chart is called and how its upright axis is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    /// Name of its parts within the page.
    pub(super) id: &'static str,
    /// What it is.
    pub(super) title: &'static str,
    /// What it shows, for those who do not see it.
    pub(super) description: &'a str,
    /// A value beside a mark of the upright axis.
    pub(super) mark: fn(f64) -> String,
}

/// A drawing with its axes, which lie around it; `body` has places in per cent of it.
fn drawing(names: &Names<'_>, kind: &str, body: &Markup) -> Markup {
    let (title, description) = (format!("{}-title", names.id), format!("{}-description", names.id));
    html! {
        div.holder {
            svg class={ "chart " (kind) } role="img" aria-labelledby=(title)
                aria-describedby=(description) {
                title id=(title) { (names.title) }
                desc id=(description) { (names.description) }
                (body)
            }
        }
    }
}

/// An upright strip over the whole height that tells what is there when it is pointed at.
fn told(from: f64, to: f64, text: &str) -> Markup {
    html! {
        rect.told x=(axis::percent(from)) width=(axis::percent((to - from).max(0.0))) y="0"
            height="100%" { title { (text) } }
    }
}
