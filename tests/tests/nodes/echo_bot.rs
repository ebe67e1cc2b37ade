//! The example of the embedding library does what it says.

use skep::Event;
use skep_tests::harness::{Golden, Mark, NodeSetup, Person, Place, Process, example, run};

#[test]
fn the_echo_bot_accepts_a_contact_and_repeats_what_it_is_told() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let setup = NodeSetup::new("carol", place.path());
        let mut carol = Person::start(Golden::CAROL, setup).await.unwrap();
        let address = carol.node.address().await.unwrap();
        let folder = place.path().join("bot");
        Golden::ALICE.lay_out(&folder).unwrap();
        let settings =
            [("SKEP_DHT_LISTEN", "127.0.0.1:0".to_owned()), ("SKEP_LINKS_LOOPBACK", "true".to_owned())];
        let (program, arguments) = (example("echo_bot").unwrap(), [folder, address.into()]);
        let log = place.path().join("bot.log");
        let mut bot =
            Process::start("echo bot", &Place::loopback(), &program, &arguments, &settings, &log).unwrap();

        let its_id = Golden::ALICE.id.parse().unwrap();
        let id = carol.add(its_id).await.unwrap();
        carol.confirmed(its_id).await.unwrap();
        carol.joined(its_id, id).await.unwrap();
        let said = carol.send(id, "hello, bot").await.unwrap();
        let echo = carol
            .told(Mark::BEGINNING, "an echo", |event| match event {
                Event::Message { message, .. } if message.author == its_id && !message.body.is_empty() => {
                    Some(message.clone())
                }
                _ => None,
            })
            .await
            .unwrap();
        assert_eq!((echo.body.as_str(), echo.reply_to), ("hello, bot", Some(said)));
        bot.interrupt();
        assert!(bot.end().await.unwrap().success());
        let told = std::fs::read_to_string(log).unwrap();
        assert!(told.contains(&format!("add me as a contact: {}", Golden::ALICE.id)), "{told}");
        carol.node.stop().await.unwrap();
    });
}
