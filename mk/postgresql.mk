.PHONY: test-postgresql
$(VENV)/.postgresql: $(VENV)/.ready
	$(BIN)/pip install --quiet --editable '.[postgresql]'
	touch $@

test-postgresql: $(VENV)/.postgresql  ## journal and catalog on a real PostgreSQL (Debian's package postgresql)
	tests/labs/postgresql/run.sh $(BIN)/pytest tests/unit/stores
