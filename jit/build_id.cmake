# Writes build_id.h: a hash of every source that decides what code is compiled to. It is part of every compile key: entries of another
# build are not found, and equal builds on different machines find one another's. librlx and librlx-llvm must have the same.
#   cmake -DSOURCE=DIR -DOUTPUT=FILE -P build_id.cmake
file(GLOB_RECURSE files RELATIVE ${SOURCE} ${SOURCE}/runtime/*.[ch] ${SOURCE}/runtime/*.def ${SOURCE}/lir/*.[ch] ${SOURCE}/lir/*.def
  ${SOURCE}/mir/*.[ch] ${SOURCE}/mir/*.def ${SOURCE}/hir/*.[ch] ${SOURCE}/hir/*.def ${SOURCE}/jit/*.[ch] ${SOURCE}/jit/*.def
  ${SOURCE}/frontend/compile*.[ch])
list(SORT files)
foreach(file ${files})
  file(SHA256 ${SOURCE}/${file} hash)
  string(APPEND all "${file} ${hash}\n")
endforeach()
string(SHA256 id "${all}")
set(text "#define RLX_BUILD_ID \"${id}\"\n")
set(old "")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} old)
endif()
if(NOT old STREQUAL text)
  file(WRITE ${OUTPUT} "${text}")
endif()
