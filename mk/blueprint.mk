# cloudify-common is old and stays out of our own environment: tests ask it in one of its own.
.PHONY: reference-parser
reference-parser: .venv-cfy/bin/python  ## cloudify-common's own parser, which some tests ask

.venv-cfy/bin/python:
	python3.11 -m venv .venv-cfy
	.venv-cfy/bin/python -m pip install --quiet "cloudify-common[dispatcher]==7.0.5"
