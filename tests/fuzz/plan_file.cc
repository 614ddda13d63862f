// The engine's reader of models, without the engine: any content is refused or is a network that hangs together.
#include "engine/plan_file.h"

#include <algorithm>

#include "plan_file.h"

// The reader's only need of the engine. Of just the size, so that AddressSanitizer sees the first byte beyond.
namespace onednn {
Buffer Allocate(std::size_t bytes) { return Buffer(std::malloc(bytes)); }
void Free::operator()(void* bytes) const { std::free(bytes); }
}  // namespace onednn

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  return MutatePlan(data, size, most, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static MemoryFile memory;
  Expect(kModelError, [&] {
    const PlanFile file(memory.Holding(data, size));
    // What the engine reads by the pointers that it was given.
    volatile unsigned char sink = 0;
    for (const Operator& op : file.operators()) {
      const std::size_t outputs = file.tensors()[op.destination].channels;
      if (op.weights != nullptr) sink = static_cast<const unsigned char*>(op.weights)[0];
      if (op.bias != nullptr) sink = reinterpret_cast<const unsigned char*>(op.bias + outputs)[-1];
      if (op.weight_scale_count > 0) {
        sink = reinterpret_cast<const unsigned char*>(op.weight_scales + op.weight_scale_count)[-1];
      }
    }
    static_cast<void>(sink);
  });
  return 0;
}
