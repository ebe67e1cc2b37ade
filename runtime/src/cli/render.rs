//! Tables and lines for people.

use std::collections::BTreeMap;

use comfy_table::{ContentArrangement, Table, presets};
use skep_actors::account::messages::{AccountView, ContactView, DeviceView};
use skep_actors::call::messages::{CallStage, CallView};
use skep_actors::profile::messages::PersonView;
use skep_actors::sip::messages::SipAccountView;
use skep_actors::swarm::messages::{
    Changed, ConversationView, MemberView, MessageView, ProfileView, RefusalView, VoteView,
};
use skep_actors::swarm::router::messages::{DirectView, RouteState, RouteView, RoutesView};
use skep_actors::transfer::messages::{Direction, OfferedView, TransferState, TransferView};
use skep_protocol::ids::{AccountId, CommitId, DeviceId};
use skep_protocol::names::{Name, Profile};
use skep_protocol::time::UnixMillis;

use super::sip::standing;
use crate::rpc::schema::{
    AccountsView, CallsView, ConferencesView, ContactsView, DevicesView, DhtNotice, DhtValueView, HealthView,
    LinksView, NamedView, Names, NodeView, ProfilesView, RequestsView, SipAccountsView, TreeView, WithNames,
};

/// What is shown where there is nothing.
const NOTHING: &str = "-";

fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|title| title.to_uppercase()));
    let mut empty = true;
    for row in rows {
        empty = false;
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    if empty { "none".to_owned() } else { trim(&table.to_string()) }
}

fn trim(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    lines.join("\n")
}

/// Names and values, one a line.
fn list(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines: Vec<_> =
        rows.iter().map(|(name, value)| format!("{name:width$}  {}", printable(value))).collect();
    lines.join("\n")
}

/// What others wrote must not steer the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() && letter != '\n' { '\u{fffd}' } else { letter })
        .collect()
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

fn or_nothing(text: &str) -> String {
    if text.is_empty() { NOTHING } else { text }.to_owned()
}

fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), |value| value.to_string())
}

/// The registered name of somebody, beside the id.
fn registered(person: AccountId, names: &Names) -> String {
    names.get(&person).map_or(NOTHING, String::as_str).to_owned()
}

/// Somebody by their registered name, or by the beginning of the id if there is none. Beside a name that may
/// look like another one the id is shown, too.
fn who(person: AccountId, names: &Names) -> String {
    match names.get(&person) {
        Some(name) if name.parse().is_ok_and(|name: Name| name.is_plain()) => name.clone(),
        Some(name) => format!("{name} ({})", person.short()),
        None => person.short(),
    }
}

/// What people are called: by registered names, and those who have none as they call themselves. Nothing proves the
/// latter, so they are told apart by their quotes, and the id is shown beside them.
pub(crate) fn called(names: &Names, display_names: &Names) -> Names {
    let own = display_names.iter().map(|(person, name)| (*person, format!("\"{name}\"")));
    own.chain(names.iter().map(|(person, name)| (*person, name.clone()))).collect()
}

