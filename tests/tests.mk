# SPDX-License-Identifier: GPL-2.0-only
# Test targets; included by the Makefile.
#
# Every test program prints TAP (ok 1 - ..., not ok 2 - ..., # SKIP ...); tests/run runs them three at a
# time, prints what failed and closes with "N passed, N failed".

SAN := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
TEST_CFLAGS = -std=gnu11 $(WARN) -O1 -g $(SAN)

UNIT_SRC := $(sort $(wildcard tests/unit/test_*.c))
UNIT_BIN := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/unit/%)

# Each unit test names the modules it is linked with in its first lines: "// LINK: addr prefix err",
# and libraries beside cmocka: "// LIBS: -lsqlite3". The modules are those of build/asan/smtpgate.
define UNIT_RULE
$(BUILD)/unit/$(1): tests/unit/$(1).c $$(wildcard tests/unit/*.h user/*.h bpf/*.h include/*.h) \
		$$(patsubst %,$(BUILD)/asan/%.o,$$(shell sed -n 's|^// LINK: ||p' tests/unit/$(1).c))
	@mkdir -p $$(@D)
	$$(CC) $$(CPPFLAGS_ALL) -Ibpf $$(TEST_CFLAGS) -o $$@ $$< $$(filter %.o,$$^) \
		-lcmocka $$(shell sed -n 's|^// LIBS: ||p' tests/unit/$(1).c)
endef
$(foreach test,$(notdir $(UNIT_BIN)),$(eval $(call UNIT_RULE,$(test))))

# Fuzz targets name what they are linked with in the same way; a module is compiled once for all of
# them. tests/fuzz/run runs them, bounded.
FUZZ_CFLAGS = $(CPPFLAGS_ALL) -Ibpf -Itests/fuzz -std=gnu11 $(WARN) -O1 -g -fno-sanitize-recover=all
FUZZ_BIN := $(patsubst tests/fuzz/fuzz_%.c,$(BUILD)/fuzz/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
$(BUILD)/fuzz/user/%.o: user/%.c $(wildcard user/*.h) include/smtpgate_abi.h
	@mkdir -p $(@D)
	$(CLANG) $(FUZZ_CFLAGS) -fsanitize=fuzzer-no-link,address,undefined -c -o $@ $<

# Each target with the modules of its "// LINK:" lines.
define FUZZ_RULE
$(BUILD)/fuzz/$(1): tests/fuzz/fuzz_$(1).c tests/fuzz/fuzz.h $$(wildcard bpf/*.h) \
		$$(patsubst %,$(BUILD)/fuzz/user/%.o,$$(shell sed -n 's|^// LINK: ||p' tests/fuzz/fuzz_$(1).c))
	@mkdir -p $$(@D)
	$$(CLANG) $$(FUZZ_CFLAGS) -fsanitize=fuzzer,address,undefined -o $$@ $$< $$(filter %.o,$$^) \
		$$(shell sed -n 's|^// LIBS: ||p' $$<)
endef
$(foreach target,$(notdir $(FUZZ_BIN)),$(eval $(call FUZZ_RULE,$(target))))

# For as long as you like, each; keeps what it learns in build/fuzz, and what fails beside it.
SECONDS ?= 60
.PHONY: fuzz
fuzz: $(FUZZ_BIN)
	@SECONDS=$(SECONDS) tests/fuzz/run -v $(TARGETS)

$(BUILD)/progrun: tests/bpf/progrun.c user/blocks.c user/blocks.h $(BUILD)/smtpgate.skel.h \
		$(wildcard include/*.h)
	$(CC) $(CPPFLAGS_ALL) -std=gnu11 $(WARN) -O1 -g -o $@ $< user/blocks.c -lbpf -lelf -lz

$(BUILD)/parse_host: tests/bpf/parse_host.c $(wildcard bpf/*.h) include/smtpgate_abi.h
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) -Ibpf $(TEST_CFLAGS) -o $@ $<

$(BUILD)/policy_load: tests/bench/policy_load.c
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -std=gnu11 $(WARN) -O2 -g -o $@ $<

# Preloaded by the tests of a clock that is set.
$(BUILD)/shift_clock.so: tests/e2e/shift_clock.c
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -std=gnu11 $(WARN) -O2 -fPIC -shared -o $@ $<

# Numbers, not tests: on a machine that does nothing else. BENCH_OUT=FILE also writes Markdown, with
# a plot beside it; BENCH_ONLY=flood,lookup,verdict,control,policy some of them.
.PHONY: bench
bench: all $(addprefix $(BUILD)/,policy_load bench_verdict bench_flood bench_lookup bench_gaps bench_clock)
	@tests/deps.sh
	@tests/bench/all.py

$(BUILD)/flood.skel.h: tests/bench/flood.bpf.c vmlinux/vmlinux.h
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -c -o $(BUILD)/flood.bpf.o $<
	$(BPFTOOL) gen skeleton $(BUILD)/flood.bpf.o name flood_bpf >$@

$(BUILD)/plain.skel.h: tests/bench/plain.bpf.c vmlinux/vmlinux.h
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -c -o $(BUILD)/plain.bpf.o $<
	$(BPFTOOL) gen skeleton $(BUILD)/plain.bpf.o name plain_bpf >$@

$(BUILD)/bench_flood: tests/bench/flood.c tests/bench/addresses.c $(wildcard tests/bench/*.h) \
		$(BUILD)/flood.skel.h $(BUILD)/plain.skel.h
	$(CC) $(CPPFLAGS_ALL) -std=gnu11 $(WARN) -O2 -g -o $@ $(filter %.c,$^) -lbpf -lelf -lz

$(BUILD)/bench_lookup: tests/bench/lookup.c tests/bench/addresses.c $(wildcard tests/bench/*.h) \
		$(BUILD)/flood.skel.h $(BUILD)/plain.skel.h
	$(CC) $(CPPFLAGS_ALL) -std=gnu11 $(WARN) -O2 -g -o $@ $(filter %.c,$^) -lbpf -lelf -lz

$(BUILD)/bench_gaps: tests/bench/gaps.c
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -std=gnu11 $(WARN) -O2 -g -o $@ $< -pthread

$(BUILD)/bench_clock: tests/bench/clock.c
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -std=gnu11 $(WARN) -O2 -g -o $@ $<

$(BUILD)/bench_verdict: tests/bench/verdict.c $(BUILD)/flood.skel.h $(BUILD)/smtpgate.skel.h
	$(CC) $(CPPFLAGS_ALL) -std=gnu11 $(WARN) -O2 -g -o $@ $< -lbpf -lelf -lz

# Reads the sources as the program does, to be compared with what bpftool reads.
$(BUILD)/gate_sources: tests/e2e/gate_sources.c $(addprefix $(BUILD)/user/,gate.o blocks.o counters.o addr.o who_why.o \
		text.o trust.o err.o)
	$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $^ -lbpf -lelf -lz

# The program as it would be with the next ABI's number, and no other change: only what includes
# the number is compiled again.
ABI2 := $(BUILD)/abi2
$(ABI2)/smtpgate.skel.h: bpf/smtpgate.bpf.c $(BPF_DEPS) Makefile
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -DSG_ABI=2 -c -o $(ABI2)/smtpgate.tmp.o $<
	$(BPFTOOL) gen object $(ABI2)/smtpgate.bpf.o $(ABI2)/smtpgate.tmp.o
	$(BPFTOOL) gen skeleton $(ABI2)/smtpgate.bpf.o name smtpgate_bpf >$@
$(ABI2)/smtpgate: $(ABI2)/smtpgate.skel.h user/gate.c $(USER_OBJ)
	$(CC) -I$(ABI2) $(CPPFLAGS_ALL) -DSG_ABI=2 $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ user/gate.c \
		$(filter-out $(BUILD)/user/gate.o,$(USER_OBJ)) $(LIBS)

# The whole program with sanitizers, for the golden tests and test_memory.py.
ASAN_OBJ := $(USER_SRC:user/%.c=$(BUILD)/asan/%.o)
$(BUILD)/asan/%.o: user/%.c Makefile | $(BUILD)/smtpgate.skel.h
	@mkdir -p $(@D)
	@echo "  CC $@"; $(CC) $(CPPFLAGS_ALL) $(TEST_CFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/asan/gate.o: $(BUILD)/smtpgate.skel.h
$(BUILD)/asan/smtpgate: $(ASAN_OBJ)
	@echo "  LD $@"; $(CC) $(TEST_CFLAGS) -o $@ $^ $(LIBS)
-include $(ASAN_OBJ:.o=.d)

UNIT_RUNS    = $(UNIT_BIN)
FUZZ_RUNS    = tests/fuzz/run
GOLDEN_RUNS  = tests/golden/run.py
PROGRAM_RUNS = $(sort $(wildcard tests/bpf/test_*.py))
E2E_RUNS     = $(sort $(wildcard tests/e2e/test_*.py))
CHECK_RUNS   = $(sort $(wildcard tests/check/check_*))

.PHONY: deps build-deps
deps:
	@tests/deps.sh
build-deps:
	@tests/deps.sh --build

.PHONY: check-build
check-build: all $(UNIT_BIN) $(BUILD)/progrun $(BUILD)/parse_host $(BUILD)/asan/smtpgate $(BUILD)/shift_clock.so \
	$(BUILD)/gate_sources $(ABI2)/smtpgate $(BUILD)/bench_verdict $(BUILD)/bench_flood \
	$(BUILD)/bench_gaps $(BUILD)/bench_clock $(BUILD)/bench_lookup

.PHONY: unit golden program e2e lint
unit: $(UNIT_BIN)
	tests/run $(UNIT_RUNS)
golden: $(BUILD)/asan/smtpgate
	tests/run $(GOLDEN_RUNS)
program: $(BUILD)/progrun $(BUILD)/parse_host
	tests/run $(PROGRAM_RUNS)
e2e: all $(BUILD)/asan/smtpgate $(BUILD)/shift_clock.so $(BUILD)/gate_sources $(ABI2)/smtpgate \
		$(BUILD)/bench_flood
	tests/run $(E2E_RUNS)
lint: all
	TIDY_NODES=225000 tests/run $(CHECK_RUNS)

# Set-up first, in a make of its own: the headers it brings decide what can be built.
.PHONY: check
check:
	@tests/deps.sh
	@$(MAKE) --no-print-directory check-build
	@tests/run $(CHECK_RUNS) $(UNIT_RUNS) $(FUZZ_RUNS) $(GOLDEN_RUNS) $(PROGRAM_RUNS) $(E2E_RUNS)

# The random tests for long: SEED=N begins with that sequence again. Each fuzz target takes SECONDS.
STEPS ?= 20000
CHANGES ?= 10000
PACKETS ?= 1000000
CASES ?= 50000
.PHONY: check-long
check-long:
	@tests/deps.sh
	@$(MAKE) --no-print-directory all $(addprefix $(BUILD)/,progrun parse_host bench_flood)
	@STEPS=$(STEPS) CHANGES=$(CHANGES) FLOOD_CHANGES=1000 PACKETS=$(PACKETS) CASES=$(CASES) SECONDS=$(SECONDS) \
		TEST_TIMEOUT=7200 V=1 tests/run tests/fuzz/run tests/e2e/test_model.py \
		tests/e2e/test_stream.py tests/e2e/test_flood.py tests/bpf/test_differential.py tests/e2e/test_linux.py

.PHONY: demo
demo:
	@tests/deps.sh
	@$(MAKE) --no-print-directory all
	@tests/demo/demo.py

.PHONY: format
format:
	clang-format -i $(wildcard user/*.[ch] include/*.h bpf/*.[ch] vmlinux/*.h tests/*/*.[ch])

