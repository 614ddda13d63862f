# Run after every build as `cmake -DSOURCE=DIR -DOUTPUT=FILE -P sources.cmake`: says what the programs were built from, so
# that nobody measures the programs of yesterday's sources. src/qat8/benchmarking/built.py computes the same number.
file(GLOB names RELATIVE "${SOURCE}" "${SOURCE}/*.cc" "${SOURCE}/*.h" "${SOURCE}/CMakeLists.txt"
  "${SOURCE}/cmake/*.cmake" "${SOURCE}/engine/*.cc" "${SOURCE}/engine/*.h" "${SOURCE}/wheel_abi/*.h")
list(SORT names)
set(sums "")
foreach(name IN LISTS names)
  file(SHA256 "${SOURCE}/${name}" sum)
  string(APPEND sums "${sum}  ${name}\n")
endforeach()
string(SHA256 all "${sums}")
file(WRITE "${OUTPUT}" "${all}\n")
