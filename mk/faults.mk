# Every call that changes files fails once, in every way; and what is stored is damaged in hundreds of ways.
.PHONY: sweep planted
SHARE ?= 0.25
SWEEPS ?= $(shell nproc)

sweep: $(VENV)/.ready  ## let each write, fsync, rename and unlink fail (SHARE=1 takes hours; SWEEPS=n at a time)
	$(BIN)/python -m tests.faults.sweep --share $(SHARE) --jobs $(SWEEPS)

planted: $(VENV)/.ready  ## damage 500 stored things: each is found, and refused before a restore touches anything
	$(BIN)/python -m tests.faults.planted
