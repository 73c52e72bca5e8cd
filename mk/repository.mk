.PHONY: histories bench-data bench-removal
histories: $(VENV)/.ready  ## 1,000 random histories of a repository, and 500 planted faults
	QUIESCE_HISTORIES=1000 QUIESCE_PLANTED_FAULTS=500 $(BIN)/pytest -n $$(nproc) \
	    tests/unit/repository/test_histories.py tests/unit/repository/test_planted_faults.py

bench-data: $(VENV)/.ready  ## backup and restore beside restic and borg (Debian's packages restic, borgbackup)
	$(BIN)/python bench/data_path.py

bench-removal: $(VENV)/.ready  ## 100,000 files removed, beside rm -rf
	$(BIN)/python bench/removal.py