/// Date and time of day, UTC.
pub(crate) fn time(time: UnixMillis) -> String {
    let (days, second) = (time.seconds().div_euclid(86_400), time.seconds().rem_euclid(86_400));
    // Days since 0000-03-01, in eras of 400 years, so that leap days come last in a year.
    let shifted = days.saturating_add(719_468);
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

pub(crate) fn accounts(answer: &AccountsView) -> String {
    table(
        &["account", "name", "registered", "jami id", "announced", "contacts", "requests", "links"],
        answer.accounts.iter().map(|account| {
            vec![
                account.local.to_string(),
                or_nothing(&account.name),
                registered(account.id, &answer.names),
                account.id.to_string(),
                yes(account.announced),
                account.contacts.to_string(),
                account.requests.to_string(),
                account.links.to_string(),
            ]
        }),
    )
}

pub(crate) fn account(account: &AccountView, names: &Names) -> String {
    list(&[
        ("account", account.local.to_string()),
        ("name", or_nothing(&account.name)),
        ("registered name", registered(account.id, names)),
        ("jami id", account.id.to_string()),
        ("device", account.device.to_string()),
        ("password", yes(account.protected)),
        ("announced", yes(account.announced)),
        ("revoked", yes(account.revoked)),
        ("contacts", account.contacts.to_string()),
        ("requests", account.requests.to_string()),
        ("conversations", account.conversations.to_string()),
        ("links", account.links.to_string()),
        ("tells what is read", yes(account.read_receipts)),
        ("tells of typing", yes(account.typing)),
    ])
}

/// The question before an account is removed.
pub(crate) fn removal(account: &AccountView) -> String {
    let AccountView { local, id, name, conversations, .. } = account;
    printable(&format!(
        "Account {local} ({}, Jami id {id}) goes for good, with its keys, contacts and {conversations} \
         conversations. Without an exported archive nobody can use it again.",
        or_nothing(name)
    ))
}

pub(crate) fn contacts(answer: &ContactsView) -> String {
    table(
        &[
            "jami id",
            "registered",
            "name",
            "state",
            "confirmed",
            "online",
            "devices",
            "since",
            "conversation",
        ],
        answer.contacts.iter().map(|contact| {
            vec![
                contact.id.to_string(),
                registered(contact.id, &answer.names),
                registered(contact.id, &answer.display_names),
                contact.state.clone(),
                yes(contact.confirmed),
                yes(contact.online),
                devices_of(contact),
                // Of somebody banned who never was a contact there is no date.
                if contact.added == UnixMillis(0) { NOTHING.to_owned() } else { time(contact.added) },
                optional(contact.conversation),
            ]
        }),
    )
}

/// Somebody of whom other devices are there than before.
pub(crate) fn presence(when: UnixMillis, contact: AccountId, devices: &[DeviceId], names: &Names) -> String {
    let state = match devices {
        [] => "offline".to_owned(),
        [device] => format!("online on {}", device.short()),
        devices => {
            let short: Vec<String> = devices.iter().map(DeviceId::short).collect();
            format!("online on {} devices: {}", devices.len(), short.join(", "))
        }
    };
    printable(&format!("{}  {}  {state}", time(when), who(contact, names)))
}

/// The devices of a contact that are there, and those that are banned.
fn devices_of(contact: &ContactView) -> String {
    let there = contact.devices.iter().map(|device| {
        let state = if device.connected { "connected" } else { "announced" };
        format!("{} {state}", device.id.short())
    });
    let banned = contact.banned_devices.iter().map(|device| format!("{} banned", device.short()));
    let shown: Vec<String> = there.chain(banned).collect();
    if shown.is_empty() { NOTHING.to_owned() } else { shown.join(", ") }
}

pub(crate) fn requests(answer: &RequestsView) -> String {
    table(
        &["from", "registered", "name", "received", "conversation", "mode", "title"],
        answer.requests.iter().map(|request| {
            vec![
                request.from.to_string(),
                registered(request.from, &answer.names),
                match request.name.as_str() {
                    "" => registered(request.from, &answer.display_names),
                    name => name.to_owned(),
                },
                time(request.received),
                optional(request.conversation),
                request.mode.clone(),
                or_nothing(&request.title),
            ]
        }),
    )
}

pub(crate) fn conversations(conversations: &[ConversationView]) -> String {
    table(
        &["conversation", "title", "mode", "members", "state", "problem"],
        conversations.iter().map(|conversation| {
            vec![
                conversation.id.to_string(),
                or_nothing(&conversation.title),
                conversation.mode.clone(),
                conversation.members.len().to_string(),
                conversation.state.clone(),
                optional(conversation.problem.as_deref()),
            ]
        }),
    )
}

pub(crate) fn conversation(answer: &WithNames<ConversationView>) -> String {
    let WithNames { view: conversation, names, display_names } = answer;
    let facts = list(&[
        ("conversation", conversation.id.to_string()),
        ("title", or_nothing(&conversation.title)),
        ("description", or_nothing(&conversation.description)),
        ("mode", conversation.mode.clone()),
        ("state", conversation.state.clone()),
        ("problem", optional(conversation.problem.as_deref())),
        ("head", optional(conversation.head)),
    ]);
    let mut parts = vec![facts, members(&conversation.members, names, display_names)];
    let names = &called(names, display_names);
    if !conversation.votes.is_empty() {
        parts.push(votes(&conversation.votes, names));
    }
    if !conversation.refusals.is_empty() {
        parts.push(refusals(&conversation.refusals, names));
    }
    parts.join("\n\n")
}

pub(crate) fn members(members: &[MemberView], names: &Names, display_names: &Names) -> String {
    table(
        &["member", "registered", "name", "role", "linked devices", "has", "has read"],
        members.iter().map(|member| {
            let short = |commit: Option<CommitId>| optional(commit.map(|commit| commit.short()));
            let linked = member.linked.to_string();
            let (has, has_read) = (short(member.fetched), short(member.read));
            let (id, name) = (member.id.to_string(), registered(member.id, names));
            vec![id, name, registered(member.id, display_names), member.role.clone(), linked, has, has_read]
        }),
    )
}

/// The overlay of a conversation, bucket by bucket.
pub(crate) fn routes(answer: &WithNames<RoutesView>) -> String {
    let WithNames { view: routes, names, display_names } = answer;
    let names = &called(names, display_names);
    let facts = list(&[
        ("channels", routes.degree().to_string()),
        ("buckets", routes.buckets.to_string()),
        ("announced", format!("{} times", routes.told)),
        ("heard", format!("{} times", routes.heard)),
    ]);
    let mut nodes: Vec<_> = routes.nodes.iter().collect();
    nodes.sort_by_key(|node| node.bucket);
    let row = |node: &RouteView| {
        let state = match node.state {
            RouteState::Connected => "connected",
            RouteState::Connecting => "connecting",
            RouteState::Known => "known",
            RouteState::Sleeping => "sleeping",
        };
        let mobile = if node.mobile { "mobile" } else { "" };
        let account = optional(node.account.map(|account| who(account, names)));
        vec![node.bucket.to_string(), node.device.short(), account, state.to_owned(), or_nothing(mobile)]
    };
    let table_of_nodes = table(&["bucket", "device", "account", "state", ""], nodes.into_iter().map(row));
    let mut parts = vec![facts, table_of_nodes];
    if !routes.direct.is_empty() {
        let row = |direct: &DirectView| vec![direct.device.short(), who(direct.account, names)];
        parts.push(table(&["linked without a channel", "account"], routes.direct.iter().map(row)));
    }
    parts.join("\n\n")
}

fn votes(votes: &[VoteView], names: &Names) -> String {
    table(
        &["vote to", "among", "whom", "for it", "needed"],
        votes.iter().map(|vote| {
            let voters: Vec<_> = vote.voters.iter().map(|voter| who(*voter, names)).collect();
            let (action, kind) = (vote.action.clone(), vote.kind.clone());
            let target = vote.target.parse().map_or_else(|_| vote.target.clone(), |it| who(it, names));
            vec![action, kind, target, or_nothing(&voters.join(" ")), vote.needed.to_string()]
        }),
    )
}

fn refusals(refusals: &[RefusalView], names: &Names) -> String {
    table(
        &["refused (utc)", "from", "device", "commit", "why"],
        refusals.iter().map(|refusal| {
            vec![
                time(refusal.time),
                optional(refusal.peer.map(|peer| who(peer, names))),
                refusal.device.short(),
                optional(refusal.commit.map(|commit| commit.short())),
                refusal.reason.clone(),
            ]
        }),
    )
}

/// A change of a conversation, and whether it holds.
pub(crate) fn changed(changed: &Changed) -> String {
    let rest = if changed.decided { "" } else { " (a vote; it takes those of more admins)" };
    format!("commit {}{rest}", changed.commit)
}

/// Somebody's profile.
pub(crate) fn person(person: &PersonView) -> String {
    let length = person.picture.trim_end_matches('=').len() * 3 / 4;
    let picture = match person.picture_type.as_str() {
        "" => NOTHING.to_owned(),
        kind => format!("{kind}, {length} bytes"),
    };
    list(&[("jami id", person.id.to_string()), ("name", or_nothing(&person.name)), ("picture", picture)])
}

pub(crate) fn profile(profile: &ProfileView) -> String {
    list(&[
        ("title", or_nothing(&profile.title)),
        ("description", or_nothing(&profile.description)),
        ("picture", yes(!profile.avatar.is_empty())),
        ("host of calls", optional(profile.call_host)),
        ("its device", optional(profile.call_host_device)),
    ])
}

pub(crate) fn preferences(preferences: &BTreeMap<String, String>) -> String {
    table(&["preference", "value"], preferences.iter().map(|(name, value)| vec![name.clone(), value.clone()]))
}

/// Messages as a chat: oldest first.
pub(crate) fn messages(newest_first: &[MessageView], names: &Names) -> String {
    table(
        &["message", "time (utc)", "author", "text"],
        newest_first.iter().rev().map(|message| {
            vec![
                message.id.to_string(),
                time(message.time),
                who(message.author, names),
                summary(message, names),
            ]
        }),
    )
}

/// One message as one line or more.
pub(crate) fn message(message: &MessageView, names: &Names) -> String {
    let text = printable(&summary(message, names));
    format!("{}  {}  {}  {text}", message.id, time(message.time), who(message.author, names))
}

fn summary(message: &MessageView, names: &Names) -> String {
    let mut text = match message.kind.as_str() {
        _ if message.deleted => "(deleted)".to_owned(),
        "text/plain" => message.body.clone(),
        kind => {
            let details: Vec<_> = message
                .details
                .iter()
                .map(|(name, value)| format!("{name}={}", detail(value, names)))
                .collect();
            format!("[{kind}] {}", details.join(" ")).trim_end().to_owned()
        }
    };
    if let Some(to) = message.reply_to {
        text = format!("(to {}) {text}", to.short());
    }
    if !message.editions.is_empty() {
        text.push_str(" (edited)");
    }
    for reaction in &message.reactions {
        text.push_str(&format!(" [{} {}]", who(reaction.author, names), reaction.body));
    }
    text
}

/// A detail of a message; people by their names.
fn detail(value: &str, names: &Names) -> String {
    match value.parse::<AccountId>() {
        Ok(person) if names.contains_key(&person) => who(person, names),
        _ => value.to_owned(),
    }
}

pub(crate) fn devices(answer: &DevicesView) -> String {
    table(
        &["device", "name", "state"],
        answer.devices.iter().map(|device| {
            let state = match device {
                DeviceView { this: true, .. } => "this one",
                DeviceView { connected: true, .. } => "connected",
                DeviceView { online: true, .. } => "announced",
                DeviceView { .. } => "away",
            };
            vec![device.id.to_string(), or_nothing(&device.name), state.to_owned()]
        }),
    )
}

pub(crate) fn offered(offered: &OfferedView) -> String {
    list(&[
        ("message", offered.message.to_string()),
        ("name", offered.name.clone()),
        ("bytes", offered.size.to_string()),
        ("sha3-512", offered.sha3.clone()),
    ])
}

pub(crate) fn transfers(transfers: &[TransferView]) -> String {
    table(
        &["message", "conversation", "name", "", "state", "bytes", "of", "a second", "device", "problem"],
        transfers.iter().map(|transfer| {
            vec![
                transfer.message.to_string(),
                transfer.conversation.short(),
                transfer.name.clone(),
                match transfer.direction {
                    Direction::Receiving => "in".to_owned(),
                    Direction::Sending => "out".to_owned(),
                },
                transfer_state(transfer.state).to_owned(),
                transfer.position.to_string(),
                transfer.size.to_string(),
                transfer.rate.to_string(),
                optional(transfer.device.map(|device| device.short())),
                optional(transfer.problem.as_deref()),
            ]
        }),
    )
}

/// One transfer, in a line.
pub(crate) fn transfer(transfer: &TransferView) -> String {
    let TransferView { name, position, size, .. } = transfer;
    let state = transfer_state(transfer.state);
    let rest = match (&transfer.path, &transfer.problem) {
        (Some(path), _) => format!(": {}", path.display()),
        (None, Some(problem)) => format!(": {problem}"),
        (None, None) => String::new(),
    };
    printable(&format!("{name} {state}, {position} of {size} bytes{rest}"))
}

const fn transfer_state(state: TransferState) -> &'static str {
    match state {
        TransferState::Waiting => "waiting",
        TransferState::Running => "running",
        TransferState::Done => "done",
        TransferState::Cancelled => "cancelled",
    }
}

