# Databases as nodes, on real servers of Debian's packages postgresql, mariadb-server, mariadb-backup and redis-server.
.PHONY: test-databases

$(VENV)/.databases: $(VENV)/.ready
	$(BIN)/pip install --quiet --editable '.[postgresql-server,mariadb-server,redis-server]'
	touch $@

test-databases: $(VENV)/.databases  ## databases as nodes: contract, cuts under load with a ledger as judge, faults (QUIESCE_CUTS=100: large)
	$(BIN)/pytest $(PARALLEL) tests/integration/test_postgresql_*.py tests/integration/test_mariadb_*.py tests/integration/test_redis_*.py
