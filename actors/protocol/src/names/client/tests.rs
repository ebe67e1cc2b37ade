use super::*;
use crate::names::golden::{RECORDED_ACCOUNT, account_key, other_account_key, recorded_fields};
use crate::names::http::Method;
use crate::time::UnixMillis;

const START: i64 = 1_800_000_000_000;

fn at(millis: u64) -> Now {
    let moment = Moment(Duration::from_millis(millis));
    Now { moment, wall: UnixMillis(START).plus(moment.0) }
}

fn client() -> NameClient {
    NameClient::new(NameCache::default(), 1)
}

fn server(text: &str) -> ServerUrl {
    text.parse().unwrap()
}

fn by_name(text: &str) -> Question {
    Question { server: ServerUrl::default(), about: About::Name(text.parse().unwrap()) }
}

fn by_account(account: AccountId) -> Question {
    Question { server: ServerUrl::default(), about: About::Account(account) }
}

fn recorded() -> AccountId {
    RECORDED_ACCOUNT.parse().unwrap()
}

/// The requests among `actions`: number, server, method and target.
fn sent(actions: &[Action]) -> Vec<(RequestId, String)> {
    let send = |action: &Action| match action {
        Action::Send { id, request } => {
            Some((*id, format!("{} {}{}", request.method.as_str(), request.server, request.target)))
        }
        _ => None,
    };
    actions.iter().filter_map(send).collect()
}

fn answers(actions: &[Action]) -> Vec<Answer> {
    let answer = |action: &Action| {
        if let Action::Answer { answer, .. } = action { Some(answer.clone()) } else { None }
    };
    actions.iter().filter_map(answer).collect()
}

fn results(actions: &[Action]) -> Vec<Result<(), RegisterError>> {
    let result =
        |action: &Action| if let Action::Registered { result, .. } = action { Some(*result) } else { None };
    actions.iter().filter_map(result).collect()
}

/// The one request among `actions`.
fn only(actions: &[Action]) -> (RequestId, String) {
    match &sent(actions)[..] {
        [one] => one.clone(),
        other => panic!("{other:?}"),
    }
}

fn reply(client: &mut NameClient, now: Now, id: RequestId, status: u16, body: &str) -> Vec<Action> {
    client.response(now, id, Response { status, location: None, body: body.as_bytes() })
}