pub(crate) fn links(answer: &LinksView) -> String {
    table(
        &["account", "registered", "name", "device", "state", "connections"],
        answer.links.iter().map(|link| {
            let (account, name) = (link.account.to_string(), registered(link.account, &answer.names));
            let (own_name, connections) =
                (registered(link.account, &answer.display_names), link.connections.to_string());
            vec![account, name, own_name, link.device.to_string(), link.state.clone(), connections]
        }),
    )
}

/// Somebody who was looked up.
pub(crate) fn named(found: &NamedView) -> String {
    let evidence = if found.signed { "by the account" } else { "by nobody; the server claims it" };
    list(&[
        ("name", found.name.clone()),
        ("jami id", found.id.to_string()),
        ("server", found.server.clone()),
        ("signed", evidence.to_owned()),
    ])
}

pub(crate) fn sip_account(account: &SipAccountView) -> String {
    list(&[
        ("account", account.account.to_string()),
        ("address", account.address.clone()),
        ("server", format!("{} over {}", account.server, account.transport.to_uppercase())),
        ("registration", standing(account)),
    ])
}

pub(crate) fn calls(answer: &CallsView) -> String {
    let names = called(&answer.names, &answer.display_names);
    let row = |it: &CallView| {
        let way = if it.incoming { "from" } else { "to" };
        let muted = match (it.muted, it.peer_muted) {
            (true, true) => "both",
            (true, false) => "here",
            (false, true) => "there",
            (false, false) => NOTHING,
        };
        let packets = format!("{} sent, {} heard", it.sent, it.received);
        let time = format!("{} s", it.duration_ms / 1000);
        let (id, who) = (it.id.to_string(), who(it.peer, &names));
        vec![id, way.to_owned(), who, stage(it.stage), time, muted.to_owned(), packets]
    };
    table(&["call", "", "who", "state", "for", "muted", "sound"], answer.calls.iter().map(row))
}

