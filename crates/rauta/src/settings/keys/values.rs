//! How the values of single settings are read and shown.

use std::path::{Path, PathBuf};
use std::time::Duration;

use model::CertificateId;
use otlp::{Collector, CollectorError};
use policy::{EscapedSlashes, HeadKind};
use telemetry::access::{Format, FormatError, Target};
use translate::{DefaultListener, is_object_name};

use crate::settings::parse::{
    ANY, Expected, LOOPBACK, address_or_off, boolean, bytes, duration, listen, show_bytes, show_duration,
};
use crate::settings::{AnnounceOn, Forward, OnExit, Policy, Room, ServiceName};

pub(super) fn admin(text: &str) -> Result<Option<std::net::SocketAddr>, Expected> {
    address_or_off(text, LOOPBACK)
}

pub(super) fn metrics(text: &str) -> Result<Option<std::net::SocketAddr>, Expected> {
    address_or_off(text, ANY)
}

pub(super) fn path(text: &str) -> Result<PathBuf, Expected> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err(Expected("an absolute path")) }
}

pub(super) fn path_or_off(text: &str) -> Result<Option<PathBuf>, Expected> {
    match text {
        "off" => Ok(None),
        _ => path(text).map(Some).map_err(|_| Expected("an absolute path, or off")),
    }
}

