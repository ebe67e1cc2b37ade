//! A daemon and Skep at one name server, which is Skep's own.

use skep::rpc::schema::{NameParams, RegisterParams, method};
use skep_tests::harness::{NameServer, Newcomer, Person, run};
use skep_tests::live::{Direction, Feature, Lab};

/// Where `skep names serve` listens.
const PORT: u16 = 8080;

#[test]
fn a_daemon_registers_a_name_at_skeps_name_server_and_both_find_each_other_by_theirs() {
    run(async {
        let Some(mut lab) = Lab::open().unwrap() else { return };
        let tried = [Direction::FromDaemon, Direction::ToDaemon].map(|it| lab.attempt(Feature::Name, it));
        let place = lab.place("names").unwrap();
        let folder = lab.folder().join("names");
        std::fs::create_dir(&folder).unwrap();
        let server = NameServer::start(&place, &folder, (place.address, PORT).into()).await.unwrap();
        let jamid = lab.daemon("jamid").await.unwrap();
        let ada = jamid.arrive(&Newcomer::real(0, "Ada")).await.unwrap();
        jamid.ask_names_at(&ada, server.url()).await.unwrap();
        let setup = lab.skep_on_opendht("skep").unwrap().asking(server.url());
        let mut bob = Person::arrive(&Newcomer::real(1, "Bob"), setup).await.unwrap();

        let [registered_there, found_there] = tried;
        jamid.register_name(&ada, "ada").await.unwrap();
        let params = NameParams { text: "ada".to_owned() };
        assert_eq!(bob.node.call(method::NamesLookup, params).await.unwrap().id, ada.id);
        registered_there.works();

        let params = RegisterParams { account: bob.local, name: "bob".to_owned(), password: None };
        bob.node.call(method::NamesRegister, params).await.unwrap();
        assert_eq!(jamid.look_up(&ada, "bob").await.unwrap(), Some(bob.id));
        assert_eq!(jamid.name_of(&ada, bob.id).await.unwrap(), "bob");
        assert_eq!(jamid.look_up(&ada, "nobody").await.unwrap(), None);
        found_there.works();
        bob.node.stop().await.unwrap();
    });
}