pub(crate) fn conferences(answer: &ConferencesView) -> String {
    let names = called(&answer.names, &answer.display_names);
    let mut rows = Vec::new();
    for conference in &answer.conferences {
        for person in &conference.people {
            let who = match person.person.parse() {
                Ok(id) => who(id, &names),
                Err(_) => person.person.clone(),
            };
            let muted = match (person.muted, person.moderator_muted) {
                (_, true) => "by a moderator",
                (true, false) => "there",
                (false, false) => NOTHING,
            };
            let hand = if person.hand { "up" } else { NOTHING };
            let recorded = if conference.recording { "recorded" } else { NOTHING };
            rows.push(vec![
                conference.id.to_string(),
                who,
                muted.to_owned(),
                hand.to_owned(),
                recorded.to_owned(),
            ]);
        }
    }
    table(&["conference", "who", "muted", "hand", ""], rows)
}

fn stage(stage: CallStage) -> String {
    match stage {
        CallStage::Searching => "looking for devices",
        CallStage::Ringing => "rings there",
        CallStage::Incoming => "rings here",
        CallStage::Connecting => "connecting",
        CallStage::Active => "under way",
        CallStage::Held => "on hold",
    }
    .to_owned()
}

pub(crate) fn sip_accounts(answer: &SipAccountsView) -> String {
    let row = |it: &SipAccountView| {
        vec![it.account.to_string(), it.address.clone(), it.transport.clone(), standing(it)]
    };
    table(&["account", "address", "over", "registration"], answer.accounts.iter().map(row))
}

