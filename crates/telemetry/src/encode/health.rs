//! What health checks do.

use std::borrow::Cow;
use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{counter, gauge, signed};
use crate::Metrics;

pub(super) fn encode(to: &mut DescriptorEncoder<'_>, metrics: &Metrics) -> fmt::Result {
    let health = &metrics.health;
    let probes = health.probes();
    let probes = probes.into_iter().map(|(result, count)| (vec![("result", Cow::from(result))], count));
    counter(to, "rauta_health_probes", "Health probes of endpoints, by result.", probes)?;
    let help = "Endpoints of backends that fail their health check now.";
    gauge(to, "rauta_endpoints_unhealthy", help, [(vec![], signed(health.unhealthy()))])?;
    let help = "Endpoints of backends that are left out now for what they answered.";
    gauge(to, "rauta_endpoints_ejected", help, [(vec![], signed(health.ejected_now()))])?;
    let (ejected, refused) = health.ejections();
    let help = "Endpoints that failed too many requests in a row, by whether they were left out.";
    let label = |result| vec![("result", Cow::from(result))];
    let values = [(label("ejected"), ejected), (label("too many"), refused)];
    counter(to, "rauta_endpoint_ejections", help, values)?;
    let help = "Backends that use all endpoints now because too few are healthy.";
    gauge(to, "rauta_backends_panicked", help, [(vec![], signed(health.panicked()))])?;
    let help = "How often a backend began to use all endpoints because too few were healthy.";
    counter(to, "rauta_backend_panics", help, [(vec![], health.panics())])
}
