# What runs inside child processes is checked by itself: there, `cloudify` is our stand-in.
.PHONY: lint-isolation
lint-isolation:
	cd src/quiesce/isolation/runtime && MYPYPATH=link:stand_in $(abspath $(or $(VENV),.venv))/bin/mypy \
	    --config-file= --strict --explicit-package-bases keeper.py ctx_command.py run_script.py link stand_in
