//! Further devices of an account: linked over a channel, or by a PIN.

use futures::FutureExt as _;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use skep_actors::linking::messages::{LinkStage, NumberedStage};
use skep_protocol::ids::LocalAccountId;
use tokio::signal::unix::{SignalKind, signal};

use super::args::PasswordFile;
use super::commands::{PASSWORD_FILE, Session, from_file};
use super::error::CliError;
use super::{render, terminal};
use crate::rpc::schema::method::{
    AccountDescribe, AccountLink, AccountLinkByPin, AccountLinkCancel, AccountLinkPassword, AccountLinkStage,
    DeviceAdd, DevicePin,
};
use crate::rpc::schema::{
    AccountParams, ExportParams, InvitationParams, LinkByPinParams, LinkPasswordParams, Names, Nothing,
    PinView, Secret, StageParams,
};

impl Session<'_> {
    /// Lets a new device in that shows this invitation.
    pub(super) async fn add_device(
        &mut self,
        account: LocalAccountId,
        invitation: String,
        yes: bool,
    ) -> Result<(), CliError> {
        if !yes {
            terminal::confirm(
                "The new device will be yours: it gets this account with its keys. Only go on if you have it \
                 before you.",
            )?;
        }
        let params = InvitationParams { account, invitation };
        self.call(DeviceAdd, params, |_| "the new device has the account".to_owned()).await
    }

    /// Puts the account on the DHT, and shows the PIN.
    pub(super) async fn export_under_pin(
        &mut self,
        account: LocalAccountId,
        file: &PasswordFile,
    ) -> Result<(), CliError> {
        let password = self.archive_password(account, file).await?;
        let answer = self.call_long::<DevicePin>(ExportParams { account, password }).await?;
        self.output.show(&answer, shown)
    }

    /// Makes the node a device of an account that another device has put on the DHT.
    pub(super) async fn link_by_pin(
        &mut self,
        pin: String,
        protected: bool,
        file: &PasswordFile,
    ) -> Result<(), CliError> {
        let password = match from_file(file)? {
            None if protected => Some(terminal::ask_password("Password of the account", PASSWORD_FILE)?),
            password => password,
        };
        let params = LinkByPinParams { pin: Secret::new(pin), password };
        let answer = self.call_long::<AccountLinkByPin>(params).await?;
        self.output.show(&answer, |account| render::account(account, &Names::new()))
    }

    /// Makes the node a device of an account, a device of which is given the invitation. Ctrl-C cancels it.
    pub(super) async fn link(&mut self, file: &PasswordFile) -> Result<(), CliError> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut given = from_file(file)?;
        let mut known = self.client.call(AccountLink, Nothing {}).await?;
        loop {
            if interrupt.recv().now_or_never().is_some() {
                self.client.call(AccountLinkCancel, Nothing {}).await?;
            }
            let NumberedStage { number, stage } =
                self.client.call(AccountLinkStage, StageParams { after: known.number }).await?;
            if number == known.number {
                continue;
            }
            known = NumberedStage { number, stage: stage.clone() };
            match stage {
                LinkStage::Invited { invitation } => self.output.show(&known, |_| invited(&invitation))?,
                LinkStage::Password { account, was_wrong } => {
                    let before = if was_wrong { "That was wrong. " } else { "" };
                    let question = format!("{before}Password of {account}");
                    let password = match given.take() {
                        Some(password) => Ok(password),
                        None => terminal::ask_password(&question, PASSWORD_FILE),
                    };
                    match password {
                        Ok(password) => {
                            let params = LinkPasswordParams { password };
                            self.client.call(AccountLinkPassword, params).await?;
                        }
                        Err(error) => {
                            self.client.call(AccountLinkCancel, Nothing {}).await?;
                            return Err(error);
                        }
                    }
                }
                LinkStage::Linked { account } => {
                    let answer = self.client.call(AccountDescribe, AccountParams { account }).await?;
                    return self.output.show(&answer, |it| render::account(&it.view, &it.names));
                }
                LinkStage::Failed { problem } => return Err(CliError::Unwell(problem)),
                LinkStage::None => {
                    return Err(CliError::Unwell("the linking was lost in a failure; begin anew".into()));
                }
                _ => (),
            }
        }
    }
}

/// An invitation for people: as a picture for the cameras of phones, and as text.
fn invited(invitation: &str) -> String {
    let picture = QrCode::new(invitation).map(|code| {
        // Terminals are dark more often than not, and a code has to be dark on light.
        code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build()
    });
    let picture = picture.map(|picture| picture + "\n").unwrap_or_default();
    format!("{picture}{invitation}\non a device that has the account: skep device add {invitation}")
}

/// A PIN for people.
fn shown(view: &PinView) -> String {
    let (pin, minutes) = (view.pin.reveal(), view.seconds / 60);
    format!("PIN {pin}, for {minutes} minutes\non the new device: skep account link --pin {pin}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_is_shown_as_a_picture_and_as_text() {
        let invitation = format!("jami-auth://{}/730897", "ab".repeat(32));
        let shown = invited(&invitation);
        let picture: Vec<_> = shown.lines().take_while(|line| !line.contains("jami")).collect();
        let width = picture.first().map(|line| line.chars().count()).unwrap_or_default();
        assert!(picture.len() > 20 && picture.iter().all(|line| line.chars().count() == width), "{shown}");
        assert!(shown.contains(&format!("\n{invitation}\n")) && shown.ends_with(&invitation));
    }
}
