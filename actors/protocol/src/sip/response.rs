//! Responses to requests (RFC 3261, 8.2.6; RFC 3581).

use std::net::SocketAddr;

use ezk_sip_types::{Method, Name};

use super::fields::parameter;
use super::stream::SipMessage;

/// The response to `request`; `None` if that is no request, one that is never answered, or one without
/// the headers that an answer repeats. `tag` is our part of the dialog that might begin, `from` the other
/// end of the connection, `more` whole header lines.
pub(super) fn response(
    request: &SipMessage,
    status: &str,
    tag: &str,
    from: SocketAddr,
    more: &str,
) -> Option<Vec<u8>> {
    respond(request, status, Some(tag), from, more, None)
}

/// The same without a tag, as for `100 Trying`, and with a body and its type.
pub(crate) fn respond(
    request: &SipMessage,
    status: &str,
    tag: Option<&str>,
    from: SocketAddr,
    more: &str,
    body: Option<(&str, &[u8])>,
) -> Option<Vec<u8>> {
    let method = request.line.request_method()?;
    if *method == Method::ACK {
        return None;
    }
    let mut text = format!("SIP/2.0 {status}\r\nVia: {}\r\n", seen(request.header(&Name::VIA)?, from));
    for via in request.headers.get_raw(&Name::VIA).skip(1) {
        text.push_str(&format!("Via: {}\r\n", via.as_str().trim()));
    }
    for name in [Name::CALL_ID, Name::FROM, Name::TO, Name::CSEQ] {
        let value = request.header(&name)?;
        text.push_str(name.as_print_str());
        text.push_str(": ");
        text.push_str(value);
        let tag = tag.filter(|_| name == Name::TO && parameter(value, "tag").is_none());
        if let Some(tag) = tag {
            text.push_str(";tag=");
            text.push_str(tag);
        }
        text.push_str("\r\n");
    }
    text.push_str(more);
    let (kind, body) = body.unwrap_or_default();
    if !kind.is_empty() {
        text.push_str(&format!("Content-Type: {kind}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    Some(bytes)
}

/// The topmost `Via` with what we see of its sender, if that asks for it.
fn seen(via: &str, from: SocketAddr) -> String {
    let (port, address) = (from.port(), from.ip());
    let ours = format!(";rport={port};received={address}");
    if via.contains(";rport;") {
        return via.replacen(";rport", &ours, 1);
    }
    via.strip_suffix(";rport").map_or_else(|| via.to_owned(), |front| format!("{front}{ours}"))
}
