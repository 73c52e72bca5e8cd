.PHONY: demo
demo: $(VENV)/.ready  ## a real application on this machine: backed up, destroyed, restored, and proved right
	$(BIN)/python examples/demo/demo.py
