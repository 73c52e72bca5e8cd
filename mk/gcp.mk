.PHONY: test-gcp bench-gcp

$(VENV)/.gcp: $(VENV)/.ready
	$(BIN)/pip install --quiet --editable '.[gcp]' google-api-python-client
	touch $@

test-gcp: $(VENV)/.gcp  ## Compute Engine on its stand-in: contract, faults, power cuts, workflows
	$(BIN)/pytest $(PARALLEL) tests/contract/test_gcp.py tests/unit/gcp tests/integration/test_gcp_*.py

bench-gcp: $(VENV)/.gcp  ## one backup of fifty machines beside a sequential script with the official client
	$(BIN)/python bench/gcp_fifty_machines.py
