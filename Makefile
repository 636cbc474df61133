# `make help` lists the targets. Everything that is made lies in .venv/, build/ and the generated folders of .gitignore;
# packer and the guest image are kept for all clones in ${XDG_CACHE_HOME:-~/.cache}/ovirt-provision/.

include tools/versions.mk

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh
# Without bytecode every start of a process would compile all its modules again.
unexport PYTHONDONTWRITEBYTECODE
export CHECKPOINT_DISABLE := 1

python := .venv/bin/python
generated := ovirt_provision/v1/resources_pb2.py build/schema.binpb
ruby_code := plugins/kitchen/lib/ovirt_provision/v1/resources_pb.rb
plugin := build/bin/packer-plugin-ovirt
packer := build/bin/packer
plugin_source := ./packer/packer-plugin-ovirt
driver := build/bin/docker-machine-driver-ovirt
driver_source := ./docker_machine/docker-machine-driver-ovirt
rancher_machine := build/bin/rancher-machine

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Set up everything, then packer, docker-machine and Test Kitchen on a simulated oVirt with real guests
	@tools/free-disk
	@since=$$(date +%s.%N) && $(MAKE) --no-print-directory tools && tools/in-namespace $(python) tools/demo.py --since $$since

.PHONY: test
test: tools check ## Everything: check, two minutes of crashes, then real guests and the real packer
	@$(MAKE) --no-print-directory --jobs 2 check-crashes check-wheel
	tools/in-namespace $(python) -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "(guests or e2e) and not long"

.PHONY: test-long
test-long: tools ## What takes minutes for each test: a Docker host's whole life, three versions of a template
	tools/in-namespace $(python) -m pytest -m long

.PHONY: check
check: setup $(generated) $(ruby_code) ## Lint, types and all tests without guests and packer (at most 5 minutes)
	@$(MAKE) --no-print-directory --jobs 2 check-python check-others

# Parts of check and test that run side by side, because some wait or use one core. The others are one after the other:
# lint generates anew what Go compiles. They are shown when they have ended.
.PHONY: check-python check-others check-go check-crashes check-wheel
check-python:
	$(python) -m pytest -n 4 --dist loadgroup -m "not guests and not e2e and not wheel and not live"

check-others:
	@mkdir -p build; (for part in lint kitchen check-go; do $(MAKE) --no-print-directory $$part || exit; done) >build/check-others.log 2>&1; \
	status=$$?; cat build/check-others.log; exit $$status

check-go:
	cd plugins && PACKER=$(wildcard $(abspath $(packer))) go test -race ./...

check-crashes:
	PYTHONPATH=tools $(python) -m tests.crash --seeds 1000 --seconds 120 --jobs 4

check-wheel:
	$(python) -m pytest -m wheel

.PHONY: lint
lint: setup $(generated) ## ruff, mypy, gofmt, go vet, staticcheck, types on other platforms, and that what is generated into git is fresh
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	@unformatted=$$(gofmt -l plugins); [ -z "$$unformatted" ] || { echo "not formatted by gofmt: $$unformatted"; exit 1; }
	cd plugins && go vet ./... && go tool staticcheck ./...
	cd plugins && go test -count=1 ./internal/platforms
	$(python) tools/document --check
	tools/fresh-plugin

.PHONY: conformance
conformance: setup $(generated) ## Replay recorded exchanges of a real engine against the simulator (TRANSCRIPTS=DIR for others)
	@$(python) -m tests.conformance $(TRANSCRIPTS)

.PHONY: faults
faults: setup $(generated) ## Write docs/faults.md: what users read of each fault of an engine
	$(python) -m tests.faults > build/faults.md && mv build/faults.md docs/faults.md

# SEED=x replays one seed, DEFENCE=off switches the defences off.
seeds = $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),$(1))) --defence $(or $(DEFENCE),on)

.PHONY: crash
crash: setup $(generated) ## Kill real daemons in random schedules: about two minutes (SEEDS=n, SEED=x, DEFENCE=off)
	@PYTHONPATH=tools $(python) -m tests.crash $(call seeds,20)

