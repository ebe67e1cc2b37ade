//! A registration: the account key signs the name, and whoever has key and signature can check that the
//! account wanted it (`spec: name-server 5`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::http::json_object;
use super::name::Name;
use crate::identity::EthereumAddress;
use crate::ids::AccountId;
use crate::keys::{KeyError, MAX_PUBLIC_KEY, PrivateKey, PublicKey};

/// Longest body of a registration, in bytes: one of an RSA-4096 key has 1,884, of the largest key that
/// signs about 4,000.
pub const MAX_REGISTRATION: usize = 16 * 1024;

/// Longest owner, in bytes. It is an address of 40 digits; other software may write something else.
const MAX_OWNER: usize = 128;

/// Longest signature, in bytes: of the largest key that signs, RSA-8192.
const MAX_SIGNATURE: usize = 1024;

const HEADER: &str = "-----BEGIN PUBLIC KEY-----";
const FOOTER: &str = "-----END PUBLIC KEY-----";

/// A name that an account signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    name: Name,
    account: AccountId,
    owner: String,
    proof: SignedName,
}

/// The key of an account and what it signed, as they were sent: readers of some releases are particular.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SignedName {
    /// The key: PEM, perhaps with a zero byte behind it, or DER.
    pub(super) public_key: Vec<u8>,
    /// The signature.
    pub(super) signature: Vec<u8>,
}

/// Why a registration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistrationError {
    /// The body is no JSON object of a bearable size, or a field has another type.
    #[error("the body of the registration cannot be read")]
    Body,
    /// `addr` is no account id, or zero.
    #[error("`addr` is no account id")]
    Address,
    /// The owner is too long.
    #[error("`owner` has more than {MAX_OWNER} bytes")]
    Owner,
    /// There is no key, or no signature.
    #[error("`publickey` and `signature` are both needed")]
    Unsigned,
    /// Key or signature are not what they should be, or not the account's.
    #[error("the signature of the name does not belong to the account")]
    Forged,
}

#[derive(Serialize, Deserialize)]
struct Body {
    #[serde(default)]
    addr: String,
    #[serde(default)]
    owner: String,
    #[serde(default)]
    signature: String,
    #[serde(default)]
    publickey: String,
}

impl Registration {
    /// Signs a name for the account whose key this is. Without a key of Ethereum the account is its owner.
    ///
    /// # Errors
    /// See [`PrivateKey::sign`]; it takes as long as that.
    pub fn sign(name: Name, key: &PrivateKey, owner: Option<EthereumAddress>) -> Result<Self, KeyError> {
        let account = key.public().account_id();
        let owner = owner.map_or_else(|| account.to_hex(), |owner| owner.to_string());
        let signature = key.sign(name.as_str().as_bytes())?;
        let proof = SignedName { public_key: to_pem(key.public()).into_bytes(), signature };
        Ok(Self { name, account, owner, proof })
    }

    /// Reads the body of a registration of `name`, and checks the signature.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(name: Name, body: &[u8]) -> Result<Self, RegistrationError> {
        if body.len() > MAX_REGISTRATION {
            return Err(RegistrationError::Body);
        }
        let body: Body = json_object(body).ok_or(RegistrationError::Body)?;
        let account = without_prefix(&body.addr).parse().map_err(|_| RegistrationError::Address)?;
        if account == AccountId([0; 20]) {
            return Err(RegistrationError::Address);
        }
        if body.owner.len() > MAX_OWNER {
            return Err(RegistrationError::Owner);
        }
        if body.publickey.is_empty() || body.signature.is_empty() {
            return Err(RegistrationError::Unsigned);
        }
        let proof =
            SignedName::from_base64(&body.publickey, &body.signature).ok_or(RegistrationError::Forged)?;
        proof.verify(&name, account).map_err(|_| RegistrationError::Forged)?;
        Ok(Self { name, account, owner: body.owner, proof })
    }

    /// The body of the request.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let (publickey, signature) = self.proof.to_base64();
        let body = Body { addr: self.account.to_hex(), owner: self.owner.clone(), signature, publickey };
        // A struct of texts always has a JSON form.
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// The name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// The account that signed it.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        self.account
    }

    /// Whom the account calls the owner.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    pub(super) const fn proof(&self) -> &SignedName {
        &self.proof
    }

    /// From a record that was checked when it was made.
    pub(super) fn restored(name: Name, account: AccountId, owner: String, proof: SignedName) -> Self {
        Self { name, account, owner, proof }
    }
}

impl SignedName {
    /// From the two texts of a request or an answer. `None` if one is not base64, or too long.
    pub(super) fn from_base64(public_key: &str, signature: &str) -> Option<Self> {
        let decode = |text: &str, limit: usize| {
            let is_short = text.len() <= limit.div_ceil(3).saturating_mul(4);
            is_short.then(|| STANDARD.decode(text).ok()).flatten()
        };
        let public_key = decode(public_key, 2 * MAX_PUBLIC_KEY)?;
        Some(Self { public_key, signature: decode(signature, MAX_SIGNATURE)? })
    }

    /// The key and the signature as texts.
    pub(super) fn to_base64(&self) -> (String, String) {
        (STANDARD.encode(&self.public_key), STANDARD.encode(&self.signature))
    }

    /// Checks that the key is the account's and signed the name.
    pub(super) fn verify(&self, name: &Name, account: AccountId) -> Result<(), KeyError> {
        let key = read_public_key(&self.public_key)?;
        if key.account_id() != account {
            return Err(KeyError::BadSignature);
        }
        key.verify(name.as_str().as_bytes(), &self.signature)
    }
}

