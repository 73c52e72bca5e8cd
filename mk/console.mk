.PHONY: test-console bench-console

$(VENV)/.console: $(VENV)/.ready
	$(BIN)/pip install --quiet --editable '.[serve]' playwright axe-playwright-python
	touch $@

test-console: $(VENV)/.console  ## the console in Chromium (Debian's): screens, keyboard, hostile pages, accessibility
	$(BIN)/pytest tests/console

bench-console: $(VENV)/.ready  ## the first page with 5,000 deployments and 100,000 restore points
	$(BIN)/python bench/console_first_page.py
