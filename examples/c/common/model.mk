# Builds main.c with the model's C. A target's Makefile sets TARGET, CC, ARCH, START, QEMU and includes
# this file; MODEL is an integer .tflite or .onnx file, NAME the C's.
#
#   make MODEL=kws.int8.tflite            exports and builds
#   make MODEL=kws.int8.tflite run        classifies the samples of build/input.bin

COMMON := $(dir $(lastword $(MAKEFILE_LIST)))
HERE := $(dir $(firstword $(MAKEFILE_LIST)))
FEWBITS ?= fewbits
NAME ?= net
OPTIMIZE ?= -O2
BUILD ?= build
UPPER := $(shell echo $(NAME) | tr a-z A-Z)
WARNINGS := -Wall -Wextra
DEFINES := -DMODEL_HEADER='"$(NAME).h"' -D'MODEL(x)=$(NAME)_\#\#x' -D'SIZES(x)=$(UPPER)_\#\#x' $(EXTRA)
FLAGS := $(ARCH) $(OPTIMIZE) -std=gnu99 $(WARNINGS) -ffunction-sections -fdata-sections -I$(BUILD) -I$(COMMON)
LINK := -nostartfiles -Wl,--gc-sections -L$(COMMON) -T $(HERE)memory.ld

$(BUILD)/firmware.elf: $(BUILD)/$(NAME).c $(COMMON)main.c $(COMMON)semihost.c $(COMMON)$(START)
	$(CC) $(FLAGS) $(DEFINES) $^ $(LINK) -o $@
	$(SIZE) $@

$(BUILD)/$(NAME).c: $(MODEL)
	mkdir -p $(BUILD)
	$(FEWBITS) export $(MODEL) -o $@ --name $(NAME) --target $(TARGET)

run: $(BUILD)/firmware.elf
	cd $(BUILD) && $(QEMU) -kernel firmware.elf -nographic -monitor none -serial none \
	  -semihosting-config enable=on,target=native $(EMULATOR)

clean:
	rm -rf $(BUILD)

.PHONY: run clean
