# SPDX-License-Identifier: Apache-2.0
# CUDA: ORIEL_WITH_CUDA says whether this build has it, oriel_cuda_sources(FILE...) adds kernels.
#
# nvcc makes objects of the .cu files by rules of our own, and the library stays one of C: with
# CMake's language CUDA every program that links a static liboriel would be linked as C++. What
# runs on the host is C wherever it can be and sees the toolkit's headers.
set(ORIEL_CUDA AUTO CACHE STRING "CUDA devices: ON, OFF, or AUTO: where nvcc is found")
set_property(CACHE ORIEL_CUDA PROPERTY STRINGS AUTO ON OFF)
set(ORIEL_WITH_CUDA OFF)

if(NOT ORIEL_CUDA STREQUAL "OFF")
  find_package(CUDAToolkit 12.0 QUIET)
  set(why "")
  if(NOT CUDAToolkit_FOUND)
    set(why "no CUDA toolkit from 12.0 on")
  elseif(NOT TARGET CUDA::cudart_static)
    set(why "no static cudart in ${CUDAToolkit_LIBRARY_DIR}")
  else() # does it go together with this machine's C++ compiler?
    file(WRITE ${PROJECT_BINARY_DIR}/nvcc-works.cu "__global__ void f(int *p) { *p = 1; }\n")
    execute_process(COMMAND ${CUDAToolkit_NVCC_EXECUTABLE} -std=c++17 -arch=sm_80 -c nvcc-works.cu -o nvcc-works.o
                    WORKING_DIRECTORY ${PROJECT_BINARY_DIR} RESULT_VARIABLE failed OUTPUT_VARIABLE said ERROR_VARIABLE said)
    if(failed)
      set(why "nvcc does not work: ${said}")
    endif()
  endif()
  if(NOT why)
    set(ORIEL_WITH_CUDA ON)
    message(STATUS "CUDA ${CUDAToolkit_VERSION}: ${CUDAToolkit_NVCC_EXECUTABLE}")
  elseif(ORIEL_CUDA STREQUAL "AUTO")
    message(STATUS "Without CUDA: ${why}")
  else()
    message(FATAL_ERROR "ORIEL_CUDA is ${ORIEL_CUDA}, but ${why}")
  endif()
endif()

# Without libstdc++: no exceptions, no guards of static variables, of which nvcc's launch stubs have one for
# each kernel (its handle: threads that meet there set the same).
# Machine code for Ampere to Ada and for Hopper; PTX of the former for what comes after.
set(oriel_nvcc_general -gencode=arch=compute_80,code=[sm_80,compute_80] -gencode=arch=compute_90a,code=sm_90a)
set(oriel_nvcc_hopper -gencode=arch=compute_90a,code=sm_90a)
# Templates make much the same code again and again: packed well it is a twentieth as large.
set(oriel_nvcc_packing -Xfatbin=-compress-all)
if(CUDAToolkit_VERSION VERSION_GREATER_EQUAL 12.8)
  set(oriel_nvcc_packing --compress-mode=size)
endif()
if(NOT CMAKE_BUILD_TYPE STREQUAL "Release") # profilers then show lines
  list(APPEND oriel_nvcc_packing -lineinfo)
endif()
set(oriel_nvcc ${CUDAToolkit_NVCC_EXECUTABLE} -std=c++17 -O3 ${oriel_nvcc_packing} -Xcompiler=-fPIC,-fvisibility=hidden
    -Xcompiler=-Wall,-Wextra,-Wshadow,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics
    -I${PROJECT_SOURCE_DIR}/include -I${PROJECT_SOURCE_DIR})
if(CMAKE_COMPILE_WARNING_AS_ERROR)
  list(APPEND oriel_nvcc -Werror=all-warnings)
endif()

# oriel_cuda_sources([HOPPER] FILE...): kernels of this folder; HOPPER: for sm_90a and no other
function(oriel_cuda_sources)
  cmake_parse_arguments(PARSE_ARGV 0 arg "HOPPER" "" "")
  foreach(file ${arg_UNPARSED_ARGUMENTS})
    set(source ${CMAKE_CURRENT_SOURCE_DIR}/${file})
    set_property(GLOBAL APPEND PROPERTY ORIEL_CUDA_SOURCES ${source})
    if(arg_HOPPER)
      set_property(GLOBAL APPEND PROPERTY ORIEL_CUDA_HOPPER ${source})
    endif()
  endforeach()
endfunction()

# Their rules, in the folder of the library, which alone may hold them: once all are named.
function(oriel_cuda_rules)
  get_property(sources GLOBAL PROPERTY ORIEL_CUDA_SOURCES)
  get_property(hopper GLOBAL PROPERTY ORIEL_CUDA_HOPPER)
  foreach(source ${sources})
    file(RELATIVE_PATH name ${PROJECT_SOURCE_DIR} ${source})
    set(object ${PROJECT_BINARY_DIR}/nvcc/${name}.o)
    get_filename_component(folder ${object} DIRECTORY)
    file(MAKE_DIRECTORY ${folder})
    set(codes ${oriel_nvcc_general})
    if(source IN_LIST hopper)
      set(codes ${oriel_nvcc_hopper})
    endif()
    add_custom_command(OUTPUT ${object} COMMENT "Compiling ${name} by nvcc" VERBATIM
                       COMMAND ${oriel_nvcc} ${codes} -MD -MF ${object}.d -MT ${object} -c ${source} -o ${object}
                       DEPENDS ${source} DEPFILE ${object}.d)
    target_sources(oriel PRIVATE ${object})
  endforeach()
endfunction()
