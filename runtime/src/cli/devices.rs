//! The devices of an account: listed, named and revoked.

use skep_protocol::ids::{DeviceId, LocalAccountId};

use super::args::{DeviceArgs, DeviceCommand};
use super::commands::{Session, done, is_beginning, one};
use super::error::CliError;
use super::{render, terminal};
use crate::rpc::schema::method::{DeviceCancel, DeviceList, DeviceRename, DeviceRevoke};
use crate::rpc::schema::{AccountParams, RenameParams, RevokeParams};

impl Session<'_> {
    pub(super) async fn device(&mut self, args: DeviceArgs) -> Result<(), CliError> {
        let account = self.find_account(&args.account).await?;
        match args.command {
            DeviceCommand::List => self.call(DeviceList, AccountParams { account }, render::devices).await,
            DeviceCommand::Rename { name } => {
                self.call(DeviceRename, RenameParams { account, name }, done).await
            }
            DeviceCommand::Revoke { device, password, yes } => {
                let device = self.find_device(account, &device).await?;
                if !yes {
                    terminal::confirm(&format!("Device {device} is revoked for ever."))?;
                }
                let password = self.archive_password(account, &password).await?;
                self.call(DeviceRevoke, RevokeParams { account, device, password }, done).await
            }
            DeviceCommand::Add { invitation, yes } => self.add_device(account, invitation, yes).await,
            DeviceCommand::Cancel => self.call(DeviceCancel, AccountParams { account }, done).await,
            DeviceCommand::Pin { password } => self.export_under_pin(account, &password).await,
        }
    }

    /// The device meant: by its id or name, or the beginning of one.
    async fn find_device(&mut self, account: LocalAccountId, text: &str) -> Result<DeviceId, CliError> {
        if let Ok(device) = text.parse() {
            return Ok(device);
        }
        let known = self.ask(DeviceList, AccountParams { account }).await?.devices;
        let lower = text.to_lowercase();
        let fits = known
            .iter()
            .filter(|device| is_beginning(&lower, &device.id.to_hex()) || is_beginning(text, &device.name));
        one("device", text, fits.map(|device| device.id))
    }
}
