# What users get: the header, the library, the module that it opens, the program, and how pkg-config and CMake find
# them. Every path is relative to where its file lies, so that an installed tree may be moved.
include(CMakePackageConfigHelpers)

set(RLX_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/rlx)
file(RELATIVE_PATH RLX_PREFIX_FROM_PC ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" RLX_PREFIX_FROM_PC "${RLX_PREFIX_FROM_PC}")
file(RELATIVE_PATH lib_from_bin ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
# The library finds its modules itself (jit/module.c), and all else is the system's: a search path would only be searched.
set_target_properties(rlx rlx_llvm rlx_spirv PROPERTIES INSTALL_RPATH "" BUILD_WITH_INSTALL_RPATH ON)
set_target_properties(rlx_tool PROPERTIES INSTALL_RPATH "$ORIGIN/${lib_from_bin}" EXPORT_NAME tool)

target_include_directories(rlx INTERFACE
  $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
install(TARGETS rlx rlx_tool EXPORT rlx-targets)
install(TARGETS rlx_llvm rlx_spirv LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}) # beside the library: it looks there first
install(FILES rlx.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT rlx-targets NAMESPACE rlx:: DESTINATION ${RLX_CMAKE_DIR})

configure_file(rlx.pc.in rlx.pc @ONLY)
configure_package_config_file(rlx-config.cmake.in rlx-config.cmake INSTALL_DESTINATION ${RLX_CMAKE_DIR})
# Before 1.0 a minor version is an ABI of its own: docs/decisions/2026-11-29-abi.md
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/rlx-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/rlx.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/rlx-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/rlx-config-version.cmake
  DESTINATION ${RLX_CMAKE_DIR})

install(FILES ${CMAKE_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY ${CMAKE_SOURCE_DIR}/docs/examples DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.c")
