//! A conversation for people: who, when, what.

use std::collections::BTreeMap;

use skep::{AccountId, MessageView};

/// Days of 400 years, after which the calendar repeats.
const ERA_DAYS: i64 = 146_097;

/// Digits of an id that tell people apart.
const SHORT: usize = 8;

/// The lines of a conversation, oldest first. People without a name are shown by their id.
pub(super) fn lines(messages: &[MessageView], names: &BTreeMap<AccountId, &str>) -> Vec<String> {
    let who =
        |id: &AccountId| names.get(id).map_or_else(|| short(&id.to_string()), |name| (*name).to_owned());
    let mut lines = Vec::new();
    for message in messages {
        let time = clock(message.time.0);
        lines.push(format!("{time}  {:<8}  {}", who(&message.author), text(message, &who)));
        if let Some(answered) = message.reply_to {
            let original = messages.iter().find(|it| it.id == answered).map_or("?", |it| it.body.as_str());
            lines.push(format!("{:>30}answers {original:?}", ""));
        }
        for earlier in message.editions.iter().filter(|_| !message.deleted) {
            lines.push(format!("{:>30}before: {earlier:?}", ""));
        }
        for reaction in &message.reactions {
            lines.push(format!("{:>30}{} {}", "", reaction.body, who(&reaction.author)));
        }
    }
    lines
}

fn text(message: &MessageView, who: &impl Fn(&AccountId) -> String) -> String {
    let detail = |name: &str| message.details.get(name).map_or("", String::as_str);
    match message.kind.as_str() {
        _ if message.deleted => "(deleted)".to_owned(),
        "text/plain" => message.body.replace('\n', " ⏎ "),
        "initial" => "began the conversation".to_owned(),
        "member" => {
            let whom = detail("uri").parse().map_or_else(|_| String::new(), |id| who(&id));
            match detail("action") {
                "add" => format!("invited {whom}"),
                "join" => "joined".to_owned(),
                other => format!("{other} {whom}"),
            }
        }
        "application/data-transfer+json" => {
            format!("sent the file {} ({} bytes)", detail("displayName"), detail("totalSize"))
        }
        "application/call-history+json" => match detail("duration").parse::<u64>() {
            Ok(0) => "called in vain".to_owned(),
            Ok(milliseconds) => format!("called, {} s", milliseconds / 1000),
            Err(_) => "began a call".to_owned(),
        },
        "application/collab-doc+json" => format!("shared the document {}", detail("displayName")),
        other => format!("({other}) {}", message.body),
    }
}

fn short(id: &str) -> String {
    id.chars().take(SHORT).collect()
}

/// A time as `2026-11-22 10:36:13` in universal time.
fn clock(milliseconds: i64) -> String {
    let seconds = milliseconds.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years begin in March here, so that the leap day is the last.
    let since = days + 719_468;
    let (era, day) = (since.div_euclid(ERA_DAYS), since.rem_euclid(ERA_DAYS));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::clock;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(clock(0), "1970-01-01 00:00:00");
        assert_eq!(clock(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(clock(1_795_343_773_000), "2026-11-22 10:36:13");
        assert_eq!(clock(-1), "1969-12-31 23:59:59");
    }
}
