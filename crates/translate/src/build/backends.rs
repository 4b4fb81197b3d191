use std::net::SocketAddr;
use std::sync::Arc;

use model::{
    AppProtocol, Authorities, Backend, BackendId, BackendKind, BackendSecurity, BackendTls, Diagnostic,
    Endpoint, InvalidBackend, ObjectKind, ObjectRef, PeerName, Reason, Speaks, Transport,
};
use resources::core::ServicePort;

use super::{BackendPolicies, Builder, Policies, endpoints, spoken};
use crate::objects::Objects;
use crate::report::Report;
use crate::{Options, affinity, own, pattern};

/// How a reference names a port of a Service.
#[derive(Clone, Copy, Debug)]
pub(super) enum PortRef<'a> {
    Number(i32),
    Name(&'a str),
}

/// What becomes of requests whose backend cannot be.
pub(super) const SHARE_GETS_500: &str = "this share of the requests gets 500";

impl Builder<'_> {
    /// The name of the backend behind a port of a Service, which becomes part of the snapshot. `object` and `field` name the
    /// reference, `outcome` what follows where it cannot be, for what is to be said about it.
    ///
    /// # Errors
    /// Why the reference cannot be followed; it has been reported.
    pub(super) fn service_backend(
        &mut self,
        namespace: &str,
        name: &str,
        port: PortRef<'_>,
        object: &ObjectRef,
        (field, outcome): (&str, &str),
    ) -> Result<BackendId, InvalidBackend> {
        self.service_port(namespace, name, port, Transport::Tcp, object, (field, outcome))
    }

    /// The same, spoken to as `speaks` has it.
    pub(super) fn service_speaking(
        &mut self,
        (namespace, name): (&str, &str),
        port: PortRef<'_>,
        speaks: Option<&Arc<Speaks>>,
        object: &ObjectRef,
        said: (&str, &str),
    ) -> Result<BackendId, InvalidBackend> {
        let found = self.find_service_port(namespace, name, port, Transport::Tcp, object, said)?;
        let id = BackendId { speaks: speaks.cloned(), ..found };
        self.part.backends.insert(id.clone());
        Ok(id)
    }

    /// The same for a port of either transport.
    pub(super) fn service_port(
        &mut self,
        namespace: &str,
        name: &str,
        port: PortRef<'_>,
        transport: Transport,
        object: &ObjectRef,
        said: (&str, &str),
    ) -> Result<BackendId, InvalidBackend> {
        let id = self.find_service_port(namespace, name, port, transport, object, said)?;
        self.part.backends.insert(id.clone());
        Ok(id)
    }

    fn find_service_port(
        &mut self,
        namespace: &str,
        name: &str,
        port: PortRef<'_>,
        transport: Transport,
        object: &ObjectRef,
        (field, outcome): (&str, &str),
    ) -> Result<BackendId, InvalidBackend> {
        let key = ObjectRef::new(ObjectKind::Service, namespace, name);
        self.part.services.insert(key.clone());
        let mut report = Report::new(object, &mut self.part.diagnostics);
        let Some(service) = self.objects.services.get(&key) else {
            let message = format!("there is no {key}, so {outcome}: add it");
            report.error(Reason::BackendNotFound, field, message);
            return Err(InvalidBackend::NotFound);
        };
        let spec = service.spec.as_ref();
        if spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
            let message = format!(
                "{key} is an ExternalName, which can be no backend (it would open internal names to the outside), so \
                 {outcome}"
            );
            report.error(Reason::InvalidKind, field, message);
            return Err(InvalidBackend::Kind);
        }
        let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
        let number = find_port(ports, port, transport).and_then(|port| u16::try_from(port.port).ok());
        let Some(number) = number else {
            let wanted = match port {
                PortRef::Number(number) => number.to_string(),
                PortRef::Name(name) => format!("{name:?}"),
            };
            let message = format!(
                "{key} has no {} port {wanted}, so {outcome}; it has {}",
                transport_name(transport),
                list_ports(ports)
            );
            report.error(Reason::BackendNotFound, field, message);
            return Err(InvalidBackend::NotFound);
        };
        Ok(match transport {
            Transport::Tcp => BackendId::service(namespace, name, number),
            Transport::Udp => BackendId::udp_service(namespace, name, number),
        })
    }

    /// Takes endpoints out that settings do not allow; says so at the field of each.
    pub(super) fn allowed(
        &mut self,
        object: &ObjectRef,
        endpoints: Vec<(Endpoint, String)>,
    ) -> Vec<Endpoint> {
        allowed(self.options, endpoints, &mut Report::new(object, &mut self.part.diagnostics))
    }
}

