//! Accounts at SIP servers.

use skep_actors::sip::messages::{SipAccountView, SipState};
use skep_protocol::ids::LocalAccountId;
use skep_protocol::sip::agent::Transport;

use super::args::{SipCommand, TransportChoice};
use super::commands::{PASSWORD_FILE, Session, done, from_file, is_beginning, one};
use super::error::CliError;
use super::{render, terminal};
use crate::rpc::schema::method::{SipCreate, SipDescribe, SipList, SipRemove, SipSend};
use crate::rpc::schema::{AccountParams, Nothing, SipCreateParams, SipSendParams};

impl Session<'_> {
    /// What the node is asked about SIP accounts.
    pub(super) async fn sip(&mut self, command: SipCommand) -> Result<(), CliError> {
        match command {
            SipCommand::Create { address, transport, server, login, authorities, expiry, password } => {
                let password = match from_file(&password)? {
                    Some(password) => password,
                    None => terminal::ask_password("Password at the server", PASSWORD_FILE)?,
                };
                let transport = match transport {
                    TransportChoice::Udp => Transport::Udp,
                    TransportChoice::Tcp => Transport::Tcp,
                    TransportChoice::Tls => Transport::Tls,
                };
                let authorities = authorities.map(std::fs::read_to_string).transpose()?;
                let params = SipCreateParams {
                    address,
                    password,
                    transport,
                    server,
                    login,
                    authorities,
                    expiry_seconds: expiry,
                };
                self.call(SipCreate, params, render::sip_account).await
            }
            SipCommand::List => self.call(SipList, Nothing {}, render::sip_accounts).await,
            SipCommand::Show { account } => {
                let account = self.find_sip_account(&account).await?;
                self.call(SipDescribe, AccountParams { account }, render::sip_account).await
            }
            SipCommand::Remove { account, yes } => {
                let account = self.find_sip_account(&account).await?;
                if !yes {
                    terminal::confirm("The account is removed from this node, with its password.")?;
                }
                self.call(SipRemove, AccountParams { account }, done).await
            }
            SipCommand::Send { account, to, text } => {
                let account = self.find_sip_account(&account).await?;
                self.call(SipSend, SipSendParams { account, to, text }, done).await
            }
        }
    }

    /// The SIP account meant: by its address, with or without `sip:`, or local name, or the beginning of one.
    async fn find_sip_account(&mut self, text: &str) -> Result<LocalAccountId, CliError> {
        let known = self.ask(SipList, Nothing {}).await?.accounts;
        let lower = text.to_lowercase();
        let fits = known.iter().filter(|it| {
            let plain = it.address.split_once(':').map_or("", |(_, plain)| plain);
            let names = [&it.account.to_string(), &it.address, plain];
            names.iter().any(|name| is_beginning(&lower, name))
        });
        one("SIP account", text, fits.map(|it| it.account))
    }
}

/// How a registration stands, for people.
pub(super) fn standing(account: &SipAccountView) -> String {
    match &account.state {
        SipState::Registering {} => "registering".to_owned(),
        SipState::Registered { seconds } => format!("registered, to be renewed within {seconds} s"),
        SipState::Failed { problem, again_seconds } => format!("{problem}; again in {again_seconds} s"),
        SipState::Stopped {} => "stopped".to_owned(),
    }
}
