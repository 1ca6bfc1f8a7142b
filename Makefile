# SPDX-License-Identifier: GPL-2.0-or-later

help_text := \
'make                  user space, and the module for the running kernel when its headers are here' '' \
'make KVER=VERSION     the same with the module for that installed kernel' '' \
'make userspace        libqchain.a, qchain and qchaind' '' \
'make module           the module alone (KVER=; KDIR= for headers elsewhere)' '' \
'make modules          the module for the kernels of the test VM, 6.12 and 6.1' '' \
'make module-debug     the module for the debug kernel, which is built when missing' '' \
'make install          DESTDIR=, PREFIX= (/usr), KVER=' '' \
'make deps             install what building and testing need (Debian 12)' '' \
'make check            build and run all tests' '' \
'make demo             the main job on a real chain, in the test VM' '' \
'make crash            crash an image at many points of recorded workloads (SHORT=1, CRASH=)' '' \
'make fuzz-user        libFuzzer on the library and the protocol (RUNS=1000000 for each target)' '' \
'make fuzz-kernel      attach damaged images on the debug kernel (FIRST=1 COUNT=5000)' '' \
'make bench            measure against the alternatives, in the test VM (BENCH=--full)' '' \
'make checkpatch       the kernel'"'"'s checkpatch.pl --strict over all C source' '' \
'make sparse           sparse over the module (C=1, C=2 and W=1 work with "make module" too)' '' \
'make selftests        build the kernel selftests and their runner into build/selftests' '' \
'make clean            remove build/' ''

top := $(CURDIR)
build := $(top)/build
PREFIX ?= /usr
VERSION := $(shell sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' dkms.conf)

KVER ?= $(shell uname -r)
KDIR ?= /lib/modules/$(KVER)/build
kobj := $(build)/kernel/$(KVER)
have_headers := $(wildcard $(KDIR)/Makefile)
vm_kernels := 6.12 6.1

ifneq ($(origin KVER),file)
want_module := y
endif

all: userspace $(if $(want_module)$(have_headers),module,no-module)

help:
	@printf '%-22s%s\n' $(help_text) | sed 's/ *$$//'

no-module:
	@echo "No headers of the running kernel $(KVER), so no module;" \
		"'make KVER=<version>' builds it for another installed kernel."

userspace:
	$(MAKE) -C userspace O=$(build)/userspace

# One source, one directory of objects for each kernel: kbuild puts objects next to the source,
# so every kernel gets its own tree of links to the source.
kernel_tree = mkdir -p $(1) && find $(1) -xtype l -delete && \
	cp -rsf $(top)/Kbuild $(top)/kernel $(1)/

module:
	@test -e $(KDIR)/Makefile || { echo "No headers of kernel $(KVER) in $(KDIR);" \
		"install its linux-headers package or give KDIR=." >&2; exit 1; }
	@$(call kernel_tree,$(kobj))
	$(MAKE) -C $(KDIR) M=$(kobj) modules

modules:
	set -e; for k in $(vm_kernels); do \
		$(MAKE) module KVER=$$(tools/vm --kernel $$k --release); \
	done

module-debug:
	set -e; dir=$$(tools/build-debug-kernel); \
	$(MAKE) module KDIR=$$dir KVER=$$(cat $$dir/include/config/kernel.release)

# Sparse looks at every source file, so it has objects of its own.
sparse: KVER := $(if $(want_module),$(KVER),$(shell tools/vm --kernel 6.12 --release))
sparse: kobj = $(build)/sparse/$(KVER)
sparse:
	@$(call kernel_tree,$(kobj))
	@$(MAKE) -C $(KDIR) M=$(kobj) C=2 modules > $(kobj)/sparse.log 2>&1 || \
		{ cat $(kobj)/sparse.log; exit 1; }
	@! grep -F '$(kobj)/' $(kobj)/sparse.log | grep -E '(warning|error):'

checkpatch:
	tools/checkpatch

selftests:
	$(MAKE) -C tests/selftests install-all OUTPUT=$(build)/tests/selftests \
		INSTALL_PATH=$(build)/selftests

fuzzers:
	$(MAKE) -C tests/fuzz O=$(build)/fuzz

FIRST ?= 1
COUNT ?= 5000
RUNS ?= 1000000

fuzz-user: deps fuzzers
	tests/fuzz/run-user --runs $(RUNS)

fuzz-kernel: deps fuzzers module-debug
	tools/vm --kernel debug --leaks --timeout 14400 -- \
		tests/fuzz/kernel.sh $(FIRST) $(COUNT)

deps:
	tools/install-deps

check: deps
	@tools/check

demo: deps
	tools/demo

bench: deps
	$(MAKE) userspace
	$(MAKE) module KVER=$$(tools/vm --kernel 6.12 --release)
	tests/bench/run $(BENCH)

crash: deps
	$(MAKE) userspace
	$(MAKE) module KVER=$$(tools/vm --kernel 6.12 --release)
	tests/crash/run $(if $(SHORT),--short) $(CRASH)

install: install-userspace install-dkms $(if $(want_module)$(have_headers),install-module)

install-userspace: userspace
	$(MAKE) -C userspace O=$(build)/userspace DESTDIR=$(DESTDIR) PREFIX=$(PREFIX) install
	$(foreach unit,$(wildcard userspace/systemd/*), \
		install -D -m 644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system $(unit) &&) :

install-dkms: dkms_dir = $(DESTDIR)/usr/src/qchain-$(VERSION)
install-dkms:
	install -D -m 644 -t $(dkms_dir) dkms.conf Kbuild COPYING
	install -D -m 644 -t $(dkms_dir)/kernel kernel/*.c kernel/*.h

install-module: module
	install -D -m 644 $(kobj)/dm-qchain.ko $(DESTDIR)/lib/modules/$(KVER)/updates/dm-qchain.ko
	$(if $(DESTDIR),,depmod $(KVER))

clean:
	rm -rf $(build)

.PHONY: all help no-module userspace module modules module-debug sparse checkpatch selftests \
	fuzzers fuzz-user fuzz-kernel deps check demo bench crash \
	install install-userspace install-dkms install-module clean
