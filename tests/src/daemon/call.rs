//! What an account on a daemon does with calls.

use std::collections::HashMap;

use skep::AccountId;

use super::{Daemon, DaemonAccount};
use crate::harness::{Failure, Result, until};

/// The media of a call with sound only.
fn sound() -> Vec<HashMap<&'static str, &'static str>> {
    let media = [
        ("MEDIA_TYPE", "MEDIA_TYPE_AUDIO"),
        ("ENABLED", "true"),
        ("MUTED", "false"),
        ("SOURCE", ""),
        ("LABEL", "audio_0"),
    ];
    vec![HashMap::from(media)]
}

impl Daemon {
    /// Calls somebody; the name of the call.
    ///
    /// # Errors
    /// [`Failure`] when the daemon does not do it.
    pub async fn place_call(&self, own: &DaemonAccount, other: AccountId) -> Result<String> {
        let to = other.to_string();
        let placed: String =
            self.bus.call_calls("placeCallWithMedia", &(&own.local, to.as_str(), sound())).await?;
        let none = || Failure::Expected(format!("{} to call", self.name()));
        Some(placed).filter(|placed| !placed.is_empty()).ok_or_else(none)
    }

    /// Answers a call.
    ///
    /// # Errors
    /// [`Failure`] when the daemon does not do it.
    pub async fn answer_call(&self, own: &DaemonAccount, call: &str) -> Result<()> {
        let _: bool = self.bus.call_calls("acceptWithMedia", &(&own.local, call, sound())).await?;
        Ok(())
    }

    /// Ends a call.
    ///
    /// # Errors
    /// [`Failure`] when the daemon does not do it.
    pub async fn hang_up(&self, own: &DaemonAccount, call: &str) -> Result<()> {
        let _: bool = self.bus.call_calls("hangUp", &(&own.local, call)).await?;
        Ok(())
    }

    /// Refuses a call that rings.
    ///
    /// # Errors
    /// [`Failure`] when the daemon does not do it.
    pub async fn refuse_call(&self, own: &DaemonAccount, call: &str) -> Result<()> {
        let _: bool = self.bus.call_calls("refuse", &(&own.local, call)).await?;
        Ok(())
    }

    /// Holds a call, or goes on with it.
    ///
    /// # Errors
    /// [`Failure`] when the daemon does not do it.
    pub async fn hold_call(&self, own: &DaemonAccount, call: &str, hold: bool) -> Result<()> {
        let method = if hold { "hold" } else { "unhold" };
        let _: bool = self.bus.call_calls(method, &(&own.local, call)).await?;
        Ok(())
    }

    /// Mutes its side of a call, or not any more.
    ///
    /// # Errors
    /// [`Failure`] when the daemon does not do it.
    pub async fn mute_call(&self, own: &DaemonAccount, call: &str, mute: bool) -> Result<()> {
        let body = (&own.local, call, "MEDIA_TYPE_AUDIO", mute);
        let _: bool = self.bus.call_calls("muteLocalMedia", &body).await?;
        Ok(())
    }

    /// Waits until a call of the account is in this state; its name.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn call_in_state(&self, own: &DaemonAccount, state: &str) -> Result<String> {
        until(self.name(), format!("a call in the state {state}"), async || {
            let calls: Vec<String> = self.bus.call_calls("getCallList", &own.local.as_str()).await?;
            for call in calls {
                let details: HashMap<String, String> =
                    self.bus.call_calls("getCallDetails", &(&own.local, call.as_str())).await?;
                if details.get("CALL_STATE").is_some_and(|it| it == state) {
                    return Ok(Some(call));
                }
            }
            Ok(None)
        })
        .await
    }

    /// Waits until the account has no call.
    ///
    /// # Errors
    /// [`Failure::Timeout`].
    pub async fn without_calls(&self, own: &DaemonAccount) -> Result<()> {
        until(self.name(), "no call", async || {
            let calls: Vec<String> = self.bus.call_calls("getCallList", &own.local.as_str()).await?;
            Ok(calls.is_empty().then_some(()))
        })
        .await
    }
}
