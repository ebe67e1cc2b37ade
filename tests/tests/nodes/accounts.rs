//! Archives that go from node to node, and archives that cannot be opened.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use skep::rpc::client::ClientError;
use skep::rpc::schema::{ErrorCode, ExportParams, Secret, method};
use skep_tests::harness::{Golden, NodeSetup, Person, import_params, program, run};

#[test]
fn an_exported_account_opens_on_another_node_under_its_password() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let golden = Golden::BOB;
        let first = NodeSetup::new("first", place.path()).start().await.unwrap();
        let mut bob = Person::import(first, &golden.archive().unwrap(), golden.password).await.unwrap();
        assert_eq!(bob.id.to_string(), golden.id);
        let view = bob.describe().await.unwrap();
        assert!(view.protected);

        let export = |password: &str| ExportParams {
            account: bob.local,
            password: Some(Secret::new(password.to_owned())),
        };
        let (wrong, right) = (export("a guess"), export(golden.password.unwrap()));
        match bob.node.ask(method::AccountExport, wrong).await.unwrap() {
            Err(ClientError::Refused(error)) => assert_eq!(error.code, ErrorCode::WrongPassword.number()),
            other => panic!("{other:?}"),
        }
        let archive = bob.node.call(method::AccountExport, right).await.unwrap().archive;
        let archive = BASE64.decode(archive).unwrap();
        let second = NodeSetup::new("second", place.path()).start().await.unwrap();
        let mut copy = Person::import(second, &archive, golden.password).await.unwrap();
        assert_eq!(copy.id, bob.id);
        let copied = copy.describe().await.unwrap();
        assert_ne!(copied.device, view.device, "each node is a device of its own");
        bob.node.stop().await.unwrap();
        copy.node.stop().await.unwrap();
    });
}

/// Imports on the command line, which must fail with one line that says why.
fn refused(data: &Path, archive: &Path, password: &Path) -> String {
    let output = Command::new(program().unwrap())
        .arg("--data-dir")
        .arg(data)
        .args(["account", "import"])
        .arg(archive)
        .arg("--password-file")
        .arg(password)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with("skep: ") && text.lines().count() == 1, "{text}");
    text
}

#[test]
fn archives_that_cannot_be_opened_are_refused_with_the_reason_and_leave_nothing() {
    run(async {
        let place = tempfile::tempdir().unwrap();
        let mut node = NodeSetup::new("node", place.path()).start().await.unwrap();
        let (protected, plain) = (Golden::BOB.archive().unwrap(), Golden::ALICE.archive().unwrap());
        let mut flipped = plain.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x55;
        let cases = [
            ("a wrong password", protected.clone(), Some("a guess"), ErrorCode::WrongPassword),
            ("a missing password", protected.clone(), None, ErrorCode::BadArchive),
            ("a cut archive", plain[..plain.len() / 2].to_vec(), None, ErrorCode::BadArchive),
            ("a flipped byte", flipped, None, ErrorCode::BadArchive),
            ("an empty file", Vec::new(), None, ErrorCode::BadArchive),
            ("something else", b"not an archive at all".to_vec(), None, ErrorCode::BadArchive),
        ];
        for (what, archive, password, code) in cases {
            match node.ask(method::AccountImport, import_params(&archive, password)).await.unwrap() {
                Err(ClientError::Refused(error)) => {
                    assert_eq!(error.code, code.number(), "{what}: {error:?}");
                }
                other => panic!("{what}: {other:?}"),
            }
        }
        let file = |name: &str, content: &[u8]| {
            let path = place.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let (archive, guess) = (file("bob.gz", &protected), file("guess", b"a guess\n"));
        let data = node.setup().data().to_owned();
        assert!(refused(&data, &archive, &guess).contains("password"));
        assert!(refused(&data, &file("cut.gz", &plain[..100]), &guess).contains("archive"));
        assert_eq!(std::fs::read_dir(data.join("accounts")).unwrap().count(), 0);
        node.stop().await.unwrap();
    });
}
