.PHONY: fuzz race canary
# For parsers of libvirt's answers, its binding is needed too: make test-libvirt installs it.
# For those of platforms' answers, their SDKs: make test-gcp, test-openstack, test-vsphere.
FUZZ_SECONDS ?= 1200
FUZZ_INPUTS ?= 1000000

fuzz: $(VENV)/.ready  ## every parser of foreign data: so long or so many inputs each (FUZZ_SECONDS=, FUZZ_INPUTS=, NAMES=)
	nice $(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) --inputs $(FUZZ_INPUTS) $(NAMES)

race: $(VENV)/.ready  ## ten minutes of a user who swaps the data while root saves, restores, undoes and removes them
	QUIESCE_RACE_S=600 nice $(BIN)/pytest tests/acceptance/test_races.py
	QUIESCE_RACE_S=60 nice $(BIN)/pytest tests/unit/files/test_attacks.py

canary: $(VENV)/.ready  ## known words as secrets, searched everywhere after all workflows
	$(BIN)/pytest tests/acceptance/test_canary.py tests/acceptance/test_canary_platforms.py -m slow
