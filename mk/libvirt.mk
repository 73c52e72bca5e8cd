.PHONY: lab-libvirt lab-libvirt-down test-libvirt ci-libvirt bench-libvirt

$(VENV)/.libvirt: $(VENV)/.ready
	$(BIN)/pip install --quiet --editable '.[libvirt]'
	touch $@

lab-libvirt:  ## start the private libvirtd and build its guest
	tests/labs/libvirt/lab.sh up

lab-libvirt-down:  ## stop it, and the guests it runs
	tests/labs/libvirt/lab.sh down

test-libvirt: $(VENV)/.libvirt  ## everything about libvirt; what needs the lab is skipped by name when it is down
	$(BIN)/pytest tests/contract/test_libvirt.py tests/unit/libvirt tests/integration/test_libvirt_*.py

ci-libvirt: $(VENV)/.libvirt  ## the same on a lab of its own, which is taken down in any case
	trap 'tests/labs/libvirt/lab.sh down' EXIT; trap 'exit 130' INT TERM; \
	    tests/labs/libvirt/lab.sh up && $(BIN)/pytest tests/contract/test_libvirt.py tests/unit/libvirt tests/integration/test_libvirt_*.py

bench-libvirt: $(VENV)/.libvirt  ## backup, restore and frozen window beside virtnbdbackup and raw QEMU
	$(BIN)/python bench/libvirt_backup.py
