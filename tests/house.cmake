# SPDX-License-Identifier: Apache-2.0
# Tests of the house: what is true of the tree, of the installed library, and of other ways to build.
# Labels: house (the tree and what is installed), variant (the suite again, built or run otherwise),
# slow (left out unless -DORIEL_SLOW=ON).
option(ORIEL_VARIANTS "Tests that build and run the suite in other ways" ON)
option(ORIEL_SLOW "Tests that take minutes: every mutant, thousands of random problems" OFF)
find_program(ORIEL_CXX NAMES c++ g++ clang++)
mark_as_advanced(ORIEL_CXX)

# house_test(NAME LABEL COMMAND...): exit 77 means skipped
function(house_test name label)
  add_test(NAME ${name} COMMAND ${ARGN})
  set_tests_properties(${name} PROPERTIES LABELS ${label} SKIP_RETURN_CODE 77)
endfunction()

set(here ${CMAKE_CURRENT_SOURCE_DIR})
house_test(layers house sh ${here}/layers.sh)
house_test(files house sh ${here}/files.sh)
if(ORIEL_CXX)
  house_test(headers house sh ${here}/headers.sh ${CMAKE_C_COMPILER} ${ORIEL_CXX})
else()
  house_test(headers house sh ${here}/headers.sh ${CMAKE_C_COMPILER})
endif()

# Everything from here builds something, with all cores: one at a time.
if(NOT ORIEL_VARIANTS)
  return()
endif()
# variant(NAME OPTIONS...): see variant.sh
function(variant name)
  house_test(${name} variant sh ${here}/variant.sh ${name} ${CMAKE_BINARY_DIR}/variants/${name} ${ARGN})
  set_tests_properties(${name} PROPERTIES RUN_SERIAL TRUE TIMEOUT 1200)
endfunction()
# CUDA is built once, in the outer suite: the variants are about the host, and full builds without it.
set(sanitize -DORIEL_CUDA=OFF -DCMAKE_BUILD_TYPE=Sanitize)
set(warnings -DORIEL_CUDA=OFF -DCMAKE_COMPILE_WARNING_AS_ERROR=${CMAKE_COMPILE_WARNING_AS_ERROR})
variant(asan ${sanitize} -DORIEL_SANITIZE=address,undefined)
variant(tsan ${sanitize} -DORIEL_SANITIZE=thread)
set_tests_properties(tsan PROPERTIES ENVIRONMENT "VARIANT_CTEST=-L threads;VARIANT_TARGET=threading")
# All is built, what reads files and what says that a part is missing is run: no other source sees the options.
variant(bare ${warnings} -DORIEL_PNG=OFF -DORIEL_STB=OFF -DORIEL_JSON=OFF -DORIEL_FFMPEG=OFF -DCMAKE_C_FLAGS_RELEASE=-O1)
set_tests_properties(bare PROPERTIES ENVIRONMENT "VARIANT_CTEST=-R image|checkpoint|info|memory|replay|video|samples|tools")
variant(clang ${warnings} -DCMAKE_C_COMPILER=clang)
set_tests_properties(clang PROPERTIES ENVIRONMENT "VARIANT_CTEST=-LE house -E test_video_stop")
variant(fuzz ${sanitize} -DCMAKE_C_COMPILER=clang -DORIEL_SANITIZE=address,undefined -DORIEL_FUZZ=ON -DORIEL_TOOLS=OFF)
set_tests_properties(fuzz PROPERTIES ENVIRONMENT "VARIANT_CTEST=-L search;VARIANT_TARGET=fuzzing")

# The suite again with SIMD off: the same programs, under another ctest so that logs stay apart.
file(WRITE ${CMAKE_BINARY_DIR}/variants/simd-off/CTestTestfile.cmake
     "subdirs(\"${CMAKE_CURRENT_BINARY_DIR}\" \"${CMAKE_BINARY_DIR}/samples\")\n")
house_test(simd-off variant ${CMAKE_CTEST_COMMAND} --test-dir ${CMAKE_BINARY_DIR}/variants/simd-off
           --output-on-failure --no-tests=error -j 2 -LE "house|variant|slow|simd" -E "test_video_(read|write|stop)")
set_tests_properties(simd-off PROPERTIES ENVIRONMENT ORIEL_CPU=c RUN_SERIAL TRUE TIMEOUT 1200)

# An outside program against the installed library: both roads, both kinds of library.
# The kind that this build is has been built: it is installed as it is, with CUDA if it has that.
foreach(kind static shared)
  string(TOUPPER ${kind}_LIBRARY type)
  set(built "")
  if(oriel_type STREQUAL type AND ORIEL_TOOLS AND ORIEL_JSON AND NOT ORIEL_SANITIZE AND CMAKE_INSTALL_LIBDIR STREQUAL "lib")
    set(built ${CMAKE_BINARY_DIR})
  endif()
  house_test(install-${kind} house sh ${here}/install/check.sh ${kind} ${CMAKE_BINARY_DIR}/variants ${built})
endforeach()
set_tests_properties(install-static install-shared PROPERTIES RUN_SERIAL TRUE TIMEOUT 600)

# Is the test of the tests itself alive? Some twenty mutants at each check, all of them when asked.
house_test(mutants-core house sh ${here}/mutants.sh "^core/(pool|arena|convert|tensor|memory)")
set_tests_properties(mutants-core PROPERTIES RUN_SERIAL TRUE TIMEOUT 600 ENVIRONMENT
                     MUTANTS_CMAKE=-DCMAKE_C_FLAGS_RELEASE=-O0) # these tests take no time: building does
if(ORIEL_SLOW)
  house_test(mutants slow sh ${here}/mutants.sh)
  set_tests_properties(mutants PROPERTIES RUN_SERIAL TRUE TIMEOUT 3600)
endif()
