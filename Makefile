# rhea's one Makefile.  `make` builds build/rhea; `make help` lists the rest.
#
# Objects go to $(BUILD), which a variant (sanitizers, another compiler) may set: make CC=clang BUILD=build-clang
CC ?= cc
BUILD ?= build
OPT ?= -O2
CFLAGS ?= -g $(OPT)
PREFIX ?= /usr/local
comma := ,
# 16-byte atomics of the guest are the host's.
HOST_CFLAGS := $(if $(filter x86_64,$(shell uname -m)),-mcx16)
# rhea itself is optimised as a whole program where gcc builds it (translating gets a tenth faster); tests link the same objects without.
LTO := $(if $(SANITIZE),,$(if $(findstring Free Software,$(shell $(CC) --version)),-flto=auto))
FAT := $(if $(LTO),$(LTO) -ffat-lto-objects)
PLAIN := $(if $(LTO),-fno-lto)
# gcc clears a struct by `rep stos`, which takes 30 cycles to start; translating clears several an insn.
CLEAR := $(if $(and $(LTO),$(HOST_CFLAGS)),-mmemset-strategy=vector_loop:256:noalign$(comma)libcall:-1:noalign)
PACKAGES := capstone libelf
TEST_PACKAGES := cmocka
ALL_CFLAGS = -std=gnu11 -Wall -Wextra -Werror -D_GNU_SOURCE -I. -pthread $(HOST_CFLAGS) $(CLEAR) $(CFLAGS) $(SANITIZE) $(ZONES) $(PACKAGE_CFLAGS)
ALL_LIBS = -pthread $(PACKAGE_LIBS) $(LDFLAGS)

