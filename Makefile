# SPDX-License-Identifier: GPL-2.0-only
#
# make               build/smtpgate
# sudo make demo     installs what it needs, builds, protects a throw-away Postfix, cleans up
# sudo make check    installs what it needs, builds, passes every test
# make help          the other targets

VERSION := 0.1.0
BUILD   := build
PREFIX  ?= /usr/local
DESTDIR ?=

CC      ?= cc
CLANG   ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)

WARN    := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
CFLAGS  ?= -O2 -g
HARDEN  := -fstack-protector-strong -fPIE -D_FORTIFY_SOURCE=2
CPPFLAGS_ALL = -D_GNU_SOURCE -DSG_VERSION='"$(VERSION)"' -Iinclude -Iuser -I$(BUILD) $(CPPFLAGS)
CFLAGS_ALL   = -std=gnu11 $(WARN) $(CFLAGS) $(HARDEN)
LDFLAGS_ALL  = -pie -Wl,-z,relro,-z,now $(LDFLAGS)
LIBS    := -lbpf -lelf -lz -lsqlite3 -ljansson -lncursesw -ltinfo -ldl

# The program is the same for every architecture: it reads packets, never kernel structures.
BPF_CFLAGS := -target bpf -mcpu=v2 -O2 -g -std=gnu11 -Wall -Wextra -Werror -Wshadow \
	-Wno-unused-parameter -Iinclude -Ivmlinux -Ibpf

USER_SRC := $(sort $(wildcard user/*.c))
USER_OBJ := $(USER_SRC:user/%.c=$(BUILD)/user/%.o)
BPF_DEPS := $(wildcard bpf/*.h vmlinux/*.h include/*.h)

.DELETE_ON_ERROR:
.SUFFIXES:
# The man page, where there is scdoc.
MAN := $(if $(shell command -v scdoc),$(BUILD)/smtpgate.8)

.PHONY: all
all: $(BUILD)/smtpgate $(MAN)

$(BUILD)/smtpgate: $(USER_OBJ)
	@echo "  CC $@"; $(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(BUILD)/user/%.o: user/%.c Makefile | $(BUILD)/smtpgate.skel.h
	@mkdir -p $(@D)
	@echo "  CC $@"; $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

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
man: $(BUILD)/smtpgate.8
$(BUILD)/smtpgate.8: docs/smtpgate.8.scd docs/tidy.awk Makefile
	@mkdir -p $(@D)
	sed 's/@VERSION@/$(VERSION)/' $< | scdoc >$@.tmp
	awk -f docs/tidy.awk $@.tmp >$@
	@rm -f $@.tmp

include tests/tests.mk

# Where zsh looks: packages have a place of their own on Debian.
ZSH_PLACE := $(if $(filter /usr,$(PREFIX)),vendor-completions,site-functions)

.PHONY: install
install: all
	install -D -m 0755 $(BUILD)/smtpgate $(DESTDIR)$(PREFIX)/sbin/smtpgate
	install -d $(addprefix $(DESTDIR)$(PREFIX)/lib/,systemd/system sysusers.d tmpfiles.d)
	install -m 0644 dist/systemd/* $(DESTDIR)$(PREFIX)/lib/systemd/system/
	sed -i 's|/usr/sbin/|$(PREFIX)/sbin/|' $(DESTDIR)$(PREFIX)/lib/systemd/system/smtpgate-*.service
	install -m 0644 dist/sysusers.d/* $(DESTDIR)$(PREFIX)/lib/sysusers.d/
	install -m 0644 dist/tmpfiles.d/* $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/
	install -d $(addprefix $(DESTDIR)$(PREFIX)/share/smtpgate/,prometheus grafana)
	install -m 0644 dist/prometheus/alerts.yml $(DESTDIR)$(PREFIX)/share/smtpgate/prometheus/
	install -m 0644 dist/grafana/* $(DESTDIR)$(PREFIX)/share/smtpgate/grafana/
	[ ! -f $(BUILD)/smtpgate.8 ] || \
		install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man8 $(BUILD)/smtpgate.8
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

.PHONY: clean
clean:
	rm -rf $(BUILD)

.PHONY: help
help:
	@sed -n '3,6s/^# //p' Makefile
	@echo 'make lint          clang-format, gcc and clang, clang-tidy, cppcheck, shellcheck, rules'
	@echo 'make format        reformat the C files'
	@echo 'make man           build/smtpgate.8 (needs scdoc); make builds it too where it can'
	@echo 'make unit|golden|program|e2e   one layer of the tests'
	@echo 'make check-kernels KERNELS="5.10 newest": Debian kernels in qemu, writes docs/KERNELS.md'
	@echo 'make check-long    STEPS=20000 SEED=N: random commands against a model of the list; fuzzing;'
	@echo '                   PACKETS=1000000 CASES=50000: random frames against a second parser and Linux'
	@echo 'make check-faults  every fault of calls, store and kernel; what was seen becomes docs/FAULTS.md'
	@echo 'make fuzz          SECONDS=60 TARGETS="who store": looks for inputs that break the parsers'
	@echo 'make mutants       ONLY=NAME: makes mistakes in a copy of the program; do the tests see them?'
	@echo 'make coverage      build/coverage/index.html: which lines the tests run'
	@echo 'make analyze       gcc -fanalyzer over the command-line program'
	@echo 'make bench         BENCH_OUT=FILE BENCH_ONLY=flood,..: beside nftables, ipset and xdp-filter'
	@echo 'make recording     docs/demo.svg and docs/demo.cast, from a real run of the commands in it'
	@echo 'make install       DESTDIR= PREFIX=/usr/local'
	@echo 'make clean'
