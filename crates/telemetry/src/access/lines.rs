use std::sync::Arc;

use super::writer::Batch;
use super::{AccessLog, Entry};

/// A batch leaves when it has so many bytes.
const BATCH_BYTES: usize = 32 * 1024;

/// The lines of one proxy thread on their way to the writer.
#[derive(Debug)]
pub struct Lines {
    log: Arc<AccessLog>,
    shard: usize,
    batch: Batch,
}

impl Lines {
    /// For the thread that counts in `shard`.
    pub fn new(log: Arc<AccessLog>, shard: usize) -> Self {
        Self { log, shard, batch: Batch::default() }
    }

    /// Adds a line. It leaves with its batch, or with [`Lines::flush`].
    pub fn add(&mut self, entry: &Entry<'_>) {
        self.log.format.write(entry, &mut self.batch.text);
        self.batch.lines += 1;
        if self.batch.text.len() >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Counts a line that there is no room to wait for.
    pub fn lose(&self) {
        self.log.lose(self.shard);
    }

    /// Hands over what there is. Never waits: where the writer does not keep up, the lines are dropped and counted.
    pub fn flush(&mut self) {
        if self.batch.lines > 0 {
            let batch = std::mem::take(&mut self.batch);
            // The next one will be about as large: it need not grow step by step.
            self.batch.text.reserve(batch.text.len());
            self.log.send(self.shard, batch);
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.flush();
    }
}
