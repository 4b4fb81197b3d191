//! The access log of the agent, and its spans.

use std::sync::Arc;
use std::time::Duration;

use otlp::{Exporter, Exporting};
use proxy::AccessConfig;
use telemetry::Metrics;
use telemetry::access::{AccessLog, Lines, OpenError, Writer};

use super::limits;
use crate::settings::Settings;

/// How long a stop waits for the disk to take the last lines, and for a collector to take the last spans.
pub(super) const STOP_MAX: Duration = Duration::from_secs(2);

/// Starts it, if the settings ask for one.
pub(super) fn start(
    settings: &Settings,
    metrics: &Arc<Metrics>,
) -> Result<(Option<AccessConfig>, Option<Writer>), OpenError> {
    let asked = &settings.access_log;
    let Some(target) = &asked.target else { return Ok((None, None)) };
    let (log, writer) =
        AccessLog::start(target, asked.format.clone(), Arc::clone(metrics), limits::confine_to_files)?;
    Ok((Some(AccessConfig { log, sample_one_in: asked.sample_one_in }), Some(writer)))
}

/// Where the kernel's requests are logged, and one of how many; none where there is no log, or they are not to be in it.
pub(super) fn for_kernel(settings: &Settings, log: Option<&AccessConfig>) -> Option<(Lines, u32)> {
    // Where the log is complete the kernel decides none.
    let one_in = settings.access_log.kernel_one_in.filter(|_| !settings.access_log.is_complete)?;
    // The thread that reads them is none of the proxy's: it counts where the first one does.
    let lines = Lines::new(Arc::clone(&log?.log), 0);
    Some((lines, one_in))
}

/// Starts to send spans, if the settings name a collector.
pub(super) fn start_spans(
    settings: &Settings,
    metrics: &Arc<Metrics>,
) -> Result<(Option<Arc<Exporter>>, Option<Exporting>), otlp::StartError> {
    let Some(collector) = &settings.collector else { return Ok((None, None)) };
    let (exporter, exporting) = Exporter::start(collector.clone(), Arc::clone(metrics), limits::confine)?;
    Ok((Some(exporter), Some(exporting)))
}

#[cfg(test)]
mod tests {
    use telemetry::access::Target;

    use super::*;

    #[test]
    fn the_kernels_requests_are_asked_for_where_they_are_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::File(folder.path().join("access.log"));
        let (log, writer) = AccessLog::start(&target, Default::default(), Metrics::new(1), || {}).unwrap();
        let log = AccessConfig { log, sample_one_in: 1 };
        for (log, kernel_one_in, is_complete, expected) in [
            (Some(&log), Some(7), false, Some(7)),
            (Some(&log), None, false, None),
            (Some(&log), Some(7), true, None),
            (None, Some(7), false, None),
        ] {
            let mut settings = Settings::default();
            settings.access_log.kernel_one_in = kernel_one_in;
            settings.access_log.is_complete = is_complete;
            let one_in = for_kernel(&settings, log).map(|(_, one_in)| one_in);
            assert_eq!(one_in, expected, "{kernel_one_in:?} {is_complete}");
        }
        writer.stop(STOP_MAX);
    }
}
