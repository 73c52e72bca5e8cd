# A real application, restored again and again while parts of quiesce are killed: needs root, PostgreSQL, Redis.
.PHONY: drill
RESTORES ?= 50

drill: $(VENV)/.ready  ## restore PostgreSQL, Redis and a web process under load, fifty times, killed half-way
	nice $(BIN)/python -m tests.drill.drill $(RESTORES)