# Every fault of tests/faults, some ten minutes; what was seen becomes docs/FAULTS.md.
.PHONY: check-faults
check-faults:
	@tests/deps.sh
	@$(MAKE) --no-print-directory all
	@tests/faults/run.py

# Mistakes made on purpose, each in a copy of the tree: long. Only a whole run writes the page.
MUTANTS_OUT ?= $(if $(ONLY),,docs/MUTANTS.md)
.PHONY: mutants
mutants:
	@tests/deps.sh
	@$(MAKE) --no-print-directory check-build
	@MUTANTS_OUT=$(MUTANTS_OUT) tests/mutation/run.py $(ONLY)

# Which lines the tests run. What fails on the way (a program for nobody cannot write its counts
# here) is no concern of this target.
COV := -O0 -g --coverage
COV_OBJ := $(USER_SRC:user/%.c=$(BUILD)/cov/%.o)
COV_BIN := $(UNIT_BIN:$(BUILD)/unit/%=$(BUILD)/cov/unit/%)
COVERAGE_RUNS ?= $(GOLDEN_RUNS) $(addprefix tests/e2e/test_,attach.py heal.py time.py modes.py undo.py \
	doctor.py doctor_host.py metrics.py policy.py watch.py log.py)
$(BUILD)/cov/%.o: user/%.c Makefile | $(BUILD)/smtpgate.skel.h
	@mkdir -p $(@D)
	@echo "  CC $@"; $(CC) $(CPPFLAGS_ALL) -std=gnu11 $(WARN) $(COV) -MMD -MP -c -o $@ $<
