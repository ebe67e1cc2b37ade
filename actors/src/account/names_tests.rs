//! Names of an account and of people it knows.

use skep_protocol::names::{Name, Registration};

use super::super::messages::Password;
use super::*;

#[test]
fn names_are_wanted_of_the_account_at_its_start_and_of_people_when_they_become_known() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let folder = AccountFolder::new(place.path(), LocalAccountId([1; 8]));
        lay_out(&folder, "newest", "alice");
        let mut alice = Node::start(1, &folder, Vec::new()).await;
        assert!(alice.wanted.recv().await.unwrap().contains(&alice.id().await));
        let contact = AccountId([9; 20]);
        alice.ask(|reply| AccountRequest::AddContact { contact, reply }).await.unwrap();
        assert_eq!(alice.wanted.recv().await.unwrap(), BTreeSet::from([contact]));
        alice.stop().await;
    });
}

#[test]
fn a_name_is_signed_by_the_account_with_the_password_of_its_archive() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let folder = AccountFolder::new(place.path(), LocalAccountId([1; 8]));
        lay_out(&folder, "newest", "alice");
        let alice = Node::start(1, &folder, Vec::new()).await;
        let name: Name = "alice".parse().unwrap();
        let sign = async |password: Option<&str>| {
            let (name, password) = (name.clone(), password.map(|text| Password(text.to_owned())));
            alice.ask(|reply| AccountRequest::SignName { name, password, reply }).await
        };
        let signed: Registration = sign(None).await.unwrap();
        assert_eq!(signed.account(), alice.id().await);
        assert_eq!(Registration::read(name.clone(), &signed.body()), Ok(signed));
        let new = Some(Password("correct horse".to_owned()));
        alice.ask(|reply| AccountRequest::ChangePassword { old: None, new, reply }).await.unwrap();
        assert_eq!(sign(Some("wrong")).await, Err(AccountError::WrongPassword));
        assert!(sign(Some("correct horse")).await.is_ok());
        alice.stop().await;
    });
}
