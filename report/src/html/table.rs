//! What tables have in common: wide ones scroll by themselves, long ones say where the rest is.

use maud::{Markup, html};

use super::words::{count, t};

/// A table with a caption that scrolls where it is too wide.
pub fn wide(caption: &str, rows: Markup) -> Markup {
    html! {
        div.wide {
            table { caption { (t(caption)) } (rows) }
        }
    }
}

/// Says what is not listed, where something is not.
pub fn more(all: usize, most: usize, what: &str, csv: &str) -> Markup {
    html! {
        @if all > most {
            p.more { (count(most as u64)) " of " (count(all as u64)) " " (what) " are listed; all " (count(all as u64)) " are in "
                (file(csv)) "." }
        }
    }
}

/// A file beside the report.
pub fn file(name: &str) -> Markup {
    html! { a href=(name) { (name) } }
}

/// A place in the log.
pub fn entry(index: Option<u64>) -> Markup {
    html! { @if let Some(index) = index { span.entry title="entry of the log" { "#" (index) } } }
}
