//! The profile of an account, and those of others.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::args::{ProfileArgs, ProfileCommand};
use super::commands::{Session, done};
use super::error::CliError;
use super::render;
use crate::node::write_private;
use crate::rpc::client::ClientError;
use crate::rpc::schema::method::{ProfileSet, ProfileShow};
use crate::rpc::schema::{ProfileSetParams, ProfileShowParams};

impl Session<'_> {
    pub(super) async fn profile(&mut self, args: ProfileArgs) -> Result<(), CliError> {
        let account = self.find_account(&args.account).await?;
        match args.command {
            ProfileCommand::Show { person, save } => {
                if let Some(path) = save.as_ref().filter(|path| path.exists()) {
                    return Err(CliError::file(path, "it exists already; choose another name"));
                }
                let shown = self.ask(ProfileShow, ProfileShowParams { account, person }).await?;
                if let Some(path) = &save {
                    if shown.picture.is_empty() {
                        return Err(CliError::Unwell("there is no picture to be saved".to_owned()));
                    }
                    let picture = STANDARD
                        .decode(&shown.picture)
                        .map_err(|error| CliError::Client(ClientError::Answer(error.to_string())))?;
                    write_private(path, &picture).map_err(|error| CliError::file(path, error))?;
                }
                self.output.show(&shown, render::person)
            }
            ProfileCommand::Set { name, photo, no_photo } => {
                // The node may run in another folder.
                let absolute =
                    |path: &PathBuf| std::path::absolute(path).map_err(|error| CliError::file(path, error));
                let picture_file = photo.as_ref().map(absolute).transpose()?;
                let picture = no_photo.then(String::new);
                self.call(ProfileSet, ProfileSetParams { account, name, picture, picture_file }, done).await
            }
        }
    }
}
