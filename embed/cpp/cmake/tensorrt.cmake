# TensorRT or TensorRT-RTX where their headers are: the target gpsr_tensorrt_sdk and GPSR_TENSORRT_FLAVOUR.
#
# The two have the same names, so that one build is for one of them: the one whose library lies under GPSR_TENSORRT_ROOT. The
# headers and the library have to be of one release, which the library is asked about before it is used.
find_path(GPSR_TENSORRT_INCLUDE NvInfer.h HINTS ${GPSR_TENSORRT_ROOT} PATH_SUFFIXES include)
find_library(GPSR_TENSORRT_LIBRARY NAMES tensorrt_rtx libtensorrt_rtx.so.1 nvinfer HINTS ${GPSR_TENSORRT_ROOT}
  PATH_SUFFIXES lib lib64)
if(NOT GPSR_TENSORRT_INCLUDE OR NOT GPSR_TENSORRT_LIBRARY)
  message(STATUS "TensorRT: NvInfer.h and its library not found, so engines (.plan) will not run. Try: -DGPSR_TENSORRT_ROOT=...")
  return()
endif()
find_package(CUDAToolkit QUIET)
if(NOT CUDAToolkit_FOUND)
  message(STATUS "TensorRT: found, but no CUDA toolkit, so engines (.plan) will not run. Try: -DCUDAToolkit_ROOT=...")
  return()
endif()

if(GPSR_TENSORRT_LIBRARY MATCHES "tensorrt_rtx")
  set(GPSR_TENSORRT_FLAVOUR tensorrt-rtx)
else()
  set(GPSR_TENSORRT_FLAVOUR tensorrt)
endif()
message(STATUS "TensorRT: ${GPSR_TENSORRT_FLAVOUR}, ${GPSR_TENSORRT_LIBRARY}: engines (.plan) run on NVIDIA GPUs")
add_library(gpsr_tensorrt_sdk INTERFACE)
target_include_directories(gpsr_tensorrt_sdk SYSTEM INTERFACE ${GPSR_TENSORRT_INCLUDE})
# CUDA's runtime goes into the library: what starts without a GPU can then say so.
target_link_libraries(gpsr_tensorrt_sdk INTERFACE ${GPSR_TENSORRT_LIBRARY} CUDA::cudart_static)
