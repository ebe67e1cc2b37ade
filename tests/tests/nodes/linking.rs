//! Further devices of an account.

use std::path::Path;

use skep::rpc::client::ClientError;
use skep::rpc::schema::{
    AccountParams, Done, ErrorCode, InvitationParams, LinkByPinParams, LinkPasswordParams, Nothing, Secret,
    StageParams, method,
};
use skep::{LinkStage, NumberedStage};
use skep_tests::harness::{Golden, Node, NodeSetup, Person, run, until};
use tokio::task::JoinHandle;

use super::skep;

/// What a node refuses a PIN with.
async fn refused(person: &mut Person, pin: &str, password: Option<&str>) -> i32 {
    let password = password.map(|text| Secret::new(text.to_owned()));
    let params = LinkByPinParams { pin: Secret::new(pin.to_owned()), password };
    match person.node.ask(method::AccountLinkByPin, params).await.unwrap() {
        Err(ClientError::Refused(error)) => error.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_device_is_linked_by_the_pin_and_password_that_another_shows() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let first = NodeSetup::new("first", place.path()).start().await.unwrap();
        let (golden, password) = (Golden::BOB, Golden::BOB.password);
        let mut bob = Person::import(first, &golden.archive().unwrap(), password).await.unwrap();
        bob.add(Golden::CAROL.id.parse().unwrap()).await.unwrap();
        let address = bob.node.address().await.unwrap();
        let setup = NodeSetup::new("second", place.path()).joining(&address);
        let mut other = Person::start(Golden::ALICE, setup).await.unwrap();
        other.announced().await.unwrap();

        let pin = bob.export_under_pin(password).await.unwrap();
        assert_eq!(pin.len(), 17);
        assert_eq!(refused(&mut other, "no pin", password).await, ErrorCode::InvalidParams.number());
        assert_eq!(refused(&mut other, &pin, None).await, ErrorCode::NotFound.number());
        let guess = pin.replacen(&pin[..1], if pin.starts_with('x') { "y" } else { "x" }, 1);
        assert_eq!(refused(&mut other, &guess, password).await, ErrorCode::NotFound.number());

        let file = place.path().join("password");
        std::fs::write(&file, password.unwrap()).unwrap();
        let (data, file) = (other.node.setup().data().to_owned(), file.to_str().unwrap().to_owned());
        let words = ["--json", "account", "link", "--pin", &pin, "--password-file", &file];
        let linked = tokio::task::spawn_blocking({
            let words = words.map(str::to_owned);
            move || skep(&data, &words.each_ref().map(String::as_str))
        });
        let linked = linked.await.unwrap();
        let text = String::from_utf8(linked.stdout).unwrap();
        assert!(linked.status.success(), "{text} {}", String::from_utf8_lossy(&linked.stderr));
        let view: skep::AccountView = serde_json::from_str(&text).unwrap();
        assert_eq!((view.id, view.protected, view.contacts), (bob.id, true, 1));
        assert_ne!(view.device, bob.describe().await.unwrap().device);
        bob.node.stop().await.unwrap();
        other.node.stop().await.unwrap();
    });
}

/// Two nodes: one with an account, and one to be linked to it, which joins through the first.
async fn two(place: &Path, golden: Golden) -> (Person, Node) {
    let first = NodeSetup::new("first", place).start().await.unwrap();
    let mut owner = Person::import(first, &golden.archive().unwrap(), golden.password).await.unwrap();
    let address = owner.node.address().await.unwrap();
    let other = NodeSetup::new("second", place).joining(&address).start().await.unwrap();
    owner.announced().await.unwrap();
    (owner, other)
}

/// Begins to link a node, and returns its invitation.
async fn invited(node: &mut Node) -> String {
    node.call(method::AccountLink, Nothing {}).await.unwrap();
    match stage(node, |stage| matches!(stage, LinkStage::Invited { .. })).await {
        LinkStage::Invited { invitation } => invitation,
        other => panic!("{other:?}"),
    }
}

/// Waits for a stage of the linking.
async fn stage(node: &mut Node, wanted: impl Fn(&LinkStage) -> bool) -> LinkStage {
    let name = node.name().to_owned();
    until(&name, "a stage of the linking", async || {
        let NumberedStage { stage, .. } =
            node.call(method::AccountLinkStage, StageParams { after: 0 }).await?;
        Ok(wanted(&stage).then_some(stage))
    })
    .await
    .unwrap()
}

/// Waits until the password is wanted, in a later stage than this.
async fn asked_after(node: &mut Node, known: u64) -> u64 {
    let name = node.name().to_owned();
    until(&name, "the password to be wanted", async || {
        let NumberedStage { number, stage } =
            node.call(method::AccountLinkStage, StageParams { after: known }).await?;
        Ok((number > known && matches!(stage, LinkStage::Password { .. })).then_some(number))
    })
    .await
    .unwrap()
}