/// The backend of this name with its endpoints, if its Service is there and has such a port.
pub(super) fn backend(
    id: &BackendId,
    objects: &Objects,
    (policies, backend_policies): (&Policies, &BackendPolicies),
    options: &Options,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Backend> {
    let key = ObjectRef::new(ObjectKind::Service, &id.namespace, &id.name);
    let service = objects.services.get(&key)?;
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let transport = if id.kind == BackendKind::UdpService { Transport::Udp } else { Transport::Tcp };
    let port = find_port(ports, PortRef::Number(i32::from(id.port)), transport)?;
    let slices = objects.slices_of(&key);
    let endpoints = endpoints::of_port(service, &slices, port, transport_name(transport), &options.place);
    let mut report = Report::new(&key, diagnostics);
    if slices.is_empty() {
        let message = "has no EndpointSlice, so requests get 503: add one with label \
                       kubernetes.io/service-name (files know no pods, so a selector finds none)";
        report.warning(Reason::BackendNotFound, "", message);
    } else if !endpoints::offers_port(&slices, port, transport_name(transport)) {
        let message = format!(
            "no EndpointSlice of it has a port named {:?} (protocol {}), so requests to port {} get 503",
            port.name.as_deref().unwrap_or(""),
            transport_name(transport),
            port.port
        );
        report.warning(Reason::BackendNotFound, "spec.ports", message);
    }
    let (of_service, wants_tls) = protocol(port.app_protocol.as_deref());
    let protocol = id.speaks.as_ref().map_or(of_service, |speaks| speaks.protocol);
    let security = match (policies.of(&key, port.name.as_deref()), id.speaks.as_deref()) {
        (Some(BackendSecurity::Tls(policed)), Some(Speaks { tls: Some(tls), .. })) => {
            spoken::shown(policed, tls, objects)
        }
        (Some(security), _) => security.clone(),
        (None, Some(Speaks { tls: Some(tls), .. })) => {
            spoken::security(&key, tls, (port.port, wants_tls), objects, &mut report)
        }
        (None, None) if wants_tls => BackendSecurity::Tls(Arc::new(of_the_service(&key, port, &mut report))),
        (None, _) => BackendSecurity::Cleartext,
    };
    let endpoints = endpoints.into_iter().map(|endpoint| (endpoint, String::new())).collect();
    let endpoints = allowed(options, endpoints, &mut report);
    let policy = backend_policies.of(&key, port.name.as_deref());
    let affinity = affinity::of_service(service);
    let proxy_protocol = match transport {
        Transport::Tcp => own::service::proxy_protocol(service, &mut Report::muted(&key)),
        Transport::Udp => None,
    };
    Some(Backend { id: id.clone(), protocol, security, proxy_protocol, endpoints, affinity, policy })
}

pub(super) fn find_port<'p>(
    ports: &'p [ServicePort],
    wanted: PortRef<'_>,
    transport: Transport,
) -> Option<&'p ServicePort> {
    ports.iter().find(|candidate| {
        let is_meant = candidate.protocol.as_deref().unwrap_or("TCP") == transport_name(transport);
        is_meant
            && match wanted {
                PortRef::Number(number) => candidate.port == number,
                PortRef::Name(name) => candidate.name.as_deref() == Some(name),
            }
    })
}

/// The endpoints without addresses that settings do not allow; says so at the field of each.
fn allowed(options: &Options, endpoints: Vec<(Endpoint, String)>, report: &mut Report<'_>) -> Vec<Endpoint> {
    let mut allowed = Vec::with_capacity(endpoints.len());
    for (mut endpoint, field) in endpoints {
        let mut is_allowed = |address: SocketAddr| {
            let is_allowed = options.allow_local_endpoints || !pattern::is_local(address.ip());
            if !is_allowed {
                let message = format!(
                    "{} is a loopback or link-local address, which settings do not allow as an endpoint",
                    address.ip()
                );
                report.error(Reason::AddressNotAllowed, field.clone(), message);
            }
            is_allowed
        };
        let other = endpoint.other.filter(|other| is_allowed(other.address));
        match (is_allowed(endpoint.address), other) {
            (true, other) => endpoint.other = other,
            // What is left of it.
            (false, Some(other)) => endpoint = Endpoint { address: other.address, other: None, ..endpoint },
            (false, None) => continue,
        }
        allowed.push(endpoint);
    }
    allowed.sort_by_key(|endpoint| endpoint.address);
    allowed
}

/// What TLS endpoints must be that no policy speaks of: the Service, by its name in the cluster.
fn of_the_service(key: &ObjectRef, port: &ServicePort, report: &mut Report<'_>) -> BackendTls {
    let server_name: Arc<str> = format!("{}.{}.svc", key.name, key.namespace).into();
    let message = format!(
        "port {} speaks TLS, and no BackendTLSPolicy says who its endpoints are: requests go to those with a certificate \
         for {server_name} by an authority of this system; others get 502",
        port.port
    );
    report.warning(Reason::NoTlsPolicy, "spec.ports", message);
    let names = vec![PeerName::Dns(server_name.clone())];
    BackendTls { server_name, tells_name: true, names, authorities: Authorities::System, certificate: None }
}

/// KEP-3726 and the IANA names, and whether they stand for TLS; what is not HTTP is tried as HTTP/1.1, as without the field.
/// WebSocket begins as HTTP/1.1.
fn protocol(app_protocol: Option<&str>) -> (AppProtocol, bool) {
    match app_protocol {
        Some("kubernetes.io/h2c" | "grpc") => (AppProtocol::Http2, false),
        Some("https" | "HTTPS") => (AppProtocol::Negotiated, true),
        Some("kubernetes.io/wss") => (AppProtocol::Http1, true),
        _ => (AppProtocol::Http1, false),
    }
}

/// As Services and EndpointSlices write it.
fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
    }
}

pub(super) fn list_ports(ports: &[ServicePort]) -> String {
    let list: Vec<_> = ports
        .iter()
        .map(|port| match &port.name {
            Some(name) => format!("{} ({name})", port.port),
            None => port.port.to_string(),
        })
        .collect();
    if list.is_empty() { "none".to_owned() } else { list.join(", ") }
}
