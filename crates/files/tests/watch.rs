//! Watching real folders: edits, renames, deletions, links. Waits for the state, never for a time.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how they report")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use files::{Loaded, WatchHandle, watch};
use model::Reason;
use tempfile::TempDir;
use tokio::sync::watch::Receiver;
use translate::Options;

fn rule(name: &str, path: &str) -> String {
    format!(
        "apiVersion: rauta.io/v1\nkind: RoutingRule\nmetadata: {{name: {name}}}\nspec:\n  match:\n    path: {{type: \
         Exact, value: {path}}}\n  backends:\n  - endpoint: 127.0.0.1:9000\n---\n"
    )
}

struct Watched {
    root: TempDir,
    loaded: Receiver<Arc<Loaded>>,
    _handle: WatchHandle,
}

impl Watched {
    fn new(files: &[(&str, String)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(root.path().join(name), text).unwrap();
        }
        Self::over(root)
    }

    fn over(root: TempDir) -> Self {
        let (loaded, handle) = watch(vec![root.path().to_owned()], Options::for_files(), || {}).unwrap();
        Self { root, loaded, _handle: handle }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.root.path().join(name), text).unwrap();
    }

    /// The routes as `name path`, in order.
    fn routes(&self) -> Vec<String> {
        let loaded = self.loaded.borrow();
        let routes = loaded.snapshot.routes.iter();
        routes
            .map(|route| match &route.matches[0].path {
                model::PathMatch::Exact(path) => format!("{} {path}", route.id.object.name),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    async fn until(&mut self, what: &str, is_reached: impl Fn(&Loaded) -> bool) {
        let wait = self.loaded.wait_for(|loaded| is_reached(loaded));
        let reached = tokio::time::timeout(Duration::from_secs(20), wait).await.map(|result| result.is_ok());
        assert_eq!(reached, Ok(true), "{what}: {:?} {:?}", self.routes(), self.loaded.borrow().diagnostics);
    }

    async fn until_routes(&mut self, expected: &[&str]) {
        let wanted = expected.len();
        self.until(&format!("{expected:?}"), |loaded| {
            let routes = &loaded.snapshot.routes;
            routes.len() == wanted
                && routes.iter().zip(expected).all(|(route, expected)| {
                    let model::PathMatch::Exact(path) = &route.matches[0].path else { return false };
                    format!("{} {path}", route.id.object.name) == *expected
                })
        })
        .await;
    }
}

fn has(loaded: &Loaded, reason: Reason) -> bool {
    loaded.diagnostics.iter().any(|diagnostic| diagnostic.reason == reason)
}

#[tokio::test]
async fn an_edit_is_seen_and_gives_a_new_version() {
    let mut watched = Watched::new(&[("a.yaml", rule("a", "/1"))]);
    assert_eq!(watched.routes(), ["a /1"]);
    let version = watched.loaded.borrow().snapshot.version;
    watched.write("a.yaml", &rule("a", "/2"));
    watched.until_routes(&["a /2"]).await;
    assert!(watched.loaded.borrow().snapshot.version > version);
}

#[tokio::test]
async fn an_editor_that_renames_over_the_file_is_seen_again_and_again() {
    let mut watched = Watched::new(&[("a.yaml", rule("a", "/0"))]);
    for i in 1..4 {
        let temporary = watched.root.path().join(".a.yaml.swp");
        fs::write(&temporary, rule("a", &format!("/{i}"))).unwrap();
        fs::rename(&temporary, watched.root.path().join("a.yaml")).unwrap();
        watched.until_routes(&[&format!("a /{i}")]).await;
    }
}

#[tokio::test]
async fn new_files_new_folders_and_deletions_are_seen() {
    let mut watched = Watched::new(&[("a.yaml", rule("a", "/1"))]);
    fs::create_dir_all(watched.root.path().join("sub/deep")).unwrap();
    watched.write("sub/deep/b.yaml", &rule("b", "/1"));
    watched.until_routes(&["a /1", "b /1"]).await;
    watched.write("sub/deep/b.yaml", &rule("b", "/2"));
    watched.until_routes(&["a /1", "b /2"]).await;
    fs::remove_file(watched.root.path().join("a.yaml")).unwrap();
    watched.until_routes(&["b /2"]).await;
    fs::remove_dir_all(watched.root.path().join("sub")).unwrap();
    watched.until_routes(&[]).await;
}

#[tokio::test]
async fn a_bad_edit_keeps_the_last_good_state_and_says_where() {
    let good = rule("a", "/1") + &rule("b", "/1");
    let mut watched = Watched::new(&[("a.yaml", good.clone()), ("c.yaml", rule("c", "/1"))]);
    // No YAML at all.
    watched.write("a.yaml", &good.replace("kind: RoutingRule\nmetadata: {name: b}", "kind: [RoutingRule\n"));
    watched.until("syntax error", |loaded| has(loaded, Reason::Malformed)).await;
    assert_eq!(watched.routes(), ["a /1", "b /1", "c /1"]);
    // YAML, but one object has a misspelt field; the other one changed.
    let text = rule("a", "/2") + &rule("b", "/2").replace("backends", "backend");
    watched.write("a.yaml", &text);
    watched.until_routes(&["a /2", "b /1", "c /1"]).await;
    watched.until("wrong field", |loaded| has(loaded, Reason::InvalidField)).await;
    let shown: Vec<_> = watched.loaded.borrow().diagnostics.iter().map(ToString::to_string).collect();
    assert!(
        shown.iter().any(|line| line.contains("a.yaml:16:3: error: RoutingRule default/b: spec.backend: ")),
        "{shown:?}"
    );
    assert!(shown.iter().all(|line| line.contains("the version before it stays in force")), "{shown:?}");
    // A value that cannot be.
    watched.write("a.yaml", &(rule("a", "/3") + &rule("b", "no-slash")));
    watched.until_routes(&["a /3", "b /1", "c /1"]).await;
    // Mended.
    watched.write("a.yaml", &(rule("a", "/3") + &rule("b", "/3")));
    watched.until_routes(&["a /3", "b /3", "c /1"]).await;
    assert_eq!(watched.loaded.borrow().diagnostics, []);
}

#[tokio::test]
async fn the_links_of_a_config_map_swap_as_one() {
    let root = tempfile::tempdir().unwrap();
    let version = |name: &str, path: &str| {
        let folder = root.path().join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a.yaml"), rule("a", path)).unwrap();
    };
    version("..2026_1", "/1");
    symlink("..2026_1", root.path().join("..data")).unwrap();
    symlink("..data/a.yaml", root.path().join("a.yaml")).unwrap();
    let mut watched = Watched::over(root);
    watched.until_routes(&["a /1"]).await;
    for i in 2..5 {
        let (root, name) = (watched.root.path(), format!("..2026_{i}"));
        fs::create_dir(root.join(&name)).unwrap();
        fs::write(root.join(&name).join("a.yaml"), rule("a", &format!("/{i}"))).unwrap();
        symlink(&name, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        fs::remove_dir_all(root.join(format!("..2026_{}", i - 1))).unwrap();
        watched.until_routes(&[&format!("a /{i}")]).await;
    }
}

#[tokio::test]
async fn a_file_that_is_being_written_is_not_read_by_halves() {
    use std::io::Write;
    let both = rule("a", "/1") + &rule("b", "/1");
    let mut watched = Watched::new(&[("a.yaml", both.clone()), ("z.yaml", rule("z", "/1"))]);
    let mut file = fs::File::create(watched.root.path().join("a.yaml")).unwrap();
    file.write_all(rule("a", "/2").as_bytes()).unwrap();
    // Something else changes meanwhile, and is seen.
    watched.write("z.yaml", &rule("z", "/2"));
    watched
        .until("z", |loaded| {
            loaded.snapshot.routes.iter().any(
                |route| matches!(&route.matches[0].path, model::PathMatch::Exact(path) if &**path == "/2"),
            )
        })
        .await;
    assert_eq!(watched.routes(), ["a /1", "b /1", "z /2"]);
    file.write_all(rule("b", "/2").as_bytes()).unwrap();
    drop(file);
    watched.until_routes(&["a /2", "b /2", "z /2"]).await;
}

#[tokio::test]
async fn rewriting_in_place_again_and_again_never_serves_the_cut_off_file() {
    let mut watched = Watched::new(&[("a.yaml", rule("a", "/0")), ("b.yaml", rule("b", "/0"))]);
    let file = watched.root.path().join("a.yaml");
    let writer = std::thread::spawn(move || {
        for i in 1..=400 {
            fs::write(&file, rule("a", &format!("/{i}"))).unwrap();
            std::thread::sleep(Duration::from_micros(500 * (i % 13)));
        }
    });
    while !writer.is_finished() {
        if tokio::time::timeout(Duration::from_millis(20), watched.loaded.changed()).await.is_ok() {
            assert_eq!(watched.loaded.borrow_and_update().snapshot.routes.len(), 2);
        }
    }
    writer.join().unwrap();
    watched.until_routes(&["a /400", "b /0"]).await;
}

#[tokio::test]
async fn a_file_that_stays_empty_ends_what_it_held() {
    let mut watched = Watched::new(&[("a.yaml", rule("a", "/1")), ("b.yaml", rule("b", "/1"))]);
    watched.write("a.yaml", "");
    watched.until_routes(&["b /1"]).await;
}

#[tokio::test]
async fn a_path_that_appears_later_is_read() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("later.yaml");
    let (loaded, handle) = watch(vec![file.clone()], Options::for_files(), || {}).unwrap();
    let mut watched = Watched { root, loaded, _handle: handle };
    assert!(has(&watched.loaded.borrow(), Reason::Unreadable));
    fs::write(Path::new(&file), rule("a", "/1")).unwrap();
    watched.until_routes(&["a /1"]).await;
    assert_eq!(watched.loaded.borrow().diagnostics, []);
}

/// A folder that is named by a path relative to where the process runs, as `rauta run -f manifests` names it.
#[tokio::test]
async fn a_relative_folder_that_is_replaced_is_followed() {
    let root = tempfile::tempdir_in(".").unwrap();
    let at = |name: &str| Path::new(".").join(root.path().file_name().unwrap()).join(name);
    let (folder, new) = (at("manifests"), at("new"));
    let old: Vec<_> = (2..5).map(|i| at(&format!("old{i}"))).collect();
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.yaml"), rule("a", "/1")).unwrap();
    let (loaded, handle) = watch(vec![folder.clone()], Options::for_files(), || {}).unwrap();
    let mut watched = Watched { root, loaded, _handle: handle };
    for (i, old) in old.iter().enumerate() {
        fs::rename(&folder, old).unwrap();
        watched.until_routes(&[]).await;
        fs::create_dir(&new).unwrap();
        fs::write(new.join("a.yaml"), rule("a", &format!("/{i}"))).unwrap();
        fs::rename(&new, &folder).unwrap();
        watched.until_routes(&[&format!("a /{i}")]).await;
        fs::write(folder.join("a.yaml"), rule("a", "/edited")).unwrap();
        watched.until_routes(&["a /edited"]).await;
    }
}

/// A link far above a manifest sends no event when it is turned: only the look finds that. A log beside the manifest
/// must not hold the look up.
#[tokio::test]
async fn other_files_that_change_all_the_time_do_not_hold_the_look_up() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    for version in ["v1", "v2"] {
        fs::create_dir_all(at(version).join("sub")).unwrap();
        fs::write(at(version).join("sub/a.yaml"), rule("a", &format!("/{version}"))).unwrap();
    }
    symlink("v1", at("current")).unwrap();
    let (loaded, handle) = watch(vec![at("current/sub/a.yaml")], Options::for_files(), || {}).unwrap();
    let log = at("v1/sub/agent.log");
    let mut watched = Watched { root, loaded, _handle: handle };
    watched.until_routes(&["a /v1"]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let writer = std::thread::spawn(move || {
        while !stopped.load(Relaxed) {
            fs::write(&log, "a line\n").unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    symlink("v2", watched.root.path().join("next")).unwrap();
    fs::rename(watched.root.path().join("next"), watched.root.path().join("current")).unwrap();
    watched.until_routes(&["a /v2"]).await;
    stop.store(true, Relaxed);
    writer.join().unwrap();
}

#[test]
fn watching_nothing_is_an_error() {
    let error = watch(Vec::new(), Options::for_files(), || {}).unwrap_err();
    assert!(error.to_string().contains("no file or folder"), "{error}");
}