$(BUILD)/cov/smtpgate: $(COV_OBJ)
	@echo "  LD $@"; $(CC) $(COV) -o $@ $^ $(LIBS)
-include $(COV_OBJ:.o=.d)
$(BUILD)/cov/unit/%: tests/unit/%.c $(wildcard tests/unit/*.h user/*.c user/*.h bpf/*.h) \
		include/smtpgate_abi.h
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) -Ibpf -std=gnu11 $(WARN) $(COV) -o $@ $< \
		$(patsubst %,user/%.c,$(shell sed -n 's|^// LINK: ||p' $<)) \
		-lcmocka $(shell sed -n 's|^// LIBS: ||p' $<)
.PHONY: coverage
coverage: all $(BUILD)/shift_clock.so $(BUILD)/gate_sources $(BUILD)/cov/smtpgate $(COV_BIN)
	@tests/deps.sh gcovr
	@find $(BUILD)/cov -name '*.gcda' -delete
	-@tests/run $(COV_BIN)
	-@SMTPGATE=$(CURDIR)/$(BUILD)/cov/smtpgate tests/run $(COVERAGE_RUNS)
	@mkdir -p $(BUILD)/coverage
	@gcovr -r . --object-directory $(BUILD)/cov -f user/ -f bpf/ --exclude-throw-branches \
		--html-details $(BUILD)/coverage/index.html --txt $(BUILD)/coverage/coverage.txt $(BUILD)/cov
	@cat $(BUILD)/coverage/coverage.txt

# Half a minute of CPU: too much for every check. What it is wrong about is named in the script.
.PHONY: analyze
analyze: export CC := $(CC)
analyze: export FLAGS = $(CPPFLAGS_ALL) -std=gnu11 $(WARN) -O2 -g
analyze: $(BUILD)/smtpgate.skel.h
	@tests/analyze.py

# Debian's kernels in virtual machines, without KVM; the first time some 600 MB are fetched.
# KERNELS="5.10 newest" and ARM64_KERNELS= choose; ONLY="--brief arm64 5.10" runs a part of them. Nothing here may
# count on the machine being idle, so all of it may take long, but has an end.
CROSS = clang --target=aarch64-linux-gnu --sysroot=$(CURDIR)/$(BUILD)/kernels/sysroot \
	-fuse-ld=lld -Wno-unused-command-line-argument
.PHONY: check-kernels
check-kernels:
	@tests/deps.sh qemu-system-x86 busybox-static lld
	@tests/kernels/fetch.sh $(BUILD)/kernels
	@$(MAKE) --no-print-directory $(BUILD)/smtpgate $(BUILD)/progrun
	@[ ! -e $(BUILD)/kernels/sysroot/complete ] || \
		$(MAKE) --no-print-directory BUILD=$(BUILD)/kernels/arm64 CC='$(CROSS)' \
			$(BUILD)/kernels/arm64/smtpgate $(BUILD)/kernels/arm64/progrun
	@timeout 7200 tests/kernels/run.py --table docs/KERNELS.md $(ONLY)

# README's picture, from a real run: docs/demo.svg, docs/demo.cast.
.PHONY: recording
recording:
	@tests/deps.sh
	@$(MAKE) --no-print-directory all
	@tests/demo/record.py

# The package, and upgrades from the release before: Debian's own tools, and a chroot that is made
# once from where this machine's apt fetches. SUITE=trixie: built, looked at, tested and installed with
# that suite's, in chroots that take 3 GB below build/. ONLY=NAME runs a part.
.PHONY: check-deb check-upgrade
check-deb check-upgrade: DEB_TOOLS := debhelper lintian blhc mmdebstrap qemu-user-static
check-deb:
	@tests/deps.sh $(DEB_TOOLS)
	@$(MAKE) --no-print-directory all
	@timeout 3600 tests/deb/run.py $(ONLY)

check-upgrade:
	@tests/deps.sh $(DEB_TOOLS)
	@timeout 3600 tests/deb/upgrade.py $(ONLY)

# A Debian 12 with Postfix and the package, booted in qemu without KVM, with clients around it: some
# twenty minutes, and the first time 200 MB are fetched. ONLY="life missing" runs some of the scenes,
# SUITE=trixie boots a Debian 13.
.PHONY: check-boot
check-boot:
	@tests/deps.sh mmdebstrap e2fsprogs qemu-system-x86
	@$(MAKE) --no-print-directory deb SUITE=$(or $(SUITE),bookworm)
	@timeout 5400 tests/boot/run.py $(if $(ONLY),$(ONLY),--page docs/BOOT$(patsubst %,-%,$(filter-out bookworm,$(SUITE))).md)
