/* A GGUF file in parts, as converters split them: the first has all metadata. */
#ifndef RLX_TESTS_SPLIT_GGUF_H
#define RLX_TESTS_SPLIT_GGUF_H

/* Writes STEM-00001-of-.. and so on. Aborts the test when that cannot be done. */
void split_gguf(const char *path, const char *stem, int parts);

#endif
