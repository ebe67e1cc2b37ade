//! The overlay of a group of whole nodes: channels between all that are linked, and commits that come
//! over a third.

use skep::rpc::schema::method;
use skep::{ConversationId, RouteState, RoutesView};
use skep_tests::harness::{Golden, Person, run, until};

use super::groups::{Group, about, join, joining};
use super::skep;

async fn routes(person: &mut Person, id: ConversationId) -> RoutesView {
    let params = about(person, id);
    person.node.call(method::ConversationRoutes, params).await.unwrap().view
}

/// Waits until a node has channels to so many others.
async fn degree(person: &mut Person, id: ConversationId, wanted: usize) {
    let name = person.node.name().to_owned();
    until(&name, format!("{wanted} channels of the overlay"), async || {
        let params = about(person, id);
        let routes = person.node.call(method::ConversationRoutes, params).await?.view;
        Ok((routes.degree() == wanted).then_some(()))
    })
    .await
    .unwrap();
}

#[test]
fn four_nodes_have_channels_to_each_other_and_are_told_of_a_commit_no_more_often_than_they_have_channels() {
    run(async {
        let mut group = Group::start().await;
        let id = group.gather("Friends").await;
        let Group { mut alice, mut bob, mut carol, place } = group;
        let mut dan = joining(&mut alice, "dan", Golden::DAN, &place).await;
        alice.befriend(&mut dan).await.unwrap();
        join(&mut alice, &mut dan, id).await;
        for person in [&mut bob, &mut carol] {
            person.sees(dan.id, Some("member"), id).await.unwrap();
        }
        let mut people = [alice, bob, carol, dan];
        let mut before = Vec::new();
        for person in &mut people {
            degree(person, id, 3).await;
            before.push(routes(person, id).await.heard);
        }
        let rounds = 8;
        for round in 0..rounds {
            let said = people[round % 4].send(id, &format!("message {round}")).await.unwrap();
            for person in &mut people {
                person.has(id, said).await.unwrap();
            }
        }
        for (person, before) in people.iter_mut().zip(before) {
            let heard = routes(person, id).await.heard - before;
            // Of six of the messages, at least once each.
            assert!((6..=3 * 8).contains(&heard), "{} heard {heard} announcements", person.node.name());
        }
        let data = people[0].node.setup().data().to_owned();
        let shown =
            String::from_utf8(skep(&data, &["conversation", "routes", &id.to_string()]).stdout).unwrap();
        assert_eq!(shown.matches("connected").count(), 3, "{shown}");
        for mut person in people {
            person.node.stop().await.unwrap();
        }
        drop(place);
    });
}

#[test]
fn who_has_no_link_to_the_author_gets_the_message_over_a_third() {
    run(async {
        let mut group = Group::start().await;
        let id = group.gather("Friends").await;
        let Group { alice, bob, carol, .. } = &mut group;
        // Alice wants no link to carol, and they stay in the group all the same.
        alice.node.call(method::ContactBan, alice.about(carol.id)).await.unwrap();
        degree(alice, id, 1).await;
        degree(carol, id, 1).await;
        degree(bob, id, 2).await;
        let bobs = routes(alice, id).await.nodes.into_iter().find(|node| node.state == RouteState::Connected);
        assert_eq!(bobs.unwrap().account, Some(bob.id));
        for round in 0..3 {
            let said = alice.send(id, &format!("from alice {round}")).await.unwrap();
            carol.has(id, said).await.unwrap();
            let said = carol.send(id, &format!("from carol {round}")).await.unwrap();
            alice.has(id, said).await.unwrap();
        }
        for person in [alice, bob, carol] {
            person.node.stop().await.unwrap();
        }
    });
}