.PHONY: crash-virtual
crash-virtual: setup $(generated) ## The same in one process and in virtual time: many more seeds (IMAGES=1: of imports, exports, backups)
	@PYTHONPATH=tools $(python) -m tests.crash --virtual $(if $(IMAGES),--images) $(call seeds,200)

.PHONY: bench
bench: setup $(generated) ## Measure what Machines cost the engine and the daemon (SIZES="1 10 100 1000", SEED=n replays)
	@PYTHONPATH=tools $(python) -m tests.bench $(SIZES) $(if $(SEED),--seed $(SEED))

.PHONY: worlds
worlds: setup $(generated) ## 10,000 random worlds of each kind, full of strangers (WORLDS=n for others, WORLD=seed for one)
	OVIRT_PROVISION_WORLDS=$(or $(WORLDS),10000) $(if $(WORLD),OVIRT_PROVISION_WORLD=$(WORLD)) \
	$(python) -m pytest -n 2 -rP tests/operations/test_random_worlds.py

.PHONY: bench-simulator
bench-simulator: setup $(generated) ## Measure the simulator with 10,000 VMs
	@$(python) tools/bench_simulator.py

.PHONY: bench-images
bench-images: setup $(generated) ## Measure upload and download of images against ovirt-img and dd, where ovirt-img is on PATH (MIB=512)
	@PYTHONPATH=. $(python) tools/bench_images.py $(MIB)

.PHONY: bench-packer
bench-packer: plugin packer ## Measure requests and seconds of packer builds (BUILDS=8, PROFILE=fast, FLAGS=--no-seal)
	@$(python) tools/bench_packer.py --builds $(or $(BUILDS),1) --profile $(or $(PROFILE),recorded) $(FLAGS)

.PHONY: live
live: setup $(generated) ## Test on the engine of OVIRT_*, in OVIRT_LIVE_CLUSTER with OVIRT_LIVE_TEMPLATE; cleans up after itself
	@$(python) -m pytest -m live tests/live

.PHONY: wheel
wheel: setup $(generated) ## Build the wheel and the source distribution (dist/)
	$(python) -m hatchling build -t sdist -t wheel -d dist

.PHONY: image
image: ## Build the container image of the daemon, with podman, buildah or docker
	@rm -rf dist && $(MAKE) --no-print-directory wheel
	@tool=$$(command -v podman || command -v buildah || command -v docker) || \
		{ echo "image: none of podman, buildah and docker is installed" >&2; exit 1; }; \
	set -x; "$$tool" build -t ovirt-provision -f packaging/Containerfile $(IMAGE_FLAGS) .

.PHONY: kitchen
kitchen: setup $(generated) $(ruby_code) ## Test the Kitchen driver, where Ruby and rspec are installed
	@if [ -e $(ruby_code) ] && ruby -e 'require "rspec"; require "grpc"; require "net/ssh"' 2>/dev/null; \
	then cd plugins/kitchen && rspec; \
	else echo "kitchen: skipped, the driver is NOT tested (Debian's packages: ruby-rspec ruby-grpc ruby-net-ssh)"; fi

.PHONY: kitchen-live
kitchen-live: setup $(generated) $(ruby_code) ## Play the Kitchen driver with the real Test Kitchen on real guests, where it is installed
	@skipped() { echo "kitchen-live: SKIPPED, the Kitchen driver is not tried on real guests: $$1"; }; \
	if ! ruby -rtime -e 'require "kitchen"; require "rspec"; require "grpc"; require "net/ssh"' 2>/dev/null; \
	then skipped "Ruby finds no Test Kitchen (as a gem, or in RUBYLIB)"; \
	elif [ "$(KITCHEN_LIVE)" = 0 ]; then skipped "it takes ten minutes; run make kitchen-live, or KITCHEN_LIVE=1 make test"; \
	else cd plugins/kitchen && KITCHEN_LIVE=1 ../../tools/in-namespace rspec --format documentation --order defined spec/live_spec.rb; fi

.PHONY: setup
setup: ## Install what is missing: Debian packages (root or sudo), .venv
	@tools/setup

.PHONY: generate
generate: setup $(generated) $(ruby_code) ## Generate Python, Go and Ruby from proto/, HCL2 and docs from the code (what of it is in git, too)
	cd plugins && go generate ./...
	tools/web-docs
	$(python) tools/document

