.PHONY: lab-libvirt lab-libvirt-down bench-libvirt

lab-libvirt: ## start the private libvirtd and build its guest
	tests/labs/libvirt/lab.sh up

lab-libvirt-down: ## stop it, and the guests it runs
	tests/labs/libvirt/lab.sh down

bench-libvirt: ## backup, restore and frozen window beside virtnbdbackup and raw QEMU
	$(or $(BIN),.venv/bin)/python bench/libvirt_backup.py
