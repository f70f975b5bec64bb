# SPDX-License-Identifier: Apache-2.0
# What `cmake --install` puts where, and how others find it: a CMake package (oriel::oriel, oriel::video),
# oriel.pc and oriel_video.pc, each right for static and for shared libraries.
include(CMakePackageConfigHelpers)
set(oriel_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/oriel)

# The libraries, their headers, the default models, the command and its page.
install(TARGETS oriel oriel_video EXPORT orielTargets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/oriel DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h")
install(DIRECTORY models/weights/ DESTINATION ${CMAKE_INSTALL_DATADIR}/oriel/models
        FILES_MATCHING PATTERN "*.safetensors" PATTERN "README.md")
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
if(ORIEL_TOOLS AND TARGET oriel_tool)
  install(TARGETS oriel_tool RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(FILES tools/oriel.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endif()

# What oriel links. One row a library: how oriel's CMake files name it, how its user's find it (a
# static oriel's user links it too), its pkg-config module.
set(oriel_finds "find_dependency(Threads)\n")
set(oriel_pc_modules "")
function(oriel_links_to target find module)
  get_target_property(links oriel LINK_LIBRARIES)
  if(target IN_LIST links)
    set(oriel_finds "${oriel_finds}${find}\n" PARENT_SCOPE)
    set(oriel_pc_modules "${oriel_pc_modules} ${module}" PARENT_SCOPE)
  endif()
endfunction()
oriel_links_to(PNG::PNG "find_dependency(PNG)" libpng)
oriel_links_to(ZLIB::ZLIB "find_dependency(ZLIB)" zlib)
if(ORIEL_JSON)
  oriel_links_to("${ORIEL_CJSON_LIBRARY}" "" libcjson) # linked by its path: nothing to find
endif()

set(oriel_pc_cuda "")
if(ORIEL_WITH_CUDA)
  string(APPEND oriel_finds "find_dependency(CUDAToolkit ${CUDAToolkit_VERSION_MAJOR})\n")
  set(oriel_pc_cuda " -L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -lrt -ldl") # no pkg-config module everywhere
endif()

# Who uses oriel::oriel alone needs no FFmpeg: a static oriel::video asks for it when it is linked.
set(oriel_video_pc_modules "")
if(ORIEL_WITH_FFMPEG)
  string(JOIN " " oriel_video_pc_modules ${ORIEL_FFMPEG_MODULES})
  string(REPLACE " " ", " oriel_video_pc_modules "${oriel_video_pc_modules}")
  string(REPLACE ">=" " >= " oriel_video_pc_modules "${oriel_video_pc_modules}")
  string(APPEND oriel_finds "find_package(PkgConfig QUIET)\nif(PKG_CONFIG_FOUND)\n"
         "  pkg_check_modules(FFMPEG QUIET IMPORTED_TARGET ${ORIEL_FFMPEG_MODULES})\nendif()\n")
endif()

get_target_property(oriel_type oriel TYPE)
if(oriel_type STREQUAL "SHARED_LIBRARY")
  set(oriel_finds "")
  set(oriel_pc_private "Requires.private:${oriel_pc_modules}\nLibs.private: -pthread -lm")
  set(oriel_video_pc_requires "Requires: oriel\nRequires.private: ${oriel_video_pc_modules}")
else()
  # Only the archive is there, so plain `pkg-config --libs oriel` must name all that it needs.
  set(oriel_pc_libs "${oriel_pc_cuda} -pthread -lm")
  set(oriel_pc_private "Requires:${oriel_pc_modules}")
  string(REGEX REPLACE ", $" "" oriel_video_pc_requires "Requires: oriel, ${oriel_video_pc_modules}")
endif()

configure_package_config_file(cmake/orielConfig.cmake.in ${PROJECT_BINARY_DIR}/orielConfig.cmake
  INSTALL_DESTINATION ${oriel_package_dir} PATH_VARS CMAKE_INSTALL_DATADIR)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/orielConfigVersion.cmake
  COMPATIBILITY SameMinorVersion) # before 1.0 a minor version may break
install(EXPORT orielTargets NAMESPACE oriel:: DESTINATION ${oriel_package_dir})
install(FILES ${PROJECT_BINARY_DIR}/orielConfig.cmake ${PROJECT_BINARY_DIR}/orielConfigVersion.cmake
        DESTINATION ${oriel_package_dir})

# They find their prefix from where they lie, so an installed tree can be moved.
file(RELATIVE_PATH oriel_pc_up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" oriel_pc_up "${oriel_pc_up}")
foreach(pc oriel oriel_video)
  configure_file(cmake/${pc}.pc.in ${PROJECT_BINARY_DIR}/${pc}.pc @ONLY)
endforeach()
install(FILES ${PROJECT_BINARY_DIR}/oriel.pc ${PROJECT_BINARY_DIR}/oriel_video.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