/// Lets a new device in, beside.
async fn add(owner: &Person, invitation: String) -> JoinHandle<Result<Done, ClientError>> {
    let (mut client, account) = (owner.node.connect().await.unwrap(), owner.local);
    tokio::spawn(
        async move { client.call(method::DeviceAdd, InvitationParams { account, invitation }).await },
    )
}

async fn password(node: &mut Node, text: &str) {
    let password = Secret::new(text.to_owned());
    node.call(method::AccountLinkPassword, LinkPasswordParams { password }).await.unwrap();
}

fn code(answer: Result<Done, ClientError>) -> i32 {
    match answer {
        Err(ClientError::Refused(error)) => error.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_device_is_let_in_with_the_password_after_a_wrong_one() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut bob, mut other) = two(place.path(), Golden::BOB).await;
        let invitation = invited(&mut other).await;
        match other.ask(method::AccountLink, Nothing {}).await.unwrap() {
            Err(ClientError::Refused(error)) => assert_eq!(error.code, ErrorCode::Busy.number()),
            twice => panic!("{twice:?}"),
        }
        let added = add(&bob, invitation).await;
        let asked = |wanted| move |stage: &LinkStage| matches!(stage, LinkStage::Password { was_wrong, .. } if *was_wrong == wanted);
        let first = stage(&mut other, asked(false)).await;
        assert_eq!(first, LinkStage::Password { account: bob.id, was_wrong: false });
        let second = add(&bob, format!("jami-auth://{}/123456", "ab".repeat(32))).await;
        assert_eq!(code(second.await.unwrap()), ErrorCode::Busy.number(), "one at a time");
        password(&mut other, "a guess").await;
        stage(&mut other, asked(true)).await;
        password(&mut other, Golden::BOB.password.unwrap()).await;
        let linked = stage(&mut other, LinkStage::is_final).await;
        let LinkStage::Linked { account } = linked else { panic!("{linked:?}") };
        added.await.unwrap().unwrap();
        let view = other.call(method::AccountDescribe, AccountParams { account }).await.unwrap().view;
        assert_eq!((view.id, view.protected), (bob.id, true));
        assert_ne!(view.device, bob.describe().await.unwrap().device);
        bob.node.stop().await.unwrap();
        other.stop().await.unwrap();
    });
}

#[test]
fn a_linking_ends_on_both_sides_when_the_owner_cancels_it_on_either() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut bob, mut other) = two(place.path(), Golden::BOB).await;
        let asked = |stage: &LinkStage| matches!(stage, LinkStage::Password { .. });
        let added = add(&bob, invited(&mut other).await).await;
        stage(&mut other, asked).await;
        bob.node.call(method::DeviceCancel, AccountParams { account: bob.local }).await.unwrap();
        assert_eq!(code(added.await.unwrap()), ErrorCode::Refused.number());
        let ended = stage(&mut other, LinkStage::is_final).await;
        assert!(
            matches!(&ended, LinkStage::Failed { problem } if problem.contains("other device")),
            "{ended:?}"
        );

        let added = add(&bob, invited(&mut other).await).await;
        stage(&mut other, asked).await;
        other.call(method::AccountLinkCancel, Nothing {}).await.unwrap();
        assert_eq!(code(added.await.unwrap()), ErrorCode::Refused.number());
        assert!(matches!(stage(&mut other, LinkStage::is_final).await, LinkStage::Failed { .. }));
        assert!(other.call(method::AccountList, Nothing {}).await.unwrap().accounts.is_empty());
        bob.node.stop().await.unwrap();
        other.stop().await.unwrap();
    });
}

#[test]
fn a_wrong_code_and_three_wrong_passwords_let_nobody_in() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let (mut bob, mut other) = two(place.path(), Golden::BOB).await;
        let invitation = invited(&mut other).await;
        let (device, right) = invitation.rsplit_once('/').unwrap();
        let wrong = if right == "123456" { "123457" } else { "123456" };
        let added = add(&bob, format!("{device}/{wrong}")).await;
        assert_eq!(code(added.await.unwrap()), ErrorCode::Unreachable.number());
        let malformed = add(&bob, format!("{device}/12345")).await;
        assert_eq!(code(malformed.await.unwrap()), ErrorCode::InvalidParams.number());

        let added = add(&bob, invitation).await;
        let mut known = 0;
        for guess in ["one", "two", "three"] {
            known = asked_after(&mut other, known).await;
            password(&mut other, guess).await;
        }
        assert_eq!(code(added.await.unwrap()), ErrorCode::Refused.number());
        assert!(matches!(stage(&mut other, LinkStage::is_final).await, LinkStage::Failed { .. }));
        assert!(other.call(method::AccountList, Nothing {}).await.unwrap().accounts.is_empty());
        bob.node.stop().await.unwrap();
        other.stop().await.unwrap();
    });
}
