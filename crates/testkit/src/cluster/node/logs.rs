//! What the programs of a container print, and what `kubectl logs` shows of it.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cluster::time::now_micro;

/// A file with a line for each line printed, after the moment it came.
#[derive(Clone, Debug)]
pub(super) struct Log {
    file: Arc<Mutex<File>>,
}

impl Log {
    /// Begins or continues the file at `path`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file: Arc::new(Mutex::new(file)) })
    }

    /// Copies what comes from `output`, on a thread of its own, until its end.
    pub(super) fn copy(&self, output: impl Read + Send + 'static) -> io::Result<()> {
        let log = self.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || {
            let mut reader = BufReader::new(output);
            let mut line = Vec::new();
            loop {
                line.clear();
                match reader.read_until(b'\n', &mut line) {
                    Ok(0) | Err(_) => return,
                    Ok(_) => log.write(&line),
                }
            }
        })?;
        Ok(())
    }

    fn write(&self, line: &[u8]) {
        let mut entry = format!("{} ", now_micro()).into_bytes();
        entry.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            entry.push(b'\n');
        }
        // A full disk ends the log, not the program.
        let _ = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&entry);
    }
}

/// What of a log is asked for (`PodLogOptions`).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// Only so many lines of its end.
    tail: Option<usize>,
    /// Only lines that came then or later.
    since: Option<String>,
    /// With the moments.
    timestamps: bool,
    /// Go on as lines come.
    pub(super) follow: bool,
}

impl Selection {
    /// From the query of a request; `now` is the moment that `sinceSeconds` counts from.
    pub(super) fn from_query(query: &HashMap<String, String>, since: impl Fn(u64) -> String) -> Self {
        let number = |name: &str| query.get(name).and_then(|value| value.parse::<u64>().ok());
        Self {
            tail: number("tailLines").and_then(|lines| usize::try_from(lines).ok()),
            since: query.get("sinceTime").cloned().or_else(|| number("sinceSeconds").map(since)),
            timestamps: query.get("timestamps").is_some_and(|value| value == "true"),
            follow: query.get("follow").is_some_and(|value| value == "true"),
        }
    }

    /// The chosen lines of `log`, as they are shown.
    pub(super) fn of(&self, log: &str) -> String {
        let chosen: Vec<&str> = log.lines().filter(|line| self.is_new_enough(line)).collect();
        let skip = self.tail.map_or(0, |tail| chosen.len().saturating_sub(tail));
        chosen[skip..].iter().map(|line| self.show(line)).collect()
    }

    /// A line of the log as it is shown.
    pub(super) fn show(&self, line: &str) -> String {
        let shown = if self.timestamps { line } else { line.split_once(' ').map_or(line, |(_, text)| text) };
        format!("{shown}\n")
    }

    fn is_new_enough(&self, line: &str) -> bool {
        let Some(since) = &self.since else { return true };
        let moment = line.split(' ').next().unwrap_or_default();
        // Both in UTC; without the Z a whole second is before its own parts.
        moment.trim_end_matches('Z') >= since.trim_end_matches('Z')
    }
}

/// Sends `log` from the byte `from` on as it grows, until `ended` says that nothing more comes or `send` fails.
pub(super) fn follow(
    path: &Path,
    from: u64,
    ended: impl Fn() -> bool,
    mut send: impl FnMut(&str) -> io::Result<()>,
) -> io::Result<()> {
    use std::io::{Seek, SeekFrom};
    let mut reader = BufReader::new(File::open(path)?);
    reader.seek(SeekFrom::Start(from))?;
    let mut line = String::new();
    loop {
        // Asked first: what came before the end is still to be read.
        let last = ended();
        while reader.read_line(&mut line)? > 0 && line.ends_with('\n') {
            send(line.trim_end_matches('\n'))?;
            line.clear();
        }
        if last {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str =
        "2026-11-21T22:00:00.000001Z one\n2026-11-21T22:00:01.5Z two words\n2026-11-21T22:00:02.0Z three\n";

    fn select(query: &[(&str, &str)]) -> String {
        let query = query.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Selection::from_query(&query, |seconds| format!("2026-11-21T22:00:0{}Z", 3 - seconds)).of(LOG)
    }

    #[test]
    fn lines_are_chosen_by_time_and_number() {
        assert_eq!(select(&[]), "one\ntwo words\nthree\n");
        assert_eq!(select(&[("tailLines", "1")]), "three\n");
        assert_eq!(select(&[("sinceTime", "2026-11-21T22:00:00Z")]), "one\ntwo words\nthree\n");
        assert_eq!(select(&[("sinceTime", "2026-11-21T22:00:01Z")]), "two words\nthree\n");
        assert_eq!(select(&[("sinceSeconds", "1")]), "three\n");
        let with_times = select(&[("timestamps", "true"), ("tailLines", "1")]);
        assert_eq!(with_times, "2026-11-21T22:00:02.0Z three\n");
    }

    #[test]
    fn lines_of_all_outputs_get_their_moment() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = Log::open(&path).unwrap();
        log.copy(&b"a\nno end of line"[..]).unwrap();
        crate::until(std::time::Duration::from_secs(10), "both lines", || {
            let text = std::fs::read_to_string(&path).unwrap();
            (Selection::default().of(&text) == "a\nno end of line\n").then_some(())
        })
        .unwrap();
    }
}
