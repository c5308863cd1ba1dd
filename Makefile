# SPDX-License-Identifier: GPL-2.0-only
#
# make               build/smtpgate
# sudo make demo     installs what it needs, builds, protects a throw-away Postfix, cleans up
# sudo make check    installs what it needs, builds, passes every test
# make help          the other targets

VERSION := 0.2.0
BUILD   := build
PREFIX  ?= /usr/local
UNITS   ?= $(PREFIX)/lib/systemd/system
DESTDIR ?=

CC      ?= cc
CLANG   ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)

WERROR  ?= -Werror
WARN    := -Wall -Wextra $(WERROR) -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
CFLAGS  ?= -O2 -g
HARDEN  := -fstack-protector-strong -fPIE -D_FORTIFY_SOURCE=2
CPPFLAGS_ALL = -D_GNU_SOURCE -DSG_VERSION='"$(VERSION)"' -Iinclude -Iuser -I$(BUILD) $(CPPFLAGS)
CFLAGS_ALL   = -std=gnu11 $(WARN) $(CFLAGS) $(HARDEN)
LDFLAGS_ALL  = -pie -Wl,-z,relro,-z,now $(LDFLAGS)
LIBS    := -lbpf -lelf -lz -lsqlite3 -ljansson -lncursesw -ltinfo -ldl

# The program is the same for every architecture: it reads packets, never kernel structures.
# What it says of its sources must not name the place it was built in.
BPF_CFLAGS := -target bpf -mcpu=v2 -O2 -g -std=gnu11 -Wall -Wextra $(WERROR) -Wshadow \
	-Wno-unused-parameter -ffile-prefix-map=$(CURDIR)=. -Iinclude -Ivmlinux -Ibpf

# V=1 shows the commands.
Q   := $(if $(V),,@)
say  = $(if $(V),,@echo "  $(1) $@")

