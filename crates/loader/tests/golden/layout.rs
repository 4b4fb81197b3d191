//! What is pinned, beside the number of its layout: an agent that finds the number believes the rest.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The number that was accepted, and kind, key and value of each map, in bytes.
const FILE: &str = "tests/golden/layout.txt";

/// Set to anything, the layout is written down.
const UPDATE: &str = "RAUTA_UPDATE_LAYOUT";

#[test]
fn another_layout_has_another_number() {
    let object = loader::object().expect("built without the kernel programs: run ./x setup");
    let object = aya_obj::Object::parse(object).unwrap();
    // Constants are each program's own.
    let mut maps: Vec<_> = object.maps.iter().filter(|(name, _)| !name.starts_with('.')).collect();
    maps.sort_by_key(|(name, _)| name.as_str());
    let mut text = format!("layout {}\n", wire::LAYOUT_VERSION);
    for (name, map) in maps {
        writeln!(text, "{name}: kind {}, key {}, value {}", map.map_type(), map.key_size(), map.value_size())
            .unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let accepted = fs::read_to_string(&path).unwrap_or_default();
    let number = |text: &str| text.lines().next().map(str::to_owned);
    assert!(
        accepted == text || number(&accepted) != number(&text),
        "what is pinned has changed:\n{text}Agents of the version before would take it over: raise wire::LAYOUT_VERSION"
    );
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, text).unwrap();
        return;
    }
    assert_eq!(
        accepted, text,
        "accept it: {UPDATE}=1 cargo test -p loader --test golden layout, and commit {FILE}"
    );
}