FOLDERS := base ir opt host/amd64 guest/x86 mem code exec dev mach
LIB_SRC := $(wildcard $(FOLDERS:%=%/*.c))
TOOL_SRC := $(wildcard tool/*.c)
TEST_SRC := $(wildcard test/*/test_*.c)
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/%.o)
TOOL_OBJ := $(TOOL_SRC:%.c=$(BUILD)/%.o)
# Tests have the emitter check where it places values (host/amd64/check.c), and so do the sanitizers' builds.
CHECKED_OBJ := $(if $(findstring RHEA_VERIFY,$(SANITIZE)),,$(patsubst %.c,$(BUILD)/checked/%.o,$(wildcard host/amd64/*.c)))
TEST_BIN := $(TEST_SRC:%.c=$(BUILD)/%)

# Something that building or testing needs is missing: get it first.
NEEDED := $(shell pkg-config --exists $(PACKAGES) $(TEST_PACKAGES) && command -v $(CC) >/dev/null && \
    command -v busybox >/dev/null && command -v cpio >/dev/null || echo deps)
ifeq ($(NEEDED),)
PACKAGE_CFLAGS := $(shell pkg-config --cflags $(PACKAGES))
PACKAGE_LIBS := $(shell pkg-config --libs $(PACKAGES))
else
PACKAGE_CFLAGS = $(shell pkg-config --cflags $(PACKAGES))
PACKAGE_LIBS = $(shell pkg-config --libs $(PACKAGES))
endif

# make V=1 shows the commands.
Q := $(if $(V),,@)
SAY := @$(if $(V),:,echo)

KERNEL := $(BUILD)/kernels/linux-image-cloud-amd64/vmlinuz
INITRAMFS := $(BUILD)/kernels/initramfs.cpio.gz

all: $(BUILD)/rhea $(BUILD)/rhea-system-x86_64 ## build build/rhea (the default)

$(BUILD)/%.o: %.c Makefile | $(NEEDED)
	@mkdir -p $(@D)
	$(SAY) cc $<
	$(Q)$(CC) $(ALL_CFLAGS) $(FAT) -MMD -MP -c $< -o $@

$(BUILD)/checked/%.o: %.c Makefile | $(NEEDED)
	@mkdir -p $(@D)
	$(SAY) cc $< "(checked)"
	$(Q)$(CC) $(ALL_CFLAGS) -DRHEA_VERIFY -MMD -MP -c $< -o $@

$(BUILD)/librhea.a: $(LIB_OBJ)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(BUILD)/rhea: $(TOOL_OBJ) $(BUILD)/librhea.a
	$(SAY) link $@
	$(Q)$(CC) $(ALL_CFLAGS) $(LTO) $(if $(LTO),-Wno-error) $^ -o $@ $(ALL_LIBS)

$(BUILD)/rhea-system-x86_64: $(BUILD)/rhea
	@ln -sf rhea $@

$(BUILD)/test/%: $(BUILD)/test/%.o $(CHECKED_OBJ) $(filter-out $(BUILD)/tool/main.o,$(TOOL_OBJ)) $(BUILD)/librhea.a
	$(SAY) link $@
	$(Q)$(CC) $(ALL_CFLAGS) $(PLAIN) $^ -o $@ -lcmocka $(ALL_LIBS)

$(KERNEL): | $(NEEDED)
	BUILD=$(BUILD) script/fetch-kernel.sh linux-image-cloud-amd64

$(INITRAMFS): script/make-initramfs.sh | $(NEEDED)
	script/make-initramfs.sh $@

# What only the tests boot.
STANDARD_KERNEL := $(BUILD)/kernels/linux-image-amd64/vmlinuz
I386_KERNEL := $(BUILD)/kernels/linux-image-686-pae/vmlinuz
I386_INITRAMFS := $(BUILD)/kernels/initramfs-i386.cpio.gz
PVH_KERNEL := $(BUILD)/kernels/vmlinux

$(STANDARD_KERNEL): | $(NEEDED)
	BUILD=$(BUILD) script/fetch-kernel.sh linux-image-amd64

$(I386_KERNEL): | $(NEEDED)
	BUILD=$(BUILD) script/fetch-kernel.sh linux-image-686-pae:i386

$(I386_INITRAMFS): script/make-initramfs.sh | $(NEEDED)
	script/make-initramfs.sh $@ "$$(BUILD=$(BUILD) script/fetch-kernel.sh busybox-static:i386)/bin/busybox"

$(PVH_KERNEL): $(KERNEL) script/extract-vmlinux.sh
	script/extract-vmlinux.sh $< $@

more-kernels: $(STANDARD_KERNEL) $(I386_KERNEL) $(I386_INITRAMFS) $(PVH_KERNEL)

kernels: $(KERNEL) $(INITRAMFS) ## fetch Debian's cloud kernel, pack an initramfs

run: all kernels ## boot Debian's kernel to a shell (needs nothing prepared)
	$(BUILD)/rhea run -m 512M -nographic -no-reboot -kernel $(KERNEL) -initrd $(INITRAMFS) -append "console=ttyS0"

tests: all $(TEST_BIN) ## build the unit tests

test: tests kernels more-kernels ## run all tests; ends with "N passed, N failed"
	@BUILD=$(BUILD) script/run-tests.sh $(ONLY)

# Code that host_leave abandons frames of: their red zones on the stack would stay behind.
NO_STACK_ZONES = $(if $(findstring clang,$(shell $(CC) --version)),-mllvm -asan-stack=0,--param asan-stack=0)
$(BUILD)/exec/%.o $(BUILD)/guest/%.o $(BUILD)/host/%.o $(BUILD)/ir/%.o: ZONES = $(if $(SANITIZE),$(NO_STACK_ZONES))

check-san: ## build with address and undefined sanitizers, run the unit tests, short runs and a boot
	+$(SAN_MAKE) tests kernels more-kernels
	@BUILD=$(BUILD)/san $(SAN_ENV) script/run-tests.sh $(or $(ONLY),test_ tool/ bare/ system/)
SAN_ENV := UBSAN_OPTIONS=print_stacktrace=1 ASAN_OPTIONS=allow_user_segv_handler=1:handle_segv=0:handle_sigbus=0:handle_sigfpe=0:use_sigaltstack=0:detect_stack_use_after_return=0
SAN_MAKE = $(MAKE) BUILD=$(BUILD)/san OPT=-O1 SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -DRHEA_VERIFY"

# Generated code is not seen by it, and leaves C functions without their ends: so no record of calls.  Two-level tables: it leaves little address space.
check-tsan: ## build with thread sanitizer, boot with 2 and 4 processors: no report
	+$(MAKE) BUILD=$(BUILD)/tsan OPT=-O1 SANITIZE="-fsanitize=thread -Wno-tsan --param tsan-instrument-func-entry-exit=0 -DRHEA_TWO_LEVELS"
	+$(MAKE) kernels
	@BUILD=$(BUILD) script/check-tsan.sh

FUZZ_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(wildcard test/fuzz/*.c))
$(BUILD)/test/fuzz/test_fuzz: $(FUZZ_OBJ) $(filter-out $(BUILD)/tool/main.o,$(TOOL_OBJ)) $(BUILD)/librhea.a
	$(SAY) link $@
	$(Q)$(CC) $(ALL_CFLAGS) $(PLAIN) -rdynamic $^ -o $@ -lcmocka $(ALL_LIBS)

# A third each: guests, guests and then parsers under the sanitizers.
check-userland: all kernels ## Debian's programs in a guest, compared with the same natively (root): ONLY="python openssl 7z video libm" COUNT=1000000
	COUNT=$(or $(COUNT),1000000) BUILD=$(BUILD) script/check-userland.sh $(ONLY)

check-kvm-unit-tests: all ## the independent suite kvm-unit-tests, built outside of here (doc/suites.md): SUITE=folder ONLY="pku debug" QEMU=qemu-system-x86_64
	BUILD=$(BUILD) QEMU=$(QEMU) script/check-kvm-unit-tests.sh $(SUITE) $(ONLY)

check-qemu-tests: all more-kernels ## QEMU's own tests/tcg natively, under rhea and under QEMU: SUITE=directory of QEMU's sources
	BUILD=$(BUILD) script/check-qemu-tests.sh $(SUITE)

fuzz: $(BUILD)/test/fuzz/test_fuzz ## random guests, kernels, command lines: SECONDS=60 FUZZ="--mode 64 --ring 3"; failing inputs go to build/
	+$(SAN_MAKE) $(BUILD)/san/test/fuzz/test_fuzz
	@third=$$(($(or $(SECONDS),60) / 3)); ok=0; \
	$(BUILD)/test/fuzz/test_fuzz --folder $(BUILD) --seconds $$third $(FUZZ) || ok=1; \
	for kind in "" --parsers; do $(SAN_ENV) $(BUILD)/san/test/fuzz/test_fuzz --folder $(BUILD) --seconds $$third $$kind $(FUZZ) || ok=1; done; exit $$ok

bless: $(BUILD)/rhea ## write test/tool/golden anew from what rhea explain says now; read the diff
	BUILD=$(BUILD) test/tool/golden.sh bless

bars: all ## check the bars of the design: file and function sizes, include arrows, writable globals
	BUILD=$(BUILD) script/check-bars.sh

fmt: ## lay out the sources by .clang-format
	clang-format -i $(LIB_SRC) $(TOOL_SRC) $(TEST_SRC) $(wildcard host/*.h $(FOLDERS:%=%/*.h) tool/*.h test/*/*.h)

bench: all kernels ## measure every row natively, under QEMU and under rhea: BENCH="row group" ROUNDS=5 QEMU=program; doc/bench.md
	BUILD=$(BUILD) bench/run

bench-quick: all kernels ## the same in under five minutes: fewer rows, fewer rounds
	BUILD=$(BUILD) bench/run --quick

deps: ## install the Debian packages that building and testing need
	@script/install-deps.sh

install: all ## install to $(PREFIX)
	install -D $(BUILD)/rhea $(DESTDIR)$(PREFIX)/bin/rhea
	ln -sf rhea $(DESTDIR)$(PREFIX)/bin/rhea-system-x86_64

clean: ## remove what was built (fetched kernels too)
	rm -rf $(BUILD)

help: ## print this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

.PHONY: all kernels more-kernels run tests test check-san check-userland check-kvm-unit-tests check-qemu-tests fuzz bless bars fmt bench bench-quick deps install clean help
.SECONDARY:
-include $(LIB_OBJ:.o=.d) $(CHECKED_OBJ:.o=.d) $(TOOL_OBJ:.o=.d) $(TEST_SRC:%.c=$(BUILD)/%.d)

# The comparison with the processor is made of several files.
HW_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(wildcard test/hw/*.c))
$(BUILD)/test/hw/test_hw: $(HW_OBJ) $(CHECKED_OBJ) $(filter-out $(BUILD)/tool/main.o,$(TOOL_OBJ)) $(BUILD)/librhea.a
	$(SAY) link $@
	$(Q)$(CC) $(ALL_CFLAGS) $(PLAIN) $^ -o $@ -lcmocka $(ALL_LIBS)

hwtest: $(BUILD)/test/hw/test_hw ## random insns on this processor and in rhea, 64, 32 and 16 bits: N=1000000 SEED=1 HW="--jobs 4"
	@for bits in 64 32 16; do $(BUILD)/test/hw/test_hw --bits $$bits --count $(or $(N),1000000) \
	    --sequences $$(($(or $(N),1000000) / 4)) --seed $(or $(SEED),1) --report $(BUILD)/hwtest-$$bits.txt $(HW) || exit 1; done

.PHONY: hwtest
-include $(HW_OBJ:.o=.d) $(FUZZ_OBJ:.o=.d)

# Measuring programs, optimised as a whole like rhea itself.
$(BUILD)/bench/%: $(BUILD)/bench/%.o $(BUILD)/librhea.a
	$(SAY) link $@
	$(Q)$(CC) $(ALL_CFLAGS) $(LTO) $(if $(LTO),-Wno-error) $^ -o $@ $(ALL_LIBS)

bench-translate: $(BUILD)/bench/translate $(BUILD)/kernels/vmlinux ## translator throughput on the kernel's text, by stage: ROUNDS=5
	$< $(BUILD)/kernels/vmlinux $(or $(ROUNDS),5)

.PHONY: bench-translate
-include $(BUILD)/bench/translate.d
