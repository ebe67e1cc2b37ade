//! One person with three devices: every step with what must hold after it.
//!
//! ```text
//!   desk, phone, tablet   Ada's devices: the first makes the account and lets the others in
//!   friend                Bea, whom Ada knows          names   a name server
//! ```

use std::path::Path;
use std::time::Instant;

use skep::rpc::schema::{
    NameParams, PeopleParams, ProfileSetParams, ProfileShowParams, RegisterParams, RenameParams,
    RevokeParams, method,
};
use skep::{ConversationId, DeviceId, Event};

use super::report::Report;
use crate::harness::{
    Mark, NameServer, NodeSetup, PICTURE, Person, Place, Result, check, long_file, same_history, until,
};

/// The name that Ada registers.
const NAME: &str = "ada";

/// Length of the file, in bytes.
const LENGTH: u64 = 200_000_000;

const MEGABYTE: f64 = 1e6;

/// Ada's devices, and her friend.
struct Cast {
    desk: Person,
    phone: Person,
    tablet: Person,
    bea: Person,
}

/// Plays everything; what it leaves is below `place`.
pub(super) async fn play(report: &mut Report, place: &Path) -> Result<()> {
    report.step("start the processes");
    let here = Place::loopback();
    let mut names = NameServer::start(&here, place, (here.address, 0).into()).await?;
    let setup = |name| NodeSetup::new(name, place).asking(names.url());
    let mut desk = setup("desk").start().await?;
    let address = desk.address().await?;
    let join = async |name| setup(name).joining(&address).start().await;
    let (phone, tablet, friend) = (join("phone").await?, join("tablet").await?, join("friend").await?);
    report.done(&format!("a name server at {}, and four nodes that join each other", names.url()));

    report.step("make two accounts");
    let (desk, bea) = tokio::join!(Person::create(desk, "Ada", None), Person::create(friend, "Bea", None));
    let (mut desk, mut bea) = (desk?, bea?);
    for person in [&mut desk, &mut bea] {
        person.announced().await?;
    }
    report.done(&format!("Ada, {}, at the desk, and her friend Bea, {}", desk.id, bea.id));

    report.step("make a friend and a group");
    let friends = desk.befriend(&mut bea).await?;
    desk.send(friends, "before there were other devices").await?;
    let group = desk.found("Household").await?;
    report.done("both are in the account before it has a second device");

    report.step("link two devices");
    let mut phone = desk.let_in(phone).await?;
    name_device(&mut phone, "phone").await?;
    let mut tablet = desk.let_in(tablet).await?;
    name_device(&mut tablet, "tablet").await?;
    for device in [&mut desk, &mut phone, &mut tablet] {
        device.meets_own_devices(2).await?;
    }
    report.done("phone and tablet were let in with an invitation; all three are connected to each other");
    let mut cast = Cast { desk, phone, tablet, bea };
    sync(report, &mut cast, friends, group).await?;
    name(report, &mut cast).await?;
    photo(report, &mut cast).await?;
    file(report, &mut cast, group, place).await?;
    revoke(report, &mut cast, friends).await?;

    report.step("stop in order");
    for person in [&mut cast.desk, &mut cast.phone, &mut cast.tablet, &mut cast.bea] {
        person.node.stop().await?;
    }
    names.kill();
    report.done("every node ended with exit code 0 and left nothing half written");
    Ok(())
}

async fn name_device(device: &mut Person, name: &str) -> Result<()> {
    let params = RenameParams { account: device.local, name: name.to_owned() };
    device.node.call(method::DeviceRename, params).await.map(drop)
}

async fn sync(
    report: &mut Report,
    cast: &mut Cast,
    friends: ConversationId,
    group: ConversationId,
) -> Result<()> {
    report.step("know the same everywhere");
    let Cast { desk, phone, tablet, bea } = cast;
    for device in [&mut *phone, &mut *tablet] {
        device.confirmed(bea.id).await?;
        device.gets(friends).await?;
        device.gets(group).await?;
        same_history(desk, device, friends).await?;
    }
    let begun = Instant::now();
    let later = tablet.found("made on the tablet").await?;
    for device in [&mut *desk, &mut *phone] {
        device.gets(later).await?;
    }
    let shown = begun.elapsed();
    for (device, text) in [(&mut *desk, "desk"), (&mut *phone, "phone"), (&mut *tablet, "tablet")] {
        device.send(friends, &format!("from the {text}")).await?;
        bea.receives(friends, &format!("from the {text}")).await?;
    }
    let answer = bea.send(friends, "so many Adas").await?;
    for device in [&mut *desk, &mut *phone, &mut *tablet] {
        device.has(friends, answer).await?;
        same_history(bea, device, friends).await?;
    }
    report.done(&format!(
        "contact, conversations and history are on all three; a group made on the tablet is on the others \
         after {shown:.1?}; Bea talks with all"
    ));
    Ok(())
}

