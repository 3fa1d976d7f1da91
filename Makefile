# The commands of the README. Building is CMake's business.
BUILD ?= build
PREFIX ?= /usr/local

.PHONY: all deps build install demo test check check-long check-vulkan check-gpu check-random check-address check-thread clean
all: build

deps: # what Debian packages are missing
	@.ci/install-deps

build: deps
	@cmake -S . -B $(BUILD) -G Ninja > $(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log
	@cmake --build $(BUILD)

install: build # DESTDIR is put in front
	@cmake --install $(BUILD) --prefix $(PREFIX)

demo: build
	@bench/demo $(BUILD)

test: build
	@cd $(BUILD) && ctest --output-on-failure -j 2 -LE long; code=$$?; \
		$(CURDIR)/tests/skips Testing/Temporary/LastTest.log; exit $$code

check: test check-long check-random check-address check-thread # and once more, with sanitizers

check-long: build # what is too long for make test
	@cd $(BUILD) && ctest --output-on-failure -j 2 -L long -LE 'vulkan|gpu'

check-vulkan: build # every golden and fixture on a Vulkan device, models over pages, stages: a software one takes longer than all of make test
	@cd $(BUILD) && ctest --output-on-failure -j 2 -L vulkan

check-gpu: build # the same on NVIDIA's and AMD's devices, or on drivers that stand for theirs: the list says which; kernels through ptxas
	@$(BUILD)/tests/gpu/rlx devices | grep -E '^(cuda|hip)'
	@cd $(BUILD) && ctest --output-on-failure -j 2 -L gpu

check-random: deps # graphs of tensor ops through every engine; what differs is reduced and printed
	@cmake --build $(BUILD) --target random_graphs
	@$(BUILD)/tests/random_graphs/random_graphs 0 1000 & half=$$!; \
		$(BUILD)/tests/random_graphs/random_graphs 1000 1000; other=$$?; wait $$half && exit $$other

# With sanitizers only what those tests run is built. Fuzzers do a fixed number of rounds, so that a change alone decides.
# Left to the runs without them is what allocates as others do: lower_checked is lower once more, tests with _all have more sizes of
# what the same test without it has, each path of a CPU has a model of every family (conformance_path*_modules).
# The leak checker guesses where blocks of thread-local storage end, and crashes now and then; not told of them, it takes what the
# loader allocated for reachable.
ADDRESS = -E '^(lower_checked|aarch64|decode_bundled|vulkan_models|parity_llama|parity_(fast|windows|formats|kv|batch)(_vulkan)?|torch_.*_(vulkan|sm_.*)|gpu_models|gpu_table|gpu_assembled.*|jit_.*_all|spirv_counts_all|attention_counts|random_graphs.*_vulkan|conformance_(llama32|qwen3|llama_goldens|unlisted|.*_(lir|mir|v3|vulkan|cuda|hip|sm_.*)|(mistral|qwen2|qwen3|smollm3)_avx2|path.*_(llama32|mistral|qwen2|qwen3|smollm3))|install)$$'
THREAD = -R '^(runtime_|jit_compile|compile|growth|sessions|buckets|gpu_reopen)'

check-address: deps
	@cmake -S . -B $(BUILD)-asan -G Ninja -DRLX_SANITIZE=address,undefined > /dev/null
	@cmake --build $(BUILD)-asan --target $$(tests/programs $(BUILD)-asan $(ADDRESS))
	@cd $(BUILD)-asan && ASAN_OPTIONS=intercept_tls_get_addr=0 ctest --output-on-failure -j 2 --timeout 600 $(ADDRESS)

check-thread: deps # what runs on several threads
	@cmake -S . -B $(BUILD)-tsan -G Ninja -DRLX_SANITIZE=thread > /dev/null
	@cmake --build $(BUILD)-tsan --target $$(tests/programs $(BUILD)-tsan $(THREAD))
	@cd $(BUILD)-tsan && ctest --output-on-failure -j 2 --timeout 600 $(THREAD)

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan
