use std::fmt::{self, Display, Write as _};

use crate::{Cell, Mood, Table};

/// What the status page shows, from top to bottom.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The large word: "serving", "not ready: ...".
    pub headline: Cell,
    /// Names and values in a row under it.
    pub facts: Vec<(&'static str, Cell)>,
    /// The tables.
    pub tables: Vec<Table>,
}

/// How often the page loads itself again.
const REFRESH_SECONDS: u32 = 5;

/// Rows shown of one table; a page of 40,000 routes helps nobody.
const ROWS_MAX: usize = 500;

/// The page's style sheet; the page loads nothing else.
pub struct Style;

impl Style {
    /// The text of the style sheet.
    pub const CSS: &'static str = "\
:root{color-scheme:light dark;--line:#d9dde3;--faint:#5d6673;--good:#11703c;--warn:#8a5300;--bad:#b3201f;--head:#f4f6f8}\
@media(prefers-color-scheme:dark){:root{--line:#363c45;--faint:#9aa4b1;--good:#5fcf8d;--warn:#e5b04c;--bad:#ff7b72;--head:#20252c}}\
body{font:15px/1.45 system-ui,sans-serif;margin:0 auto;padding:1.5rem;max-width:76rem}\
header{display:flex;gap:1rem;align-items:baseline;flex-wrap:wrap}\
h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem}h2 span{color:var(--faint);font-weight:400}\
.state{font-weight:600}dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(11rem,1fr));gap:.8rem 1.5rem;margin:1.2rem 0}\
dt{color:var(--faint);font-size:.85rem}dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}\
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:6px}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.4rem .7rem;white-space:pre-line;overflow-wrap:break-word;font-variant-numeric:tabular-nums}\
th{background:var(--head);font-weight:600;font-size:.85rem;white-space:nowrap}tr+tr>td{border-top:1px solid var(--line)}\
.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}.faint{color:var(--faint)}\
footer{margin-top:2rem;color:var(--faint);font-size:.85rem}a{color:inherit}";
}

/// Renders the page as a self-contained HTML document: no script, nothing loaded from anywhere.
///
/// Every text is escaped: names, hosts and messages come from files that others may have written.
pub fn render(page: &Page) -> String {
    let mut out = String::with_capacity(16 * 1024);
    // Writing into a String cannot fail.
    let _ = write_page(&mut out, page);
    out
}

fn write_page(out: &mut String, page: &Page) -> fmt::Result {
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"refresh\" content=\"{REFRESH_SECONDS}\">\
         <title>RAUTA: {}</title><style>{}</style></head><body>\n",
        Escaped(&page.headline.text),
        Style::CSS,
    )?;
    write!(
        out,
        "<header><h1>RAUTA</h1><span class=\"state {}\">{}</span></header>\n<dl>",
        class(page.headline.mood),
        Escaped(&page.headline.text)
    )?;
    for (name, value) in &page.facts {
        write!(
            out,
            "<div><dt>{}</dt><dd class=\"{}\">{}</dd></div>",
            Escaped(name),
            class(value.mood),
            Escaped(&value.text)
        )?;
    }
    out.write_str("</dl>\n")?;
    for table in &page.tables {
        write_table(out, table)?;
    }
    write!(
        out,
        "<footer>Loads again every {REFRESH_SECONDS} s. Also here: <a href=\"/readyz\">/readyz</a>, \
         <a href=\"/healthz\">/healthz</a>. In a terminal: <code>rauta status</code>.</footer>\n</body></html>\n"
    )
}

fn write_table(out: &mut String, table: &Table) -> fmt::Result {
    // A row without a name continues the one above.
    let named = table.rows.iter().filter(|row| row.first().is_some_and(|cell| !cell.text.is_empty())).count();
    write!(out, "<section><h2>{} <span>{named}</span></h2>", Escaped(&table.title))?;
    if table.rows.is_empty() {
        return writeln!(out, "<p class=\"faint\">{}</p></section>", Escaped(&table.empty));
    }
    out.write_str("<div class=\"scroll\"><table><thead><tr>")?;
    for column in &table.columns {
        write!(out, "<th scope=\"col\">{}</th>", Escaped(column))?;
    }
    out.write_str("</tr></thead><tbody>")?;
    for row in table.rows.iter().take(ROWS_MAX) {
        out.write_str("<tr>")?;
        for cell in row {
            match class(cell.mood) {
                "" => write!(out, "<td>{}</td>", Escaped(&cell.text))?,
                class => write!(out, "<td class=\"{class}\">{}</td>", Escaped(&cell.text))?,
            }
        }
        out.write_str("</tr>\n")?;
    }
    out.write_str("</tbody></table></div>")?;
    if table.rows.len() > ROWS_MAX {
        write!(out, "<p class=\"faint\">The first {ROWS_MAX} of {}.</p>", table.rows.len())?;
    }
    out.write_str("</section>\n")
}

fn class(mood: Mood) -> &'static str {
    match mood {
        Mood::Plain => "",
        Mood::Good => "good",
        Mood::Warn => "warn",
        Mood::Bad => "bad",
        Mood::Faint => "faint",
    }
}

/// Text in HTML, safe between tags and within quoted attributes.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_with(table: Table) -> String {
        render(&Page {
            headline: Cell::new("serving", Mood::Good),
            facts: vec![("uptime", "3 s".into())],
            tables: vec![table],
        })
    }

    #[test]
    fn every_text_is_escaped_wherever_it_stands() {
        let evil = "<script>alert('1')</script>\"&";
        let mut table = Table::new(evil, &["name"], "none");
        table.row([Cell::new(evil, Mood::Bad)]);
        let mut page =
            Page { headline: evil.into(), facts: vec![("fact", evil.into())], tables: vec![table] };
        page.tables.push(Table { empty: evil.into(), ..Table::new("empty", &[], "") });
        let html = render(&page);
        assert!(!html.contains("<script"), "{html}");
        // Title, headline, fact, table title, cell and empty table.
        let escaped = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;";
        assert_eq!(html.matches(escaped).count(), 6, "{html}");
    }

    #[test]
    fn the_page_shows_headline_facts_and_tables_and_loads_nothing() {
        let mut table = Table::new("Listeners", &["listener", "state"], "none");
        table.row(["default/http".into(), Cell::new("bound", Mood::Good)]);
        table.row([Cell::default(), "goes on".into()]);
        let html = page_with(table);
        for part in [
            "<span class=\"state good\">serving</span>",
            "<dt>uptime</dt><dd class=\"\">3 s</dd>",
            "Listeners <span>1</span>",
            "<th scope=\"col\">listener</th>",
            "<td>default/http</td><td class=\"good\">bound</td>",
            "http-equiv=\"refresh\"",
        ] {
            assert!(html.contains(part), "no {part} in {html}");
        }
        for loader in ["src=", "<link", "@import", "url(", "<script"] {
            assert!(!html.contains(loader), "{loader} in {html}");
        }
    }

    #[test]
    fn long_tables_are_cut_and_say_so() {
        let mut table = Table::new("Routes", &["route"], "none");
        for i in 0..ROWS_MAX + 7 {
            table.row([format!("route-{i}").into()]);
        }
        let html = page_with(table);
        assert!(html.contains("The first 500 of 507."));
        assert!(html.contains("route-499<") && !html.contains("route-500<"));
    }
}
