.PHONY: test-console pictures bench-console

$(VENV)/.console: $(VENV)/.ready
	$(BIN)/pip install --quiet --editable '.[serve]' playwright axe-playwright-python
	touch $@

test-console: $(VENV)/.console  ## the console in Chromium (Debian's): screens, keyboard, hostile pages, accessibility
	$(BIN)/pytest tests/console

pictures: $(VENV)/.console  ## make the pictures of the documentation anew, by the console's tests
	rm -rf .lab/pictures
	QUIESCE_SCREENSHOTS=.lab/pictures $(BIN)/pytest tests/console
	grep -rhoE 'pictures/[a-z-]+\.png' docs/*.md | sort -u | sed 's,^,.lab/,' | xargs -I{} cp {} docs/pictures/

bench-console: $(VENV)/.ready  ## the first page with 5,000 deployments and 100,000 restore points
	$(BIN)/python bench/console_first_page.py
