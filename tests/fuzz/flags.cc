// The command line; an input is its arguments, a line each.
#include "flags.h"

#include <vector>

#include "harness.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::string> lines{"sample_tester", ""};
  for (std::size_t i = 0; i < size; ++i) {
    if (data[i] == '\n' || data[i] == '\0') {
      lines.emplace_back();
    } else {
      lines.back().push_back(static_cast<char>(data[i]));
    }
  }
  std::vector<char*> argv;
  for (std::string& line : lines) argv.push_back(line.data());
  Expect(kUsageError, [&] {
    const Flags flags = ParseFlags(static_cast<int>(argv.size()), argv.data());
    if (flags.help) return;
    const bool fits = !flags.infer_model.empty() && !flags.infer_data.empty() && flags.batch_size >= 1 &&
                      flags.num_threads >= 1 && flags.warmup_size >= 0 && flags.iterations >= -1 &&
                      flags.data_dim >= 1 && flags.data_dim <= 4096 && flags.min_seconds >= 0;
    if (!fits) std::abort();
  });
  return 0;
}
