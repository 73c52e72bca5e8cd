# What runs inside child processes is checked by itself: there, `cloudify` is our stand-in.
.PHONY: lint-isolation plugin-files
lint: lint-isolation

lint-isolation: $(VENV)/.ready  ## types of what runs inside child processes
	cd src/quiesce/isolation/runtime && MYPYPATH=link:stand_in $(abspath $(BIN))/mypy --config-file= \
	    --strict --explicit-package-bases reaper.py ctx_command.py run_script.py link stand_in

plugin-files: $(VENV)/.ready  ## write plugin.yaml anew after parameters or node types have changed
	$(BIN)/python -m quiesce.cloudify.plugin_file
