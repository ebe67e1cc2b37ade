//! The one description of the control interface: every method, event and error.
//!
//! Dispatch (`Methods`, `call`), the client ([`Method`]) and the reference document
//! ([`super::reference`]) all derive from the list in this module, so none can forget a method.

mod answers;
mod errors;
mod params;

use std::future::Future;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use skep_actors::account::messages::AccountView;
use skep_actors::linking::messages::NumberedStage;
use skep_actors::profile::messages::PersonView;
use skep_actors::sip::messages::SipAccountView;
use skep_actors::swarm::messages::{Changed, ConversationView, Exported, Page, ProfileView};
use skep_actors::swarm::router::messages::RoutesView;
use skep_actors::transfer::messages::{OfferedView, TransferView};

pub use crate::node::NamedView;
pub use answers::*;
pub use errors::{ErrorCode, RpcError};
pub use params::*;

/// A method of the control interface.
pub trait Method {
    /// Its name on the wire.
    const NAME: &'static str;
    /// What it is given.
    type Params: Serialize + DeserializeOwned + JsonSchema + Send;
    /// What it answers.
    type Answer: Serialize + DeserializeOwned + JsonSchema + Send;
}

/// What the reference document says about a method.
#[derive(Clone, Copy, Debug)]
pub struct MethodInfo {
    /// Its name on the wire.
    pub name: &'static str,
    /// What it does.
    pub description: &'static str,
    /// The schema of its parameters.
    pub params: fn(&mut SchemaGenerator) -> Schema,
    /// The schema of its answer.
    pub answer: fn(&mut SchemaGenerator) -> Schema,
}

