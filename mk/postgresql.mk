.PHONY: test-postgresql
test-postgresql: $(VENV)/.ready  ## journal and catalog on a real PostgreSQL (Debian's package postgresql)
	$(BIN)/pip install --quiet --editable '.[postgresql]'
	tests/labs/postgresql/run.sh $(BIN)/pytest tests/unit/stores
