# What is locked and delivered, and the documentation's site. The tools are locked by hash, too, and have an environment of their own.
.PHONY: lock audit wheel sbom site deb
RELEASE := .venv-release
COMPILE = $(RELEASE)/bin/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 \
    --no-emit-index-url --no-header

$(RELEASE)/.ready: requirements-release.lock
	$(PY) -m venv $(RELEASE)
	$(RELEASE)/bin/pip install --quiet --require-hashes --requirement requirements-release.lock
	touch $@

lock: $(RELEASE)/.ready  ## renew both lock files (UPGRADE=1: to the newest that pyproject.toml allows)
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --extra ssh --group dev --output-file requirements-dev.lock
	$(COMPILE) $(if $(UPGRADE),--upgrade) --group release --output-file requirements-release.lock

audit: $(RELEASE)/.ready  ## ask what is known against the versions that are locked
	$(RELEASE)/bin/pip-audit --disable-pip --require-hashes --requirement requirements-dev.lock

wheel: $(VENV)/.ready  ## dist/: the wheel, the sources, and a bill of materials
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(MAKE) sbom

deb: $(VENV)/.ready  ## dist/: a Debian package of this clone, for this machine's Debian (EXTRAS=ssh,serve)
	rm -rf dist/deb
	$(BIN)/python -m build --wheel --no-isolation --outdir dist/deb
	grep -o '^[a-z][^ ;]*==[^ ;]*' requirements-dev.lock >dist/deb/constraints.txt
	$(BIN)/python tools/build_deb.py dist/deb/*.whl --output dist --extras "$(EXTRAS)" \
	    --constraint dist/deb/constraints.txt

site: $(RELEASE)/.ready  ## site/: the documentation as a site; every link and anchor must lead somewhere
	NO_MKDOCS_2_WARNING=1 $(RELEASE)/bin/mkdocs build --strict

# the wheel alone with what it needs, in the versions that are locked
sbom: $(RELEASE)/.ready  ## dist/quiesce.cdx.json: what the wheel brings with it (CycloneDX)
	$(PY) -m venv --clear --without-pip $(RELEASE)/wheel
	grep -o '^[a-z][^ ;]*==[^ ;]*' requirements-dev.lock >$(RELEASE)/constraints.txt
	$(RELEASE)/bin/pip --python $(RELEASE)/wheel/bin/python install --quiet \
	    --constraint $(RELEASE)/constraints.txt dist/*.whl
	$(RELEASE)/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
	    --output-file dist/quiesce.cdx.json $(RELEASE)/wheel/bin/python
