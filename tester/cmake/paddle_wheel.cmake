# The installed wheel: its libpaddle.so exports the C++ inference API but comes without that API's headers; wheel_abi/
# declares the few functions that the tester calls, for exactly the version below. Another version may lay its objects
# out differently, which no compiler would notice: so it is refused here, and once more by the program when it starts.
set(WHEEL_ABI_VERSION "2.6.2")

if(NOT CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
  message(FATAL_ERROR "wheel_abi/ describes paddlepaddle's x86-64 wheel, this is ${CMAKE_SYSTEM_PROCESSOR}; "
    "build Paddle's inference library and give -DPADDLE_ROOT=...")
endif()

set(python "${PADDLE_PYTHON}")
if(NOT python)
  set(python python3)
  if(EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/../.venv/bin/python")
    set(python "${CMAKE_CURRENT_SOURCE_DIR}/../.venv/bin/python")
  endif()
endif()

# One line of five fields: Paddle's directory, and what sysconfig knows of a shared libpython.
execute_process(
  COMMAND "${python}" -c "
import sys, sysconfig as s
v = lambda name: str(s.get_config_var(name) or '')
print('|'.join([s.get_path('platlib') + '/paddle', '%d.%d' % sys.version_info[:2], v('LIBDIR'), sys.base_prefix + '/lib',
                v('LDLIBRARY') + ',' + v('INSTSONAME')]))"
  OUTPUT_VARIABLE answer RESULT_VARIABLE status OUTPUT_STRIP_TRAILING_WHITESPACE)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "cannot run '${python}': make the virtual environment first, or give -DPADDLE_PYTHON=PATH")
endif()
string(REPLACE "|" ";" answer "${answer}")
list(GET answer 0 site_paddle)
list(GET answer 1 python_version)
list(GET answer 2 libdir)
list(GET answer 3 prefix_libdir)
list(GET answer 4 names)
string(REPLACE "," ";" names "${names}")

set(wheel "${PADDLE_WHEEL}")
if(NOT wheel)
  set(wheel "${site_paddle}")
endif()
if(NOT EXISTS "${wheel}/base/libpaddle.so")
  message(FATAL_ERROR "no ${wheel}/base/libpaddle.so: install paddlepaddle==${WHEEL_ABI_VERSION} for '${python}', name "
    "another interpreter with -DPADDLE_PYTHON=PATH, or give an inference distribution with -DPADDLE_ROOT=PATH")
endif()

# The version is read from files: importing Paddle would take seconds, and would run what is about to be refused.
set(version_file "${wheel}/version/__init__.py")
if(NOT EXISTS "${version_file}")
  message(FATAL_ERROR "no ${version_file}: cannot tell which version of paddlepaddle ${wheel} is; install it again")
endif()
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${version_file}")
file(STRINGS "${version_file}" version_line REGEX "^full_version *=")
string(REGEX REPLACE "^full_version *= *['\"]([^'\"]*)['\"].*" "\\1" wheel_version "${version_line}")
if(NOT wheel_version STREQUAL WHEEL_ABI_VERSION)
  message(FATAL_ERROR "${wheel} is paddlepaddle ${wheel_version}; wheel_abi/ describes exactly ${WHEEL_ABI_VERSION}: "
    "install paddlepaddle==${WHEEL_ABI_VERSION}, or give an inference distribution with -DPADDLE_ROOT=PATH")
endif()

# libpaddle.so is a Python extension: it needs libpython's symbols at start, although no interpreter is ever started.
# Debian's python3.11 is linked statically, and its libpython package may hold the .so.1.0 alone.
set(libpython "")
foreach(dir "${libdir}" "${libdir}/x86_64-linux-gnu" "${prefix_libdir}" /usr/lib/x86_64-linux-gnu)
  foreach(name ${names} libpython${python_version}.so.1.0 libpython${python_version}.so)
    if(NOT libpython AND name MATCHES "\\.so" AND EXISTS "${dir}/${name}")
      set(libpython "${dir}/${name}")
      set(libpython_dir "${dir}")
    endif()
  endforeach()
endforeach()
if(NOT libpython)
  message(FATAL_ERROR "no shared libpython${python_version} for '${python}' (looked in ${libdir} and "
    "${libdir}/x86_64-linux-gnu): apt-get install libpython${python_version}")
endif()
message(STATUS "Paddle: wheel ${wheel_version} in ${wheel}, ${libpython}")

set(PADDLE_LIBRARY_DIRS "${wheel}/base" "${wheel}/libs" "${libpython_dir}")
target_include_directories(paddle_api INTERFACE "${CMAKE_CURRENT_SOURCE_DIR}/wheel_abi")
target_compile_definitions(paddle_api INTERFACE
  WHEEL_ABI_VERSION="${WHEEL_ABI_VERSION}" _GLIBCXX_USE_CXX11_ABI=1)
# --no-as-needed: the program itself calls nothing of libpython and the linker would drop it.
target_link_libraries(paddle_api INTERFACE "${wheel}/base/libpaddle.so"
  "-Wl,--push-state,--no-as-needed" "${libpython}" "-Wl,--pop-state")
foreach(dir ${PADDLE_LIBRARY_DIRS})
  target_link_options(paddle_api INTERFACE "-Wl,-rpath-link,${dir}")
endforeach()