pub(crate) fn profiles(answer: &ProfilesView) -> String {
    let text = |profile: &Profile, key| profile.get(key).map_or(NOTHING, String::as_str).to_owned();
    table(
        &["name", "jami id"],
        answer.profiles.iter().map(|profile| vec![text(profile, "username"), text(profile, "id")]),
    )
}

pub(crate) fn node(node: &NodeView) -> String {
    let mut rows = vec![
        ("version", node.version.clone()),
        ("process", node.pid.to_string()),
        ("up for", format!("{} s", node.uptime_ms / 1000)),
        ("data folder", node.data_dir.display().to_string()),
        ("accounts", node.accounts.to_string()),
    ];
    rows.extend(node.endpoints.iter().map(|endpoint| (endpoint.kind.as_str(), endpoint.address.clone())));
    list(&rows)
}

pub(crate) fn health(health: &HealthView) -> String {
    let last = health.last_answer_ms.map(|ms| format!("{} s ago", ms / 1000));
    list(&[
        ("DHT reachable", yes(health.reachable)),
        ("last answer", optional(last)),
        ("nodes connected", health.peers.to_string()),
        ("nodes known", health.known.to_string()),
        ("node id", or_nothing(&health.node_id)),
        ("listening on", or_nothing(&health.listening.join(", "))),
        ("values kept", health.stored_values.to_string()),
        ("values published", health.published.to_string()),
        ("keys listened at", health.listening_keys.to_string()),
        ("listeners served", health.listeners.to_string()),
    ])
}

