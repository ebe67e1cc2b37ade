//! What can be typed after `skep`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// A Jami node: run it, and speak to it.
#[derive(Debug, Parser)]
#[command(name = "skep", version, about, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// The configuration file; see --print-default-config
    #[arg(long, global = true, env = "SKEP_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The data folder, instead of the configuration's
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,

    /// The unix socket of the node to speak to, instead of the configuration's
    #[arg(long, global = true, env = "SKEP_SOCKET", value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,

    /// Print JSON for programs instead of tables for people
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Print the default configuration, every setting explained
    #[arg(long)]
    pub(crate) print_default_config: bool,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node until it is told to stop; without accounts it serves others as bootstrap node
    Run {
        /// Serve one JSON-RPC client on standard input and output, and stop with it
        #[arg(long)]
        stdio: bool,
    },
    /// Accounts of the node
    #[command(subcommand)]
    Account(AccountCommand),
    /// What people see of an account, and of each other: display name and picture
    Profile(ProfileArgs),
    /// Devices of an account
    Device(DeviceArgs),
    /// Contacts and contact requests
    Contact(ContactArgs),
    /// Conversations
    Conversation(ConversationArgs),
    /// Messages of a conversation
    Message(MessageArgs),
    /// Files of a conversation
    File(FileArgs),
    /// The DHT by hand: values that everybody can read, at keys that are 40 hexadecimal digits or any text
    #[command(subcommand)]
    Dht(DhtCommand),
    /// Names instead of ids
    #[command(subcommand)]
    Names(NamesCommand),
    /// Calls with people: sound over links of their own
    Call(CallArgs),
    /// Accounts at SIP servers
    #[command(subcommand)]
    Sip(SipCommand),
    /// The node itself
    #[command(subcommand)]
    Node(NodeCommand),
    /// Print the reference of the control interface, in Markdown
    ApiReference,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    #[command(flatten)]
    pub(crate) account: AccountChoice,
    #[command(subcommand)]
    pub(crate) command: CallCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CallCommand {
    /// Call somebody, on all devices at once
    Place {
        /// The person's Jami id or name
        contact: String,
        #[command(flatten)]
        sound: SoundArgs,
    },
    /// Answer a call that rings here
    Answer {
        /// Its number, or the beginning of it, if there are several
        call: Option<String>,
        #[command(flatten)]
        sound: SoundArgs,
    },
    /// Decline a call that rings here; it ends on all devices
    Decline {
        /// Its number, or the beginning of it, if there are several
        call: Option<String>,
    },
    /// End a call, however far it is
    HangUp {
        /// Its number, or the beginning of it, if there are several
        call: Option<String>,
    },
    /// Hold a call: nothing is sent or heard
    Hold {
        /// Its number, or the beginning of it, if there are several
        call: Option<String>,
    },
    /// Go on with a call that is held
    Resume {
        /// Its number, or the beginning of it, if there are several
        call: Option<String>,
    },
    /// Send silence, and say so
    Mute {
        /// Its number, or the beginning of it, if there are several
        call: Option<String>,
    },
    /// Send sound again
    Unmute {
        /// Its number, or the beginning of it, if there are several
        call: Option<String>,
    },
    /// Press keys
    Press {
        /// Digits, *, #, and A to D
        keys: String,
        /// The call's number, or the beginning of it, if there are several
        call: Option<String>,
    },
    /// All calls that are not over
    List,
    /// Calls that are put together, here or by who is called
    Conference {
        #[command(subcommand)]
        command: ConferenceCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConferenceCommand {
    /// Put calls together: everybody hears everybody, and this node mixes
    Make {
        /// Their numbers, or the beginnings of them; all calls that are answered if none is said
        calls: Vec<String>,
        #[command(flatten)]
        sound: SoundArgs,
    },
    /// Add a call
    Add {
        /// Its number, or the beginning of it
        call: String,
        /// The conference's number, or the beginning of it, if there are several
        conference: Option<String>,
    },
    /// Take a call out; it goes on by itself
    Remove {
        /// Its number, or the beginning of it
        call: String,
    },
    /// Take part again
    Attach {
        /// Its number, or the beginning of it, if there are several
        conference: Option<String>,
    },
    /// Take no part any more; the others go on
    Detach {
        /// Its number, or the beginning of it, if there are several
        conference: Option<String>,
    },
    /// Raise the own hand, or lower one
    Hand {
        /// Number of a conference here, or of a call that is in one, or its beginning
        of: String,
        /// Lower it
        #[arg(long)]
        lower: bool,
        /// Whose, if it is not the own one
        person: Option<String>,
    },
    /// Have nobody hear somebody
    Mute {
        /// Number of a conference here, or of a call that is in one, or its beginning
        of: String,
        /// The person's Jami id or name
        person: String,
    },
    /// Have everybody hear somebody again
    Unmute {
        /// Number of a conference here, or of a call that is in one, or its beginning
        of: String,
        /// The person's Jami id or name
        person: String,
    },
    /// Hang somebody up
    Drop {
        /// Number of a conference here, or of a call that is in one, or its beginning
        of: String,
        /// The person's Jami id or name
        person: String,
    },
    /// Record everybody into a new file, Opus in Ogg; without a file, stop that
    Record {
        /// The file
        file: Option<PathBuf>,
        /// The conference's number, or the beginning of it, if there are several
        #[arg(long)]
        conference: Option<String>,
    },
    /// End a conference here: everybody is hung up
    HangUp {
        /// Its number, or the beginning of it, if there are several
        conference: Option<String>,
    },
    /// All conferences here, and who is in them
    List,
}

/// Where sound comes from and goes.
#[derive(Clone, Debug, Args)]
pub(crate) struct SoundArgs {
    /// Send silence instead of the microphone's sound
    #[arg(long, conflicts_with_all = ["tone", "play"])]
    pub(crate) silent: bool,
    /// Send a steady tone instead, to test with
    #[arg(long, value_name = "HERTZ", conflicts_with = "play")]
    pub(crate) tone: Option<u32>,
    /// Send the sound of a file instead
    #[arg(long, value_name = "FILE")]
    pub(crate) play: Option<PathBuf>,
    /// Do not play what comes
    #[arg(long, conflicts_with = "record")]
    pub(crate) mute_output: bool,
    /// Write what comes to a new file, Opus in Ogg, instead of playing it
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SipCommand {
    /// Make an account of one that you have at a SIP server, and register it there
    Create {
        /// Its address: sip:alice@example.org
        address: String,
        /// How the server is spoken to
        #[arg(long, value_enum, default_value_t = TransportChoice::Tls)]
        transport: TransportChoice,
        /// Name or IP address of the server, with a port if need be, if the address does not say it
        #[arg(long)]
        server: Option<String>,
        /// Name to log in with, if it is not the part of the address before the @
        #[arg(long)]
        login: Option<String>,
        /// A file with certificates to trust, in PEM, instead of those that the system trusts
        #[arg(long, value_name = "FILE")]
        authorities: Option<PathBuf>,
        /// How long registrations are to last, in seconds
        #[arg(long, value_name = "SECONDS")]
        expiry: Option<u32>,
        #[command(flatten)]
        password: PasswordFile,
    },
    /// All SIP accounts and whether they are registered
    List,
    /// Whether an account is registered
    Show {
        /// Its address or local name, or the beginning of one
        account: String,
    },
    /// Take the registration of an account back and forget the account
    Remove {
        /// Its address or local name, or the beginning of one
        account: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Send a text and wait until it is taken
    Send {
        /// The account: its address or local name, or the beginning of one
        account: String,
        /// Whom to: sip:bob@example.org
        to: String,
        /// The text
        text: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TransportChoice {
    Udp,
    Tcp,
    Tls,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NamesCommand {
    /// Look up whose a name is, or the name of a Jami id
    Lookup {
        /// The name, name@server, or Jami id
        name: String,
    },
    /// Find people in the directory of the name server; not every server has one
    Search {
        /// The beginning of the names
        text: String,
    },
    /// Register a name for an account, for ever
    Register {
        /// The name: 3 to 32 letters, digits, - and _
        name: String,
        #[command(flatten)]
        account: AccountChoice,
        #[command(flatten)]
        password: PasswordFile,
    },
    /// Be a name server until told to stop: clients register names there and look them up. It needs no node.
    /// For TLS, and for clients without an explicit http://, put a proxy in front of it
    Serve {
        /// Address and port to listen at
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8100")]
        listen: SocketAddr,

        /// The folder of the names, instead of names-served in the data folder
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
    },
}

/// Which account; may be left out while there is only one.
#[derive(Debug, Args)]
pub(crate) struct AccountChoice {
    /// The account: its local name, Jami id, display name or registered name, or the beginning of one
    #[arg(long, short, global = true, env = "SKEP_ACCOUNT")]
    pub(crate) account: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PasswordFile {
    /// A file whose first line is the password; asked for on the terminal without it
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Make an account with new keys
    Create {
        /// Display name
        name: String,
        /// Protect the archive with a password asked for on the terminal
        #[arg(long)]
        protect: bool,
        #[command(flatten)]
        password: PasswordFile,
    },
    /// Make an account of an archive
    Import {
        /// The archive file
        archive: PathBuf,
        #[command(flatten)]
        password: PasswordFile,
    },
    /// Make this node a device of an account that you have on another device
    Link {
        /// The PIN that the other device shows, as skep device pin does; without it, an invitation is shown
        /// here, for skep device add there
        #[arg(long)]
        pin: Option<String>,
        /// The account has a password, which is asked for on the terminal
        #[arg(long, requires = "pin")]
        protected: bool,
        #[command(flatten)]
        password: PasswordFile,
    },
    /// Write the archive of an account to a file
    Export {
        /// The file to write; it must not exist
        file: PathBuf,
        #[command(flatten)]
        account: AccountChoice,
        #[command(flatten)]
        password: PasswordFile,
    },
    /// List the accounts
    List,
    /// Show an account
    Show {
        #[command(flatten)]
        account: AccountChoice,
    },
    /// Give an account another display name
    Rename {
        /// The new name
        name: String,
        #[command(flatten)]
        account: AccountChoice,
    },
    /// Say what others are told of you
    Set {
        /// Whether others are told how far you have read, and you how far they have
        #[arg(long, value_name = "on|off", required_unless_present = "typing")]
        read_receipts: Option<Switch>,
        /// Whether others are told that you type, and you that they do
        #[arg(long, value_name = "on|off")]
        typing: Option<Switch>,
        #[command(flatten)]
        account: AccountChoice,
    },
    /// Give an archive another password, or none
    Password {
        #[command(flatten)]
        account: AccountChoice,
        /// A file whose first line is the present password
        #[arg(long, value_name = "FILE")]
        old_password_file: Option<PathBuf>,
        /// A file whose first line is the new password; asked for on the terminal without it
        #[arg(long, value_name = "FILE", conflicts_with = "remove")]
        new_password_file: Option<PathBuf>,
        /// Take the protection away
        #[arg(long)]
        remove: bool,
    },
    /// Remove an account from this node for good: its keys, contacts and conversations
    Remove {
        #[command(flatten)]
        account: AccountChoice,
        /// Do it without asking on the terminal
        #[arg(long, short)]
        yes: bool,
    },
}

/// What a setting is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    #[command(flatten)]
    pub(crate) account: AccountChoice,
    #[command(subcommand)]
    pub(crate) command: ProfileCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// Show the profile of the account, or of somebody else
    Show {
        /// The person's Jami id or name
        person: Option<String>,
        /// Write the picture to this file; it must not exist
        #[arg(long, value_name = "FILE")]
        save: Option<PathBuf>,
    },
    /// Change the profile of the account, which contacts and fellow members see
    Set {
        /// Display name; an empty one takes it away
        #[arg(long, required_unless_present_any = ["photo", "no_photo"])]
        name: Option<String>,
        /// A PNG or JPEG file, on the node's machine; it is scaled, and nothing else of it is told
        #[arg(long, value_name = "FILE", conflicts_with = "no_photo")]
        photo: Option<PathBuf>,
        /// Take the picture away
        #[arg(long)]
        no_photo: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    #[command(flatten)]
    pub(crate) account: AccountChoice,
    #[command(subcommand)]
    pub(crate) command: DeviceCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// List the devices of the account
    List,
    /// Give this device another name
    Rename {
        /// The new name
        name: String,
    },
    /// Revoke another device, for ever: nobody has anything to do with it any more
    Revoke {
        /// The device's id or name, or the beginning of one
        device: String,
        #[command(flatten)]
        password: PasswordFile,
        /// Do it without asking on the terminal
        #[arg(long, short)]
        yes: bool,
    },
    /// Let a new device in: it gets the account, with its keys
    Add {
        /// What the new device shows, as skep account link does: jami-auth://…
        invitation: String,
        /// Do it without asking on the terminal
        #[arg(long, short)]
        yes: bool,
    },
    /// Call off what skep device add began
    Cancel,
    /// Put the account on the DHT for ten minutes, for another device that is given the PIN
    Pin {
        #[command(flatten)]
        password: PasswordFile,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ContactArgs {
    #[command(flatten)]
    pub(crate) account: AccountChoice,
    #[command(subcommand)]
    pub(crate) command: ContactCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContactCommand {
    /// Add a contact and send it a request
    Add {
        /// The person's Jami id or name
        id: String,
    },
    /// Accept a request
    Accept {
        /// The person's Jami id or name
        id: String,
    },
    /// Decline a request; the sender is not told
    Decline {
        /// The person's Jami id or name
        id: String,
    },
    /// Remove a contact
    Remove {
        /// The person's Jami id or name
        id: String,
    },
    /// Remove a contact, which may not come back by itself
    Ban {
        /// The person's Jami id or name
        id: String,
    },
    /// Ban a single device of somebody: it gets no link and no answer
    BanDevice {
        /// The device's id
        device: String,
    },
    /// Lift the ban of a single device
    AllowDevice {
        /// The device's id
        device: String,
    },
    /// List the contacts, and which of their devices are there
    List,
    /// Print who comes online and goes offline as it happens, until Ctrl-C (exit code 0)
    Follow,
    /// List the contact requests and the invitations that wait for an answer
    Requests,
}

#[derive(Debug, Args)]
pub(crate) struct ConversationArgs {
    #[command(flatten)]
    pub(crate) account: AccountChoice,
    #[command(subcommand)]
    pub(crate) command: ConversationCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConversationCommand {
    /// List the conversations
    List,
    /// Show a conversation
    Show {
        /// The conversation's id, or its beginning
        conversation: String,
    },
    /// List the members of a conversation
    Members {
        /// The conversation's id, or its beginning
        conversation: String,
    },
    /// Make a group
    Create {
        /// Its title
        #[arg(long)]
        title: Option<String>,
        /// Its description
        #[arg(long)]
        description: Option<String>,
        /// Who invites
        #[arg(long, value_enum, default_value_t = ModeChoice::InvitesOnly)]
        mode: ModeChoice,
    },
    /// Invite somebody
    Invite {
        /// The conversation's id, or its beginning
        conversation: String,
        /// The person's Jami id or name
        id: String,
    },
    /// List the contact requests and the invitations that wait for an answer
    Requests,
    /// Accept an invitation
    Accept {
        /// The conversation's id, or its beginning
        conversation: String,
    },
    /// Decline an invitation; who invites is not told
    Decline {
        /// The conversation's id, or its beginning
        conversation: String,
    },
    /// Vote to ban a member or a device; the votes of more than half of the admins decide
    Ban {
        /// The conversation's id, or its beginning
        conversation: String,
        /// The person's Jami id or name, or the device's id
        target: String,
    },
    /// Vote to let a member in again
    Unban {
        /// The conversation's id, or its beginning
        conversation: String,
        /// The person's Jami id or name
        target: String,
    },
    /// Show or change title, description, picture and host of calls
    Profile {
        /// The conversation's id, or its beginning
        conversation: String,
        /// Another title; an empty one takes it away
        #[arg(long)]
        title: Option<String>,
        /// Another description; an empty one takes it away
        #[arg(long)]
        description: Option<String>,
        /// The file of another picture
        #[arg(long, value_name = "FILE", conflicts_with = "no_avatar")]
        avatar: Option<PathBuf>,
        /// Take the picture away
        #[arg(long)]
        no_avatar: bool,
        /// The Jami id of who hosts calls; an empty one takes it away
        #[arg(long, value_name = "ID")]
        call_host: Option<String>,
        /// The device that hosts calls; an empty one takes it away
        #[arg(long, value_name = "DEVICE")]
        call_host_device: Option<String>,
    },
    /// Show or change what you prefer of a conversation, such as its colour; nobody else sees it
    Preferences {
        /// The conversation's id, or its beginning
        conversation: String,
        /// Names with values, such as color=#ff8800; an empty value takes one away
        #[arg(value_name = "NAME=VALUE")]
        values: Vec<String>,
    },
    /// Show the overlay of a conversation: the devices that have channels with this one, and those known
    Routes {
        /// The conversation's id, or its beginning
        conversation: String,
    },
    /// Leave a conversation
    Leave {
        /// The conversation's id, or its beginning
        conversation: String,
    },
    /// Write the whole history into a git bundle, which git can clone
    Export {
        /// The conversation's id, or its beginning
        conversation: String,
        /// The file to write, on the node's machine; it must not exist
        file: PathBuf,
    },
    /// Open a conversation from a git bundle or a bare repository
    Import {
        /// The bundle or repository, on the node's machine
        path: PathBuf,
    },
}

/// Who may invite into a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeChoice {
    /// Only admins
    AdminInvitesOnly,
    /// Every member
    InvitesOnly,
    /// Reserved by the protocol; like invites-only
    Public,
}

#[derive(Debug, Args)]
pub(crate) struct MessageArgs {
    #[command(flatten)]
    pub(crate) account: AccountChoice,
    #[command(subcommand)]
    pub(crate) command: MessageCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MessageCommand {
    /// Send a text
    Send {
        /// The conversation's id, or its beginning
        conversation: String,
        /// The text
        text: String,
    },
    /// Answer a message
    Reply {
        /// The conversation's id, or its beginning
        conversation: String,
        /// The message's id
        message: String,
        /// The text
        text: String,
    },
    /// Give a message of yours another text
    Edit {
        /// The conversation's id, or its beginning
        conversation: String,
        /// The message's id
        message: String,
        /// The new text
        text: String,
    },
    /// Take a message or reaction of yours back
    Delete {
        /// The conversation's id, or its beginning
        conversation: String,
        /// The message's id
        message: String,
    },
    /// React to a message
    React {
        /// The conversation's id, or its beginning
        conversation: String,
        /// The message's id
        message: String,
        /// The reaction, usually one emoji
        reaction: String,
    },
    /// List messages, oldest first
    List {
        /// The conversation's id, or its beginning
        conversation: String,
        /// How many of the newest
        #[arg(long, short, default_value_t = 50)]
        limit: usize,
        /// Only those before this message
        #[arg(long, value_name = "MESSAGE")]
        before: Option<String>,
    },
    /// Find messages with a text, oldest first
    Search {
        /// The conversation's id, or its beginning
        conversation: String,
        /// The text to find, in any case
        text: String,
        /// How many of the newest
        #[arg(long, short, default_value_t = 50)]
        limit: usize,
    },
    /// Note that you have read up to a message, and tell the others
    Read {
        /// The conversation's id, or its beginning
        conversation: String,
        /// The message's id
        message: String,
    },
    /// Print new messages as they come, of one conversation or of all, until Ctrl-C (exit code 0)
    Follow {
        /// The conversation's id, or its beginning
        conversation: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    #[command(flatten)]
    pub(crate) account: AccountChoice,
    #[command(subcommand)]
    pub(crate) command: FileCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FileCommand {
    /// Offer a file; it stays where it is, and is served from there
    Send {
        /// The conversation's id, or its beginning
        conversation: String,
        /// The file, on the node's machine
        file: PathBuf,
    },
    /// Fetch a file, and wait until it is here; Ctrl-C stops waiting, not fetching
    Fetch {
        /// The conversation's id, or its beginning
        conversation: String,
        /// The id of the message that offers it
        message: String,
        /// The folder to save it in, on the node's machine; the account's own without it
        #[arg(long, value_name = "FOLDER")]
        to: Option<PathBuf>,
        /// Do not wait
        #[arg(long)]
        no_wait: bool,
    },
    /// List the files that are on their way, or waited for
    List,
    /// Fetch a file no more; what came of it is removed
    Cancel {
        /// The conversation's id, or its beginning
        conversation: String,
        /// The id of the message that offers it
        message: String,
    },
    /// Remove a file from the account, and take the offer back if it is yours
    Remove {
        /// The conversation's id, or its beginning
        conversation: String,
        /// The id of the message that offers it
        message: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Show what the node is
    Info,
    /// Show every actor, how busy it is and how often it was restarted
    Tree,
    /// Show the links to other devices
    Links {
        #[command(flatten)]
        account: AccountChoice,
    },
    /// Show whether the DHT is reached; exit code 1 if not
    Health,
    /// Stop the node in order
    Shutdown,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DhtCommand {
    /// Put a text at a key
    Put {
        /// The key
        key: String,
        /// The text
        text: String,
        /// Keep it there until the node ends, rather than for ten minutes
        #[arg(long, short)]
        permanent: bool,
    },
    /// List the values at a key
    Get {
        /// The key
        key: String,
    },
    /// Print the values at a key, and what comes there, until Ctrl-C (exit code 0)
    Listen {
        /// The key
        key: String,
    },
    /// Show how the DHT is
    Stat,
}