async fn name(report: &mut Report, cast: &mut Cast) -> Result<()> {
    report.step("take a name");
    let Cast { desk, phone, tablet, bea } = cast;
    let params = RegisterParams { account: desk.local, name: NAME.to_owned(), password: None };
    desk.node.call(method::NamesRegister, params).await?;
    // By the name, and by the id: a device that found none before would not ask again for an hour.
    for (person, text) in
        [(bea, NAME.to_owned()), (phone, desk.id.to_string()), (tablet, desk.id.to_string())]
    {
        let found = person.node.call(method::NamesLookup, NameParams { text }).await?;
        let is_hers = found.id == desk.id && found.name == NAME;
        check(is_hers, || format!("{NAME} to be the name of {}, not {found:?}", desk.id))?;
        let people = PeopleParams { account: None, people: [desk.id].into() };
        let shown = person.node.call(method::NamesKnown, people).await?.names;
        check(shown.values().any(|name| name == NAME), || format!("{NAME} to be shown, not {shown:?}"))?;
    }
    report.done(&format!("{NAME:?} was registered at the desk, and is found and shown on every node"));
    Ok(())
}

async fn photo(report: &mut Report, cast: &mut Cast) -> Result<()> {
    report.step("show a photo");
    let Cast { desk, phone, tablet, bea } = cast;
    let (account, picture) = (desk.local, Some(PICTURE.to_owned()));
    let params = ProfileSetParams { account, name: None, picture, picture_file: None };
    desk.node.call(method::ProfileSet, params).await?;
    let begun = Instant::now();
    for person in [phone, tablet, bea] {
        let name = person.node.name().to_owned();
        let seen = async || {
            let params = ProfileShowParams { account: person.local, person: Some(desk.id.to_string()) };
            let shown = person.node.call(method::ProfileShow, params).await?;
            Ok((!shown.picture.is_empty()).then_some(shown))
        };
        let shown = until(&name, "the photo", seen).await?;
        check(shown.name == "Ada", || format!("\"Ada\" to be the name, not {:?}", shown.name))?;
    }
    report.done(&format!(
        "set at the desk, it is on the other devices and at Bea's after {:.1?}",
        begun.elapsed()
    ));
    Ok(())
}

async fn file(report: &mut Report, cast: &mut Cast, group: ConversationId, place: &Path) -> Result<()> {
    report.step("send a file of 200 MB");
    let Cast { desk, phone, .. } = cast;
    let path = place.join("film.bin");
    long_file(&path, LENGTH)?;
    let offered = desk.offer(group, &path).await?;
    let begun = Instant::now();
    phone.fetch(group, offered.message).await?;
    let kept = phone.fetched_beyond(offered.message, LENGTH / 4).await?.position;
    desk.node.kill();
    report.say(&format!("  the desk got SIGKILL when the phone had {:.0} MB", kept as f64 / MEGABYTE));
    let since = phone.node.events().mark();
    desk.node.restart().await?;
    let resumed = phone.told(since, "the file to go on", |event| match event {
        Event::Transfer { transfer } if transfer.message == offered.message && transfer.rate > 0 => {
            Some(transfer.position)
        }
        _ => None,
    });
    let resumed = resumed.await?;
    check(resumed >= kept, || format!("the file to go on after {kept} bytes, not at {resumed}"))?;
    phone.fetched(&offered).await?;
    report.done(&format!(
        "offered at the desk, fetched on the phone; it went on where it was cut off, at {:.0} MB; whole and \
         verified after {:.1?}",
        kept as f64 / MEGABYTE,
        begun.elapsed()
    ));
    Ok(())
}

async fn revoke(report: &mut Report, cast: &mut Cast, friends: ConversationId) -> Result<()> {
    report.step("revoke the tablet");
    let Cast { desk, phone, tablet, bea } = cast;
    let lost: DeviceId = tablet.describe().await?.device;
    // The desk was started again: whoever has a link to the tablet loses it.
    for device in [&mut *desk, &mut *phone] {
        device.meets_own_devices(2).await?;
    }
    let since = [desk.node.events().mark(), phone.node.events().mark(), bea.node.events().mark()];
    let begun = Instant::now();
    let params = RevokeParams { account: desk.local, device: lost, password: None };
    desk.node.call(method::DeviceRevoke, params).await?;
    let down =
        |event: &Event| matches!(event, Event::LinkDown { device, .. } if *device == lost).then_some(());
    for (person, since) in [&*desk, &*phone, &*bea].into_iter().zip(since) {
        person.told(since, "the link to the tablet to end", down).await?;
    }
    let parted = begun.elapsed();
    let knows = |event: &Event| matches!(event, Event::DeviceRevoked {}).then_some(());
    tablet.told(Mark::BEGINNING, "that it was revoked", knows).await?;
    let unheard = tablet.send(friends, "nobody hears me").await?;
    let said = desk.send(friends, "among us").await?;
    bea.has(friends, said).await?;
    phone.has(friends, said).await?;
    for person in [&mut *desk, &mut *phone, &mut *bea] {
        check(!person.log(friends).await?.contains(&unheard), || "nothing of the tablet".to_owned())?;
    }
    check(!tablet.log(friends).await?.contains(&said), || "the tablet to hear nothing".to_owned())?;
    phone.meets_own_devices(1).await?;
    report.done(&format!(
        "every link to it ended after {parted:.1?}, Bea's too; it knows, hears nothing and is not heard"
    ));
    Ok(())
}
