//! What every message of a conversation costs: signing, verifying, validating, ordering, packing.
#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark ends when its data is wrong")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use skep_bench::history::{Author, SyntheticHistory};
use skep_protocol::swarm::history::{History, HistoryCommit};
use skep_protocol::swarm::object::{Commit, ObjectSource as _};
use skep_protocol::swarm::validate::Validator;

/// Commits of the conversation; more would only take longer to sign.
const LENGTH: usize = 500;

fn conversation() -> SyntheticHistory {
    SyntheticHistory::generate(LENGTH, |_| ()).expect("the golden keys are in the tree")
}

fn signatures(criterion: &mut Criterion) {
    let (history, author) = (conversation(), Author::golden("alice").unwrap());
    let commit = Commit::parse(history.objects.commit(history.head()).unwrap().unwrap()).unwrap();
    let content = commit.signed_content();
    let signature = author.key().sign(&content).unwrap();
    let mut group = criterion.benchmark_group("commit");
    group.bench_function("sign", |bencher| bencher.iter(|| author.key().sign(black_box(&content))));
    group.bench_function("verify", |bencher| {
        bencher.iter(|| author.key().public().verify(black_box(&content), &signature));
    });
    group.bench_function("parse", |bencher| bencher.iter(|| Commit::parse(black_box(commit.raw()).clone())));
    group.finish();
}

fn whole_conversations(criterion: &mut Criterion) {
    let history = conversation();
    let mut validator = Validator::new(&history.objects, history.conversation);
    let valid = validator.validate_history(history.head(), |_| false).unwrap();
    let commits: Vec<HistoryCommit> = valid.iter().map(HistoryCommit::from).collect();
    let mut group = criterion.benchmark_group("conversation");
    group.throughput(Throughput::Elements(LENGTH as u64)).sample_size(20);
    group.bench_function("validate", |bencher| {
        bencher.iter(|| {
            let mut validator = Validator::new(&history.objects, history.conversation);
            validator.validate_history(history.head(), |_| false).map(|valid| valid.len())
        });
    });
    group.bench_function("linearise", |bencher| {
        let fresh = || (History::default(), commits.clone());
        let load = |(mut shown, commits): (History, Vec<HistoryCommit>)| {
            shown.load(commits, history.head()).unwrap();
            shown
        };
        bencher.iter_batched(fresh, load, BatchSize::LargeInput);
    });
    group.bench_function("pack", |bencher| bencher.iter(|| history.bundle(LENGTH)));
    group.finish();
}

criterion_group!(benches, signatures, whole_conversations);
criterion_main!(benches);