USER_SRC := $(sort $(wildcard user/*.c))
USER_OBJ := $(USER_SRC:user/%.c=$(BUILD)/user/%.o)
BPF_DEPS := $(wildcard bpf/*.h vmlinux/*.h include/*.h)

.DELETE_ON_ERROR:
.SUFFIXES:
# The man pages, where there are scdoc and python3: smtpgate-json(7) is filled in from the schemas.
MAN_PAGES := $(patsubst docs/%.scd,$(BUILD)/%,$(sort $(wildcard docs/*.scd)))
MAN := $(if $(and $(shell command -v scdoc),$(shell command -v python3)),$(MAN_PAGES))

.PHONY: all
all: $(BUILD)/smtpgate $(MAN)

$(BUILD)/smtpgate: $(USER_OBJ)
	$(call say,LD)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(BUILD)/user/%.o: user/%.c Makefile | $(BUILD)/smtpgate.skel.h
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(BUILD)/user/gate.o: $(BUILD)/smtpgate.skel.h

$(BUILD)/smtpgate.bpf.o: bpf/smtpgate.bpf.c $(BPF_DEPS) Makefile
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -c -o $@.tmp $<
	$(BPFTOOL) gen object $@ $@.tmp
	@rm -f $@.tmp

$(BUILD)/smtpgate.skel.h: $(BUILD)/smtpgate.bpf.o
	$(BPFTOOL) gen skeleton $< name smtpgate_bpf >$@

-include $(USER_OBJ:.o=.d)

.PHONY: man
man: $(MAN_PAGES)
$(MAN_PAGES): FILL = cat
$(BUILD)/smtpgate-json.7: FILL = docs/keys.py dist/schema
$(BUILD)/smtpgate-json.7: docs/keys.py $(wildcard dist/schema/*.json)
$(MAN_PAGES): $(BUILD)/%: docs/%.scd docs/tidy.awk Makefile
	@mkdir -p $(@D)
	$(FILL) <$< >$@.scd
	sed 's/@VERSION@/$(VERSION)/' $@.scd | scdoc >$@.tmp
	awk -f docs/tidy.awk $@.tmp >$@
	@rm -f $@.scd $@.tmp

include tests/tests.mk

# Where zsh looks: packages have a place of their own on Debian.
ZSH_PLACE := $(if $(filter /usr,$(PREFIX)),vendor-completions,site-functions)

.PHONY: install
install: all
	install -D -m 0755 $(BUILD)/smtpgate $(DESTDIR)$(PREFIX)/sbin/smtpgate
	install -d $(DESTDIR)$(UNITS) $(addprefix $(DESTDIR)$(PREFIX)/lib/,sysusers.d tmpfiles.d udev/rules.d)
	install -m 0644 dist/systemd/* $(DESTDIR)$(UNITS)/
	install -m 0644 dist/udev/* $(DESTDIR)$(PREFIX)/lib/udev/rules.d/
	sed -i 's|/usr/sbin/|$(PREFIX)/sbin/|' $(DESTDIR)$(UNITS)/smtpgate*.service \
		$(DESTDIR)$(PREFIX)/lib/udev/rules.d/*-smtpgate.rules
	install -m 0644 dist/sysusers.d/* $(DESTDIR)$(PREFIX)/lib/sysusers.d/
	install -m 0644 dist/tmpfiles.d/* $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/
	install -d $(addprefix $(DESTDIR)$(PREFIX)/share/smtpgate/,prometheus grafana)
	install -m 0644 dist/prometheus/alerts.yml $(DESTDIR)$(PREFIX)/share/smtpgate/prometheus/
	install -m 0644 dist/grafana/* $(DESTDIR)$(PREFIX)/share/smtpgate/grafana/
	for file in $$(cd dist && find ansible cloud-init -name '*.md' -o -name '*.yml' -o -name '*.py'); do \
		install -D -m 0644 dist/$$file $(DESTDIR)$(PREFIX)/share/smtpgate/$$file || exit 1; \
	done
	for page in $(MAN); do \
		install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man$${page##*.} $$page || exit 1; \
	done
	install -D -m 0644 dist/completions/smtpgate.bash \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/smtpgate
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/zsh/$(ZSH_PLACE) dist/completions/_smtpgate
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d \
		dist/completions/smtpgate.fish
	install -d $(DESTDIR)$(PREFIX)/share/smtpgate/schema
	install -m 0644 dist/schema/*.json $(DESTDIR)$(PREFIX)/share/smtpgate/schema/
	for place in . docs relay relay/postfix relay/dovecot relay/cyrus; do \
		install -d $(DESTDIR)$(PREFIX)/share/doc/smtpgate/$$place || exit 1; \
	done
	install -m 0644 README.md $(DESTDIR)$(PREFIX)/share/doc/smtpgate/
	install -m 0644 docs/*.md $(wildcard docs/*.svg) $(DESTDIR)$(PREFIX)/share/doc/smtpgate/docs/
	for file in relay/*.md relay/*/*; do \
		install -m 0644 $$file $(DESTDIR)$(PREFIX)/share/doc/smtpgate/$$file || exit 1; \
	done

# Debian's package, below build/deb, out of what git knows (or, in an unpacked archive, all there is).
# SUITE=trixie: by that suite's tools, in a chroot without a network (as root), below build/deb-trixie.
DEB_ARCH ?= $(shell dpkg --print-architecture)
DEB_TREE := $(BUILD)/deb/smtpgate-$(VERSION)
.PHONY: deb
deb:
	@tests/deps.sh --build dpkg-dev debhelper $(if $(SUITE),mmdebstrap)
	@$(if $(SUITE),tests/deb/build.py,DEB_ARCH=$(DEB_ARCH) dist/deb.sh $(DEB_TREE))

.PHONY: clean
clean:
	rm -rf $(BUILD)

.PHONY: help
help:
	@sed -n '3,6s/^# //p' Makefile
	@echo 'make lint          clang-format, gcc and clang, clang-tidy, cppcheck, shellcheck, rules'
	@echo 'make format        reformat the C files'
	@echo 'make man           the man pages in build/ (needs scdoc); make builds them too where it can'
	@echo 'make unit|golden|program|e2e   one layer of the tests'
	@echo 'make check-kernels KERNELS="5.10 newest": Debian kernels in qemu, writes docs/KERNELS.md'
	@echo 'make check-long    STEPS=20000 SEED=N: random commands against a model of the list; fuzzing;'
	@echo '                   PACKETS=1000000 CASES=50000: random frames against a second parser and Linux'
	@echo 'make check-boot    ONLY="life missing": a Debian with the package boots in qemu; docs/BOOT.md'
	@echo 'make check-faults  every fault of calls, store and kernel; what was seen becomes docs/FAULTS.md'
	@echo 'make fuzz          SECONDS=60 TARGETS="who store": looks for inputs that break the parsers'
	@echo 'make mutants       ONLY=NAME: makes mistakes in a copy of the program; do the tests see them?'
	@echo 'make coverage      build/coverage/index.html: which lines the tests run'
	@echo 'make analyze       gcc -fanalyzer over the command-line program'
	@echo 'make bench         BENCH_OUT=FILE BENCH_ONLY=flood,..: beside nftables, ipset and xdp-filter'
	@echo 'make recording     docs/demo.svg and docs/demo.cast, from a real run of the commands in it'
	@echo 'make install       DESTDIR= PREFIX=/usr/local'
	@echo 'make deb           build/deb/smtpgate_*.deb: the package for this Debian (12 or later);'
	@echo '                   SUITE=trixie: by the tools of another one, build/deb-trixie/'
	@echo 'make check-deb     SUITE=trixie: package built twice, checked, installed, removed, purged'
	@echo 'make clean'
