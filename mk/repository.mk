.PHONY: histories under-fire bench-data bench-removal bench-directory
histories: $(VENV)/.ready  ## 1,000 random histories of a repository, and 500 planted faults
	QUIESCE_HISTORIES=1000 QUIESCE_PLANTED_FAULTS=500 $(BIN)/pytest -n $$(nproc) \
	    tests/unit/repository/test_histories.py tests/unit/repository/test_planted_faults.py

under-fire: $(VENV)/.ready  ## 200 cuts of a tree that programs write to meanwhile, on a disk and in memory
	QUIESCE_CUTS=200 $(BIN)/pytest --timeout 1800 tests/unit/repository/test_under_fire.py

bench-data: $(VENV)/.ready  ## backup and restore beside restic and borg (Debian's packages restic, borgbackup)
	$(BIN)/python bench/data_path.py

bench-removal: $(VENV)/.ready  ## 100,000 files removed, beside rm -rf
	$(BIN)/python bench/removal.py

bench-directory: $(VENV)/.ready  ## a directory's window, copied beforehand and not, and with ten times the files
	$(BIN)/python bench/directory_window.py
