# Storages on real servers: moto (S3 with object lock), Debian's radosgw, OpenSSH's SFTP server, Azurite.
.PHONY: test-storage

$(VENV)/.storage: $(VENV)/.ready
	$(BIN)/pip install --quiet --editable '.[cloud,ssh]' 'moto[server]>=5'
	touch $@

test-storage: $(VENV)/.storage  ## storages on their servers: contract, kills, faults; what is missing is skipped by name
	$(BIN)/pytest tests/contract/test_storage.py tests/unit/storage tests/integration/test_storage_*.py
