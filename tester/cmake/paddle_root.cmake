# An inference distribution: made by `make inference_lib_dist` from Paddle's source, or downloaded from paddlepaddle.org.
# Up to 2.0-beta its library is libpaddle_fluid.so, later libpaddle_inference.so.
if(NOT EXISTS "${PADDLE_ROOT}/paddle/include/paddle_inference_api.h")
  message(FATAL_ERROR "PADDLE_ROOT=${PADDLE_ROOT} has no paddle/include/paddle_inference_api.h; give the directory "
    "'paddle_inference_install_dir' (formerly 'fluid_inference_install_dir') of a Paddle build, or leave PADDLE_ROOT "
    "empty to build against the installed wheel")
endif()
find_library(PADDLE_INFERENCE_LIBRARY NAMES paddle_inference paddle_fluid PATHS "${PADDLE_ROOT}/paddle/lib"
  NO_DEFAULT_PATH NO_CACHE)
if(NOT PADDLE_INFERENCE_LIBRARY)
  message(FATAL_ERROR "PADDLE_ROOT=${PADDLE_ROOT} has neither paddle/lib/libpaddle_inference.so nor "
    "paddle/lib/libpaddle_fluid.so; build it with 'make inference_lib_dist', or leave PADDLE_ROOT empty to build "
    "against the installed wheel")
endif()
message(STATUS "Paddle: ${PADDLE_INFERENCE_LIBRARY}")

file(GLOB third_party_dirs "${PADDLE_ROOT}/third_party/install/*/lib")
set(PADDLE_LIBRARY_DIRS "${PADDLE_ROOT}/paddle/lib" ${third_party_dirs})
target_include_directories(paddle_api SYSTEM INTERFACE "${PADDLE_ROOT}/paddle/include")
target_link_libraries(paddle_api INTERFACE "${PADDLE_INFERENCE_LIBRARY}")
foreach(dir ${PADDLE_LIBRARY_DIRS})
  target_link_options(paddle_api INTERFACE "-Wl,-rpath-link,${dir}")
endforeach()
