# The vCenter simulator of tests/labs/vcenter: needs Debian's golang-go, golang-github-vmware-govmomi-dev
# and golang-github-google-uuid-dev.

LAB_VCENTER := .lab/labvcsim

.PHONY: lab-vcenter bench-vsphere

lab-vcenter: $(LAB_VCENTER)

$(LAB_VCENTER): $(wildcard tests/labs/vcenter/*.go)
	@mkdir -p $(dir $@)
	cd tests/labs/vcenter && GO111MODULE=off GOPATH=/usr/share/gocode \
		go build -trimpath -ldflags "-s -w" -o $(abspath $@).new .
	mv $@.new $@

bench-vsphere: $(LAB_VCENTER)
	$(or $(BIN),.venv/bin)/python bench/vsphere_deployment.py
