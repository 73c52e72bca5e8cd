.PHONY: fuzz race canary
# For parsers of libvirt's answers, its binding is needed too: make test-libvirt installs it.
fuzz: $(VENV)/.ready  ## every parser of foreign data: a million inputs or 20 minutes each (NAMES=, SECONDS=)
	nice $(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),1200) $(NAMES)

race: $(VENV)/.ready  ## ten minutes of a user who swaps the data while root saves, restores and removes them
	QUIESCE_RACE_S=600 nice $(BIN)/pytest tests/acceptance/test_races.py tests/unit/files/test_attacks.py

canary: $(VENV)/.ready  ## known words as secrets, searched everywhere after all workflows
	$(BIN)/pytest tests/acceptance/test_canary.py -m slow