/// Longest data of a value that is shown, in characters.
const VALUE_EXCERPT: usize = 200;

fn value_row(value: &DhtValueView) -> Vec<String> {
    let shown = value.text.as_ref().unwrap_or(&value.data).chars().take(VALUE_EXCERPT).collect();
    let kind = value.type_number.map_or_else(|| "encrypted".to_owned(), |number| number.to_string());
    vec![value.id.clone(), kind, or_nothing(&value.user_type), optional(value.signer.as_ref()), shown]
}

pub(crate) fn values(values: &[DhtValueView]) -> String {
    table(&["value", "type", "user type", "signed by", "content"], values.iter().map(value_row))
}

pub(crate) fn listened(notice: &DhtNotice) -> String {
    let values = notice.values.iter().map(|value| printable(&format!("+ {}", value_row(value).join("  "))));
    let expired = notice.expired.iter().map(|id| format!("- {id}"));
    let refused = notice.refused.iter().cloned();
    values.chain(expired).chain(refused).collect::<Vec<_>>().join("\n")
}

pub(crate) fn tree(tree: &TreeView) -> String {
    let actors = table(
        &["actor", "id", "kind", "state", "mailbox", "tasks", "turns", "mean us", "longest us", "restarts"],
        tree.actors.iter().map(|actor| {
            vec![
                format!("{}{}", "  ".repeat(actor.depth), actor.name),
                actor.id.to_string(),
                actor.kind.clone(),
                actor.state.clone(),
                format!("{}/{}", actor.mailbox, actor.capacity),
                actor.tasks.to_string(),
                actor.turns.to_string(),
                actor.busy_us.checked_div(actor.turns).unwrap_or_default().to_string(),
                actor.longest_turn_us.to_string(),
                actor.restarts.to_string(),
            ]
        }),
    );
    format!("{actors}\n\npanics since the start: {}", tree.panics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_700_000_000, "2023-11-14 22:13:20"),
            (-1, "1969-12-31 23:59:59"),
            (4_107_542_399, "2100-02-28 23:59:59"),
        ] {
            assert_eq!(time(UnixMillis::from_seconds(seconds)), expected);
        }
        // Peers choose the time of a message.
        for extreme in [i64::MIN, i64::MAX] {
            assert!(!time(UnixMillis(extreme)).is_empty());
        }
    }

    #[test]
    fn people_are_shown_by_their_names_and_the_id_beside_one_that_may_look_like_another() {
        let [plain, other, none] = [1, 2, 3].map(|number| AccountId([number; 20]));
        let names = Names::from([(plain, "alice".to_owned()), (other, "\u{430}lice".to_owned())]);
        assert_eq!(who(plain, &names), "alice");
        assert_eq!(who(other, &names), format!("\u{430}lice ({})", other.short()));
        assert_eq!(who(none, &names), none.short());
        assert_eq!(detail(&plain.to_hex(), &names), "alice");
        let own = Names::from([(plain, "Queen".to_owned()), (none, "alice".to_owned())]);
        let called = called(&names, &own);
        assert_eq!(who(plain, &called), "alice", "what is registered comes first");
        assert_eq!(
            who(none, &called),
            format!("\"alice\" ({})", none.short()),
            "nobody becomes somebody else"
        );
        assert_eq!(detail(&none.to_hex(), &names), none.to_hex());
    }

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\u{7}\nc"), "a\u{fffd}[31mb\u{fffd}\nc");
    }
}
