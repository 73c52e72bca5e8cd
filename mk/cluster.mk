# Executions in a queue, and workers that run them, on a real PostgreSQL (Debian's package postgresql).
.PHONY: test-cluster
$(VENV)/.cluster: $(VENV)/.ready
	$(BIN)/pip install --quiet --editable '.[cluster]'
	touch $@

test-cluster: $(VENV)/.cluster  ## workers that are killed, on a real PostgreSQL (Debian's package postgresql)
	tests/labs/postgresql/run.sh $(BIN)/pytest tests/integration/test_cluster.py
