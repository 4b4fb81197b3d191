//! A source that follows events gives what one gives that looks through all folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use corpus::Dice;
use translate::Options;

use crate::Loaded;
use crate::source::{Hints, Source};

/// A document: mostly a rule that is good, now and then something else.
fn document(dice: &mut Dice) -> String {
    let (name, path) = (dice.below(12), dice.below(5));
    match dice.below(12) {
        0 => "apiVersion: v1\nkind: Servce\nmetadata: {name: a}\n".to_owned(),
        1 => "# nothing\n".to_owned(),
        2 => "kind: [\n".to_owned(),
        3 => format!(
            "apiVersion: rauta.io/v1\nkind: RoutingRule\nmetadata: {{name: bad{name}}}\nspec: {{x: 1}}\n"
        ),
        4 => format!(
            "apiVersion: rauta.io/v1\nkind: RoutingRule\nmetadata: {{name: r{name}}}\nspec:\n  backends: [{{service: {{name: s, port: 1}}}}]\n"
        ),
        _ => format!(
            "apiVersion: rauta.io/v1\nkind: RoutingRule\nmetadata: {{name: r{name}}}\nspec:\n  match: {{path: {{type: Exact, \
             value: /{path}}}}}\n  backends: [{{endpoint: \"10.0.0.1:80\"}}]\n"
        ),
    }
}

fn shown(loaded: &Loaded) -> (String, Vec<String>, usize, usize) {
    let records = (&loaded.snapshot.routes, &loaded.snapshot.backends);
    let said = loaded.diagnostics.iter().map(ToString::to_string).collect();
    (format!("{records:?}"), said, loaded.files, loaded.objects)
}

#[test]
fn following_events_gives_what_looking_through_all_gives() {
    let mut routes = 0;
    for seed in 0..20 {
        let mut dice = Dice(seed);
        let root = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(root.path()).unwrap();
        fs::create_dir(real.join("sub")).unwrap();
        let source = || Source::new(vec![root.path().to_owned()], Options::for_files());
        let (mut follows, mut looks) = (source(), source());
        let mut files: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        follows.load(&Hints::default(), Instant::now());
        looks.load(&Hints::default(), Instant::now());
        for step in 0..40 {
            let name = ["a.yaml", "b.yaml", "sub/a.yaml", "c.yml", "d.txt"][dice.below(5)];
            let path = real.join(name);
            let text = files.entry(path.clone()).or_default();
            if dice.below(6) == 0 {
                text.clear();
                let _ = fs::remove_file(&path);
            } else {
                let at = dice.below(text.len() + 1);
                match dice.below(3) {
                    0 if at < text.len() => drop(text.remove(at)),
                    1 if at < text.len() => text[at] = document(&mut dice),
                    _ => text.insert(at, document(&mut dice)),
                }
                fs::write(&path, text.join("---\n")).unwrap();
            }
            let changed = BTreeSet::from([path.clone()]);
            let hints = Hints { emptied: changed.clone(), changed, is_all: true, ..Hints::default() };
            let ours = follows.load(&hints, Instant::now());
            let theirs = looks.load(&Hints { is_all: false, ..hints }, Instant::now());
            assert_eq!(shown(&ours), shown(&theirs), "seed {seed}, step {step}");
            assert!(!follows.is_stale(), "seed {seed}, step {step}");
            routes += ours.snapshot.routes.len();
        }
    }
    assert!(routes > 2000, "{routes}");
}