pub(super) fn service_or_off(text: &str) -> Result<Option<ServiceName>, Expected> {
    // Names of namespaces and Services are labels of DNS (RFC 1123).
    let is_label = |name: &str| {
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        (1..=63).contains(&name.len()) && name.chars().all(is_part)
    };
    let found = namespaced_or_off(text, is_label).ok_or(Expected("a Service as NAMESPACE/NAME, or off"))?;
    let service = |(namespace, name): (&str, &str)| ServiceName {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    Ok(found.map(service))
}

/// `NAMESPACE/NAME` of names that are right; none: it is neither that nor `off`.
fn namespaced_or_off(text: &str, is_name: impl Fn(&str) -> bool) -> Option<Option<(&str, &str)>> {
    if text == "off" {
        return Some(None);
    }
    text.split_once('/').filter(|(namespace, name)| is_name(namespace) && is_name(name)).map(Some)
}

pub(super) fn show_service_or_off(value: &Option<ServiceName>) -> String {
    value.as_ref().map_or("off".to_owned(), |service| format!("{}/{}", service.namespace, service.name))
}

pub(super) fn secret_or_off(text: &str) -> Result<Option<CertificateId>, Expected> {
    let found =
        namespaced_or_off(text, is_object_name).ok_or(Expected("a Secret as NAMESPACE/NAME, or off"))?;
    Ok(found.map(|(namespace, name)| CertificateId { namespace: namespace.into(), name: name.into() }))
}

pub(super) fn show_secret_or_off(value: &Option<CertificateId>) -> String {
    value.as_ref().map_or("off".to_owned(), |secret| format!("{}/{}", secret.namespace, secret.name))
}

pub(super) fn port_or_auto(text: &str) -> Result<Option<u16>, Expected> {
    match text {
        "auto" => Ok(None),
        _ => match text.parse() {
            Ok(port) if port > 0 => Ok(Some(port)),
            _ => Err(Expected("a port from 1 to 65535, or auto")),
        },
    }
}

pub(super) fn show_port_or_auto(value: &Option<u16>) -> String {
    value.map_or("auto".to_owned(), |port| port.to_string())
}

pub(super) fn boolean_or_auto(text: &str) -> Result<Option<bool>, Expected> {
    match text {
        "auto" => Ok(None),
        _ => boolean(text).map(Some).map_err(|_| Expected("true, false or auto")),
    }
}

pub(super) fn show_or_auto(value: &Option<bool>) -> String {
    value.map_or("auto".to_owned(), |value| value.to_string())
}

pub(super) fn header_or_off(text: &str) -> Result<Option<String>, Expected> {
    header_of(HeadKind::Request, text)
}

pub(super) fn response_header_or_off(text: &str) -> Result<Option<String>, Expected> {
    header_of(HeadKind::Response, text)
}

fn header_of(head: HeadKind, text: &str) -> Result<Option<String>, Expected> {
    let fits = |name: &str| {
        !name.is_empty()
            && name.bytes().all(http1::is_token_byte)
            && policy::header_refusal(head, name).is_none()
    };
    match text {
        "off" => Ok(None),
        name if fits(name) => Ok(Some(name.to_owned())),
        _ => Err(Expected("the name of a header that frames nothing, such as x-request-id, or off")),
    }
}

pub(super) fn access_log(text: &str) -> Result<Option<Target>, Expected> {
    match text {
        "off" => Ok(None),
        "stdout" => Ok(Some(Target::Stdout)),
        _ => match path(text) {
            Ok(path) => Ok(Some(Target::File(path))),
            Err(_) => Err(Expected("an absolute path, stdout or off")),
        },
    }
}

pub(super) fn access_log_format(text: &str) -> Result<Format, FormatError> {
    text.parse()
}

pub(super) fn escaped_slashes(text: &str) -> Result<EscapedSlashes, Expected> {
    match text {
        "keep" => Ok(EscapedSlashes::Keep),
        "forward" => Ok(EscapedSlashes::Forward),
        "redirect" => Ok(EscapedSlashes::Redirect),
        "reject" => Ok(EscapedSlashes::Reject),
        _ => Err(Expected("keep, forward, redirect or reject")),
    }
}

pub(super) fn collector(text: &str) -> Result<Option<Collector>, CollectorError> {
    match text {
        "off" => Ok(None),
        _ => text.parse().map(Some),
    }
}

/// One in how many.
pub(super) fn one_in(text: &str) -> Result<u64, Expected> {
    text.parse().ok().filter(|count| *count > 0).ok_or(Expected("a whole number above zero: one in so many"))
}

/// One in how many, or none.
pub(super) fn one_in_or_off(text: &str) -> Result<Option<u32>, Expected> {
    if text == "off" {
        return Ok(None);
    }
    let count = text.parse().ok().filter(|count| *count > 0);
    count.map(Some).ok_or(Expected("a whole number above zero: one in so many; or off"))
}

pub(super) fn log_level(text: &str) -> Result<String, Expected> {
    let expected = Expected("error, warn, info, debug, trace, off, or directives such as info,proxy=debug");
    telemetry::log::check_filter(text).map(|()| text.to_owned()).map_err(|_| expected)
}

pub(super) fn log_format(text: &str) -> Result<telemetry::log::Format, Expected> {
    text.parse().map_err(|_| Expected("text or json"))
}

pub(super) fn head_bytes(text: &str) -> Result<usize, Expected> {
    // The scanner's offsets are 16 bits wide.
    let fits = |bytes: &usize| (1024..=65_535).contains(bytes);
    bytes(text).ok().filter(fits).ok_or(Expected("a size from 1KiB to 65535"))
}

pub(super) fn maglev_table_size(text: &str) -> Result<u32, Expected> {
    let expected = Expected("a prime from 251 to 65537, such as 4099 or 65537");
    text.parse().ok().filter(|slots| translate::is_maglev_table_size(*slots)).ok_or(expected)
}

pub(super) fn hook(text: &str) -> Result<loader::Hook, Expected> {
    text.parse().map_err(|_| Expected("auto, xdp, tc or off"))
}

pub(super) fn xdp_mode(text: &str) -> Result<loader::XdpMode, Expected> {
    text.parse().map_err(|_| Expected("auto, native, skb or hw"))
}

pub(super) fn interface(text: &str) -> Result<String, Expected> {
    // IFNAMSIZ with its closing zero, and what the kernel refuses in names (dev_valid_name).
    let fits = !text.is_empty() && text.len() < 16 && !text.contains(|c: char| c == '/' || c.is_whitespace());
    if fits { Ok(text.to_owned()) } else { Err(Expected("names of interfaces such as eth0")) }
}

pub(super) fn announce_on(text: &str) -> Result<AnnounceOn, Expected> {
    match text {
        "auto" => Ok(AnnounceOn::DefaultRoute),
        "off" => Ok(AnnounceOn::Nothing),
        name => interface(name)
            .map(AnnounceOn::Interface)
            .map_err(|_| Expected("the name of an interface such as eth0, auto, or off")),
    }
}

pub(super) fn show_announce_on(value: &AnnounceOn) -> String {
    match value {
        AnnounceOn::DefaultRoute => "auto".to_owned(),
        AnnounceOn::Interface(name) => name.clone(),
        AnnounceOn::Nothing => "off".to_owned(),
    }
}

pub(super) fn on_exit(text: &str) -> Result<OnExit, Expected> {
    match text {
        "detach" => Ok(OnExit::Detach),
        "keep" => Ok(OnExit::Keep),
        _ => Err(Expected("detach or keep")),
    }
}

pub(super) fn forward(text: &str) -> Result<Forward, Expected> {
    match text {
        "redirect" => Ok(Forward::Redirect),
        "off" => Ok(Forward::Off),
        _ => Err(Expected("redirect or off")),
    }
}

pub(super) fn policy(text: &str) -> Result<Policy, Expected> {
    match text {
        "auto" => Ok(Policy::Auto),
        "ignore" => Ok(Policy::Ignore),
        "respect" => Ok(Policy::Respect),
        _ => Err(Expected("ignore or respect")),
    }
}

pub(super) fn requests(text: &str) -> Result<usize, Expected> {
    text.parse().ok().ok_or(Expected("a whole number, or 0 for never"))
}

pub(super) fn redraw_after(text: &str) -> Result<u32, Expected> {
    text.parse().ok().filter(|requests| *requests > 0).ok_or(Expected("a whole number above zero"))
}

/// `off` is zero: no setting of a duration is.
pub(super) fn pool_idle(text: &str) -> Result<Duration, Expected> {
    const EXPECTED: Expected = Expected("a duration up to 1h, or off");
    match text {
        "off" => Ok(Duration::ZERO),
        _ => duration(text).ok().filter(|idle| *idle <= Duration::from_secs(3600)).ok_or(EXPECTED),
    }
}

pub(super) fn show_pool_idle(idle: &Duration) -> String {
    if idle.is_zero() { "off".to_owned() } else { show_duration(*idle) }
}

pub(super) fn pool_legs(text: &str) -> Result<u32, Expected> {
    let fits = |legs: &u32| (1..=wire::POOL_PLACES).contains(&(*legs as usize));
    text.parse().ok().filter(fits).ok_or(Expected("a whole number from 1 to 64"))
}

pub(super) fn max_flows(text: &str) -> Result<u32, Expected> {
    // The upper end is some 450 bytes each: half a gigabyte.
    let fits = |flows: &u32| (1024..=1 << 20).contains(flows);
    text.parse().ok().filter(fits).ok_or(Expected("a whole number from 1024 to 1048576"))
}

/// Room in a table of the kernel: `2048-65536`, or as much from the start.
pub(super) fn room(text: &str) -> Result<Room, Expected> {
    let expected = Expected("a number of entries from 16 to 1048576, or two such as 2048-65536");
    room_up_to(text, 1 << 20).ok_or(expected)
}

/// The same for endpoints, whose indices have 16 bits.
pub(super) fn endpoint_room(text: &str) -> Result<Room, Expected> {
    room_up_to(text, 1 << 16)
        .ok_or(Expected("a number of entries from 16 to 65536, or two such as 4096-65536"))
}

fn room_up_to(text: &str, end: u32) -> Option<Room> {
    let (first, most) = text.split_once('-').unwrap_or((text, text));
    let room = Room { first: first.trim().parse().ok()?, most: most.trim().parse().ok()? };
    (16 <= room.first && room.first <= room.most && room.most <= end).then_some(room)
}

pub(super) fn counted_routes(text: &str) -> Result<u32, Expected> {
    let fits = |routes: &u32| (*routes as usize) < wire::ROUTE_ACTIONS_MAX;
    text.parse().ok().filter(fits).ok_or(Expected("a whole number from 0 to 16383"))
}

pub(super) fn route_metrics(text: &str) -> Result<usize, Expected> {
    // Each has some 300 bytes for each thread, and 20 series.
    text.parse().ok().filter(|routes| *routes <= 16_383).ok_or(Expected("a whole number from 0 to 16383"))
}

pub(super) fn counted_endpoints(text: &str) -> Result<u32, Expected> {
    let fits = |endpoints: &u32| (*endpoints as usize) < wire::ENDPOINTS_MAX;
    text.parse().ok().filter(fits).ok_or(Expected("a whole number from 0 to 16383"))
}

pub(super) fn affinity_entries(text: &str) -> Result<u32, Expected> {
    // The upper end is some 110 bytes each.
    let fits = |entries: &u32| (1024..=1 << 22).contains(entries);
    text.parse().ok().filter(fits).ok_or(Expected("a whole number from 1024 to 4194304"))
}

/// Whoever writes it chose it, be it the default.
pub(super) fn listen_https(text: &str) -> Result<Option<DefaultListener>, Expected> {
    listen(text).map(Some)
}

pub(super) fn show_listen_https(chosen: &Option<DefaultListener>) -> String {
    show_listen(&chosen.clone().unwrap_or_else(DefaultListener::https))
}

pub(super) fn show_listen(listen: &DefaultListener) -> String {
    match listen.addresses.first() {
        Some(address) => std::net::SocketAddr::new(*address, listen.port).to_string(),
        None => format!(":{}", listen.port),
    }
}

pub(super) fn show_address(address: &Option<std::net::SocketAddr>) -> String {
    address.map_or_else(|| "off".to_owned(), |address| address.to_string())
}

pub(super) fn show_path(path: &Path) -> String {
    path.display().to_string()
}

pub(super) fn show_path_or_off(path: &Option<PathBuf>) -> String {
    path.as_deref().map_or_else(|| "off".to_owned(), show_path)
}

pub(super) fn show_access_log(target: &Option<Target>) -> String {
    match target {
        None => "off".to_owned(),
        Some(Target::Stdout) => "stdout".to_owned(),
        Some(Target::File(path)) => show_path(path),
    }
}

pub(super) fn show_escaped_slashes(slashes: &EscapedSlashes) -> String {
    match slashes {
        EscapedSlashes::Keep => "keep",
        EscapedSlashes::Forward => "forward",
        EscapedSlashes::Redirect => "redirect",
        EscapedSlashes::Reject => "reject",
    }
    .to_owned()
}

pub(super) fn show_collector(collector: &Option<Collector>) -> String {
    collector.as_ref().map_or_else(|| "off".to_owned(), ToString::to_string)
}

pub(super) fn show_or_off(text: &Option<String>) -> String {
    text.clone().unwrap_or_else(|| "off".to_owned())
}

pub(super) fn show_one_in_or_off(one_in: &Option<u32>) -> String {
    one_in.map_or_else(|| "off".to_owned(), |count| count.to_string())
}

pub(super) fn shown(value: &std::time::Duration) -> String {
    show_duration(*value)
}

pub(super) fn shown_bytes(value: &usize) -> String {
    show_bytes(*value)
}

pub(super) fn show_on_exit(on_exit: &OnExit) -> String {
    match on_exit {
        OnExit::Detach => "detach".to_owned(),
        OnExit::Keep => "keep".to_owned(),
    }
}

pub(super) fn show_forward(forward: &Forward) -> String {
    match forward {
        Forward::Redirect => "redirect".to_owned(),
        Forward::Off => "off".to_owned(),
    }
}

pub(super) fn show_policy(policy: &Policy) -> String {
    match policy {
        Policy::Auto => "auto".to_owned(),
        Policy::Ignore => "ignore".to_owned(),
        Policy::Respect => "respect".to_owned(),
    }
}