fn claimed(name: &str, account: AccountId) -> String {
    format!(r#"{{"name":"{name}","addr":"0x{account}"}}"#)
}

fn signed() -> String {
    let (key, signature) = recorded_fields();
    format!(
        r#"{{"name":"alicetest","addr":"{RECORDED_ACCOUNT}","publickey":"{key}","signature":"{signature}"}}"#
    )
}

fn account(resolution: AccountId, evidence: Evidence) -> Answer {
    Ok(Some(Found::Account(Resolution { account: resolution, evidence })))
}

#[test]
fn a_name_is_asked_once_for_all_who_ask_and_then_known() {
    let mut client = client();
    let (id, request) = only(&client.ask(at(0), by_name("AliceTest")));
    assert_eq!(request, "GET https://ns.jami.net/name/alicetest");
    assert_eq!(client.ask(at(1), by_name("alicetest")), []);
    let actions = reply(&mut client, at(2), id, 200, &signed());
    assert_eq!(answers(&actions), [account(recorded(), Evidence::Signed)]);
    let again = client.ask(at(3), by_name("alicetest"));
    assert_eq!((answers(&again), sent(&again)), (vec![account(recorded(), Evidence::Signed)], vec![]));
    // And the other way round.
    let name = Found::Name { name: "alicetest".parse().unwrap(), evidence: Evidence::Signed };
    assert_eq!(answers(&client.ask(at(3), by_account(recorded()))), [Ok(Some(name))]);
    // A reply that comes twice is ignored.
    assert_eq!(reply(&mut client, at(4), id, 200, "{}"), []);
}

#[test]
fn what_is_not_registered_is_an_answer_and_asked_again_next_time() {
    let mut client = client();
    for _ in 0..2 {
        let (id, _) = only(&client.ask(at(0), by_name("nobody")));
        let actions = reply(&mut client, at(1), id, 404, r#"{"error":"name not registred"}"#);
        assert_eq!(answers(&actions), [Ok(None)]);
    }
    assert_eq!(client.next_deadline(), None, "nothing to save, nothing to repeat");
}

#[test]
fn the_name_of_an_id_counts_only_if_it_leads_back() {
    for (body, expected) in [
        (signed(), Ok(Some(Found::Name { name: "alicetest".parse().unwrap(), evidence: Evidence::Signed }))),
        (
            claimed("alicetest", recorded()),
            Ok(Some(Found::Name { name: "alicetest".parse().unwrap(), evidence: Evidence::Claimed })),
        ),
        (claimed("alicetest", AccountId([7; 20])), Ok(None)),
        ("{}".to_owned(), Ok(None)),
        ("{{{".to_owned(), Err(AskError::Garbage)),
    ] {
        let mut client = client();
        let (id, request) = only(&client.ask(at(0), by_account(recorded())));
        assert_eq!(request, format!("GET https://ns.jami.net/addr/{RECORDED_ACCOUNT}"));
        let actions = reply(&mut client, at(1), id, 200, r#"{"name":"AliceTest"}"#);
        let (id, request) = only(&actions);
        assert_eq!((answers(&actions), &*request), (vec![], "GET https://ns.jami.net/name/alicetest"));
        assert_eq!(answers(&reply(&mut client, at(2), id, 200, &body)), [expected], "{body}");
    }
}

#[test]
fn a_claimed_name_that_is_known_needs_no_second_question() {
    let mut client = client();
    let (id, _) = only(&client.ask(at(0), by_name("alice")));
    reply(&mut client, at(0), id, 200, &claimed("alice", recorded()));
    client.cache.forget_name_of(&ServerUrl::default(), recorded());
    let (id, _) = only(&client.ask(at(0), by_account(recorded())));
    let actions = reply(&mut client, at(0), id, 200, r#"{"name":"alice"}"#);
    let name = Found::Name { name: "alice".parse().unwrap(), evidence: Evidence::Claimed };
    assert_eq!((answers(&actions), sent(&actions)), (vec![Ok(Some(name))], vec![]));
}

#[test]
fn a_failing_server_is_asked_three_times_with_growing_waits_and_no_more() {
    let mut client = client();
    let (mut id, _) = only(&client.ask(at(0), by_name("alice")));
    let mut now = 0;
    for (shortest, longest) in [(2000, 3000), (8000, 9000)] {
        let actions = reply(&mut client, at(now), id, 503, "");
        assert_eq!((answers(&actions), sent(&actions)), (vec![], vec![]));
        let due = client.next_deadline().unwrap().since(at(now).moment).as_millis();
        assert!((shortest..longest).contains(&due), "{due}");
        assert_eq!(client.tick(at(now + 1999)), []);
        now += u64::try_from(due).unwrap();
        id = only(&client.tick(at(now))).0;
    }
    let actions = reply(&mut client, at(now), id, 500, "");
    assert_eq!((answers(&actions), sent(&actions)), (vec![Err(AskError::Status(500))], vec![]));
    assert_eq!(client.next_deadline(), None);
}

#[test]
fn a_server_that_never_answers_costs_three_times_half_a_minute() {
    let mut client = client();
    let mut actions = client.ask(at(0), by_name("alice"));
    let (mut aborted, mut requests, mut now) = (Vec::new(), Vec::new(), 0);
    while answers(&actions).is_empty() {
        requests.extend(sent(&actions).into_iter().map(|(id, _)| id));
        now = u64::try_from(client.next_deadline().unwrap().0.as_millis()).unwrap();
        actions = client.tick(at(now));
        aborted.extend(
            actions.iter().filter_map(|it| if let Action::Abort(id) = it { Some(*id) } else { None }),
        );
    }
    assert_eq!(answers(&actions), [Err(AskError::TimedOut)]);
    assert_eq!((requests.len(), &aborted), (3, &requests));
    assert!((100_000..102_000).contains(&now), "{now}");
    assert_eq!(reply(&mut client, at(now), requests[0], 200, &signed()), [], "too late");
}

#[test]
fn a_server_that_is_back_in_time_answers() {
    let mut client = client();
    let (id, _) = only(&client.ask(at(0), by_name("alicetest")));
    assert!(answers(&client.unreachable(at(0), id)).is_empty());
    let (id, _) = only(&client.tick(at(3000)));
    assert_eq!(
        answers(&reply(&mut client, at(3001), id, 200, &signed())),
        [account(recorded(), Evidence::Signed)]
    );
}

#[test]
fn a_repetition_is_sent_though_the_timer_is_late_and_others_ask_meanwhile() {
    let mut client = client();
    let (id, _) = only(&client.ask(at(0), by_name("alice")));
    client.unreachable(at(0), id);
    only(&client.ask(at(10_000), by_name("bob")));
    assert!(client.next_deadline().unwrap() < at(3000).moment);
    assert_eq!(only(&client.tick(at(10_001))).1, "GET https://ns.jami.net/name/alice");
}

#[test]
fn garbage_and_forgeries_are_errors_at_once() {
    for (body, error) in [
        ("{{{", AskError::Garbage),
        ("", AskError::Garbage),
        (r#"{"addr":"zzz"}"#, AskError::NoAccount),
        (&*signed().replace("G1ORk", "G1ORl"), AskError::Forged),
        (&*format!("{{{}", " ".repeat(crate::names::MAX_ANSWER)), AskError::TooLong),
    ] {
        let mut client = client();
        let (id, _) = only(&client.ask(at(0), by_name("alicetest")));
        let actions = reply(&mut client, at(0), id, 200, body);
        assert_eq!((answers(&actions), sent(&actions)), (vec![Err(error)], vec![]));
        assert_eq!(client.next_deadline(), None);
    }
}

fn redirect(client: &mut NameClient, id: RequestId, location: Option<&str>) -> Vec<Action> {
    client.response(at(10), id, Response { status: 302, location, body: b"" })
}

#[test]
fn five_redirections_are_followed() {
    let mut client = client();
    let (mut id, _) = only(&client.ask(at(0), by_name("redir")));
    for number in 0..5 {
        let (next, request) =
            only(&redirect(&mut client, id, Some(&format!("https://host{number}/name/x?y"))));
        assert_eq!(request, format!("GET https://host{number}/name/x?y"));
        id = next;
    }
    assert_eq!(client.next_deadline(), Some(at(30_000).moment), "all within one time");
    let actions = redirect(&mut client, id, Some("/name/x"));
    assert_eq!((answers(&actions), sent(&actions)), (vec![Err(AskError::Redirected)], vec![]));
}

#[test]
fn a_redirected_look_up_is_answered_and_one_away_from_tls_is_not_followed() {
    let mut client = client();
    let (id, _) = only(&client.ask(at(0), by_name("redir")));
    let (id, request) = only(&redirect(&mut client, id, Some("/name/ox-addr")));
    assert_eq!(request, "GET https://ns.jami.net/name/ox-addr");
    let actions = reply(&mut client, at(11), id, 200, &format!(r#"{{"addr":"0x{RECORDED_ACCOUNT}"}}"#));
    assert_eq!(answers(&actions), [account(recorded(), Evidence::Claimed)]);
    for location in [None, Some("http://ns.jami.net/name/x"), Some("nowhere")] {
        let (id, _) = only(&client.ask(at(0), by_name("other")));
        assert_eq!(answers(&redirect(&mut client, id, location)), [Err(AskError::Redirected)]);
    }
}

#[test]
fn few_requests_are_under_way_and_fewer_to_one_server() {
    let mut client = client();
    let mut under_way = Vec::new();
    for number in 0..40 {
        let about = About::Name(format!("name{number}").parse().unwrap());
        for host in ["http://a", "http://b", "http://c", "http://d", "http://e"] {
            under_way
                .extend(sent(&client.ask(at(0), Question { server: server(host), about: about.clone() })));
        }
    }
    assert_eq!(under_way.len(), MAX_IN_FLIGHT);
    let to_a = under_way.iter().filter(|(_, request)| request.contains("//a/")).count();
    assert_eq!(to_a, MAX_IN_FLIGHT_PER_SERVER);
    assert_eq!(client.next_deadline(), Some(at(30_000).moment), "what waits for room is no deadline");
    let mut done = 0;
    while let Some((id, _)) = under_way.pop() {
        let actions = reply(&mut client, at(1), id, 404, "");
        done += answers(&actions).len();
        under_way.extend(sent(&actions));
        assert!(under_way.len() <= MAX_IN_FLIGHT);
    }
    assert_eq!(done, 200);
}

#[test]
fn a_dead_server_is_left_alone_and_the_rest_of_the_questions_end_soon() {
    let mut client = client();
    let (mut actions, mut errors, mut requests) = (Vec::new(), 0, 0);
    for number in 0..1000 {
        actions.extend(client.ask(at(0), by_name(&format!("name{number}"))));
    }
    let mut now = at(0);
    while errors < 1000 {
        requests += sent(&actions).len();
        errors += answers(&actions).iter().filter(|answer| answer.is_err()).count();
        let Some(due) = client.next_deadline() else { break };
        now = at(u64::try_from(due.0.as_millis()).unwrap());
        actions = client.tick(now);
    }
    assert_eq!(errors, 1000);
    assert!(requests <= 12, "{requests} requests");
    assert!(now.moment < at(100_000).moment, "{now:?}");
    assert_eq!(answers(&client.ask(now, by_name("late"))), [Err(AskError::Resting)]);
    // Another server is no worse for it, and this one is asked again later.
    let elsewhere = Question { server: server("http://other"), ..by_name("late") };
    only(&client.ask(now, elsewhere));
    let later = Now { moment: now.moment.plus(Duration::from_secs(601)), wall: now.wall };
    assert!(!sent(&client.ask(later, by_name("late"))).is_empty());
}

#[test]
fn the_number_of_questions_is_bounded() {
    let mut client = client();
    for number in 0..MAX_QUESTIONS {
        client.ask(at(0), by_name(&format!("name{number}")));
    }
    assert_eq!(answers(&client.ask(at(0), by_name("more"))), [Err(AskError::Busy)]);
    let registration = Registration::sign("more".parse().unwrap(), &account_key(), None).unwrap();
    let actions = client.register(at(0), ServerUrl::default(), registration);
    assert_eq!(results(&actions), [Err(AskError::Busy.into())]);
}

#[test]
fn a_registration_is_sent_and_known_afterwards() {
    let (mut client, key) = (client(), account_key());
    let registration = Registration::sign("AliceTest".parse().unwrap(), &key, None).unwrap();
    let actions = client.register(at(0), ServerUrl::default(), registration.clone());
    let [Action::Send { id, request }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((request.method, &*request.target), (Method::Post, "/name/alicetest"));
    assert_eq!(request.body, registration.body());
    // Another one of the account has to wait; one of another account does not.
    let second = Registration::sign("second".parse().unwrap(), &key, None).unwrap();
    let refused = client.register(at(0), ServerUrl::default(), second);
    assert_eq!(results(&refused), [Err(RegisterError::Pending)]);
    let other = Registration::sign("other".parse().unwrap(), &other_account_key(), None).unwrap();
    only(&client.register(at(0), ServerUrl::default(), other));
    let done = reply(&mut client, at(1), *id, 200, r#"{"success":true}"#);
    assert_eq!(results(&done), [Ok(())]);
    let known = account(key.public().account_id(), Evidence::Signed);
    assert_eq!(answers(&client.ask(at(2), by_name("alicetest"))), [known]);
    // The same again needs no server.
    let again = client.register(at(3), ServerUrl::default(), registration);
    assert_eq!((results(&again), sent(&again)), (vec![Ok(())], vec![]));
}

#[test]
fn registrations_that_are_refused_say_why() {
    for (status, body, error) in [
        (200, r#"{"success":false}"#, RegisterError::Refused),
        (400, "", RegisterError::Incomplete),
        (401, "", RegisterError::SignatureRefused),
        (403, "", RegisterError::Taken),
        (409, "", RegisterError::Taken),
        (302, "", AskError::Redirected.into()),
    ] {
        let mut client = client();
        let registration = Registration::sign("alice".parse().unwrap(), &account_key(), None).unwrap();
        let (id, _) = only(&client.register(at(0), ServerUrl::default(), registration));
        let actions = reply(&mut client, at(1), id, status, body);
        assert_eq!((results(&actions), sent(&actions)), (vec![Err(error)], vec![]), "{status}");
        assert_eq!(client.next_deadline(), None);
    }
}

#[test]
fn a_registration_whose_answer_was_lost_is_found_to_have_arrived() {
    let key = account_key();
    let ours = key.public().account_id();
    for (owner, expected) in [(ours, Ok(())), (recorded(), Err(RegisterError::Taken))] {
        let mut client = client();
        let registration = Registration::sign("alice".parse().unwrap(), &key, None).unwrap();
        let (id, _) = only(&client.register(at(0), ServerUrl::default(), registration));
        client.unreachable(at(1), id);
        let (id, request) = only(&client.tick(at(5000)));
        assert!(request.starts_with("POST "));
        let (id, request) = only(&reply(&mut client, at(5001), id, 403, ""));
        assert_eq!(request, "GET https://ns.jami.net/name/alice");
        let actions = reply(&mut client, at(5002), id, 200, &claimed("alice", owner));
        assert_eq!(results(&actions), [expected]);
    }
}

#[test]
fn a_directory_is_searched_each_time() {
    let mut client = client();
    for _ in 0..2 {
        let question = Question { server: server("https://names"), about: About::Search("ali".into()) };
        let (id, request) = only(&client.ask(at(0), question));
        assert_eq!(request, "GET https://names/api/auth/directory/search?queryString=ali");
        let actions = reply(&mut client, at(11), id, 200, r#"{"profiles":[{"username":"alice"}]}"#);
        let profile = Profile::from([("username".into(), "alice".into())]);
        assert_eq!(answers(&actions), [Ok(Some(Found::Profiles(vec![profile])))]);
    }
}

#[test]
fn names_that_lists_want_are_asked_for_once_an_hour_and_after_what_people_wait_for() {
    let mut client = client();
    let server = ServerUrl::default();
    let people = |count: u8| (0..count).map(|number| AccountId([number; 20]));
    let mut under_way = sent(&client.want(at(0), &server, people(10)));
    assert_eq!(under_way.len(), MAX_IN_FLIGHT_PER_SERVER);
    assert_eq!(client.want(at(0), &server, people(10)), []);
    assert_eq!(client.ask(at(0), by_name("alice")), []);
    // The next that is sent is what somebody waits for.
    let (id, _) = under_way.remove(0);
    let (next, request) = only(&reply(&mut client, at(1), id, 404, ""));
    assert_eq!(request, "GET https://ns.jami.net/name/alice");
    under_way.push((next, request));
    while let Some((id, _)) = under_way.pop() {
        under_way.extend(sent(&reply(&mut client, at(1), id, 404, "")));
    }
    assert_eq!(client.want(at(3_600_000), &server, people(10)), []);
    assert_eq!(sent(&client.want(at(3_601_000), &server, people(1))).len(), 1);
    // Who asks gets an answer of the server.
    assert_eq!(sent(&client.ask(at(2), by_account(AccountId([9; 20])))).len(), 1);
}

#[test]
fn names_that_lists_want_leave_room_for_questions_and_rest_with_the_server() {
    let mut client = client();
    let server = ServerUrl::default();
    let people = (0..u64::MAX).map(|number| {
        let mut account = [0; 20];
        account[..8].copy_from_slice(&number.to_be_bytes());
        AccountId(account)
    });
    let mut under_way = sent(&client.want(at(0), &server, people));
    assert_eq!(client.jobs.len(), MAX_WANTED);
    while let Some((id, _)) = under_way.pop() {
        under_way.extend(sent(&reply(&mut client, at(0), id, 500, "")));
    }
    assert_eq!(client.jobs.len(), 0, "the server fails and is left alone");
    assert_eq!(client.want(at(20_000), &server, [recorded()]), []);
}

#[test]
fn the_cache_is_saved_some_seconds_after_something_new_and_read_again() {
    let mut client = client();
    let (id, _) = only(&client.ask(at(0), by_name("alicetest")));
    reply(&mut client, at(100), id, 200, &signed());
    assert_eq!(client.next_deadline(), Some(at(5100).moment));
    assert_eq!(client.tick(at(5099)), []);
    let actions = client.tick(at(5100));
    let [Action::Save(file)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(client.next_deadline(), None);
    assert_eq!(client.unsaved(), None);
    let cache = NameCache::decode(at(6000).wall, file).unwrap();
    let mut restarted = NameClient::new(cache, 2);
    assert_eq!(
        answers(&restarted.ask(at(6000), by_name("alicetest"))),
        [account(recorded(), Evidence::Signed)]
    );
}

#[test]
fn a_name_that_is_gone_is_forgotten() {
    let mut client = client();
    let (id, _) = only(&client.ask(at(0), by_name("alice")));
    reply(&mut client, at(0), id, 200, &claimed("alice", recorded()));
    let later = Now { wall: UnixMillis(START).plus(crate::names::CLAIMED_LIFETIME), ..at(10) };
    let (id, _) = only(&client.ask(later, by_name("alice")));
    assert_eq!(answers(&reply(&mut client, later, id, 404, "")), [Ok(None)]);
    assert_eq!(client.cache.account_of(at(0).wall, &ServerUrl::default(), &"alice".parse().unwrap()), None);
}
