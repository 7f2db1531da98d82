# rhea's one Makefile.  `make` builds build/rhea; the other targets are listed by `make help`.
CC ?= cc
BUILD ?= build
OPT ?= -O2
CFLAGS ?= -g $(OPT)
PACKAGES := capstone
ALL_CFLAGS = -std=gnu11 -Wall -Wextra -Werror -D_GNU_SOURCE -I. -pthread $(CFLAGS) $(shell pkg-config --cflags $(PACKAGES))
ALL_LIBS = -pthread $(shell pkg-config --libs $(PACKAGES)) $(LDFLAGS)

FOLDERS := base ir opt host/amd64 guest/x86 mem code exec dev mach
LIB_SRC := $(wildcard $(FOLDERS:%=%/*.c))
TOOL_SRC := $(wildcard tool/*.c)
TEST_SRC := $(wildcard test/*/test_*.c)
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/%.o)
TOOL_OBJ := $(TOOL_SRC:%.c=$(BUILD)/%.o)
TEST_BIN := $(TEST_SRC:%.c=$(BUILD)/%)

all: $(BUILD)/rhea $(BUILD)/rhea-system-x86_64

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/librhea.a: $(LIB_OBJ)
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/rhea: $(TOOL_OBJ) $(BUILD)/librhea.a
	$(CC) $(ALL_CFLAGS) $^ -o $@ $(ALL_LIBS)

$(BUILD)/rhea-system-x86_64: $(BUILD)/rhea
	ln -sf rhea $@

$(BUILD)/test/%: $(BUILD)/test/%.o $(filter-out $(BUILD)/tool/main.o,$(TOOL_OBJ)) $(BUILD)/librhea.a
	$(CC) $(ALL_CFLAGS) $^ -o $@ -lcmocka $(ALL_LIBS)

.PHONY: all
-include $(LIB_OBJ:.o=.d) $(TOOL_OBJ:.o=.d) $(TEST_SRC:%.c=$(BUILD)/%.d)
