# The commands of the README. Building is CMake's business.
BUILD ?= build

.PHONY: all deps build demo test check clean
all: build

deps: # what Debian packages are missing
	@.ci/install-deps

build: deps
	@cmake -S . -B $(BUILD) -G Ninja > $(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log
	@cmake --build $(BUILD)

demo: build
	@bench/demo $(BUILD)

test: build
	@cd $(BUILD) && ctest --output-on-failure -j 2

check: test # and once more, with sanitizers
	@cmake -S . -B $(BUILD)-asan -G Ninja -DRLX_SANITIZE=address,undefined > /dev/null
	@cmake --build $(BUILD)-asan
	@cd $(BUILD)-asan && ctest --output-on-failure -j 2 --timeout 600

clean:
	rm -rf $(BUILD) $(BUILD)-asan
