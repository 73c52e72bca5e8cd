# The vCenter simulator of tests/labs/vcenter: needs Debian's golang-go, golang-github-vmware-govmomi-dev
# and golang-github-google-uuid-dev.

LAB_VCENTER := .lab/labvcsim

.PHONY: lab-vcenter test-vsphere bench-vsphere

$(VENV)/.vsphere: $(VENV)/.ready
	$(BIN)/pip install --quiet --editable '.[vsphere]'
	touch $@

lab-vcenter: $(LAB_VCENTER)  ## build the vCenter simulator

$(LAB_VCENTER): $(wildcard tests/labs/vcenter/*.go)
	@mkdir -p $(dir $@)
	cd tests/labs/vcenter && GO111MODULE=off GOPATH=/usr/share/gocode \
		go build -trimpath -ldflags "-s -w" -o $(abspath $@).new .
	mv $@.new $@

test-vsphere: $(LAB_VCENTER) $(VENV)/.vsphere  ## vSphere on its simulator: contract, faults, kills, workflows
	$(BIN)/pytest $(PARALLEL) tests/contract/test_vsphere.py tests/unit/vsphere tests/integration/test_vsphere_*.py

bench-vsphere: $(LAB_VCENTER) $(VENV)/.vsphere  ## 200 machines beside a sequential script with pyvmomi
	$(BIN)/python bench/vsphere_deployment.py