/// Makes, of one list, the marker types of the client, the trait of the server, its dispatch, and
/// the table of the reference document.
macro_rules! methods {
    ($($(#[doc = $doc:literal])+ $function:ident $marker:ident $name:literal: $params:ty => $answer:ty;)+) => {
        /// The methods as types, for [`Client::call`](super::client::Client::call).
        pub mod method {
            use super::*;

            $(
                $(#[doc = $doc])+
                #[derive(Clone, Copy, Debug)]
                pub struct $marker;

                impl Method for $marker {
                    const NAME: &'static str = $name;
                    type Params = $params;
                    type Answer = $answer;
                }
            )+
        }

        /// Every method, in the order of the reference document.
        pub const METHODS: &[MethodInfo] = &[
            $(MethodInfo {
                name: $name,
                description: concat!($($doc, "\n"),+),
                params: |generator| generator.subschema_for::<$params>(),
                answer: |generator| generator.subschema_for::<$answer>(),
            },)+
        ];

        /// What a server does for each method. `C` is what it knows of the caller.
        pub(crate) trait Methods<C: Sync>: Sync {
            $(
                fn $function(
                    &self,
                    caller: &C,
                    params: $params,
                ) -> impl Future<Output = Result<$answer, RpcError>> + Send;
            )+
        }

        /// Calls a method by its name.
        pub(crate) async fn call<C: Sync>(
            server: &impl Methods<C>,
            caller: &C,
            name: &str,
            params: Value,
        ) -> Result<Value, RpcError> {
            match name {
                // Boxed, so that the future of a call is not as large as the largest of them.
                $($name => Box::pin(async {
                    encode(server.$function(caller, decode(params)?).await?)
                }).await,)+
                _ => Err(RpcError::unknown_method(name)),
            }
        }
    };
}

methods! {
    /// What this node is.
    node_info NodeInfo "node.info": Nothing => NodeView;
    /// Every actor, how busy it is and how often it was restarted.
    node_tree NodeTree "node.tree": Nothing => TreeView;
    /// Whether and how the DHT is reached.
    node_health NodeHealth "node.health": Nothing => HealthView;
    /// Stops the node in order. Answered before it has stopped.
    node_shutdown NodeShutdown "node.shutdown": Nothing => Done;
    /// Makes an actor fail, to test that the node survives it. Only with `debug.fault_injection`.
    node_inject_panic NodeInjectPanic "node.inject_panic": ActorParams => Done;

    /// Makes an account with new keys. Takes seconds; `progress` notifications tell how far it is.
    account_create AccountCreate "account.create": CreateParams => AccountView;
    /// Makes an account of an archive. `progress` notifications tell how far it is.
    account_import AccountImport "account.import": ImportParams => AccountView;
    /// The archive of an account.
    account_export AccountExport "account.export": ExportParams => ArchiveView;
    /// Makes this node a device of the account that another device has put on the DHT, as `device.pin`
    /// does. `progress` notifications tell how far it is.
    account_link_by_pin AccountLinkByPin "account.link_by_pin": LinkByPinParams => AccountView;
    /// Begins to make this node a device of an account, a device of which lets it in. One linking at a time.
    account_link AccountLink "account.link": Nothing => NumberedStage;
    /// How far the linking is: the next stage after the one whose number is given, or after a second the same.
    account_link_stage AccountLinkStage "account.link_stage": StageParams => NumberedStage;
    /// Gives the account's password, when the stage is `password`.
    account_link_password AccountLinkPassword "account.link_password": LinkPasswordParams => Done;
    /// Cancels the linking.
    account_link_cancel AccountLinkCancel "account.link_cancel": Nothing => Done;
    /// All accounts. One that does not answer is left out.
    account_list AccountList "account.list": Nothing => AccountsView;
    /// An account at a glance.
    account_describe AccountDescribe "account.describe": AccountParams => WithNames<AccountView>;
    /// Gives an account another display name.
    account_rename AccountRename "account.rename": RenameParams => Done;
    /// A person's profile, as that person told it last: display name and picture. Without a person, the owner's
    /// own one.
    profile_show ProfileShow "profile.show": ProfileShowParams => PersonView;
    /// Changes the owner's profile, which contacts, fellow members and other devices of the account are told.
    /// What is not named stays. The picture is scaled and written anew: nothing else of the file is told.
    profile_set ProfileSet "profile.set": ProfileSetParams => Done;
    /// Switches settings of an account on or off. Those not named stay.
    account_set AccountSet "account.set": SettingsParams => Done;
    /// Gives an archive another password, or none.
    account_change_password AccountChangePassword "account.change_password": PasswordParams => Done;
    /// Removes an account from this node for good: its keys, contacts and conversations. Other devices
    /// of it, and archives exported before, are not touched.
    account_remove AccountRemove "account.remove": AccountParams => Done;

    /// Adds a contact and sends it a request. The conversation can be used at once.
    contact_add ContactAdd "contact.add": ContactParams => ConversationRef;
    /// Accepts a request. The `conversation_ready` event tells when the conversation is there.
    contact_accept ContactAccept "contact.accept": ContactParams => ConversationRef;
    /// Declines a request; the sender is not told.
    contact_decline ContactDecline "contact.decline": ContactParams => Done;
    /// Removes a contact.
    contact_remove ContactRemove "contact.remove": ContactParams => Done;
    /// Removes a contact, which may not come back by itself.
    contact_ban ContactBan "contact.ban": ContactParams => Done;
    /// Bans a single device of somebody else: it gets no link and no answer, and is told nothing. What it
    /// writes into conversations still comes by way of others.
    contact_ban_device ContactBanDevice "contact.ban_device": ContactDeviceParams => Done;
    /// Lifts the ban of a single device.
    contact_allow_device ContactAllowDevice "contact.allow_device": ContactDeviceParams => Done;
    /// All contacts, also those removed and banned.
    contact_list ContactList "contact.list": AccountParams => ContactsView;
    /// Contact requests and invitations into conversations that wait for an answer.
    contact_requests ContactRequests "contact.requests": AccountParams => RequestsView;

    /// Makes a group of which this account is the only member and admin.
    conversation_create ConversationCreate "conversation.create":
        CreateConversationParams => ConversationRef;
    /// Invites somebody. Delivery goes on by itself, also after a restart. Somebody banned is voted in
    /// again instead, by an admin.
    conversation_invite ConversationInvite "conversation.invite": InviteParams => Changed;
    /// Accepts an invitation. The `conversation_ready` event tells when the conversation is there.
    conversation_accept ConversationAccept "conversation.accept": ConversationParams => ConversationRef;
    /// Declines an invitation; who invites is not told.
    conversation_decline ConversationDecline "conversation.decline": ConversationParams => Done;
    /// Votes to ban a person or device, which happens when more than half of the admins have.
    conversation_ban ConversationBan "conversation.ban": VoteParams => Changed;
    /// Votes to let a person in again. Of devices there is no way back.
    conversation_unban ConversationUnban "conversation.unban": VoteParams => Changed;
    /// Title, description, picture and host of calls of a conversation.
    conversation_profile ConversationProfile "conversation.profile": ConversationParams => ProfileView;
    /// Changes the profile of a conversation. What is not named stays.
    conversation_set_profile ConversationSetProfile "conversation.set_profile": ProfileParams => Changed;
    /// What the owner prefers of a conversation, on this device.
    conversation_preferences ConversationPreferences "conversation.preferences":
        ConversationParams => PreferencesView;
    /// Changes preferences of a conversation. Those not named stay.
    conversation_prefer ConversationPrefer "conversation.prefer": PreferParams => Done;
    /// All conversations of an account.
    conversation_list ConversationList "conversation.list": AccountParams => ConversationsView;
    /// A conversation at a glance.
    conversation_describe ConversationDescribe "conversation.describe":
        ConversationParams => WithNames<ConversationView>;
    /// The members of a conversation, also those invited, banned and left.
    conversation_members ConversationMembers "conversation.members": ConversationParams => MembersView;
    /// The overlay of a conversation: which devices have channels with ours, which are known, and how
    /// often commits were announced.
    conversation_routes ConversationRoutes "conversation.routes":
        ConversationParams => WithNames<RoutesView>;
    /// Leaves a conversation and removes it from the account.
    conversation_leave ConversationLeave "conversation.leave": ConversationParams => Done;
    /// Opens a conversation from a git bundle or a bare repository on the node's machine.
    conversation_import ConversationImport "conversation.import": PathParams => ConversationRef;
    /// Writes the whole history of a conversation into a new file on the node's machine, as a git bundle.
    conversation_export ConversationExport "conversation.export": ConversationPathParams => Exported;

    /// Sends a text. Answered when it is durable here; delivery goes on by itself.
    message_send MessageSend "message.send": SendParams => MessageRef;
    /// Sends a text that answers a message.
    message_reply MessageReply "message.reply": MessageBodyParams => MessageRef;
    /// Gives a message of this account another text.
    message_edit MessageEdit "message.edit": MessageBodyParams => MessageRef;
    /// Takes a message or a reaction of this account back.
    message_delete MessageDelete "message.delete": MessageParams => MessageRef;
    /// Reacts to a message.
    message_react MessageReact "message.react": MessageBodyParams => MessageRef;
    /// A page of history, newest first.
    message_list MessageList "message.list": ListParams => WithNames<Page>;
    /// Finds messages with a text in any case, newest first.
    message_search MessageSearch "message.search": SearchParams => MessagesView;
    /// Notes that this account has read up to a message, and tells the members who are connected.
    message_read MessageRead "message.read": MessageParams => Done;
    /// Tells the members who are connected that this account types, or has stopped.
    message_typing MessageTyping "message.typing": TypingParams => Done;
    /// The newest commits, merges included, to compare replicas.
    message_log MessageLog "message.log": LogParams => CommitsView;

    /// The devices of an account, this one included.
    device_list DeviceList "device.list": AccountParams => DevicesView;
    /// Gives this device of an account another name, which the others hear of.
    device_rename DeviceRename "device.rename": RenameParams => Done;
    /// Revokes another device of an account, for ever: whoever hears of it has nothing to do with that
    /// device any more.
    device_revoke DeviceRevoke "device.revoke": RevokeParams => Done;

    /// Puts the archive of an account on the DHT for ten minutes, where another device finds it with the PIN
    /// and the account's password.
    device_pin DevicePin "device.pin": ExportParams => PinView;

    /// Lets a new device in that shows this invitation, as `account.link` makes one: it gets the account,
    /// with its keys. Answered when it has it, which may take minutes. One at a time.
    device_add DeviceAdd "device.add": InvitationParams => Done;
    /// Calls off what `device.add` began.
    device_cancel DeviceCancel "device.cancel": AccountParams => Done;

    /// Offers a file of the node's machine. It stays where it is, and is served from there. Answered when
    /// the file is hashed and the offer durable.
    file_send FileSend "file.send": FileSendParams => OfferedView;
    /// Fetches a file that a message offers, from whichever device has it, now or after a restart.
    /// `transfer` events tell how far it is, and where it is when it is whole and verified.
    file_fetch FileFetch "file.fetch": FileFetchParams => TransferView;
    /// Fetches a file no more; what came of it is removed.
    file_cancel FileCancel "file.cancel": MessageParams => Done;
    /// Removes a file from the account, and takes the offer back if it is the account's own. Files that
    /// were offered from, or saved in, other folders stay there.
    file_remove FileRemove "file.remove": MessageParams => Done;
    /// All files on their way to or from this device, or waited for.
    file_list FileList "file.list": AccountParams => TransfersView;

    /// All links of an account to other devices.
    links_list LinksList "links.list": AccountParams => LinksView;

    /// Looks up whose a name is, or the name of an id, at a name server. That may take a minute and more.
    names_lookup NamesLookup "names.lookup": NameParams => NamedView;
    /// Who is in the directory of the name server and fits a text. Not every server has one.
    names_search NamesSearch "names.search": NameParams => ProfilesView;
    /// Registers a name for an account at the name server. Names are for ever, and an account has one.
    names_register NamesRegister "names.register": RegisterParams => NamedView;
    /// The names of people, as far as they are known; the name server is asked for the others, and
    /// `name_found` events tell of them. Lists have the names of those who are in them.
    names_known NamesKnown "names.known": PeopleParams => NamesView;

    /// Calls somebody, on all devices at once. `call_changed` events tell how it goes, and one `call_ended` that
    /// it is over.
    call_place CallPlace "call.place": CallPlaceParams => PlacedView;
    /// Answers a call that rings here.
    call_answer CallAnswer "call.answer": CallAnswerParams => Done;
    /// Declines a call that rings here; it ends on all devices.
    call_decline CallDecline "call.decline": CallParams => Done;
    /// Ends a call, however far it is.
    call_hang_up CallHangUp "call.hang_up": CallParams => Done;
    /// Holds a call: nothing is sent or heard.
    call_hold CallHold "call.hold": CallParams => Done;
    /// Goes on with a call that is held.
    call_resume CallResume "call.resume": CallParams => Done;
    /// Sends silence in a call, and says so.
    call_mute CallMute "call.mute": CallParams => Done;
    /// Sends sound again.
    call_unmute CallUnmute "call.unmute": CallParams => Done;
    /// Presses keys in a call, one after the other.
    call_press CallPress "call.press": CallPressParams => Done;
    /// All calls that are not over.
    call_list CallList "call.list": AccountParams => CallsView;
    /// Puts calls together: everybody hears everybody, and this node mixes. `conference_changed` events tell how it
    /// goes, and one `conference_ended` that it is over.
    conference_make ConferenceMake "call.conference.make": ConferenceMakeParams => ConferenceMadeView;
    /// Adds a call to a conference that is hosted here.
    conference_add ConferenceAdd "call.conference.add": ConferenceAddParams => Done;
    /// Takes a call out of the conference here that it is in; it goes on by itself.
    conference_remove ConferenceRemove "call.conference.remove": CallParams => Done;
    /// Whether the owner takes part in a conference here; the others go on without.
    conference_attach ConferenceAttach "call.conference.attach": ConferenceAttachParams => Done;
    /// Raises or lowers a hand, in a conference here or at the other end of a call.
    conference_hand ConferenceHand "call.conference.hand": ConferenceHandParams => Done;
    /// Mutes somebody or not any more, in a conference here or at the other end of a call. There only moderators
    /// are obeyed.
    conference_mute ConferenceMute "call.conference.mute": ConferenceMuteParams => Done;
    /// Hangs somebody up, in a conference here or at the other end of a call. There only moderators are obeyed.
    conference_drop ConferenceDrop "call.conference.drop": ConferencePersonParams => Done;
    /// Records a conference here into a new file, or ends that. Everybody in it is told.
    conference_record ConferenceRecord "call.conference.record": ConferenceRecordParams => Done;
    /// Ends a conference here: everybody is hung up.
    conference_hang_up ConferenceHangUp "call.conference.hang_up": ConferenceParams => Done;
    /// The conferences that are hosted here.
    conference_list ConferenceList "call.conference.list": AccountParams => ConferencesView;

    /// Makes an account at a SIP server. Answered when it is on disk; `sip_registration` events tell how its
    /// registration goes.
    sip_create SipCreate "sip.create": SipCreateParams => SipAccountView;
    /// All SIP accounts.
    sip_list SipList "sip.list": Nothing => SipAccountsView;
    /// A SIP account at a glance.
    sip_describe SipDescribe "sip.describe": AccountParams => SipAccountView;
    /// Takes the registration of a SIP account back and forgets the account.
    sip_remove SipRemove "sip.remove": AccountParams => Done;
    /// Sends a text over SIP. Answered when the server, or who it is for, has taken it.
    sip_send SipSend "sip.send": SipSendParams => Done;

    /// Puts a text that everybody can read at a key of the DHT.
    dht_put DhtPut "dht.put": DhtPutParams => DhtPutView;
    /// The values at a key of the DHT.
    dht_get DhtGet "dht.get": DhtKeyParams => DhtValuesView;
    /// Sends what is and comes at a key of the DHT as `dht` notifications on this connection, until
    /// `events.unsubscribe`.
    dht_listen DhtListen "dht.listen": DhtKeyParams => SubscriptionRef;

    /// Sends the events from now on as `event` notifications on this connection.
    events_subscribe EventsSubscribe "events.subscribe": SubscribeParams => SubscriptionRef;
    /// Ends a subscription of this connection.
    events_unsubscribe EventsUnsubscribe "events.unsubscribe": SubscriptionRef => Done;
}

fn decode<T: DeserializeOwned>(params: Value) -> Result<T, RpcError> {
    serde_json::from_value(params).map_err(|error| RpcError::new(ErrorCode::InvalidParams, error.to_string()))
}

fn encode<T: Serialize>(answer: T) -> Result<Value, RpcError> {
    serde_json::to_value(answer).map_err(|error| RpcError::new(ErrorCode::Internal, error.to_string()))
}
