# The OpenStack lab: real Keystone, Glance, Placement, Nova, Cinder and Ceph on this machine (root, Debian 12).
# LAB is where it lives; state and packages stay there until `make lab-openstack-down WIPE=--wipe`.
OPENSTACK_LAB ?= $(CURDIR)/.lab/openstack

.PHONY: lab-openstack lab-openstack-down test-openstack test-openstack-units bench-openstack ci-openstack

$(VENV)/.openstack: $(VENV)/.ready
	$(BIN)/pip install --quiet --editable '.[openstack]'
	touch $@

lab-openstack:  ## bring the OpenStack lab up (about two minutes the first time)
	mkdir -p $(OPENSTACK_LAB)
	LAB=$(OPENSTACK_LAB) tests/labs/openstack/up.sh
	test -e $(OPENSTACK_LAB)/guest.raw || bash tests/labs/openstack/guest.sh $(OPENSTACK_LAB)/guest.raw
	@echo "now: export QUIESCE_OPENSTACK_LAB=$(OPENSTACK_LAB)"

lab-openstack-down:  ## take the OpenStack lab down; WIPE=--wipe removes its state as well
	LAB=$(OPENSTACK_LAB) tests/labs/openstack/down.sh $(WIPE)

test-openstack: $(VENV)/.openstack  ## everything about OpenStack, the lab included when it is up
	QUIESCE_OPENSTACK_LAB=$(OPENSTACK_LAB) .venv/bin/pytest tests/unit/openstack tests/contract/test_openstack.py tests/integration -k "openstack" -m "slow or not slow"

bench-openstack: $(VENV)/.openstack  ## ten servers and ten volumes beside a plain sequential run through the SDK
	QUIESCE_OPENSTACK_LAB=$(OPENSTACK_LAB) .venv/bin/python bench/openstack_ten.py

test-openstack-units: $(VENV)/.openstack  ## OpenStack without a lab: contract and units, on a cloud in memory
	$(BIN)/pytest $(PARALLEL) tests/unit/openstack tests/contract/test_openstack.py

ci-openstack: $(VENV)/.openstack  ## what CI runs of the lab: up from nothing, a selection of the tests, down again
	LAB=$(OPENSTACK_LAB) tests/labs/openstack/ci.sh
