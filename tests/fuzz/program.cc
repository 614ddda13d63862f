// The check of program files that stands before Paddle's reader.
#include "harness.h"
#include "program_check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static MemoryFile memory;
  Expect(kModelError, [&] { CheckProgramFile(memory.Holding(data, size)); });
  return 0;
}
