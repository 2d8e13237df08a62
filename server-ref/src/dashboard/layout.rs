//! What every page has around its main part, and what a browser may load for it: nothing.

use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use ring::digest::{SHA256, digest};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("live.js");
/// Percent-encoded whole, so that the page holds no address of another place.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http:%2F%2Fwww.w3.org%2F2000%2Fsvg' \
    viewBox='0 0 32 32'%3E%3Crect width='32' height='32' rx='8' fill='%230b63c5'/%3E%3Cg \
    fill='%23fff'%3E%3Ccircle cx='16' cy='16' r='4.5'/%3E%3Ccircle cx='16' cy='6.5' r='2.5'/%3E\
    %3Ccircle cx='8' cy='21.5' r='2.5'/%3E\
    %3Ccircle cx='24' cy='21.5' r='2.5'/%3E%3C/g%3E%3C/svg%3E";

/// The content security policy of every page: its own style and its own script, by their
/// hashes; its script may ask the same server; nothing else.
pub(crate) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| {
        format!("'sha256-{}'", BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes())))
    };
    format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// A page: `crumbs` lead back, `main` is what it is about.
pub(super) fn page(title: &str, crumbs: &Markup, main: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head(title, true))
            body {
                a.skip href="#main" { "Skip to the content" }
                (banner(crumbs))
                main #main tabindex="-1" { (main) }
                (foot())
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// A page that says what went wrong.
pub(crate) fn error(status: u16, title: &str, detail: &str) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head(title, false))
            body {
                (banner(&html! { li { a href="/" { "All tasks" } } }))
                main #main {
                    section.message {
                        p.quiet { "Error " (status) }
                        h1 { (title) }
                        p { (detail) }
                        p { a.button href="/" { "To all tasks" } }
                    }
                }
            }
        }
    };
    page.into_string()
}

fn head(title: &str, is_live: bool) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta name="robots" content="noindex";
            title { (title) " · AdaFed" }
            link rel="icon" href=(PreEscaped(ICON));
            style { (PreEscaped(STYLE)) }
            @if is_live { noscript { meta http-equiv="refresh" content="10"; } }
        }
    }
}

fn banner(crumbs: &Markup) -> Markup {
    html! {
        header.banner {
            div.inner {
                a.mark href="/" {
                    svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true" {
                        rect.field width="32" height="32" rx="8" {}
                        circle cx="16" cy="16" r="4.5" {}
                        circle cx="16" cy="6.5" r="2.5" {}
                        circle cx="8" cy="21.5" r="2.5" {}
                        circle cx="24" cy="21.5" r="2.5" {}
                    }
                    "AdaFed"
                }
                nav aria-label="Where you are" { ol { (crumbs) } }
                span #live role="status" {}
            }
        }
    }
}

fn foot() -> Markup {
    html! {
        footer {
            p.quiet {
                "Every figure here is also at " code { "/v1/tasks" } " as JSON. Figures of "
                "privacy are rounded up."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_style_and_script_by_their_hashes() {
        // SHA-256 of nothing, in the notation of the policy.
        let empty = BASE64_STANDARD.encode(digest(&SHA256, b""));
        assert_eq!(empty, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        assert!(POLICY.starts_with("default-src 'none'; style-src 'sha256-"), "{}", *POLICY);
        assert!(!POLICY.contains("unsafe") && !POLICY.contains("http"), "{}", *POLICY);
    }

    #[test]
    fn style_and_script_cannot_end_early_and_fetch_nothing() {
        for text in [STYLE, SCRIPT] {
            assert!(!text.contains("</"), "an element would end within its text");
            assert!(!text.contains("url(") && !text.contains("//") && !text.contains("@import"));
        }
    }

    #[test]
    fn an_error_is_a_page_with_a_way_back() {
        let page = error(404, "Unknown task", "there is no task <b>");
        assert!(page.contains("Error 404") && page.contains("there is no task &lt;b&gt;"));
        assert!(page.contains("href=\"/\"") && !page.contains("<script"));
    }
}
