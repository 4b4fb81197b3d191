//! Rules that hold for any objects: the committed fuzz corpus, and the golden cases with something changed at random.
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod oracles;

use std::fs;
use std::path::Path;

use corpus::Dice;
use serde_json::{Value, json};

/// Values that some field does not expect.
fn odd(dice: &mut Dice) -> Value {
    let all = [
        Value::Null,
        json!(0),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!(70_000),
        json!(true),
        json!(""),
        json!(" "),
        json!("/"),
        json!("*"),
        json!("*.*"),
        json!("a.example.com"),
        json!("10.0.0.0/99"),
        json!("[::]"),
        json!("9999999999999h"),
        json!("\u{0}\n\u{7f}"),
        json!("ä".repeat(200)),
        json!("(((((((("),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"name": "a"}),
    ];
    all[dice.below(all.len())].clone()
}

/// Changes one thing below `value`.
fn change(value: &mut Value, dice: &mut Dice) {
    // Deep more often than not: what is odd at the top is refused as a whole.
    let stays = dice.below(6) == 0;
    match value {
        Value::Object(fields) if !fields.is_empty() && !stays => {
            let at = dice.below(fields.len());
            let name = fields.keys().nth(at).unwrap().clone();
            match dice.below(12) {
                0 => drop(fields.remove(&name)),
                1 => drop(fields.insert(format!("{name}x"), odd(dice))),
                _ => change(fields.get_mut(&name).unwrap(), dice),
            }
        }
        Value::Array(items) if !items.is_empty() && !stays => {
            let at = dice.below(items.len());
            match dice.below(8) {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                2 => items.reverse(),
                _ => change(&mut items[at], dice),
            }
        }
        _ => *value = odd(dice),
    }
}

#[test]
fn objects_hold_for_the_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/objects");
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        oracles::objects(&fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 20, "{} has {count} files", folder.display());
}

#[test]
fn golden_cases_with_changes_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut cases: Vec<Vec<Value>> = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            cases.push(serde_saphyr::from_multiple(&fs::read_to_string(path).unwrap()).unwrap());
        }
    }
    assert!(cases.len() >= 20);
    let rounds = std::env::var("ANY_OBJECTS_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    for (number, case) in cases.iter().enumerate() {
        oracles::documents_hold(case);
        for round in 0..rounds {
            let mut dice = Dice((number * 1_000_003 + round) as u64);
            let mut documents = case.clone();
            for _ in 0..=dice.below(3) {
                let at = dice.below(documents.len());
                change(&mut documents[at], &mut dice);
            }
            oracles::documents_hold(&documents);
        }
    }
}
