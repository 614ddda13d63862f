# engine_tester: the same program on our own engine, which needs oneDNN alone: the wheel's libdnnl.so.3, declared in
# engine/onednn_api.h. Of Paddle only that file is loaded, so neither libpaddle.so nor libpython is.
set(libdnnl "${wheel}/libs/libdnnl.so.3")
set(libiomp5 "${wheel}/libs/libiomp5.so")
foreach(library ${libdnnl} ${libiomp5})
  if(NOT EXISTS "${library}")
    message(STATUS "engine_tester is not built: there is no ${library}")
    return()
  endif()
endforeach()

add_library(tester_engine STATIC engine/convert.cc engine/depthwise.cc engine/engine_predictor.cc engine/executor.cc engine/isa.cc
  engine/memory_plan.cc engine/network.cc engine/onednn.cc engine/own_kernels.cc
  engine/plan_file.cc engine/winograd.cc)
# GCC 12 finds its own AVX-512 intrinsics uninitialised (GCC's bug 105593).
set_source_files_properties(engine/convert.cc PROPERTIES COMPILE_OPTIONS -Wno-maybe-uninitialized)
# The pragma alone; Intel's library, linked below, has the functions of GCC's that it calls.
set_source_files_properties(engine/depthwise.cc engine/winograd.cc PROPERTIES COMPILE_OPTIONS -fopenmp)
target_include_directories(tester_engine PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}")
# libdnnl.so.3 asks for libgomp's functions. Intel's library has them too; it comes first, so that it is the one that
# answers, as in Paddle's own programs.
target_link_libraries(tester_engine PUBLIC tester_base
  "-Wl,--push-state,--no-as-needed" "${libiomp5}" "-Wl,--pop-state" "${libdnnl}")
target_link_options(tester_engine PUBLIC "-Wl,-rpath-link,${wheel}/libs")
add_tester(engine_tester tester_engine "${wheel}/libs")
if(BUILD_TESTS)
  foreach(name check_depthwise check_lookup check_winograd dump_scores)
    add_executable(${name} ../tests/cpp/${name}.cc)
    target_include_directories(${name} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}")
    target_link_libraries(${name} PRIVATE tester_engine)
    target_link_options(${name} PRIVATE -Wl,--disable-new-dtags)
    set_target_properties(${name} PROPERTIES BUILD_RPATH "${wheel}/libs")
  endforeach()
endif()
