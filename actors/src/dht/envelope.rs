//! Values that one device may read: signed by us, closed for it (`spec: dht 3.2, 3.3`).

use skep_protocol::dht::cipher::{self, EncryptError};
use skep_protocol::dht::content::Content;
use skep_protocol::dht::value::{Value, ValueId};
use skep_protocol::keys::{PrivateKey, PublicKey};

use crate::supervision::Environment;

/// The randomness of one envelope, drawn before the work goes to the blocking pool.
#[derive(Clone, Debug)]
pub struct EnvelopeRandom {
    id: ValueId,
    key: [u8; 32],
    iv: [u8; cipher::IV_LENGTH],
}

impl EnvelopeRandom {
    /// Draws it.
    #[must_use]
    pub fn draw(environment: &Environment) -> Self {
        let mut random = Self { id: random_value_id(environment), key: [0; 32], iv: [0; cipher::IV_LENGTH] };
        environment.fill_random(&mut random.key);
        environment.fill_random(&mut random.iv);
        random
    }
}

/// A random id for a value: any number but 0.
#[must_use]
pub fn random_value_id(environment: &Environment) -> ValueId {
    ValueId(environment.random_u64().max(1))
}

/// Signs `content` with our device's key and closes it for `recipient`. Takes about two
/// milliseconds, so it belongs on the blocking pool.
///
/// # Errors
/// [`EncryptError`] when the content is too large.
pub fn seal(
    content: Content,
    key: &PrivateKey,
    recipient: &PublicKey,
    random: &EnvelopeRandom,
) -> Result<Value, EncryptError> {
    let signed = content.sign_for(key, 0, recipient.device_short_id())?;
    let cipher = cipher::encrypt(&signed, recipient, &random.key, random.iv)?;
    Ok(Value::encrypted(random.id, cipher))
}
