# Everything a person or a build machine runs. `make demo` and `make test` are all a fresh Debian 12 needs.

SHELL := /bin/bash
export PATH := $(HOME)/.cargo/bin:$(PATH)

.DEFAULT_GOAL := build
.PHONY: setup setup-media build demo demo-devices demo-group demo-jami test test-media live bench bench-devices bench-dht bench-file bench-group bench-parts bench-sim study lint doc clean

setup: ## install what is missing
	@.ci/setup

setup-media: ## install what the sound of calls needs
	@.ci/setup media

build: setup ## build the `skep` program
	cargo build --locked -p skep

demo: build ## play the main job: a bootstrap and three nodes as separate processes
	cargo run --locked -p skep-tests --bin skep-demo -- nodes

demo-devices: build ## play one person with three devices: link, sync, name, a file of 200 MB, revoke one
	cargo run --locked -p skep-tests --bin skep-demo -- devices

demo-group: build ## play a group of twenty through kills and, as root, a parted network
	cargo run --locked -p skep-tests --bin skep-demo -- group

demo-jami: ## as root: meet the real daemon on a private network of Jami's DHT
	@.ci/setup jami
	cargo build --locked -p skep
	cargo run --locked -p skep-tests --bin skep-demo -- jami

# nextest runs no documentation tests, so they follow by themselves.
test: setup ## run every test of the workspace
	@if command -v cargo-nextest >/dev/null; then \
		set -ex; cargo nextest run --locked --workspace --no-fail-fast; cargo test --locked --workspace --doc; \
	else \
		set -ex; cargo test --locked --workspace; \
	fi

test-media: setup-media ## run the tests of sound, with a program that has it
	cargo build --locked -p skep --features media
	cargo test --locked -p skep-media --features gstreamer
	cargo test --locked -p skep-tests --features media --test nodes -- calls:: conferences::
	cargo test --locked -p skep-tests --features media --test live calls::

# `make test` runs these too; as root, with: apt-get install jami-daemon dhtnode dbus-daemon iproute2
# (and pulseaudio pulseaudio-utils, for those of calls, and python3-opendht, for the tests of OpenDHT beside its Python binding)
live: build ## meet the real daemon, and put what works with it into README.md
	@set -x; cargo test --locked -p skep-tests --test live -- --test-threads 2; status=$$?; \
	cargo run --locked -p skep-tests --bin skep-tests -- features && exit $$status

# Compared with the real daemon when it is there, as above.
bench: setup ## measure a node; the results go to target/bench/node.json
	cargo build --locked --release -p skep
	cargo run --locked --release -p skep-bench -- node

bench-devices: setup ## measure linking a device to a large account; the results go to target/bench/devices.json
	cargo build --locked --release -p skep
	cargo run --locked --release -p skep-bench -- devices

# As root, so that there are namespaces for a hundred nodes.
bench-dht: ## as root: measure Skep among the nodes of Jami's DHT; the results go to target/bench/dht.json
	@.ci/setup jami
	cargo build --locked --release -p skep
	cargo run --locked --release -p skep-bench -- dht

bench-file: setup ## measure a file of 1 GiB between two nodes; the results go to target/bench/file.json
	cargo build --locked --release -p skep
	cargo run --locked --release -p skep-bench -- file

# Compared with the real daemon when it is there, as above; as root, every node has a namespace of its own.
bench-group: setup ## measure groups of four, ten, fifty and a thousand; the results go to target/bench/group.json
	cargo build --locked --release -p skep
	cargo run --locked --release -p skep-bench -- group

bench-parts: setup ## measure what a message and a byte cost: parsing, signing, validating, ordering, packing
	cargo bench --locked -p skep-bench

bench-sim: setup ## measure the simulator: groups of a thousand to a million; the results go to target/bench/sim.json
	cargo build --locked --release -p skep-sim
	target/release/skep-sim bench

study: ## how overlays grow: a table and plots in target/studies/growth
	python3 bench/studies/growth/run.py

lint: setup ## check the format and refuse warnings
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

doc: setup ## build the documentation of every crate
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

clean: ## remove what was built
	cargo clean