/// The id that may follow a `0x`.
pub(super) fn without_prefix(address: &str) -> &str {
    address.strip_prefix("0x").unwrap_or(address)
}

fn to_pem(key: &PublicKey) -> String {
    let digits = STANDARD.encode(key.der());
    let lines = digits.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok());
    let mut pem = format!("{HEADER}\n");
    for line in lines {
        pem.push_str(line);
        pem.push('\n');
    }
    pem + FOOTER + "\n"
}

/// A key in PEM, perhaps with a zero byte behind it as clients of 2023 send it, or in DER.
fn read_public_key(bytes: &[u8]) -> Result<PublicKey, KeyError> {
    if bytes.first() == Some(&0x30) {
        return PublicKey::from_der(bytes);
    }
    let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    let text = std::str::from_utf8(text).map_err(|_| KeyError::Malformed)?;
    let (_, text) = text.split_once(HEADER).ok_or(KeyError::Malformed)?;
    let (digits, _) = text.split_once(FOOTER).ok_or(KeyError::Malformed)?;
    let digits: Vec<u8> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    PublicKey::from_der(&STANDARD.decode(digits).map_err(|_| KeyError::Malformed)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::names::golden::{self, RECORDED_ACCOUNT, RECORDED_BODY};

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn changed(field: &str, value: Value) -> Vec<u8> {
        let mut body: Value = serde_json::from_slice(RECORDED_BODY).unwrap();
        body[field] = value;
        serde_json::to_vec(&body).unwrap()
    }

    #[test]
    fn the_recorded_registration_of_a_client_of_2023_is_read_and_written_byte_for_byte() {
        assert_eq!(RECORDED_BODY.len(), 1884);
        let registration = Registration::read(name("AliceTest"), RECORDED_BODY).unwrap();
        assert_eq!(registration.account(), RECORDED_ACCOUNT.parse().unwrap());
        assert_eq!(registration.owner(), "7e03e2d32d9bd0899b2887be5f66115d85f4ece5");
        let pem = &registration.proof.public_key;
        assert_eq!((pem.len(), pem.ends_with(&[0x0a, 0])), (801, true));
        assert_eq!(registration.body(), RECORDED_BODY);
        // Clients of 2026 send the same without the zero byte.
        let key = read_public_key(pem).unwrap();
        assert_eq!(to_pem(&key).as_bytes(), &pem[..800]);
    }

    #[test]
    fn our_registrations_are_those_of_clients_of_2026() {
        let key = golden::account_key();
        let registration = Registration::sign(name("Alice"), &key, None).unwrap();
        let read = Registration::read(name("alice"), &registration.body()).unwrap();
        assert_eq!(read, registration);
        assert_eq!(read.account(), key.public().account_id());
        assert!(read.proof.public_key.ends_with(b"-----END PUBLIC KEY-----\n"));
        let owner = EthereumAddress([0xab; 20]);
        assert_eq!(Registration::sign(name("alice"), &key, Some(owner)).unwrap().owner(), "ab".repeat(20));
    }

    #[test]
    fn a_signature_of_another_name_account_or_key_is_refused() {
        let forged = Err(RegistrationError::Forged);
        assert_eq!(Registration::read(name("othername"), RECORDED_BODY), forged);
        let body = changed("addr", json!("11".repeat(20)));
        assert_eq!(Registration::read(name("alicetest"), &body), forged);
        for (field, value) in [
            ("publickey", "eHg=".to_owned()),
            ("publickey", "not base64".to_owned()),
            ("publickey", "A".repeat(12_000)),
            ("signature", "eHg=".to_owned()),
            ("signature", STANDARD.encode([0; 512])),
            ("signature", "A".repeat(8000)),
        ] {
            let body = changed(field, json!(value));
            assert_eq!(Registration::read(name("alicetest"), &body), forged, "{field}");
        }
    }

    #[test]
    fn incomplete_and_oversized_registrations_are_refused() {
        for (field, value, error) in [
            ("addr", json!(""), RegistrationError::Address),
            ("addr", json!("zzz"), RegistrationError::Address),
            ("addr", json!("0".repeat(40)), RegistrationError::Address),
            ("addr", json!(7), RegistrationError::Body),
            ("owner", json!("x".repeat(129)), RegistrationError::Owner),
            ("publickey", json!(""), RegistrationError::Unsigned),
            ("signature", json!(""), RegistrationError::Unsigned),
            ("signature", json!("x".repeat(MAX_REGISTRATION)), RegistrationError::Body),
        ] {
            assert_eq!(Registration::read(name("alicetest"), &changed(field, value)), Err(error), "{field}");
        }
        for body in ["", "{", "[]", "null", "{}x"] {
            assert_eq!(Registration::read(name("alicetest"), body.as_bytes()), Err(RegistrationError::Body));
        }
        let prefixed = changed("addr", json!(format!("0x{RECORDED_ACCOUNT}")));
        assert!(Registration::read(name("alicetest"), &prefixed).is_ok());
    }

    #[test]
    fn a_key_in_der_is_read_as_well() {
        let registration = Registration::read(name("alicetest"), RECORDED_BODY).unwrap();
        let der = read_public_key(&registration.proof.public_key).unwrap();
        assert!(
            Registration::read(name("alicetest"), &changed("publickey", json!(STANDARD.encode(der.der()))))
                .is_ok()
        );
    }

    proptest! {
        #[test]
        fn any_key_is_read_or_refused(bytes: Vec<u8>) {
            prop_assert!(read_public_key(&bytes).is_err());
        }
    }
}
