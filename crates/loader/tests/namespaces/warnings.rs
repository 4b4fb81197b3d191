//! What the loader warns of.

use std::{
    error::Error,
    fmt::Debug,
    iter,
    sync::{Arc, Mutex},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

/// Keeps the warnings that name an interface.
#[derive(Clone, Default)]
pub(crate) struct Warnings(Arc<Mutex<Vec<Warning>>>);

/// Of an interface.
#[derive(Clone, Debug, Default)]
pub(crate) struct Warning {
    pub(crate) interface: String,
    /// The error, with what it came of.
    pub(crate) error: String,
}

impl Warnings {
    /// What was warned of since the last call.
    pub(crate) fn take(&self) -> Vec<Warning> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl<S: Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut warning = Warning::default();
        event.record(&mut warning);
        if *event.metadata().level() == Level::WARN && !warning.interface.is_empty() {
            self.0.lock().unwrap().push(warning);
        }
    }
}

impl Visit for Warning {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "interface" {
            value.clone_into(&mut self.interface);
        }
    }

    fn record_error(&mut self, _: &Field, error: &(dyn Error + 'static)) {
        let texts = iter::successors(Some(error), |error| Error::source(*error)).map(ToString::to_string);
        self.error = texts.collect::<Vec<_>>().join(": ");
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}
