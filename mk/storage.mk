# Storages on real servers: moto (S3 with object lock), Debian's radosgw, OpenSSH's SFTP server, Azurite.
.PHONY: test-storage bench-storage

$(VENV)/.storage: $(VENV)/.ready
	$(BIN)/pip install --quiet --editable '.[cloud,ssh]' 'moto[server]>=5'
	touch $@

# Microsoft's stand-in for Azure's blobs; without npm its tests are skipped by name
.lab/azurite/.ready:
	@mkdir -p $(dir $@)
	command -v npm >/dev/null && npm install --silent --no-fund --no-audit --prefix $(dir $@) azurite@3 || \
	    echo "azurite cannot be installed: Azure is skipped"
	touch $@

test-storage: $(VENV)/.storage .lab/azurite/.ready  ## storages on their servers: contract, kills, faults; what is missing is skipped by name
	$(BIN)/pytest tests/contract/test_storage.py tests/unit/storage tests/integration/test_storage_*.py

bench-storage: $(VENV)/.storage  ## packs put and got, and 100,000 objects listed, beside plain tools
	$(BIN)/python bench/storage.py