$(generated) &: proto/ovirt_provision/v1/*.proto tools/generate tools/versions.mk tools/protoc/go.sum | setup
	tools/generate $(PROTOVALIDATE_VERSION)
	@touch $(generated)

$(ruby_code): build/schema.binpb tools/generate-ruby tools/versions.mk
	tools/generate-ruby $(RUBY_PROTOC_VERSION)

.PHONY: tools
tools: plugin packer driver rancher-machine images $(ruby_code)

.PHONY: plugin
plugin: setup $(generated) ## Build the packer plugin (build/bin/packer-plugin-ovirt)
	cd plugins && go build -trimpath -ldflags '-s -w' -o ../$(plugin) $(plugin_source)

.PHONY: plugin-platforms
plugin-platforms: setup $(generated) ## Compile the packer plugin for the other platforms (minutes, where nothing is cached)
	cd plugins && for platform in darwin/amd64 darwin/arm64 windows/amd64 windows/arm64; do \
		echo "$$platform" && GOOS=$${platform%/*} GOARCH=$${platform#*/} CGO_ENABLED=0 go build -o /dev/null $(plugin_source) || exit; done

.PHONY: plugin-release
plugin-release: plugin ## Release the packer plugin, with goreleaser and GPG_FINGERPRINT, at the tag of its version (FLAGS=--snapshot tries)
	API_VERSION=$$($(plugin) describe | sed 's/.*"api_version":"\([^"]*\)".*/\1/') \
	goreleaser release --clean --config plugins/packer/packer-plugin-ovirt/.goreleaser.yml $(FLAGS)

.PHONY: packer
packer: ## Find a packer on PATH, or build one (build/bin/packer)
	@mkdir -p build/bin
	@path=$$(tools/packer/build) && ln -sfn "$$path" $(packer)

.PHONY: driver
driver: setup $(generated) ## Build the docker-machine driver (build/bin/docker-machine-driver-ovirt)
	cd plugins && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o ../$(driver) $(driver_source)

.PHONY: driver-release
driver-release: setup $(generated) ## Build the docker-machine driver for release into dist/, with Rancher's manifest (URL=where the folder will be)
	@[ -n "$(URL)" ] || { echo "driver-release: say where the archives will be, as in URL=https://example.com/v0.1.0" >&2; exit 1; }
	cd plugins && for arch in amd64 arm64; do \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go build -trimpath -ldflags '-s -w' -o ../dist/$$arch/docker-machine-driver-ovirt $(driver_source) && \
		tar -C ../dist/$$arch --sort=name --owner=0 --group=0 --mtime=@0 -czf ../dist/docker-machine-driver-ovirt-linux-$$arch.tar.gz docker-machine-driver-ovirt && \
		rm -r ../dist/$$arch || exit; done
	cd dist && sha256sum docker-machine-driver-ovirt-linux-*.tar.gz >docker-machine-driver-ovirt_SHA256SUMS
	sed -e 's|@URL@|$(URL)/docker-machine-driver-ovirt-linux-amd64.tar.gz|' \
		-e "s|@CHECKSUM@|$$(sed -n 's/ .*amd64.*//p' dist/docker-machine-driver-ovirt_SHA256SUMS)|" \
		plugins/docker_machine/rancher/node-driver.yaml >dist/node-driver.yaml

.PHONY: rancher-machine
rancher-machine: ## Build rancher-machine, a living docker-machine (build/bin/rancher-machine)
	@mkdir -p build/bin
	@path=$$(tools/rancher-machine/build) && ln -sfn "$$path" $(rancher_machine)

.PHONY: images
images: setup $(generated) ## Build the guest images of the simulator
	@for recipe in minimal docker; do $(python) -m ovirt_provision.simulator.guests.image --recipe $$recipe || exit; done

.PHONY: lock
lock: setup ## Write requirements.lock anew from pyproject.toml
	$(python) -m pip install --quiet uv==$(UV_VERSION)
	.venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --group dev pyproject.toml -o requirements.lock

.PHONY: clean
clean: ## Remove what was made here (the cache of packer and guest image stays)
	rm -rf build .venv buf ovirt_provision/v1 plugins/internal/ovirtprovisionv1 plugins/kitchen/lib/ovirt_provision/v1
