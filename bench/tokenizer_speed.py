#!/usr/bin/env python3
"""Text to ids on one core, side by side with Hugging Face's tokenizers, tiktoken and sentencepiece.

  python -m venv VENV && VENV/bin/pip install tokenizers tiktoken sentencepiece
  VENV/bin/python bench/tokenizer_speed.py build/lib/librlx.so FOLDER [TEXT [ONLY]]

FOLDER: one like shared/data/tokenizers; a vocabulary that is not there is left out. TEXT: its first MB,
repeated until it is one; without it FOLDER/sentencepiece/botchan.txt. Each is the best of 3 runs, taken in
turns; the ids must be the same. ONLY: vocabularies whose names hold it."""
import ctypes
import os
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

MB = 1 << 20
RUNS = 3


class Rlx:
    def __init__(self, library, path):
        self.lib = lib = ctypes.CDLL(library)
        lib.rlx_tokenizer_load.restype = lib.rlx_tokenizer_encode.restype = ctypes.c_void_p
        lib.rlx_tokenizer_encode.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_bool,
                                             ctypes.c_void_p, ctypes.c_void_p]
        self.free = ctypes.CDLL(None).free
        self.free.argtypes = [ctypes.c_void_p]
        self.handle = ctypes.c_void_p()
        start = time.perf_counter()
        if lib.rlx_tokenizer_load(path.encode(), None, ctypes.byref(self.handle)):
            raise SystemExit("rlx does not load " + path)
        self.load = time.perf_counter() - start

    def encode(self, text):
        ids, n = ctypes.POINTER(ctypes.c_int32)(), ctypes.c_int64()
        data = text.encode()
        start = time.perf_counter()
        if self.lib.rlx_tokenizer_encode(self.handle, data, len(data), False, ctypes.byref(ids), ctypes.byref(n)):
            raise SystemExit("rlx does not encode")
        seconds = time.perf_counter() - start
        result = ids[:n.value]
        self.free(ids)
        return seconds, result


def timed(encode):
    def run(text):
        start = time.perf_counter()
        result = encode(text)
        return time.perf_counter() - start, getattr(result, "ids", result)
    return run


def hugging_face(path):
    import tokenizers
    t = tokenizers.Tokenizer.from_file(path)
    t.no_truncation()
    t.no_padding()
    return timed(lambda text: t.encode(text, add_special_tokens=False))


def sentencepiece(path):
    import sentencepiece as spm
    p = spm.SentencePieceProcessor(model_file=path)
    return timed(p.encode)


def tiktoken(path):
    import tiktoken as tt
    from tiktoken.load import load_tiktoken_bpe
    pattern = (r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"""
               r"""\s*[\r\n]+|\s+(?!\S)|\s+""")
    e = tt.Encoding("x", pat_str=pattern, mergeable_ranks=load_tiktoken_bpe(path), special_tokens={})
    return timed(lambda text: e.encode(text, disallowed_special=()))


CASES = [
    ("tokenizers", hugging_face, ["gpt2/tokenizer.json", "phi3/tokenizer.json", "bert/minilm/tokenizer.json",
                                  "t5/tokenizer.json", "clip/tokenizer.json", "whisper/tokenizer.json"]),
    ("tiktoken", tiktoken, ["openai/cl100k_base.tiktoken", "llama3/tokenizer.model"]),
    ("sentencepiece", sentencepiece, ["llama2/tokenizer.model", "sentencepiece/test_model.model"]),
]


def main():
    library, folder = sys.argv[1:3]
    with open(sys.argv[3] if len(sys.argv) > 3 else folder + "/sentencepiece/botchan.txt", encoding="utf-8") as f:
        text = f.read()
    text = (text * (MB // len(text) + 1))[:MB]
    print("%-34s %8s %14s %8s %8s %6s" % ("vocabulary", "load ms", "beside", "its ms", "rlx ms", "ratio"))
    for name, make, files in CASES:
        for file in files:
            path = os.path.join(folder, file)
            if not os.path.exists(path) or (len(sys.argv) > 4 and sys.argv[4] not in file):
                continue
            other, ours = make(path), Rlx(library, path)
            best = [float("inf"), float("inf")]
            for _ in range(RUNS):
                results = [other(text), ours.encode(text)]
                best = [min(b, r[0]) for b, r in zip(best, results)]
                if list(results[0][1]) != results[1][1]:
                    raise SystemExit(file + ": the ids differ")
            print("%-34s %8.1f %14s %8.1f %8.1f %6.1f" % (file, ours.load * 1e3, name, best[0] * 1e3,
                                                          best[1] * 1e3, best[0] / best[1]), flush=True)


main()
