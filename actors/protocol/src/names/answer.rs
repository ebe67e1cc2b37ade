//! What answers of a name server mean (`spec: name-server 3-5`).

use serde::Deserialize;
use serde_json::Value;

use super::http::{MAX_ANSWER, Response, json_object};
use super::name::{Name, NameError};
use super::registration::{SignedName, without_prefix};
use crate::ids::AccountId;

/// How much a name and an id belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Evidence {
    /// The server says so.
    Claimed,
    /// The account signed it.
    Signed,
}

/// Whose a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The account.
    pub account: AccountId,
    /// How much it is known.
    pub evidence: Evidence,
}

/// Why a question has no answer. That something is not registered is an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The server says that nothing like this can be registered, or that it is too short to search for.
    #[error("the name server does not take that for a name, an id or a text to search for")]
    NotAccepted,
    /// Key or signature are wrong, or belong to something else than was asked for.
    #[error("the answer of the name server is forged; do not believe it")]
    Forged,
    /// The id in the answer is none.
    #[error("the name server answered with something that is no account id")]
    NoAccount,
    /// The name in the answer is none.
    #[error("the name server answered with something that is no name: {0}")]
    NoName(NameError),
    /// Not JSON, or not of the form it should have.
    #[error("the name server answered with something that cannot be read")]
    Garbage,
    /// More than [`MAX_ANSWER`].
    #[error("the name server answered with more than {MAX_ANSWER} bytes")]
    TooLong,
    /// A redirection too many, without a place to go to, away from TLS, or of a registration.
    #[error("the name server sent us elsewhere once too often or to a place where we do not go")]
    Redirected,
    /// Any other status.
    #[error("the name server answered with status {0}; try again later")]
    Status(u16),
    /// No connection, or it broke.
    #[error("the name server cannot be reached; try again later")]
    Unreachable,
    /// No whole answer in time.
    #[error("the name server did not answer in time; try again later")]
    TimedOut,
    /// The server failed so often that it is left alone for a while.
    #[error("the name server failed too often just now; it is asked again in some minutes")]
    Resting,
    /// Too many questions wait for an answer.
    #[error("too many questions to name servers wait for an answer; try again later")]
    Busy,
}

impl AskError {
    /// Whether the same question may have an answer soon: the server is at fault, not the question.
    #[must_use]
    pub const fn is_passing(self) -> bool {
        matches!(self, Self::Status(429 | 500..) | Self::Unreachable | Self::TimedOut)
    }
}

/// Why a name was not registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// It belongs to another account, or this account has another name already.
    #[error("the name is taken, or the account has another name already")]
    Taken,
    /// The server does not take the name, or misses something.
    #[error(
        "the name server does not take this registration; most take 3 to 32 letters, digits, `-` and `_`"
    )]
    Incomplete,
    /// The server says that the signature is wrong.
    #[error("the name server does not take the signature of the account")]
    SignatureRefused,
    /// The server says no without saying why.
    #[error("the name server refused without a reason")]
    Refused,
    /// Another registration of the account is under way.
    #[error("another registration of this account is under way; wait for it")]
    Pending,
    /// The server could not be asked, or its answer not read.
    #[error(transparent)]
    Server(#[from] AskError),
}

/// The fields of an answer that resolves a name. Fields of another type than text are taken as
/// [`text`] says.
#[derive(Deserialize)]
struct ResolutionBody {
    #[serde(default)]
    name: Value,
    #[serde(default)]
    addr: Value,
    #[serde(default)]
    publickey: Value,
    #[serde(default)]
    signature: Value,
}

#[derive(Deserialize)]
struct NameBody {
    #[serde(default)]
    name: Value,
}

#[derive(Deserialize)]
struct RegisteredBody {
    #[serde(default)]
    success: Value,
}

/// What the answer to a look-up of `name` says; `None` if nobody has it.
pub(super) fn resolution(name: &Name, response: Response<'_>) -> Result<Option<Resolution>, AskError> {
    let Some(body) = found::<ResolutionBody>(response)? else { return Ok(None) };
    let address = text(body.addr)?.to_ascii_lowercase();
    let address = without_prefix(&address);
    if address.is_empty() {
        return Ok(None);
    }
    let account: AccountId = address.parse().map_err(|_| AskError::NoAccount)?;
    let answered = text(body.name)?;
    if !answered.is_empty() && !answered.eq_ignore_ascii_case(name.as_str()) {
        // A signature of another name would say nothing about this one.
        return Err(AskError::Forged);
    }
    let (public_key, signature) = (text(body.publickey)?, text(body.signature)?);
    if public_key.is_empty() || signature.is_empty() {
        let resolution = Resolution { account, evidence: Evidence::Claimed };
        return Ok((account != AccountId([0; 20])).then_some(resolution));
    }
    let proof = SignedName::from_base64(&public_key, &signature).ok_or(AskError::Forged)?;
    proof.verify(name, account).map_err(|_| AskError::Forged)?;
    Ok(Some(Resolution { account, evidence: Evidence::Signed }))
}

/// Which name a server claims an id has; `None` if none.
pub(super) fn name_of(response: Response<'_>) -> Result<Option<Name>, AskError> {
    let Some(body) = found::<NameBody>(response)? else { return Ok(None) };
    let name = text(body.name)?;
    if name.is_empty() { Ok(None) } else { name.parse().map(Some).map_err(AskError::NoName) }
}

/// Whether a registration was taken.
pub(super) fn registered(response: Response<'_>) -> Result<(), RegisterError> {
    match response.status {
        200..=299 => match json::<RegisteredBody>(response.body)?.success {
            Value::Bool(true) => Ok(()),
            Value::Number(number) if number.as_f64() != Some(0.0) => Ok(()),
            Value::Bool(_) | Value::Number(_) | Value::Null => Err(RegisterError::Refused),
            _ => Err(AskError::Garbage.into()),
        },
        400 => Err(RegisterError::Incomplete),
        401 => Err(RegisterError::SignatureRefused),
        429 => Err(AskError::Status(429).into()),
        402..=499 => Err(RegisterError::Taken),
        300..=399 => Err(AskError::Redirected.into()),
        status => Err(AskError::Status(status).into()),
    }
}

/// The body of an answer to a look-up; `None` if the server says that there is nothing.
fn found<'de, T: Deserialize<'de>>(response: Response<'de>) -> Result<Option<T>, AskError> {
    match response.status {
        200 => json(response.body).map(Some),
        400 => Err(AskError::NotAccepted),
        429 => Err(AskError::Status(429)),
        401..=499 => Ok(None),
        status => Err(AskError::Status(status)),
    }
}

/// A JSON object within the limit.
pub(super) fn json<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, AskError> {
    if body.len() > MAX_ANSWER {
        return Err(AskError::TooLong);
    }
    json_object(body).ok_or(AskError::Garbage)
}

