//! A chart with its heading, its words, its key and its table.

use maud::{Markup, html};

/// Most rows of a table below a chart.
const MOST_ROWS: usize = 100;

/// What a colour stands for.
#[derive(Clone, Copy, Debug)]
pub(in crate::dashboard) struct Key<'a> {
    /// Class of the colour.
    pub(in crate::dashboard) colour: &'a str,
    /// What it stands for.
    pub(in crate::dashboard) text: &'a str,
}

/// The chart's data as text, the newest row last.
#[derive(Clone, Debug, Default)]
pub(in crate::dashboard) struct Table {
    /// Names of the columns; the first one names the rows.
    pub(in crate::dashboard) columns: Vec<String>,
    /// Cells.
    pub(in crate::dashboard) rows: Vec<Vec<String>>,
}

/// Everything about a chart.
#[derive(Clone, Debug)]
pub(in crate::dashboard) struct Panel<'a> {
    /// Name of its parts within the page.
    pub(in crate::dashboard) id: &'static str,
    /// Heading.
    pub(in crate::dashboard) title: &'static str,
    /// What the chart comes to, in a sentence.
    pub(in crate::dashboard) words: Markup,
    /// Its colours.
    pub(in crate::dashboard) keys: Vec<Key<'a>>,
    /// The drawing; without one, `words` say why.
    pub(in crate::dashboard) drawing: Option<Markup>,
    /// Its data.
    pub(in crate::dashboard) table: Table,
}

impl Panel<'_> {
    pub(in crate::dashboard) fn markup(&self) -> Markup {
        let heading = format!("{}-heading", self.id);
        html! {
            section.panel aria-labelledby=(heading) {
                h3 id=(heading) { (self.title) }
                @if let Some(drawing) = &self.drawing {
                    p.words { (self.words) }
                    (self.key())
                    (drawing)
                    (self.data())
                } @else {
                    p.empty { (self.words) }
                }
            }
        }
    }

    fn key(&self) -> Markup {
        html! {
            @if self.keys.len() > 1 {
                ul.keys {
                    @for key in &self.keys {
                        li {
                            span class={ "swatch " (key.colour) } aria-hidden="true" {}
                            (key.text)
                        }
                    }
                }
            }
        }
    }

    fn data(&self) -> Markup {
        let left_out = self.table.rows.len().saturating_sub(MOST_ROWS);
        html! {
            details id={ (self.id) "-data" } {
                summary { "Data" span.unseen { " of “" (self.title) "”" } }
                @if left_out > 0 { p.quiet { "The last " (MOST_ROWS) " rows." } }
                div.scroll id={ (self.id) "-scroll" } tabindex="0" role="region"
                    aria-label={ "Data of “" (self.title) "”" } {
                    (self.table.markup(left_out))
                }
            }
        }
    }
}

impl Table {
    /// The table without its first `skipped` rows, the newest first.
    fn markup(&self, skipped: usize) -> Markup {
        html! {
            table {
                thead { tr { @for column in &self.columns { th scope="col" { (column) } } } }
                tbody {
                    @for row in self.rows[skipped..].iter().rev() {
                        tr {
                            @for (at, cell) in row.iter().enumerate() {
                                @if at == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}
