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
        if name == Name::TO && parameter(value, "tag").is_none() {
            text.push_str(";tag=");
            text.push_str(tag);
        }
        text.push_str("\r\n");
    }
    text.push_str(more);
    text.push_str("Content-Length: 0\r\n\r\n");
    Some(text.into_bytes())
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