/// A field as text, where it can be one (`spec: name-server 9`).
fn text(field: Value) -> Result<String, AskError> {
    match field {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text),
        Value::Bool(_) | Value::Number(_) => Ok(field.to_string()),
        Value::Array(_) | Value::Object(_) => Err(AskError::Garbage),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::names::golden::{RECORDED_ACCOUNT, recorded_fields};

    fn response(status: u16, body: &[u8]) -> Response<'_> {
        Response { status, location: None, body }
    }

    fn resolve(name: &str, status: u16, body: &Value) -> Result<Option<Resolution>, AskError> {
        resolution(&name.parse().unwrap(), response(status, body.to_string().as_bytes()))
    }

    fn recorded(evidence: Evidence) -> Result<Option<Resolution>, AskError> {
        Ok(Some(Resolution { account: RECORDED_ACCOUNT.parse().unwrap(), evidence }))
    }

    #[test]
    fn look_ups_against_the_scripted_server_end_as_recorded_or_stricter() {
        let (key, signature) = recorded_fields();
        let signed = |addr: &str| json!({"addr": addr, "publickey": key, "signature": signature});
        assert_eq!(resolve("alicetest", 200, &signed(RECORDED_ACCOUNT)), recorded(Evidence::Signed));
        assert_eq!(resolve("othername", 200, &signed(RECORDED_ACCOUNT)), Err(AskError::Forged));
        let bad_key = json!({"addr": RECORDED_ACCOUNT, "publickey": "eHg=", "signature": signature});
        assert_eq!(resolve("badkey", 200, &bad_key), Err(AskError::Forged));
        assert_eq!(resolve("wrongaddr", 200, &signed(&"0".repeat(40))), Err(AskError::Forged));
        let prefixed = json!({"addr": format!("0x{RECORDED_ACCOUNT}")});
        assert_eq!(resolve("ox-addr", 200, &prefixed), recorded(Evidence::Claimed));
        assert_eq!(resolve("junkaddr", 200, &json!({"addr": "zzz"})), Err(AskError::NoAccount));
        assert_eq!(resolve("noaddr", 200, &json!({})), Ok(None));
        assert_eq!(resolve("noaddr", 200, &json!({"addr": ""})), Ok(None));
        let garbage = resolution(&"badjson".parse().unwrap(), response(200, b"{{{"));
        assert_eq!(garbage, Err(AskError::Garbage));
        assert_eq!(resolve("code400", 400, &json!({})), Err(AskError::NotAccepted));
        for status in [401, 403, 404, 409, 499] {
            assert_eq!(resolve("code", status, &json!({})), Ok(None), "{status}");
        }
        for status in [500, 503, 204, 302, 100] {
            assert_eq!(resolve("code", status, &json!({})), Err(AskError::Status(status)));
        }
    }

    #[test]
    fn a_signature_counts_for_the_name_asked_for_only() {
        let (key, signature) = recorded_fields();
        let answer =
            json!({"name": "AliceTest", "addr": RECORDED_ACCOUNT, "publickey": key, "signature": signature});
        assert_eq!(resolve("alicetest", 200, &answer), recorded(Evidence::Signed));
        // What is signed is right, and not what was asked.
        assert_eq!(resolve("bob", 200, &answer), Err(AskError::Forged));
    }

    #[test]
    fn upper_case_ids_are_read_with_and_without_a_key() {
        let (key, signature) = recorded_fields();
        let address = RECORDED_ACCOUNT.to_uppercase();
        let signed = json!({"addr": address, "publickey": key, "signature": signature});
        assert_eq!(resolve("alicetest", 200, &signed), recorded(Evidence::Signed));
        assert_eq!(resolve("alicetest", 200, &json!({"addr": address})), recorded(Evidence::Claimed));
    }

    #[test]
    fn a_key_without_signature_and_the_reverse_prove_nothing() {
        let (key, signature) = recorded_fields();
        for half in [
            json!({"addr": RECORDED_ACCOUNT, "publickey": key}),
            json!({"addr": RECORDED_ACCOUNT, "signature": signature}),
        ] {
            assert_eq!(resolve("alicetest", 200, &half), recorded(Evidence::Claimed));
        }
    }

    #[test]
    fn fields_of_a_wrong_type_are_no_reason_to_fail_unless_they_cannot_be_texts() {
        assert_eq!(resolve("alice", 200, &json!({"addr": null})), Ok(None));
        assert_eq!(resolve("alice", 200, &json!({"addr": 12})), Err(AskError::NoAccount));
        assert_eq!(resolve("alice", 200, &json!({"addr": {}})), Err(AskError::Garbage));
        assert_eq!(resolve("alice", 200, &json!([])), Err(AskError::Garbage));
        assert_eq!(resolve("alice", 200, &json!({"addr": "0".repeat(40)})), Ok(None));
    }

    #[test]
    fn the_name_of_an_id_is_a_name_or_nothing() {
        let name_of = |status, body: &Value| name_of(response(status, body.to_string().as_bytes()));
        assert_eq!(name_of(200, &json!({"name": "RevName"})), Ok(Some("revname".parse().unwrap())));
        assert_eq!(name_of(200, &json!({"name": ""})), Ok(None));
        assert_eq!(name_of(404, &json!({"error": "address not registred"})), Ok(None));
        assert_eq!(name_of(400, &json!({"success": false})), Err(AskError::NotAccepted));
        let turned = name_of(200, &json!({"name": "ali\u{202e}ce"}));
        assert_eq!(turned, Err(AskError::NoName(NameError::Character('\u{202e}'))));
        assert!(matches!(name_of(200, &json!({"name": "x".repeat(65)})), Err(AskError::NoName(_))));
    }

    #[test]
    fn registrations_end_as_recorded() {
        let registered = |status, body: &str| registered(response(status, body.as_bytes()));
        for body in [r#"{"success":true}"#, r#"{"success":1}"#, r#"{"success":true,"more":[1]}"#] {
            assert_eq!((registered(200, body), registered(201, body)), (Ok(()), Ok(())), "{body}");
        }
        for body in [r#"{"success":false}"#, r#"{"success":0}"#, "{}", r#"{"success":null}"#] {
            assert_eq!(registered(200, body), Err(RegisterError::Refused), "{body}");
        }
        for body in ["", "{{{", r#"{"success":"true"}"#, r#"{"success":{}}"#] {
            assert_eq!(registered(200, body), Err(AskError::Garbage.into()), "{body}");
        }
        for (status, error) in [
            (400, RegisterError::Incomplete),
            (401, RegisterError::SignatureRefused),
            (403, RegisterError::Taken),
            (404, RegisterError::Taken),
            (409, RegisterError::Taken),
            (500, AskError::Status(500).into()),
            (302, AskError::Redirected.into()),
        ] {
            assert_eq!(registered(status, "{}"), Err(error), "{status}");
        }
    }

    #[test]
    fn answers_that_are_too_long_or_nested_without_end_are_refused() {
        let long = format!("{{\"name\":\"{}\"}}", "x".repeat(MAX_ANSWER));
        assert_eq!(name_of(response(200, long.as_bytes())), Err(AskError::TooLong));
        let nested = format!("{{\"name\":{}", "[".repeat(500_000));
        assert_eq!(name_of(response(200, nested.as_bytes())), Err(AskError::Garbage));
        let nested = format!("{{\"other\":{}", "[".repeat(500_000));
        assert_eq!(name_of(response(200, nested.as_bytes())), Err(AskError::Garbage));
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(status in 100_u16..600, body in "(\\{\"(name|addr|success)\":)?\\PC{0,40}\\}?") {
            let name = "alice".parse().unwrap();
            let _ = resolution(&name, response(status, body.as_bytes()));
            let _ = (name_of(response(status, body.as_bytes())), registered(response(status, body.as_bytes())));
        }
    }
}
